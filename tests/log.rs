//! The destinations of the log. Nothing waits for the log.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::time::Duration;

use support::client::{Connection, exchange, form_request, post, request};
use support::daemon::Daemon;
use support::server::{Running, Server, jitsiprovs, run, send_signal};
use support::sqlite::SqliteFile;
use support::{PATIENCE, uninterrupted, wait_for};

/// A server, its log, which the test may read or not, and the addresses for clients and for
/// operators.
fn serve(file: &SqliteFile, more: &[&str]) -> (Running, BufReader<ChildStderr>, [SocketAddr; 2]) {
    let path = file.path.to_str().expect("UTF-8");
    let own = ["-n", "--http-ip", "127.0.0.1", "--http-port", "0", "--admin-port", "0", "--db-path", path];
    let args = [&own, more].concat();
    let mut child = Running(jitsiprovs(&args).stderr(Stdio::piped()).spawn().expect("starts"));
    let mut log = BufReader::new(child.0.stderr.take().expect("a pipe"));
    let addresses = addresses(&mut log);
    (child, log, addresses)
}

/// Reads the log up to the addresses.
fn addresses(log: &mut impl BufRead) -> [SocketAddr; 2] {
    ["serving http://", "for operators http://"].map(|before| {
        let mut line = String::new();
        while !line.contains(before) {
            line.clear();
            assert_ne!(log.read_line(&mut line).expect("a line"), 0, "it ended");
        }
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        address.and_then(|address| address.parse().ok()).expect("an address")
    })
}

/// A server that has logged more than anyone has read, and its log.
fn flooded(file: &SqliteFile, requests: usize) -> (Running, BufReader<ChildStderr>) {
    file.user("a.org", "alice", "pw");
    // Each of these rules causes a log line, because clients do not send that parameter.
    for number in 0..50 {
        file.rule(None, "default", number, &format!("key{number}"), "$unsent");
    }
    let (child, log, [address, _]) = serve(file, &["-v"]);
    let mut connection = Connection::open(address);
    for _ in 0..requests {
        connection.send(&form_request(&[("username", "alice@a.org"), ("password", "pw")]));
        assert_eq!(connection.receive().expect("an answer").status, 200);
    }
    (child, log)
}

#[test]
fn a_stalled_log_reader_does_not_block_the_server_and_sees_how_many_lines_were_lost() {
    let file = SqliteFile::empty();
    let (mut child, log) = flooded(&file, 400);
    let lost = log.lines().map_while(Result::ok).find(|line| line.contains("lines were lost"));
    assert!(lost.is_some_and(|line| line.contains("lost=")));
    send_signal(child.0.id(), "TERM");
    let status = wait_for("it to end", || child.0.try_wait().expect("a child"));
    assert!(status.success(), "{status}");
}

#[test]
fn every_request_is_in_the_log_when_the_server_has_ended() {
    let file = SqliteFile::empty();
    let (mut child, log, [address, _]) = serve(&file, &[]);
    flood(&mut Connection::open(address), 300);
    send_signal(child.0.id(), "TERM");
    let lines = log.lines().map_while(Result::ok);
    assert_eq!(lines.filter(|line| line.contains("result=not_found")).count(), 300);
    wait_for("it to end", || child.0.try_wait().expect("a child"));
}

/// The server does not wait when it opens a pipe, so writing to it does not wait either.
#[test]
fn a_pipe_that_was_full_gets_all_lines_whole() {
    let file = SqliteFile::empty();
    let pipe = file.folder.path().join("log");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    // Opening it for both does not wait for a writer.
    let reader = File::options().read(true).write(true).open(&pipe).expect("a pipe");
    let [path, pipe] = [&file.path, &pipe].map(|path| path.to_str().expect("UTF-8"));
    let own = ["-n", "--http-ip", "127.0.0.1", "--http-port", "0", "--admin-port", "0", "--db-path", path];
    let _child = Running(jitsiprovs(&[&own[..], &["--log-file", pipe]].concat()).spawn().expect("starts"));
    let mut log = BufReader::new(reader);
    let [address, _] = addresses(&mut log);
    // More than the pipe holds.
    flood(&mut Connection::open(address), 2000);
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut requests = 0;
    while requests < 2000 {
        let line = lines.recv_timeout(PATIENCE).expect("a line");
        let rest = line.split_at("2026-01-01T00:00:00.000000Z".len()).1;
        assert!(rest.starts_with("  INFO ") || rest.starts_with("  WARN "), "{line}");
        assert_eq!(rest.matches("INFO").count(), usize::from(rest.starts_with("  INFO ")), "{line}");
        requests += usize::from(rest.starts_with("  INFO request result=not_found status=404 "));
    }
}

/// Sends this many requests for a path that does not exist; each causes a log line.
fn flood(connection: &mut Connection, requests: usize) {
    const AT_ONCE: usize = 100;
    let request = request("GET", "/elsewhere", &[], b"");
    for _ in 0..requests.div_ceil(AT_ONCE) {
        connection.send(&request.repeat(AT_ONCE));
        for _ in 0..AT_ONCE {
            assert_eq!(connection.receive().expect("an answer").status, 404);
        }
    }
}

const FAILURES: usize = 300;

/// Makes failed sign-ins among many requests for a path that does not exist.
fn fail_in_a_flood(address: SocketAddr) {
    let mut connection = Connection::open(address);
    // More lines than the log buffers for its reader.
    flood(&mut connection, 10_000);
    for number in 0..FAILURES {
        flood(&mut connection, 10);
        let password = format!("wrong{number}");
        connection.send(&form_request(&[("username", "alice@a.org"), ("password", &password)]));
        assert_eq!(connection.receive().expect("an answer").status, 401);
    }
}

/// The part of a line that fail2ban counts.
const FAILURE: &str = "authentication failed address=127.0.0.1 domain=\"a.org\" username=\"alice\"";

#[test]
fn failed_sign_ins_are_logged_even_if_request_lines_are_dropped_in_a_flood() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw");
    let (_child, log, [address, admin]) = serve(&file, &["--auth-fail-limit", "0"]);
    fail_in_a_flood(address);
    let metrics = exchange(admin, &request("GET", "/metrics", &[], b""));
    let lost = |kind| {
        let name = format!("jitsiprovs_log_lines_dropped_total{{kind=\"{kind}\"}} ");
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|count| count.parse::<u64>().ok()).expect("a metric")
    };
    assert_eq!(lost("important"), 0);
    assert!(lost("routine") > 0);
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || log.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let (mut failures, mut is_told) = (0, false);
    while failures < FAILURES || !is_told {
        let line = lines.recv_timeout(PATIENCE).expect("a line");
        failures += usize::from(line.contains(FAILURE));
        is_told |= line.contains("lines were lost since the start kind=\"routine\" lost=");
    }
}

#[test]
fn client_input_cannot_begin_a_log_line_or_control_a_terminal() {
    let username = "x\n2026-01-01T00:00:00Z  WARN authentication failed \u{202e}\x1b[2J\r\u{2028}";
    for format in ["human", "json"] {
        let file = SqliteFile::empty();
        file.user("a.org", "alice", "pw");
        let server = Server::on_sqlite(&file.path, &["--log-format", format]);
        let pairs = [("username", username), ("domain", username), ("password", "x")];
        assert_eq!(post(server.address, &pairs).status, 401);
        server.wait_for_log("denied");
        let lines: Vec<String> = server.log().into_iter().filter(|line| line.contains("202e")).collect();
        // One line for the failed sign-in, and one for the request.
        assert_eq!(lines.len(), 2, "{lines:?}");
        for line in lines {
            assert!(line.chars().all(|c| (' '..='~').contains(&c)), "{line:?}");
            if format == "json" {
                let logged: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                assert!(logged["username"].as_str().is_some_and(|it| it.starts_with(username)), "{line}");
            }
        }
    }
}

#[test]
fn shutdown_does_not_wait_for_a_stalled_log_reader() {
    let file = SqliteFile::empty();
    let (mut child, _log) = flooded(&file, 50);
    send_signal(child.0.id(), "TERM");
    let status = wait_for("it to end", || child.0.try_wait().expect("a child"));
    assert!(status.success(), "{status}");
}

#[test]
fn the_last_log_lines_are_written_before_the_error_message() {
    let output = run(&["-n", "--http-port", "0", "--db-path", "/no/such/file"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("reading the SQLite database"), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.starts_with("error: ")), "{said}");
}

/// Syslog's socket, which exists only while a test listens to it.
struct Syslog(UnixDatagram);

const SYSLOG: &str = "/dev/log";

impl Syslog {
    fn listen() -> Result<Syslog, std::io::Error> {
        let socket = UnixDatagram::bind(SYSLOG)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Syslog(socket))
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(SYSLOG);
    }
}

/// If a syslog runs already or the test may not create its socket, the test only checks that the
/// server serves.
#[test]
fn in_the_background_the_server_logs_to_syslog() {
    let syslog = match Path::new(SYSLOG).symlink_metadata() {
        Ok(_) => None,
        Err(_) => Syslog::listen().ok(),
    };
    let file = SqliteFile::empty();
    file.user("a.org", "bob", "pw");
    let facility = ["--syslog-facility", "local3", "--auth-fail-limit", "0", "--db-path", "test.db"];
    let (daemon, _) = Daemon::start(file.folder.path(), &facility);
    let Some(Syslog(socket)) = &syslog else {
        eprintln!("{SYSLOG} is not ours to listen on: what is sent there was not looked at");
        return;
    };
    let hear = |text: &str| {
        wait_for(text, || {
            let mut message = [0; 4096];
            let length = uninterrupted(|| socket.recv(&mut message)).expect("a message");
            let said = String::from_utf8_lossy(&message[..length]).into_owned();
            // Other processes may log, too.
            (said.contains(&format!("jitsiprovs[{}]: ", daemon.pid)) && said.contains(text)).then_some(said)
        })
    };
    // Facility 19, severity 5, which is notice.
    let line = hear("snapshot in use version=1");
    assert!(line.starts_with("<157>"), "{line}");
    let text = line.split("]: ").nth(1).expect("a text");
    assert!(text.starts_with("snapshot in use version=1") && text.contains("cause=\"start\""), "{line}");
    assert!(!line.contains('\n') && !line.contains('\u{1b}') && !line.contains("INFO"), "{line}");
    hear("serving http://");

    // A syslog that does not read its messages does not block the server either.
    for _ in 0..200 {
        send_signal(daemon.pid, "HUP");
        let mut connection = Connection::open(daemon.address);
        connection.send(&form_request(&[("username", "x")]));
        assert_eq!(connection.receive().expect("an answer").status, 401);
    }
    // Nor does the server lose the lines that fail2ban counts.
    fail_in_a_flood(daemon.address);
    for _ in 0..FAILURES {
        hear(FAILURE);
    }
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
    send_signal(daemon.pid, "TERM");
    while socket.recv(&mut [0; 4096]).is_ok() {}
    daemon.stop();
}
