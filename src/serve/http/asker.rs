//! Keeps web pages away from the admin listener.
//!
//! A page that is open in an operator's browser can reach every address that the
//! browser reaches. It may post across origins; then the browser sends the page's
//! origin in `Origin`. Or the page's own name may resolve to this machine (DNS
//! rebinding), so that the page can read the answers; then that name is in `Host`.

use std::net::IpAddr;

use hyper::Request;
use hyper::header::{HOST, ORIGIN};
use hyper::http::uri::Authority;

/// Why a request is not answered, if it may come from a web page. `names` are the
/// names of this machine (`--admin-host`). `is_https` says how the listener, or a proxy in front of
/// it, was reached: a page of the same name but of the other scheme is a foreign one.
pub(super) fn refuse<B>(request: &Request<B>, names: &[String], is_https: bool) -> Option<String> {
    let hosts = request.headers().get_all(HOST).iter().map(|host| host.to_str().ok()?.parse().ok());
    // Old programs name no host; browsers always do.
    let hosts: Vec<Option<Authority>> =
        request.uri().authority().map(|host| Some(host.clone())).into_iter().chain(hosts).collect();
    if !hosts.iter().all(|host| host.as_ref().is_some_and(|host| is_ours(host.host(), names))) {
        return Some(
            "the request's Host is not known here: use an address, localhost, or a name given with \
             --admin-host"
                .into(),
        );
    }
    let is_own = |origin: &[u8]| {
        let scheme = if is_https { "https" } else { "http" };
        let own = |host: &Authority| format!("{scheme}://{host}").as_bytes().eq_ignore_ascii_case(origin);
        hosts.iter().flatten().any(own)
    };
    let is_foreign = request.headers().get_all(ORIGIN).iter().any(|origin| !is_own(origin.as_bytes()));
    is_foreign.then(|| "requests from web pages are not answered".into())
}

/// Addresses are not resolved, and nobody else resolves `localhost`, so a web page can
/// use neither for DNS rebinding.
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
        is_refused_by(headers, false)
    }

    fn is_refused_by(headers: &[(&str, &str)], is_https: bool) -> bool {
        let request = headers
            .iter()
            .fold(Request::get("/metrics"), |request, (name, value)| request.header(*name, *value));
        refuse(&request.body(()).expect("a request"), &["node1.example.org".to_owned()], is_https).is_some()
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
            assert!(
                !is_refused_by(&[("host", host), ("origin", &format!("https://{host}"))], true),
                "{host}"
            );
            assert!(is_refused_by(&[("host", host), ("origin", &format!("http://{host}"))], true), "{host}");
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
