//! Each failure is reported in one line that names the cause and the fix, with the right exit code
//! and in good time.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::{Duration, Instant};

use support::client::post;
use support::database::Kind;
use support::mariadb::mariadb;
use support::server::{Server, jitsiprovs, resident, run, run_command, send_signal};
use support::sqlite::SqliteFile;
use support::{texts, wait_for};

/// Expects code 1 and one line that contains all of `parts`.
fn fails(output: &Output, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> = stderr.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(errors.len(), 1, "{stderr}");
    for part in parts {
        assert!(errors[0].contains(part), "{part}: {stderr}");
    }
}

support::on_each_server!(
    different_refusals_of_the_database_have_different_messages,
    a_locked_table_is_given_up_within_ten_seconds,
    a_row_of_many_mebibytes_is_left_out_and_the_others_are_served,
);

#[test]
fn a_database_that_cannot_be_reached_is_reported_with_its_options() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let port = free.port().to_string();
    fails(
        &run(&["-n", "--db-ip", "127.0.0.1", "--db-port", &port]),
        &[&format!("127.0.0.1:{port}"), "--db-port"],
    );
    fails(&run(&["-n", "--db-socket", "/no/such/socket"]), &["/no/such/socket", "--db-socket"]);
    fails(&run(&["-n", "--db-ip", "no-such-host.invalid"]), &["no-such-host.invalid", "--db-ip"]);
}

#[test]
fn a_database_that_does_not_answer_is_given_up_within_ten_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port().to_string();
    let begun = Instant::now();
    fails(&run(&["-n", "--db-ip", "127.0.0.1", "--db-port", &port]), &["no answer", "--db-ip"]);
    // The only duration that is asserted, because the documentation promises it.
    assert!(begun.elapsed() < Duration::from_secs(10));
}

fn different_refusals_of_the_database_have_different_messages(kind: Kind) {
    let database = kind.database();
    let with = |option: &str, value: &str| {
        let mut args = database.read();
        let at = args.iter().position(|arg| arg == option).expect("an option");
        args[at + 1] = value.to_owned();
        let args = [&["-n"], &texts(&args)[..]].concat();
        run(&args)
    };
    fails(&with("--db-pwd", "hunter2"), &["_read", "--db-pwd"]);
    fails(&with("--db-user", "nobody"), &["nobody", "--db-user"]);
    fails(&with("--db-name", "no_such_database"), &["no_such_database", "--db-name"]);
    fails(&with("--db-name", &database.name), &["user_auth", "--setup", "--auth-query"]);
    database.script("CREATE TABLE user_auth (id INT, username TEXT, domain TEXT, password TEXT)");
    fails(&with("--db-name", &database.name), &["jitsi_property", "--setup", "--rules-query"]);

    let args = database.read();
    let args = [&["-n"], &texts(&args)[..]].concat();
    let query = ["--auth-query", "SELECT 1, 2, 3\nFROM\nno_such_table"];
    fails(&run(&[&args[..], &query].concat()), &["--auth-query", "failed", "no_such_table"]);
    // A missing permission is reported with the name of the account.
    let args = database.read();
    let args = [&["--setup"], &texts(&args)[..]].concat();
    fails(&run(&args), &["denied", "_read", "--db-user"]);
    database.hide("user_auth");
    fails(&with("--db-name", &database.name), &["user_auth", "_read", "--db-user"]);
}

fn a_locked_table_is_given_up_within_ten_seconds(kind: Kind) {
    let database = kind.database();
    database.script("CREATE TABLE user_auth (id INT, username TEXT, domain TEXT, password TEXT)");
    let holder = database.hold("user_auth", 9);
    let args = database.read();
    let args = [&["-n"], &texts(&args)[..]].concat();
    let begun = Instant::now();
    let why = if kind == Kind::MariaDb { "Lock wait timeout" } else { "lock timeout" };
    fails(&run(&args), &["user_auth", why]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    holder.join().expect("no panic");
}

#[test]
fn the_server_keeps_answering_while_nobody_reads_its_log() {
    let file = SqliteFile::empty();
    let path = file.path.to_str().expect("UTF-8");
    let mut child = jitsiprovs(&["-n", "--http-ip", "127.0.0.1", "--http-port", "0", "--db-path", path])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("serving http://") {
        line.clear();
        assert_ne!(log.read_line(&mut line).expect("a line"), 0, "it ended");
    }
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    drop(log);
    send_signal(child.id(), "HUP");
    for _ in 0..20 {
        assert_eq!(post(address.parse().expect("an address"), &[("username", "x")]).status, 401);
        std::thread::sleep(Duration::from_millis(10));
    }
    send_signal(child.id(), "TERM");
    let status = wait_for("it to end", || child.try_wait().expect("a child"));
    assert!(status.success(), "{status}");
}

#[test]
fn signals_end_the_server_even_while_it_starts() {
    // A database that does not answer keeps it from serving.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port().to_string();
    let mut child = jitsiprovs(&["-n", "--http-port", "0", "--http-ip", "127.0.0.1", "--db-port", &port])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    silent.set_nonblocking(true).expect("a listener");
    let _connected = wait_for("it to connect", || silent.accept().ok());
    ["HUP", "TERM"].into_iter().for_each(|signal| send_signal(child.id(), signal));
    let status = wait_for("it to end", || child.try_wait().expect("a child"));
    assert!(status.success(), "{status}");
}

#[test]
fn passwords_appear_neither_in_errors_nor_in_the_process_list() {
    let database = mariadb().database();
    let mut args = database.read();
    args.retain(|arg| arg != "read" && arg != "--db-pwd");
    let mut command = jitsiprovs(&["-n", "-v", "--db_pwd=hunter2"]);
    command.args(&args);
    let output = run_command(command);
    fails(&output, &["--db-pwd"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
    let mut help = jitsiprovs(&["--help"]);
    help.env("JITSIPROVS_DB_PWD", "hunter2").env("JITSIPROVS_DB_APWD", "hunter3");
    assert!(!String::from_utf8_lossy(&run_command(help).stdout).contains("hunter"));

    for command in [&["-n"][..], &["user", "list"], &["check"]] {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = silent.local_addr().expect("an address").port().to_string();
        silent.set_nonblocking(true).expect("a listener");
        let mut child = jitsiprovs(command)
            .args(["--db-ip", "127.0.0.1", "--db-port", &port, "--db-pwd", "hunter2"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        // Keeps the pipe open, because otherwise the command would end before it is inspected.
        let _connection = wait_for("it to connect", || silent.accept().ok());
        let title = std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).expect("a process");
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert!(title.contains("--db-port") && !title.contains("hunter2"), "{title:?}");
    }
}

#[test]
fn a_port_in_use_is_reported_before_the_database_is_read() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let args = ["-n", "--http-ip", "127.0.0.1", "--http-port", &port, "--db-path", "/no/such/file"];
    fails(&run(&args), &[&format!("127.0.0.1:{port}"), "--http-port"]);
    fails(&run(&["demo", "--http-port", &port]), &[&format!("127.0.0.1:{port}"), "--http-port"]);
    let foreign = ["-n", "--http-ip", "192.0.2.1", "--http-port", "0", "--db-path", "/x"];
    fails(&run(&foreign), &["192.0.2.1", "--http-ip"]);
}

#[test]
fn an_unusable_sqlite_file_is_reported_with_its_option() {
    let file = SqliteFile::empty();
    let missing = file.folder.path().join("missing.db");
    let missing = missing.to_str().expect("UTF-8");
    let path = file.path.to_str().expect("UTF-8");
    let serve = |path| run(&["-n", "--http-ip", "127.0.0.1", "--http-port", "0", "--db-path", path]);
    fails(&serve(missing), &[missing, "--setup", "--db-path"]);
    fails(
        &run(&["--setup", "--db-path", "/proc/no/such/folder.db"]),
        &["/proc/no/such/folder.db", "--db-path"],
    );
    let text = file.folder.path().join("text.db");
    std::fs::write(&text, "this is no database, but it is long enough to be taken for one by its size")
        .expect("written");
    let text = text.to_str().expect("UTF-8");
    fails(&serve(text), &[text, "--db-path"]);
    file.execute("DROP TABLE user_auth");
    fails(&serve(path), &["user_auth", "--setup", "--auth-query"]);
    let query = [
        "-n",
        "--http-port",
        "0",
        "--http-ip",
        "127.0.0.1",
        "--db-path",
        path,
        "--auth-query",
        "SELECT 1, 2",
    ];
    fails(&run(&query), &["--auth-query", "2 columns", "username, domain, password"]);
}

#[test]
fn a_path_that_cannot_be_written_is_reported_with_its_option() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o555)).expect("permissions");
    let path = folder.path().join("x.db");
    if std::fs::write(&path, "").is_ok() {
        // Root can write everywhere except here.
        fails(&run(&["--setup", "--db-path", "/sys/x.db"]), &["/sys/x.db", "--db-path"]);
    } else {
        let path = path.to_str().expect("UTF-8");
        fails(&run(&["--setup", "--db-path", path]), &[path, "--db-path"]);
    }
}

#[test]
fn wrong_usage_exits_with_code_2() {
    for (args, named) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["-n", "--http-port", "x"], "--http-port"),
        (&["-n", "--db-path", "x", "--db-ip", "y"], "--db-ip"),
        (&["-n", "--pwd-fmt", "rot13"], "rot13"),
        (&["-n", "--user", "no-such-user"], "--user no-such-user"),
        (&["-n", "--group", "no-such-group"], "--group no-such-group"),
        (&["-n", "--syslog-facility", "kern"], "--syslog-facility"),
        // TLS options must not be accepted silently if one of the two is missing.
        (&["-n", "--ssl-keyfile", "x"], "--ssl-keyfile"),
    ] {
        let output = run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?} {stderr}");
        assert!(stderr.contains(named), "{args:?} {stderr}");
    }
}

/// The most memory that a process has had, in MiB.
fn peak(server: &Server) -> u64 {
    resident(server.pid()).1 >> 20
}

#[test]
fn a_query_without_end_is_refused_and_the_old_rows_stay_in_use() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "v", "1");
    file.execute("CREATE TABLE flood (id INTEGER)");
    // Without end if the table has a row.
    let query = "SELECT username, domain, password FROM user_auth UNION ALL SELECT * FROM (
        WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s, flood)
        SELECT 'user' || n, 'b.org', '' FROM s)";
    let args = ["--auth-query", query, "--max-load", "2", "--reload-interval", "0"];
    let server = Server::on_sqlite(&file.path, &args);
    file.execute("INSERT INTO flood VALUES (1)");
    server.signal("HUP");
    let line = server.wait_for_log("reload failed, the old snapshot stays in use");
    assert!(line.contains("`user_auth`") && line.contains(" 2 MiB") && line.contains("--max-load"), "{line}");
    assert_eq!(post(server.address, &[("username", "alice@a.org"), ("password", "pw")]).text(), "v=1\n");
    assert!(peak(&server) < 200, "{} MiB", peak(&server));

    let path = file.path.to_str().expect("UTF-8");
    fails(&run(&[&["-n", "--db-path", path], &args[..]].concat()), &[" 2 MiB", "--max-load"]);
    file.execute("DELETE FROM flood");
    server.signal("HUP");
    server.wait_for_log("the database can be read again");
}

fn a_row_of_many_mebibytes_is_left_out_and_the_others_are_served(kind: Kind) {
    let database = kind.database();
    let output = run(&[&["--setup"], &texts(&database.all())[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    database.script(&format!(
        "DELETE FROM jitsi_property;
         INSERT INTO jitsi_property VALUES (1, 'default', 1, 1, 'v', '1', NULL);
         INSERT INTO user_auth (username, domain, password)
             SELECT concat('user', seq), 'a.org', md5('pw') FROM {}",
        kind.count_to(40)
    ));
    // 39 of 40 users have a password of 15 MiB.
    let query = "SELECT username, domain,
        CASE username WHEN 'user7' THEN password ELSE repeat('x', 15 * 1024 * 1024) END FROM user_auth";
    let read = database.read();
    let args = [&["--auth-query", query][..], &texts(&read)].concat();
    let server = Server::start(&args);
    let line = server.wait_for_log("password is longer than 65535 bytes");
    assert!(line.contains("user_auth id"), "{line}");
    let status = |name| post(server.address, &[("username", name), ("password", "pw")]).status;
    assert_eq!((status("user7@a.org"), status("user8@a.org")), (200, 401));
    assert!(peak(&server) < 300, "{} MiB", peak(&server));
}

#[test]
fn a_start_with_another_format_than_that_of_the_rows_is_refused_with_the_option() {
    let file = SqliteFile::empty();
    file.rule(None, "default", 1, "v", "1");
    for name in ["alice", "bob", "carol"] {
        file.user("a.org", name, "pw");
    }
    let start = |args: &[&str]| Server::on_sqlite(&file.path, args);
    let refused = |args: &[&str]| {
        let own = [
            "-n",
            "--http-ip",
            "127.0.0.1",
            "--http-port",
            "0",
            "--db-path",
            file.path.to_str().expect("UTF-8"),
        ];
        run(&[&own, args].concat())
    };
    drop(start(&[]));
    fails(
        &refused(&["--pwd-fmt", "plain"]),
        &["of 3 stored passwords of a.org, 3 do not fit --pwd-fmt plain", "--pwd-fmt md5", "--accept-rows"],
    );
    start(&["--pwd-fmt", "plain", "--accept-rows"]).wait_for_log("do not fit --pwd-fmt plain");
    start(&["--pwd-fmt", "ha1", "--realm", "r"]).wait_for_log("the server uses \"r\"");
    file.execute("UPDATE user_auth SET password = 'secret'");
    let stderr = String::from_utf8(refused(&[]).stderr).expect("UTF-8");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.contains("look like no hash") && last.contains("--pwd-fmt plain"), "{stderr}");
    start(&["--pwd-fmt", "plain"]).wait_for_log("the only tenant is `a.org`");
}
