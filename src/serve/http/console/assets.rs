//! The style sheet and the script, which are part of the program.

use hyper::{Method, StatusCode};

use super::reply::Reply;

/// The file that a path names.
pub(super) fn find(method: &Method, path: &[&str]) -> Option<Reply> {
    let (kind, text) = match path {
        ["style.css"] => ("text/css; charset=utf-8", include_str!("style.css")),
        _ => return None,
    };
    (*method == Method::GET).then(|| Reply::of(StatusCode::OK, kind, text.into()))
}
