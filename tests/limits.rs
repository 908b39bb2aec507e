//! Clients cannot exhaust connections, descriptors or time.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::client::{Connection, form_request, post, request};
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

#[test]
fn a_connection_over_the_limit_waits_until_another_one_closes() {
    let file = file();
    let args = ["--max-connections", "5", "--admin-port", "0", "--poll-interval", "0"];
    let server = Server::on_sqlite(&file.path, &args);
    let full = "all 5 connections are in use (--max-connections)";
    let mut held: Vec<Connection> = (0..4).map(|_| connected(&server)).collect();
    assert_eq!(count(&server, full), 0, "one is left");
    held.push(connected(&server));
    let mut sixth = Connection::open(server.address);
    sixth.send(&form_request(&ALICE));
    server.wait_for_log(full);
    assert!(!sixth.has_news());

    // Connected clients are served, and so are operators.
    held.iter_mut().for_each(assert_signs_in);
    let mut admin = Connection::open(server.admin());
    assert_eq!(admin.ask(&request("GET", "/readyz", &[], b"")).status, 200);
    assert_eq!(metric(&mut admin, "jitsiprovs_connections"), 5);
    assert_eq!(metric(&mut admin, "jitsiprovs_connections_limit"), 5);
    assert_eq!(Connection::open(server.admin()).ask(&request("POST", "/reload", &[], b"")).status, 200);
    server.signal("HUP");
    server.wait_for_log("cause=\"SIGHUP\"");
    assert!(!sixth.has_news());

    held.pop();
    assert_eq!(sixth.receive().expect("an answer").status, 200);
    // The limit is reached again at once, which is not logged again.
    let mut seventh = Connection::open(server.address);
    seventh.send(&form_request(&ALICE));
    drop(sixth);
    assert_eq!(seventh.receive().expect("an answer").status, 200);
    assert_eq!(count(&server, full), 1);

    let mut eighth = Connection::open(server.address);
    eighth.send(&form_request(&ALICE));
    server.signal("TERM");
    assert!(server.wait().success());
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
        .args(["--admin-port", "0"])
        .env_clear();
    let server = Server::spawn(command);
    // The server needs some descriptors for other purposes, and some for each of its threads.
    let most = 64 - 8 * std::thread::available_parallelism().map_or(1, usize::from);
    let said = server.wait_for_log(&format!("at most {most} connections instead of 50000"));
    assert!(said.contains("may open 128 files") && said.contains("LimitNOFILE"), "{said}");

    let mut held: Vec<Connection> = (0..most).map(|_| connected(&server)).collect();
    let mut waiting: Vec<Connection> = (0..20).map(|_| Connection::open(server.address)).collect();
    waiting.iter_mut().for_each(|connection| connection.send(&form_request(&ALICE)));
    server.wait_for_log(&format!("all {most} connections are in use"));
    // Descriptors are left for all other purposes.
    let mut admin = Connection::open(server.admin());
    assert_eq!(metric(&mut admin, "jitsiprovs_connections_limit"), most as u64);
    file.execute("UPDATE jitsi_property SET property_value = '2'");
    wait_for("the edit", || (held[0].ask(&form_request(&ALICE)).text() == "v=2\n").then_some(()));
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
