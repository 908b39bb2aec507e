//! Who may ask the admin listener: no web page.
//!
//! A page that is open in an operator's browser reaches what the browser reaches.
//! It may post across origins; then the browser names the page's in `Origin`. Or
//! it has its own name resolve to this machine (DNS rebinding), and may read the
//! answers; then that name is in `Host`.

use std::net::IpAddr;

use hyper::Request;
use hyper::header::{HOST, ORIGIN};
use hyper::http::uri::Authority;

/// Why a request is not answered, if it may come from a web page. `names` are
/// those of this machine, by `--admin-host`.
pub(super) fn refuse<B>(request: &Request<B>, names: &[String]) -> Option<String> {
    let hosts = request.headers().get_all(HOST).iter().map(|host| host.to_str().ok()?.parse().ok());
    // Old programs name no host; browsers always do.
    let hosts: Vec<Option<Authority>> =
        request.uri().authority().map(|host| Some(host.clone())).into_iter().chain(hosts).collect();
    if !hosts.iter().all(|host| host.as_ref().is_some_and(|host| is_ours(host.host(), names))) {
        return Some(
            "the request's Host is not known here: ask for an address, for localhost, or for a name that \
             --admin-host gives"
                .into(),
        );
    }
    let is_own = |origin: &[u8]| {
        let own = |host: &Authority| format!("http://{host}").as_bytes().eq_ignore_ascii_case(origin);
        hosts.iter().flatten().any(own)
    };
    let is_foreign = request.headers().get_all(ORIGIN).iter().any(|origin| !is_own(origin.as_bytes()));
    is_foreign.then(|| "requests of web pages are not answered".into())
}

/// Addresses need no resolving, and `localhost` is resolved by nobody else.
fn is_ours(host: &str, names: &[String]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // An address may have a zone.
    let address = bare.split('%').next().unwrap_or_default();
    address.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(headers: &[(&str, &str)]) -> bool {
        let request = headers
            .iter()
            .fold(Request::get("/metrics"), |request, (name, value)| request.header(*name, *value));
        refuse(&request.body(()).expect("a request"), &["node1.example.org".to_owned()]).is_some()
    }

    #[test]
    fn addresses_localhost_and_the_operators_names_are_answered() {
        for host in [
            "127.0.0.1:8090",
            "10.0.0.1",
            "[::1]:8090",
            "[fe80::1]",
            "localhost:8090",
            "LOCALHOST",
            "localhost.",
            "node1.example.org:9090",
            "Node1.Example.ORG",
        ] {
            assert!(!is_refused(&[("host", host)]), "{host}");
            assert!(!is_refused(&[("host", host), ("origin", &format!("http://{host}"))]), "{host}");
            assert!(is_refused(&[("host", host), ("origin", "http://evil.org")]), "{host}");
        }
        assert!(!is_refused(&[]));
    }

    #[test]
    fn other_names_and_origins_are_not() {
        for host in [
            "evil.org:8090",
            "evil",
            "127.0.0.1.evil.org",
            "localhost.evil.org",
            "a node1.example.org",
            "",
            "::",
        ] {
            assert!(is_refused(&[("host", host)]), "{host}");
        }
        assert!(is_refused(&[("host", "localhost"), ("host", "evil.org")]));
        for origin in ["null", "http://127.0.0.1", "http://127.0.0.1:80901", "https://127.0.0.1:8090", ""] {
            assert!(is_refused(&[("host", "127.0.0.1:8090"), ("origin", origin)]), "{origin}");
        }
        assert!(is_refused(&[("origin", "http://evil.org")]));
    }
}
