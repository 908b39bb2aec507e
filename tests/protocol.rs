//! The protocol as seen from a socket: which requests are understood, which are refused, and with
//! which text.

use support::client::{Connection, exchange, form_request, post, request};
use support::server::Server;
use support::sqlite::SqliteFile;
use support::wait_for;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
const ALICE: [(&str, &str); 2] = [("username", "alice@a.org"), ("password", "pw")];

/// A server with one user, and a rule that shows the `osname` that arrived.
fn server() -> (SqliteFile, Server) {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "os", "[${osname:-none}]");
    let server = Server::on_sqlite(&file.path, &[]);
    (file, server)
}

#[test]
fn an_answer_is_plain_text_without_caching_or_compression() {
    let (_file, server) = server();
    let encodings = [FORM, ("accept-encoding", "gzip, br")];
    let body = b"username=alice@a.org&password=pw&osname=Linux";
    let reply = exchange(server.address, &request("POST", "/jitsiprovs/", &encodings, body));
    assert_eq!((reply.status, reply.text()), (200, "os=[Linux]\n"));
    for (name, value) in [
        ("content-type", "text/plain; charset=iso-8859-1"),
        ("cache-control", "no-store"),
        ("content-length", "11"),
    ] {
        assert_eq!(reply.header(name), Some(value));
    }
    assert_eq!(reply.header("content-encoding"), None);
}

#[test]
fn get_post_and_json_are_understood_alike_with_and_without_the_slash() {
    let (_file, server) = server();
    let query = "username=alice@a.org&password=pw&osname=Li+n%75x";
    let json = br#"{"username":"alice@a.org","password":"pw","osname":"Li nux"}"#;
    for path in ["/jitsiprovs/", "/jitsiprovs"] {
        for sent in [
            request("GET", &format!("{path}?{query}"), &[], b""),
            request("POST", path, &[FORM], query.as_bytes()),
            request("POST", &format!("{path}?{query}"), &[], b""),
            request("POST", &format!("{path}?osname=q&password=q"), &[FORM], query.as_bytes()),
            request("POST", path, &[JSON], json),
        ] {
            let reply = exchange(server.address, &sent);
            assert_eq!(
                (reply.status, reply.text()),
                (200, "os=[Li nux]\n"),
                "{}",
                String::from_utf8_lossy(&sent)
            );
        }
    }
}

#[test]
fn each_refusal_is_one_comment_line_without_any_input_of_the_client() {
    let (_file, server) = server();
    let many = vec!["secret=secret"; 65].join("&");
    let large = format!("secret={}", "s".repeat(16 * 1024));
    for (status, sent) in [
        (404, request("GET", "/", &[], b"")),
        (404, request("POST", "/jitsiprovs/secret", &[FORM], b"secret=1")),
        (405, request("PUT", "/jitsiprovs/", &[FORM], b"secret=1")),
        (405, request("DELETE", "/jitsiprovs/", &[], b"")),
        (415, request("POST", "/jitsiprovs/", &[("content-type", "text/plain")], b"secret=1")),
        (415, request("POST", "/jitsiprovs/", &[], b"secret=1")),
        (413, request("POST", "/jitsiprovs/", &[FORM], large.as_bytes())),
        (400, request("POST", "/jitsiprovs/", &[FORM], many.as_bytes())),
        (400, request("GET", &format!("/jitsiprovs/?{many}"), &[], b"")),
        (400, request("POST", "/jitsiprovs/", &[JSON], b"{\"secret\":[1]}")),
        (401, request("POST", "/jitsiprovs/", &[FORM], b"username=secret&password=secret")),
    ] {
        let reply = exchange(server.address, &sent);
        assert_eq!(reply.status, status, "{}", String::from_utf8_lossy(&sent));
        let text = reply.text();
        assert!(text.starts_with("# ") && text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("allow"), (status == 405).then_some("GET, POST"));
    }
}

#[test]
fn an_unreadable_head_is_refused_with_a_text_too() {
    let (_file, server) = server();
    let long = format!("GET /jitsiprovs/?x={} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET /jitsiprovs/ HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(150));
    for (statuses, sent) in [
        (&[400][..], "GARBAGE\r\n\r\n"),
        (&[400], "GET /jitsiprovs/ HTTP/3.0\r\n\r\n"),
        (&[400], "GET /jitsiprovs/ HTTP/1.1\r\nbad header\r\n\r\n"),
        (&[414, 431], &long),
        (&[431], &many),
    ] {
        let mut connection = Connection::open(server.address);
        connection.send(sent.as_bytes());
        let reply = connection.receive().expect("an answer");
        assert!(statuses.contains(&reply.status), "{}: {reply:?}", &sent[..20]);
        assert!(reply.text().starts_with("# ") && reply.text().ends_with('\n'), "{reply:?}");
        assert!(connection.is_closed());
    }
}

#[test]
fn an_extra_line_break_after_a_request_is_ignored() {
    let (_file, server) = server();
    let mut connection = Connection::open(server.address);
    connection.send(&[&form_request(&ALICE)[..], b"\r\n"].concat());
    assert_eq!(connection.receive().expect("an answer").status, 200);
    connection.send(&form_request(&ALICE));
    assert_eq!(connection.receive().expect("an answer").status, 200);
}

#[test]
fn a_body_of_unknown_length_is_limited_too() {
    let (_file, server) = server();
    let mut connection = Connection::open(server.address);
    connection.send(&request("POST", "/jitsiprovs/", &[FORM, ("transfer-encoding", "chunked")], b""));
    let chunk = format!("1000\r\n{}\r\n", "a".repeat(0x1000));
    for _ in 0..8 {
        connection.send(chunk.as_bytes());
    }
    assert_eq!(connection.receive().expect("an answer").status, 413);
    assert!(connection.is_closed());
}

#[test]
fn up_to_64_parameters_and_16_kib_are_taken() {
    let (_file, server) = server();
    let own = "username=alice@a.org&password=pw";
    let many = format!("{own}{}", "&x=1".repeat(62));
    assert_eq!(
        exchange(server.address, &request("POST", "/jitsiprovs/", &[FORM], many.as_bytes())).status,
        200
    );
    let large = format!("{own}&x={}", "x".repeat(16 * 1024 - own.len() - 3));
    assert_eq!(large.len(), 16 * 1024);
    assert_eq!(
        exchange(server.address, &request("POST", "/jitsiprovs/", &[FORM], large.as_bytes())).status,
        200
    );
}

#[test]
fn unknown_user_wrong_password_and_no_password_are_refused_alike() {
    let (_file, server) = server();
    let refused = |pairs: &[(&str, &str)]| {
        let mut reply = post(server.address, pairs);
        reply.headers.retain(|(name, _)| name != "date");
        reply
    };
    let unknown = refused(&[("username", "nobody@a.org"), ("password", "pw")]);
    assert_eq!(unknown.status, 401);
    assert_eq!(unknown.header("www-authenticate"), None);
    for pairs in [
        &[("username", "alice@a.org"), ("password", "wrong")][..],
        &[("username", "alice@a.org")],
        &[("username", "alice@a.org"), ("password", "")],
        &[("username", "alice@a.org"), ("password", "${password}")],
        &[("username", "alice@b.org"), ("password", "pw")],
        &[("username", "alice"), ("password", "pw")],
        &[("username", "nobody@a.org")],
    ] {
        assert_eq!(refused(pairs), unknown, "{pairs:?}");
    }
}

#[test]
fn basic_credentials_are_requested_and_accepted_if_no_username_is_sent() {
    let (_file, server) = server();
    let challenge = Some("Basic realm=\"jitsiprovs\", charset=\"UTF-8\"");
    // alice@a.org:pw, and alice@a.org:no
    let (right, wrong) =
        (("authorization", "Basic YWxpY2VAYS5vcmc6cHc="), ("authorization", "Basic YWxpY2VAYS5vcmc6bm8="));
    for (headers, body, status, offered) in [
        (&[FORM][..], "osname=x", 401, challenge),
        (&[FORM], "username=&password=pw", 401, challenge),
        (&[FORM], "username=%24%7Busername%7D&password=%24%7Bpassword%7D", 401, challenge),
        (&[FORM, right], "osname=x", 200, None),
        (&[FORM, right], "osname=x&password=ignored", 200, None),
        (&[FORM, wrong], "osname=x", 401, challenge),
        (&[FORM, right], "username=nobody&osname=x", 401, None),
    ] {
        let reply = exchange(server.address, &request("POST", "/jitsiprovs/", headers, body.as_bytes()));
        assert_eq!((reply.status, reply.header("www-authenticate")), (status, offered), "{body}");
    }
}

#[test]
fn a_connection_carries_many_requests_and_keeps_nothing_between_them() {
    let (_file, server) = server();
    let mut connection = Connection::open(server.address);
    for (pairs, status) in [
        (&ALICE[..], 200),
        (&[], 401),
        (&[("default", "bob"), ("null", "x")], 401),
        (&[("username", "x@evil.org")], 401),
        (&ALICE, 200),
    ] {
        connection.send(&form_request(pairs));
        let reply = connection.receive().expect("kept open");
        assert_eq!(reply.status, status, "{pairs:?}");
        if status == 200 {
            assert_eq!(reply.text(), "os=[none]\n");
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_file, server) = server();
    let ask = |os: &str| form_request(&[ALICE[0], ALICE[1], ("osname", os)]);
    let mut connection = Connection::open(server.address);
    connection.send(&[ask("one"), ask("two"), request("GET", "/x", &[], b"")].concat());
    let mut reply = || connection.receive().expect("an answer");
    assert_eq!(reply().text(), "os=[one]\n");
    assert_eq!(reply().text(), "os=[two]\n");
    assert_eq!(reply().status, 404);
}

#[test]
fn a_head_or_body_that_trickles_in_is_a_408_and_the_connection_closes() {
    let (_file, server) = server();
    let slow = [b"POST /jitsiprovs/ HTTP/1.1\r\nhost: test\r\n".to_vec(), {
        let mut whole = form_request(&ALICE);
        whole.truncate(whole.len() - 3);
        whole
    }];
    // Both have the same limit of ten seconds.
    let threads = slow.map(|part| {
        let address = server.address;
        std::thread::spawn(move || {
            let mut connection = Connection::open(address);
            connection.send(&part);
            let reply = connection.receive().expect("an answer");
            (reply, connection.is_closed())
        })
    });
    let mut idle = Connection::open(server.address);
    idle.send(&form_request(&ALICE));
    assert_eq!(idle.receive().expect("an answer").status, 200);
    for thread in threads {
        let (reply, closed) = thread.join().expect("no panic");
        assert_eq!(reply.status, 408);
        assert!(reply.text().starts_with("# ") && closed);
        assert_eq!(reply.header("connection"), Some("close"));
    }
    // The client's own connection, which was idle for as long, is closed without a word.
    assert!(idle.is_closed());
}

#[test]
fn aliases_and_the_default_domain_can_be_configured() {
    let file = SqliteFile::empty();
    file.user("home", "alice", "pw").rule(None, "default", 1, "hw", "${hwaddr:-none} ${mac:-none}");
    let server = Server::on_sqlite(&file.path, &["--default-domain", "home", "--param-alias", "mac=hwaddr"]);
    let reply = post(server.address, &[("user", "alice"), ("pass", "pw"), ("mac", "00:1a")]);
    assert_eq!((reply.status, reply.text()), (200, "hw=00:1a 00:1a\n"));
}

#[test]
fn without_throttling_every_wrong_password_is_still_logged() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw");
    let server = Server::on_sqlite(&file.path, &["--auth-fail-limit", "0"]);
    for _ in 0..20 {
        assert_eq!(post(server.address, &[("username", "alice@a.org"), ("password", "x")]).status, 401);
    }
    wait_for("twenty lines", || {
        let failed = |line: &&String| line.contains("authentication failed");
        (server.log().iter().filter(failed).count() == 20).then_some(())
    });
}
