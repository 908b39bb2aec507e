//! The bearer token of the admin listener (`--admin-token-file`).

use hyper::Request;
use hyper::header::{AUTHORIZATION, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::core::secret::Secret;

/// A token that operators' requests must carry. Only its digest is kept.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// The token that `Authorization: Bearer` must have.
    pub fn new(token: &Secret) -> AdminToken {
        AdminToken(Sha256::digest(token.reveal()).into())
    }

    /// Whether the request carries the token. Takes the same time for every wrong token.
    pub(super) fn is_in<B>(&self, request: &Request<B>) -> bool {
        let mut headers = request.headers().get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        headers.any(|value| {
            let (scheme, token) = value.split_at_checked(SCHEME.len()).unwrap_or_default();
            let token: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
            scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && bool::from(token.ct_eq(&self.0))
        })
    }
}

const SCHEME: &str = "Bearer ";

/// The value of the header `Authorization` with which a client shows `token`.
pub fn authorization(token: &Secret) -> String {
    format!("{SCHEME}{}", token.reveal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_let_in() {
        let secret = Secret::new("0123456789abcdef");
        let token = AdminToken::new(&secret);
        let is_in = |value: &str| {
            token.is_in(&Request::get("/").header("authorization", value).body(()).expect("a request"))
        };
        for right in [&authorization(&secret)[..], "bearer 0123456789abcdef", "Bearer  0123456789abcdef "] {
            assert!(is_in(right), "{right}");
        }
        for wrong in
            ["", "Bearer", "Bearer ", "0123456789abcdef", "Basic 0123456789abcdef", "Bearer 0123456789abcde"]
        {
            assert!(!is_in(wrong), "{wrong}");
        }
        assert!(!token.is_in(&Request::get("/").body(()).expect("a request")));
    }
}
