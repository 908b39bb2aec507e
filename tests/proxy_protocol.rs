//! Proxies that pass bytes through name the client in a PROXY header; the server believes only
//! trusted ones. A test may connect from every address in 127.0.0.0/8: 127.0.0.1 is the proxy here.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::{scope, sleep, spawn};
use std::time::Duration;

use tempfile::TempDir;

use support::client::{Connection, form_request, request};
use support::nginx::Nginx;
use support::server::Server;
use support::sqlite::SqliteFile;
use support::wait_for;

const ALICE: [(&str, &str); 2] = [("username", "alice@a.org"), ("password", "pw")];
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V4: &str = "203.0.113.5";
const V6: &str = "2001:db8::5";

/// Alice's server, which trusts 127.0.0.1 and 10.0.0.0/8.
fn server(args: &[&str]) -> (SqliteFile, Server) {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "k", "v");
    let own = ["-v", "--trusted-proxy", "127.0.0.1,10.0.0.0/8", "--admin-port", "0"];
    let server = Server::on_sqlite(&file.path, &[&own, args].concat());
    (file, server)
}

/// The same as [`server`], but with TLS.
fn tls_server(args: &[&str]) -> (SqliteFile, TempDir, Server) {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("key"), pair.signing_key.serialize_pem()).expect("writes");
    std::fs::write(path("chain"), pair.cert.pem()).expect("writes");
    let (key, chain) = (path("key"), path("chain"));
    let (file, server) = server(&[&["--ssl-keyfile", &key, "--ssl-certfile", &chain], args].concat());
    (file, folder, server)
}

/// Connects from 127.0.0.`last`, and sends `header` first.
fn caller(server: &Server, last: u8, header: &[u8]) -> Connection {
    let mut connection = Connection::open_from(Ipv4Addr::new(127, 0, 0, last), server.address);
    connection.send(header);
    connection
}

fn v1(source: &str) -> Vec<u8> {
    match source.parse().expect("an address") {
        IpAddr::V4(_) => format!("PROXY TCP4 {source} 192.0.2.1 4711 443\r\n").into_bytes(),
        IpAddr::V6(_) => format!("PROXY TCP6 {source} 2001:db8::1 4711 443\r\n").into_bytes(),
    }
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let size = u16::try_from(body.len()).expect("fits").to_be_bytes();
    [SIGNATURE, &[command, family], &size, body].concat()
}

fn v2_of(source: &str, tlvs: &[u8]) -> Vec<u8> {
    match source.parse().expect("an address") {
        IpAddr::V4(source) => v2(0x21, 0x11, &[&source.octets(), &[9; 8][..], tlvs].concat()),
        IpAddr::V6(source) => v2(0x21, 0x21, &[&source.octets(), &[9; 20][..], tlvs].concat()),
    }
}

/// A header of each kind, and the client that it names.
fn headers() -> Vec<(Vec<u8>, &'static str)> {
    let tlvs = [&[0x02, 0, 9][..], b"localhost", &[0x04, 0x0b, 0xb8], &[0; 3000]].concat();
    vec![
        (v1(V4), V4),
        (v1(V6), V6),
        (v2_of(V4, &[]), V4),
        (v2_of(V6, &[]), V6),
        (v2_of(V4, &tlvs), V4),
        (v2_of(V6, &tlvs), V6),
    ]
}

fn assert_signs_in(connection: &mut Connection) {
    let reply = connection.ask(&form_request(&ALICE));
    assert_eq!((reply.status, reply.text()), (200, "k=v\n"));
}

/// The clients of all requests in the log, once there are `count`.
fn clients(server: &Server, count: usize) -> Vec<String> {
    wait_for("the requests in the log", || {
        let log = server.log();
        let requests = log.iter().filter(|line| line.contains(" INFO request "));
        let address = |line: &String| line.split(" address=").nth(1)?.split(' ').next().map(str::to_owned);
        let found: Vec<String> = requests.filter_map(address).collect();
        (found.len() >= count).then_some(found)
    })
}

fn metric(server: &Server, name: &str) -> u64 {
    let reply = Connection::open(server.admin()).ask(&request("GET", "/metrics", &[], b""));
    let value = reply.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect(name).parse().expect("a number")
}

/// How many headers were accepted, and how many refused.
fn counted(server: &Server) -> (u64, u64) {
    let of = |outcome| metric(server, &format!("jitsiprovs_proxy_headers_total{{outcome={outcome:?}}}"));
    (of("ok"), of("failed"))
}

#[test]
fn a_header_names_the_client_of_all_requests_on_the_connection() {
    let (_file, server) = server(&[]);
    let mut expected = Vec::new();
    for (header, source) in headers() {
        let mut connection = caller(&server, 1, &header);
        assert_signs_in(&mut connection);
        assert_signs_in(&mut connection);
        // A connection has one header: a second one is read as a request.
        assert_eq!(connection.ask(&v1("203.0.113.66")).status, 400);
        assert!(connection.is_closed());
        // The same with header and request in one piece.
        assert_signs_in_at_once(&server, &header);
        expected.extend([source; 3]);
    }
    assert_eq!(clients(&server, expected.len()), expected);
    assert_eq!(counted(&server), (12, 0));
}

fn assert_signs_in_at_once(server: &Server, header: &[u8]) {
    let mut connection = caller(server, 1, &[header, &form_request(&ALICE)].concat());
    assert_eq!(connection.receive().expect("an answer").status, 200);
}

#[test]
fn a_header_may_come_in_pieces() {
    let (_file, server) = server(&[]);
    let headers = headers();
    scope(|scope| {
        for (header, _) in &headers {
            let server = &server;
            scope.spawn(move || {
                let request = form_request(&ALICE);
                let all = [header, &request[..]].concat();
                let mut connection = caller(server, 1, b"");
                let mut from = 0;
                let last = header.len() - 1;
                for cut in [1, 5, 12, 15, last.min(30), last, last + 2, all.len()] {
                    connection.send(&all[from..cut]);
                    // Without the pause, the pieces would arrive as one; the result is the same.
                    sleep(Duration::from_millis(30));
                    from = cut;
                }
                assert_eq!(connection.receive().expect("an answer").status, 200);
            });
        }
    });
    let mut found = clients(&server, headers.len());
    found.sort_unstable();
    assert_eq!(found, [V6, V6, V6, V4, V4, V4]);
}

#[test]
fn a_header_without_a_client_address_means_the_proxy_itself() {
    let (_file, server) = server(&[]);
    let without = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 203.0.113.5 192.0.2.1 1 2\r\n".to_vec(),
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &[9; 12]),
        v2(0x21, 0x00, &[9; 20]),
        v2(0x21, 0x31, &[9; 216]),
        // No header is needed, either.
        Vec::new(),
    ];
    for header in &without {
        assert_signs_in(&mut caller(&server, 1, header));
    }
    assert_eq!(clients(&server, without.len()), vec!["127.0.0.1"; without.len()]);
    assert_eq!(counted(&server), (6, 0));
}

#[test]
fn an_unreadable_header_closes_only_its_own_connection() {
    let (_file, server) = server(&["--header-timeout", "1"]);
    // Before its first byte, a connection has the same time limit as without TLS.
    let mut early = caller(&server, 1, b"");
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    let refused = [
        (b"PROXY TCP4 nobody nobody 1 2\r\n".to_vec(), "malformed"),
        (b"PROXY TCP4 203.0.113.5 2001:db8::1 1 2\r\n".to_vec(), "malformed"),
        (b"PROXY / HTTP/1.1\r\n\r\n".to_vec(), "malformed"),
        (v2(0x31, 0x11, &[9; 12]), "malformed"),
        (v2(0x21, 0x11, &[9; 11]), "malformed"),
        (v2(0x21, 0x51, &[9; 11]), "malformed"),
        (long, "too long"),
        (v2(0x21, 0x11, &[9; 4081]), "too long"),
        (v2(0x20, 0x00, &[9; 65535]), "too long"),
        (b"P".to_vec(), "took too long"),
        (v1(V4)[..20].to_vec(), "took too long"),
        (v2_of(V4, &[])[..27].to_vec(), "took too long"),
        // Complete except for the end of the part that is skipped.
        (v2_of(V4, &[9; 1000])[..1000].to_vec(), "took too long"),
    ];
    for (number, (header, why)) in refused.iter().enumerate() {
        let known = server.log().len();
        assert!(caller(&server, 1, header).is_closed(), "{why}: {header:?}");
        let refusal = wait_for("the line", || {
            server.log_from(known).into_iter().find(|line| line.contains("PROXY header refused"))
        });
        assert!(refusal.contains(" DEBUG ") && refusal.contains(why), "{refusal}");
        assert_eq!(counted(&server), (0, number as u64 + 1));
    }
    // The server does not wait for the rest of a header when the client has closed.
    let known = server.log().len();
    let mut half = TcpStream::connect(server.address).expect("connects");
    half.write_all(&v1(V4)[..20]).expect("sends");
    drop(half);
    wait_for("the line", || {
        server.log_from(known).into_iter().find(|line| line.contains("the connection broke"))
    });
    assert_signs_in(&mut early);
    assert_signs_in(&mut caller(&server, 1, &v1(V4)));
    assert_eq!(clients(&server, 2), ["127.0.0.1", V4]);
}

#[test]
fn a_header_from_an_untrusted_address_is_refused_as_a_bad_request() {
    let (_file, server) = server(&[]);
    let kinds = headers();
    for (header, _) in &kinds {
        let mut connection = caller(&server, 2, &[header, &form_request(&ALICE)[..]].concat());
        assert_eq!(connection.receive().expect("an answer").status, 400);
        assert!(connection.is_closed());
    }
    assert_signs_in(&mut caller(&server, 2, b""));
    assert_eq!(clients(&server, 1), ["127.0.0.2"]);
    assert_eq!(counted(&server), (0, 0));

    let (_file, _folder, server) = tls_server(&[]);
    for (header, _) in &kinds {
        let mut socket = through(2, server.address);
        socket.write_all(header).expect("sends");
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        // At most a TLS alert.
        assert!(answer.len() < 16 && !answer.starts_with(b"HTTP"), "{answer:?}");
    }
    wait_for("the handshakes to fail", || {
        let failed = metric(&server, "jitsiprovs_tls_handshakes_total{outcome=\"failed\"}");
        (failed == kinds.len() as u64).then_some(())
    });
    assert_eq!(counted(&server), (0, 0));
}

#[test]
fn the_client_in_the_header_is_throttled_and_not_the_proxy() {
    let (_file, server) = server(&["--auth-fail-window", "3600"]);
    let wrong = |number: usize| form_request(&[ALICE[0], ("password", &format!("wrong {number}"))]);
    for number in 0..10 {
        let header = if number % 2 == 0 { v1(V4) } else { v2_of(V4, &[]) };
        assert_eq!(caller(&server, 1, &header).ask(&wrong(number)).status, 401);
    }
    for header in [v1(V4), v2_of(V4, &[]), v1("::ffff:203.0.113.5")] {
        assert_eq!(caller(&server, 1, &header).ask(&form_request(&ALICE)).status, 429);
    }
    for header in [v1("203.0.113.6"), v2_of(V6, &[]), v2(0x20, 0x00, &[]), Vec::new()] {
        assert_signs_in(&mut caller(&server, 1, &header));
    }
    // The lines of failures come before the lines of their requests.
    assert_eq!(clients(&server, 17).len(), 17);
    let mut failures = server.log();
    failures.retain(|line| line.contains("WARN authentication failed "));
    let line = "WARN authentication failed address=203.0.113.5 domain=\"a.org\" username=\"alice\"";
    assert!(failures.len() == 10 && failures.iter().all(|failure| failure.ends_with(line)), "{failures:#?}");
}

#[test]
fn forwarded_headers_are_believed_only_if_the_proxy_header_names_a_trusted_proxy() {
    let (_file, server) = server(&[]);
    let form = ("content-type", "application/x-www-form-urlencoded");
    let sent = [form, ("x-forwarded-for", "198.51.100.7, 10.0.0.2"), ("x-request-id", "given")];
    let ask = request("POST", "/jitsiprovs/", &sent, b"username=alice@a.org&password=pw");
    let cases = [
        (v1(V4), V4),
        (v2_of(V6, &[]), V6),
        (v1("10.0.0.1"), "198.51.100.7"),
        (v2_of("::ffff:10.0.0.1", &[]), "198.51.100.7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "198.51.100.7"),
    ];
    for (header, _) in &cases {
        assert_eq!(caller(&server, 1, header).ask(&ask).status, 200);
    }
    assert_eq!(clients(&server, cases.len()), cases.each_ref().map(|(_, client)| *client));
    let given = server.log().iter().filter(|line| line.ends_with(" request=given")).count();
    assert_eq!(given, 3);
}

/// A connection from 127.0.0.`last`.
fn through(last: u8, address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let source = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(&source.into()).and_then(|()| socket.connect(&address.into())).expect("connects");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(support::PATIENCE)).expect("a time limit");
    stream
}

/// A proxy for one connection, which begins with `header`.
fn proxy(behind: SocketAddr, header: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut server = through(1, behind);
        server.write_all(&header).expect("sends");
        let (mut from_client, mut to_server) =
            (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
        spawn(move || {
            let _ = std::io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut server, &mut client);
        let _ = client.shutdown(std::net::Shutdown::Write);
    });
    address
}

#[test]
fn with_tls_the_header_comes_before_the_handshake() {
    let (_file, _folder, server) = tls_server(&[]);
    let mut expected = Vec::new();
    let local = (v2(0x20, 0x00, &[]), "127.0.0.1");
    let none = (Vec::new(), "127.0.0.1");
    for (header, source) in headers().into_iter().chain([local, none]) {
        for (protocol, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
            let url = format!("https://{}/jitsiprovs/", proxy(server.address, header.clone()));
            let form = "username=alice@a.org&password=pw";
            let output = Command::new("curl")
                .args(["-sk", "-m", "20", protocol, "-w", "%{http_version}", "-d", form, &url, &url])
                .output()
                .expect("curl; see tests/run");
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("k=v\n{version}k=v\n{version}"));
            expected.extend([source; 2]);
        }
    }
    assert_eq!(clients(&server, expected.len()), expected);
    assert_eq!(counted(&server), (14, 0));
}

#[test]
fn shutdown_does_not_wait_for_connections_that_have_sent_no_request() {
    let long = ["--header-timeout", "3600", "--idle-timeout", "3600", "--drain-timeout", "3600"];
    let held = |server: &Server| {
        let header = v1(V4);
        let held = [
            caller(server, 2, b""),
            caller(server, 1, b""),
            caller(server, 1, &header),
            caller(server, 1, &header[..20]),
        ];
        wait_for("the connections", || {
            let is_there = metric(server, "jitsiprovs_connections") == 4 && counted(server).0 == 1;
            is_there.then_some(())
        });
        held
    };
    let (_file, plain) = server(&long);
    let (_tls_file, _folder, tls) = tls_server(&long);
    for server in [plain, tls] {
        let mut held = held(&server);
        server.signal("TERM");
        assert!(held.iter_mut().all(Connection::is_closed));
        drop(held);
        assert!(server.wait().success());
    }
}

#[test]
fn behind_nginx_with_the_proxy_protocol_each_client_has_its_own_address() {
    let (_file, server) = server(&["--auth-fail-window", "3600"]);
    let nginx = Nginx::start_stream(server.address);
    let from = |last| Connection::open_from(Ipv4Addr::new(127, 0, 0, last), nginx.address);
    let mut here = from(2);
    for number in 0..10 {
        let wrong = form_request(&[ALICE[0], ("password", &format!("wrong {number}"))]);
        assert_eq!(here.ask(&wrong).status, 401);
    }
    assert_eq!(from(2).ask(&form_request(&ALICE)).status, 429);
    assert_signs_in(&mut from(3));
    let expected = [&["127.0.0.2"; 11][..], &["127.0.0.3"]].concat();
    assert_eq!(clients(&server, 12), expected);
    assert_eq!(counted(&server).1, 0);
}
