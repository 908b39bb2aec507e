//! Clients cannot exhaust connections, descriptors or time.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::client::{Connection, form_request, post, request};
use support::java::Apache;
use support::server::{Server, jitsiprovs};
use support::sqlite::SqliteFile;
use support::wait_for;

const ALICE: [(&str, &str); 2] = [("username", "alice@a.org"), ("password", "pw")];
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn file() -> SqliteFile {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "v", "1");
    file
}

/// A connection that has served one request and is open for another.
fn connected(server: &Server) -> Connection {
    let mut connection = Connection::open(server.address);
    assert_signs_in(&mut connection);
    connection
}

fn assert_signs_in(connection: &mut Connection) {
    let reply = connection.ask(&form_request(&ALICE));
    assert_eq!((reply.status, reply.text()), (200, "v=1\n"));
}

fn metric(admin: &mut Connection, name: &str) -> u64 {
    let reply = admin.ask(&request("GET", "/metrics", &[], b""));
    let value = reply.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a number"))
}

fn count(server: &Server, text: &str) -> usize {
    server.log().iter().filter(|line| line.contains(text)).count()
}

/// How many connections were closed early for this reason.
fn closed(admin: &mut Connection, reason: &str) -> u64 {
    metric(admin, &format!("jitsiprovs_connections_closed_total{{reason=\"{reason}\"}}"))
}

/// The options for `most` connections, which may all have the same address.
fn limited(most: &str) -> Vec<&str> {
    let each = ["--max-connections-per-address", "1000", "--header-timeout", "60"];
    [&["--max-connections", most, "--admin-port", "0"], &each[..]].concat()
}

#[test]
fn the_connection_that_is_idle_for_longest_is_closed_for_a_new_one() {
    let file = file();
    // One worker accepts them in their order, and closes one before it asks another.
    let server = Server::on_sqlite(&file.path, &[&limited("5")[..], &["--workers", "1"]].concat());
    let full = "all 5 connections are in use (--max-connections)";
    let mut held: Vec<Connection> = (0..4).map(|_| connected(&server)).collect();
    assert_eq!(count(&server, full), 0, "one is left");
    let mut busy = Connection::open(server.address);
    busy.send(&halves(IN_HEAD).0);
    let mut admin = Connection::open(server.admin());
    wait_for("five connections", || (metric(&mut admin, "jitsiprovs_connections") == 5).then_some(()));
    assert_eq!(metric(&mut admin, "jitsiprovs_connections_limit"), 5);
    assert_eq!(closed(&mut admin, "max_connections"), 0);

    // Now the connections have been idle for longest in the order 1, 3, 0, 2.
    [0, 2].into_iter().for_each(|number: usize| assert_signs_in(&mut held[number]));
    let mut new = vec![connected(&server)];
    assert!(held[1].is_closed());
    new.push(connected(&server));
    assert!(held[3].is_closed());
    assert!([0, 2].into_iter().all(|number: usize| !held[number].has_news()));
    busy.send(&halves(IN_HEAD).1);
    assert_eq!(busy.receive().expect("an answer").status, 200);
    new.iter_mut().for_each(assert_signs_in);
    assert_eq!(closed(&mut admin, "max_connections"), 2);
    // The log may arrive later than answers do.
    server.wait_for_log(full);
    assert_eq!(count(&server, full), 1, "it is logged once");

    // Connections that have sent nothing make room when no other is idle.
    let mut silent: Vec<Connection> = (0..5).map(|_| Connection::open(server.address)).collect();
    wait_for("silent connections", || (closed(&mut admin, "max_connections") == 7).then_some(()));
    let mut last = connected(&server);
    assert!(silent[0].is_closed());
    assert_signs_in(&mut last);
}

#[test]
fn a_connection_over_the_limit_waits_while_requests_are_under_way() {
    let file = file();
    let server = Server::on_sqlite(&file.path, &[&limited("5")[..], &["--poll-interval", "0"]].concat());
    let mut admin = Connection::open(server.admin());
    let mut busy: Vec<Connection> = (0..5).map(|_| Connection::open(server.address)).collect();
    for (number, connection) in busy.iter_mut().enumerate() {
        connection.send(&halves(if number < 3 { IN_HEAD } else { in_body() }).0);
    }
    wait_for("five connections", || (metric(&mut admin, "jitsiprovs_connections") == 5).then_some(()));
    let mut sixth = Connection::open(server.address);
    sixth.send(&form_request(&ALICE));
    server.wait_for_log("all 5 connections are in use (--max-connections)");
    assert_eq!(admin.ask(&request("GET", "/readyz", &[], b"")).status, 200);
    assert_eq!(Connection::open(server.admin()).ask(&request("POST", "/reload", &[], b"")).status, 200);
    server.signal("HUP");
    server.wait_for_log("cause=\"SIGHUP\"");
    assert!(!sixth.has_news());
    assert!(busy.iter().all(|connection| !connection.has_news()));

    busy[4].send(&halves(in_body()).1);
    let reply = busy[4].receive().expect("an answer");
    // A client that knows of the end does not send another request.
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert_eq!(sixth.receive().expect("an answer").status, 200);
    for (number, connection) in busy.iter_mut().enumerate().take(4) {
        connection.send(&halves(if number < 3 { IN_HEAD } else { in_body() }).1);
        assert_eq!(connection.receive().expect("an answer").status, 200);
    }
    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn an_address_cannot_take_the_connections_of_others() {
    let file = file();
    let proxy = ["--trusted-proxy", "127.0.0.9"];
    // A fifth of 20 are 4. With one worker, they become idle in the order of their answers.
    let limits = ["--max-connections", "20", "--admin-port", "0", "--workers", "1"];
    let args = [&limits[..], &proxy].concat();
    let server = Server::on_sqlite(&file.path, &args);
    let from = |last| Connection::open_from([127, 0, 0, last], server.address);
    let mut admin = Connection::open(server.admin());
    let mut own: Vec<Connection> = (0..4).map(|_| from(1)).collect();
    own.iter_mut().for_each(assert_signs_in);
    // Its own idle connections make room.
    let mut fifth = from(1);
    assert_signs_in(&mut fifth);
    assert!(own.remove(0).is_closed());
    assert_eq!(closed(&mut admin, "max_connections_per_address"), 1);
    // If all have a request under way, further ones are closed.
    drop((own, fifth));
    wait_for("their end", || (metric(&mut admin, "jitsiprovs_connections") == 0).then_some(()));
    let mut own: Vec<Connection> = (0..4).map(|_| from(1)).collect();
    own.iter_mut().for_each(|connection| connection.send(&halves(IN_HEAD).0));
    assert!(from(1).is_closed());
    server.wait_for_log("an address has 4 connections (--max-connections-per-address)");
    assert_eq!(closed(&mut admin, "max_connections_per_address"), 2);
    assert_eq!(closed(&mut admin, "max_connections"), 0);
    assert_signs_in(&mut from(2));
    own.iter_mut().for_each(|connection| {
        connection.send(&halves(IN_HEAD).1);
        assert_eq!(connection.receive().expect("an answer").status, 200);
    });
    // A trusted proxy has as many as it likes, but a client behind it has not.
    let mut proxied: Vec<Connection> = (0..8).map(|_| from(9)).collect();
    proxied.iter_mut().for_each(assert_signs_in);
    let mut behind = |_| {
        let mut connection = from(9);
        connection.send(b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 443\r\n");
        assert_signs_in(&mut connection);
        connection
    };
    let mut behind: Vec<Connection> = (0..5).map(&mut behind).collect();
    assert!(behind[0].is_closed());
    proxied.iter_mut().chain(&mut behind[1..]).for_each(assert_signs_in);
}

#[test]
fn clients_that_never_close_do_not_keep_others_from_being_served() {
    const CLIENTS: usize = 3000;
    jitsiprovs::process::raise_descriptors();
    let file = file();
    let path = file.path.to_str().expect("UTF-8");
    let own = jitsiprovs(&["-n", "--http-ip", "127.0.0.1", "--http-port", "0", "--db-path", path]);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "ulimit -n 1024 && exec \"$0\" \"$@\""])
        .arg(own.get_program())
        .args(own.get_args())
        .args(["--max-connections-per-address", "10000", "--admin-port", "0", "--no-access-log"])
        .env_clear();
    let server = Server::spawn(command);
    let served = |_| (0..CLIENTS / 4).map(|_| connected(&server)).collect::<Vec<_>>();
    let held = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || served(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("all are served")).collect::<Vec<_>>()
    });
    let mut admin = Connection::open(server.admin());
    let most = metric(&mut admin, "jitsiprovs_connections_limit");
    assert!(closed(&mut admin, "max_connections") >= CLIENTS as u64 - most);
    assert_eq!(metric(&mut admin, "jitsiprovs_accept_errors_total"), 0);
    drop(held);
}

#[test]
fn clients_with_apaches_library_do_not_notice_that_their_connections_are_closed() {
    let file = file();
    // Connections are closed after 3 s, and clients learn 2 s.
    let args = ["--client-idle-timeout", "3", "--admin-port", "0", "--max-connections", "100"];
    let server =
        Server::on_sqlite(&file.path, &[&args[..], &["--max-connections-per-address", "99"]].concat());
    let pauses = [1900, 1990, 2010, 2100, 2900, 2980, 3000, 3020, 3100];
    let (clients, first) = Apache::post(server.address, 3, &pauses);
    assert!(first.iter().all(|line| line.starts_with("200 ")), "{first:?}");
    let second = clients.again();
    assert!(second.iter().all(|line| line.starts_with("200 ")), "{second:?}");
    assert_eq!(second.len(), 3 * pauses.len());
    // No client has repeated a request.
    let mut admin = Connection::open(server.admin());
    let requests = metric(&mut admin, "jitsiprovs_requests_total{result=\"ok\"}");
    assert_eq!(requests, 2 * 3 * pauses.len() as u64);
}

#[test]
fn clients_with_apaches_library_do_not_notice_that_they_have_made_room() {
    let file = file();
    let server = Server::on_sqlite(&file.path, &limited("20"));
    let (clients, first) = Apache::post(server.address, 20, &[2500]);
    assert!(first.iter().all(|line| line.starts_with("200 ")), "{first:?}");
    let _new: Vec<Connection> = (0..20).map(|_| connected(&server)).collect();
    let mut admin = Connection::open(server.admin());
    assert_eq!(closed(&mut admin, "max_connections"), 20);
    let second = clients.again();
    assert!(second.iter().all(|line| line.starts_with("200 ")), "{second:?}");
    assert_eq!(metric(&mut admin, "jitsiprovs_requests_total{result=\"ok\"}"), 60);
}

#[test]
fn connections_of_clients_are_closed_sooner_than_those_of_trusted_proxies() {
    let file = file();
    let args = ["--trusted-proxy", "127.0.0.9"];
    let timeout = |seconds| ["--client-idle-timeout", seconds];
    let server = Server::on_sqlite(&file.path, &[&args[..], &timeout("2")].concat());
    let mut proxy = Connection::open_from([127, 0, 0, 9], server.address);
    let reply = proxy.ask(&form_request(&ALICE));
    assert_eq!((reply.header("keep-alive"), reply.header("connection")), (None, None));
    let mut client = Connection::open(server.address);
    let reply = client.ask(&form_request(&ALICE));
    assert_eq!((reply.header("keep-alive"), reply.header("connection")), (Some("timeout=1"), None));
    assert!(client.is_closed());
    assert_signs_in(&mut proxy);

    let server = Server::on_sqlite(&file.path, &[&args[..], &timeout("1.9")].concat());
    let mut client = Connection::open(server.address);
    let reply = client.ask(&form_request(&ALICE));
    assert_eq!((reply.header("keep-alive"), reply.header("connection")), (None, Some("close")));
    assert!(client.is_closed());
}

/// Returns the limit of open files of the process, and sets it to `limit`.
fn descriptors(server: &Server, limit: Option<&str>) -> String {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &server.pid().to_string()]);
    match limit {
        Some(limit) => command.arg(format!("--nofile={limit}:")),
        None => command.args(["--nofile", "--raw", "--noheadings", "--output", "SOFT"]),
    };
    let output = command.output().expect("prlimit; see tests/run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[test]
fn a_server_out_of_descriptors_pauses_logs_it_once_and_recovers() {
    let file = file();
    let args = ["--admin-port", "0", "--no-access-log"];
    let server = Server::on_sqlite(&file.path, &args);
    let (mut held, mut admin) = (connected(&server), Connection::open(server.admin()));
    assert_eq!(metric(&mut admin, "jitsiprovs_accept_errors_total"), 0);
    let (before, lines) = (descriptors(&server, None), server.log().len());

    let begun = Instant::now();
    descriptors(&server, Some("4"));
    let mut waiting: Vec<Connection> = (0..3).map(|_| Connection::open(server.address)).collect();
    waiting.iter_mut().for_each(|connection| connection.send(&form_request(&ALICE)));
    server.wait_for_log("cannot accept connections for now: ");
    let errors = wait_for("more errors", || {
        let errors = metric(&mut admin, "jitsiprovs_accept_errors_total");
        (errors >= 10).then_some(errors)
    });
    // Each worker tries at most ten times a second, regardless of the time that this took.
    let workers = std::thread::available_parallelism().map_or(1, usize::from) as u128;
    let most = workers * (begun.elapsed().as_millis() / 100 + 2);
    assert!(u128::from(errors) <= most, "{errors} errors are more than {most}");
    // Connected clients notice nothing.
    assert_signs_in(&mut held);
    assert!(waiting.iter().all(|connection| !connection.has_news()));
    let said = server.log_from(lines);
    assert_eq!(count(&server, "cannot accept connections for now: "), 1, "{said:#?}");
    assert!(said.len() < 20, "{said:#?}");

    descriptors(&server, Some(&before));
    for connection in &mut waiting {
        assert_eq!(connection.receive().expect("an answer").status, 200);
    }
    server.wait_for_log("connections are accepted again");
    connected(&server);
    assert_eq!(Connection::open(server.admin()).ask(&request("GET", "/readyz", &[], b"")).status, 200);
    // The server can still open its database file.
    file.execute("UPDATE jitsi_property SET property_value = '2'");
    wait_for("the edit", || (post(server.address, &ALICE).text() == "v=2\n").then_some(()));
}

#[test]
fn a_low_limit_of_open_files_limits_the_connections() {
    let file = file();
    let path = file.path.to_str().expect("UTF-8");
    let own = jitsiprovs(&["-n", "--http-ip", "127.0.0.1", "--http-port", "0", "--db-path", path]);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "ulimit -n 128 && exec \"$0\" \"$@\""])
        .arg(own.get_program())
        .args(own.get_args())
        .args(["--max-connections-per-address", "1000", "--admin-port", "0", "--header-timeout", "60"])
        .env_clear();
    let server = Server::spawn(command);
    // The server needs some descriptors for other purposes, and some for each of its threads.
    let most = 64 - 8 * std::thread::available_parallelism().map_or(1, usize::from);
    let said = server.wait_for_log(&format!("at most {most} connections instead of 50000"));
    assert!(said.contains("may open 128 files") && said.contains("LimitNOFILE"), "{said}");

    let mut held: Vec<Connection> = (0..most).map(|_| Connection::open(server.address)).collect();
    held.iter_mut().for_each(|connection| connection.send(&halves(IN_HEAD).0));
    // Otherwise a later one could get the place of one that a slow thread has just accepted.
    wait_for("the connections", || (server.worker_connections().iter().sum::<usize>() == most).then_some(()));
    let mut waiting: Vec<Connection> = (0..20).map(|_| Connection::open(server.address)).collect();
    waiting.iter_mut().for_each(|connection| connection.send(&form_request(&ALICE)));
    server.wait_for_log(&format!("all {most} connections are in use"));
    // Descriptors are left for all other purposes.
    let mut admin = Connection::open(server.admin());
    assert_eq!(metric(&mut admin, "jitsiprovs_connections_limit"), most as u64);
    file.execute("UPDATE jitsi_property SET property_value = '2'");
    wait_for("the edit", || (metric(&mut admin, "jitsiprovs_snapshot_version") == 2).then_some(()));
    drop(held);
    for connection in &mut waiting {
        assert_eq!(connection.receive().expect("an answer").text(), "v=2\n");
    }
    assert_eq!(count(&server, "cannot accept"), 0);
}

/// Splits a request at `at`. An answer shows that both parts have arrived.
fn halves(at: usize) -> (Vec<u8>, Vec<u8>) {
    let mut whole = form_request(&ALICE);
    let rest = whole.split_off(at);
    (whole, rest)
}

const IN_HEAD: usize = 40;

fn in_body() -> usize {
    form_request(&ALICE).len() - 3
}

fn assert_timed_out(connection: &mut Connection) {
    let reply = connection.receive().expect("an answer");
    assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
    assert!(reply.text().starts_with("# ") && reply.text().lines().count() == 1, "{reply:?}");
    assert!(connection.is_closed());
}

fn serve(path: &Path, header: &str, body: &str, idle: &str) -> Server {
    let args = ["--header-timeout", header, "--body-timeout", body, "--idle-timeout", idle];
    Server::on_sqlite(path, &[&args[..], &["--admin-port", "0"]].concat())
}

#[test]
fn a_head_that_takes_too_long_closes_only_its_own_connection() {
    let file = file();
    let server = serve(&file.path, "1", "60", "60");
    let mut honest = connected(&server);
    let mut slow_body = Connection::open(server.address);
    let (first, rest) = halves(in_body());
    slow_body.send(&first);

    let mut half = Connection::open(server.address);
    half.send(&halves(IN_HEAD).0);
    // A byte now and then does not extend the time limit.
    let mut trickling = Connection::open(server.address);
    trickling.send(b"POST /jitsiprovs/ HTTP/1.1\r\nx: ");
    let mut again = connected(&server);
    again.send(b"P");
    wait_for("the end of what trickles in", || {
        trickling.send(b"x");
        trickling.has_news().then_some(())
    });
    assert_eq!(trickling.receive().expect("an answer").status, 408);
    assert_timed_out(&mut half);
    assert_timed_out(&mut again);

    assert_signs_in(&mut honest);
    slow_body.send(&rest);
    assert_eq!(slow_body.receive().expect("an answer").status, 200);
    let mut admin = Connection::open(server.admin());
    assert_eq!(metric(&mut admin, "jitsiprovs_requests_total{result=\"timeout\"}"), 3);
}

#[test]
fn a_body_that_takes_too_long_closes_only_its_own_connection() {
    let file = file();
    let server = serve(&file.path, "60", "1", "60");
    let mut honest = connected(&server);
    let mut slow_head = Connection::open(server.address);
    let (first, rest) = halves(IN_HEAD);
    slow_head.send(&first);

    let mut half = Connection::open(server.address);
    half.send(&halves(in_body()).0);
    let mut trickling = Connection::open(server.address);
    trickling.send(&request("POST", "/jitsiprovs/", &[FORM, ("content-length", "16000")], b""));
    let mut chunked = Connection::open(server.address);
    chunked.send(&request("POST", "/jitsiprovs/", &[FORM, ("transfer-encoding", "chunked")], b""));
    wait_for("the end of what trickles in", || {
        trickling.send(b"x");
        chunked.send(b"1\r\nx\r\n");
        (trickling.has_news() && chunked.has_news()).then_some(())
    });
    assert_eq!(trickling.receive().expect("an answer").status, 408);
    assert_eq!(chunked.receive().expect("an answer").status, 408);
    assert_timed_out(&mut half);

    assert_signs_in(&mut honest);
    slow_head.send(&rest);
    assert_eq!(slow_head.receive().expect("an answer").status, 200);
    let mut admin = Connection::open(server.admin());
    assert_eq!(metric(&mut admin, "jitsiprovs_requests_total{result=\"timeout\"}"), 3);
}

#[test]
fn a_connection_that_sends_nothing_is_closed_after_the_header_timeout() {
    let file = file();
    let server = serve(&file.path, "1", "60", "60");
    let mut silent = Connection::open(server.address);
    let mut after_an_answer = connected(&server);
    assert!(silent.is_closed());
    // After an answer, the time limit of idle connections applies.
    assert_signs_in(&mut after_an_answer);
}

#[test]
fn idle_connections_are_closed_silently_and_requests_in_progress_are_not() {
    let file = file();
    let server = serve(&file.path, "60", "60", "1");
    let mut in_head = Connection::open(server.address);
    in_head.send(&halves(IN_HEAD).0);
    let mut in_body_ = Connection::open(server.address);
    in_body_.send(&halves(in_body()).0);
    let mut after_an_answer = connected(&server);
    assert!(after_an_answer.is_closed());
    // Requests in progress are still answered long after the idle limit.
    std::thread::sleep(Duration::from_millis(1500));
    in_head.send(&halves(IN_HEAD).1);
    assert_eq!(in_head.receive().expect("an answer").status, 200);
    in_body_.send(&halves(in_body()).1);
    assert_eq!(in_body_.receive().expect("an answer").status, 200);
    connected(&server);
    let mut admin = Connection::open(server.admin());
    assert_eq!(metric(&mut admin, "jitsiprovs_requests_total{result=\"timeout\"}"), 0);
}
