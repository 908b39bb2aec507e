//! Files that never answer: each is replaced by a pipe that nobody writes to.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use support::client::{exchange, post, request};
use support::database::Kind;
use support::server::{ADMIN_SECRET, Running, Server, jitsiprovs, run, send_signal};
use support::sqlite::SqliteFile;
use support::{put_pipe, texts, wait_for};

const ALICE: [(&str, &str); 2] = [("username", "alice@a.org"), ("password", "pw")];

fn database() -> SqliteFile {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "k", "v");
    file
}

/// Checks that the thread for signals and reloads still does all its work.
pub fn goes_on(server: &Server, is_readable: bool) {
    let loads = |server: &Server| {
        let ends = |line: &&String| line.contains("cause=\"SIGHUP\"");
        server.log().iter().filter(ends).count()
    };
    let before = loads(server);
    wait_for("SIGHUP to be obeyed", || {
        // A load for another reason may be pending, which then covers this signal too.
        server.signal("HUP");
        std::thread::sleep(Duration::from_millis(200));
        (loads(server) > before).then_some(())
    });
    let status = |method: &str, path: &str| exchange(server.admin(), &request(method, path, &[], b"")).status;
    assert_eq!(status("POST", "/reload"), if is_readable { 200 } else { 503 });
    assert_eq!((status("GET", "/readyz"), status("GET", "/metrics")), (200, 200));
}

fn ends(server: Server) {
    server.signal("TERM");
    assert!(server.wait().success());
}

support::on_each_server!(a_poll_that_waits_for_the_database_does_not_block_the_server,);

#[test]
fn a_pipe_in_place_of_the_state_file_does_not_block_the_server() {
    let file = database();
    let state = file.folder.path().join("state");
    put_pipe(&state);
    let args = ["--admin-port", "0", "--state-file", state.to_str().expect("UTF-8")];
    let server = Server::on_sqlite(&file.path, &args);
    server.wait_for_log(
        "it is no regular file): check --state-file and the file's permissions; no state is kept",
    );
    assert_eq!(post(server.address, &ALICE).status, 200);
    goes_on(&server, true);
    ends(server);

    let away = file.folder.path().join("away");
    std::fs::rename(&file.path, &away).expect("renamed");
    let server = Server::on_sqlite(&file.path, &args);
    assert_eq!(post(server.address, &ALICE).status, 503);
    std::fs::rename(&away, &file.path).expect("renamed");
    wait_for("alice to be served", || (post(server.address, &ALICE).status == 200).then_some(()));
    goes_on(&server, true);
    ends(server);

    // While the server runs, a pipe takes the place of the next state file.
    std::fs::remove_file(&state).expect("removed");
    let server = Server::on_sqlite(&file.path, &args);
    wait_for("the state file", || state.exists().then_some(()));
    put_pipe(&state);
    file.user("a.org", "bob", "pw");
    wait_for("bob", || {
        (post(server.address, &[("username", "bob@a.org"), ALICE[1]]).status == 200).then_some(())
    });
    goes_on(&server, true);
    ends(server);
}

#[test]
fn a_pipe_in_place_of_the_database_does_not_block_the_server() {
    let file = database();
    let server = Server::on_sqlite(&file.path, &["--admin-port", "0"]);
    let away = file.folder.path().join("away");
    std::fs::rename(&file.path, &away).expect("renamed");
    put_pipe(&file.path);
    server.wait_for_log("it is no regular file");
    assert_eq!(post(server.address, &ALICE).status, 200);
    goes_on(&server, false);
    std::fs::rename(&away, &file.path).expect("renamed");
    server.wait_for_log("the database can be read again");
    ends(server);
}

fn a_poll_that_waits_for_the_database_does_not_block_the_server(kind: Kind) {
    let database = kind.database();
    assert!(run(&[&["--setup"], &texts(&database.all())[..]].concat()).status.success());
    let args = ["--admin-port", "0", "--poll-interval", "0.05"];
    let server = Server::start(&[&args, &texts(&database.read())[..]].concat());
    // PostgreSQL reports changes, so polls are rarer.
    let holder = database.hold("jitsiprovs_change", if kind == Kind::MariaDb { 4 } else { 9 });
    database.wait_for_waiting();
    let reload = || exchange(server.admin(), &request("POST", "/reload", &[], b"")).status;
    assert_eq!(reload(), 200);
    server.signal("HUP");
    server.wait_for_log("cause=\"SIGHUP\"");
    assert!(!holder.is_finished());
    let has_failed = |line: &String| line.contains("asking for changes failed");
    assert!(!server.log().iter().any(has_failed), "the poll has ended: {:#?}", server.log());
    // After the poll, the changes made during the wait are served.
    holder.join().expect("no panic");
    database
        .script("INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', md5('pw'))");
    wait_for("alice to be served", || (post(server.address, &ALICE).status == 200).then_some(()));
    ends(server);
}

/// The server waits for the files that it reads at a start, but not without a limit, and a signal
/// ends the wait.
#[test]
fn a_pipe_in_place_of_a_file_read_at_start_ends_the_start_with_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("file");
    put_pipe(&pipe);
    let pipe = pipe.to_str().expect("UTF-8");
    let mysql = ["-n", "--db-ip", "127.0.0.1", "--db-port", "1"];
    for (option, more) in [
        ("--db-pwd-file", &mysql[..]),
        ("--db-apwd-file", &mysql),
        ("--db-tls-ca", &[&mysql[..], &["--db-tls", "verify"]].concat()),
        ("--admin-secret-file", &["-n"]),
        ("--ssl-keyfile", &["-n", "--http-port", "0", "--ssl-certfile", ADMIN_SECRET]),
        ("--ssl-certfile", &["-n", "--http-port", "0", "--ssl-keyfile", ADMIN_SECRET]),
    ] {
        let output = run(&[more, &[option, pipe]].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{option}: {text}");
        assert!(text.lines().count() == 1 && text.contains(&format!("check {option}")), "{option}: {text}");
    }
    let mut command = jitsiprovs(&[&mysql[..], &["--db-pwd-file", pipe]].concat());
    let mut child = Running(command.stderr(Stdio::null()).spawn().expect("starts"));
    wait_for("it to wait for the pipe", || is_waiting(child.0.id()).then_some(()));
    send_signal(child.0.id(), "TERM");
    assert_eq!(child.0.wait().expect("it ends").code(), None, "by the signal");
}

/// Whether a thread of the process reads files.
fn is_waiting(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let name = |task: &Path| std::fs::read_to_string(task.join("comm")).unwrap_or_default();
    tasks.map(|task| name(&task.path())).any(|name| name.trim() == "files")
}

#[test]
fn a_secret_can_be_read_from_a_pipe_that_has_a_writer() {
    let file = database();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&std::fs::read(ADMIN_SECRET).expect("readable")).expect("written");
    drop(writer);
    let own = ["-n", "--http-ip", "127.0.0.1", "--http-port", "0", "--admin-port", "0"];
    let path = file.path.to_str().expect("UTF-8");
    let mut command =
        jitsiprovs(&[&own[..], &["--db-path", path, "--admin-secret-file", "/dev/stdin"]].concat());
    command.stdin(reader);
    let server = Server::spawn(command);
    let status = exchange(server.admin(), &request("GET", "/status", &[], b""));
    assert!(status.text().contains("\"digest\":\"") && !status.text().contains("\"digest\":\"\""));
}
