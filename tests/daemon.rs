//! Running in the background, as another user, and with a pidfile; starting and stopping.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::client::{Connection, form_request, post, request};
use support::daemon::{Daemon, background, free_port, is_gone, pid_in, status_of};
use support::server::{Server, jitsiprovs, run, run_command, send_signal};
use support::sqlite::SqliteFile;
use support::wait_for;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn the_parent_exits_with_0_when_the_child_serves_and_is_detached() {
    let file = SqliteFile::empty();
    // A relative path is enough: it still names the same file after the child changes its
    // directory.
    let (daemon, output) = Daemon::start(file.folder.path(), &["--db-path", "test.db"]);
    // Both streams ended, so no process holds them open.
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b""[..], &b""[..]));
    assert_eq!(post(daemon.address, &[("username", "x")]).status, 401);

    let process = PathBuf::from(format!("/proc/{}", daemon.pid));
    let link = |name: &str| std::fs::read_link(process.join(name)).expect("a link");
    assert_eq!(link("cwd"), Path::new("/"));
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(stream), Path::new("/dev/null"), "{stream}");
    }
    assert_eq!(status_of(&daemon.pid.to_string(), "Umask"), "0027");
    let stat = std::fs::read_to_string(process.join("stat")).expect("a process");
    let after_name = stat.rsplit(')').next().expect("a line");
    assert_eq!(after_name.split_whitespace().nth(3), Some(&daemon.pid.to_string()[..]), "its own session");

    daemon.stop();
    assert!(!file.folder.path().join("pid").exists());
}

#[test]
fn when_the_start_fails_the_parent_prints_the_error_and_exits_with_the_childs_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").port();
    for (port, args, code, named) in [
        (taken, &["--db-path", "x"][..], 1, "--http-port"),
        (free_port(), &["--db-path", "no/such/file"], 1, "no/such/file"),
        (free_port(), &["--user", "no-such-user"], 2, "--user no-such-user"),
    ] {
        let output = run_command(background(folder.path(), port, args));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(named), "{said}");
        assert!(code != 1 || said.lines().count() == 1, "{said}");
        assert!(!folder.path().join("pid").exists());
    }
}

#[test]
fn a_child_whose_parent_was_killed_still_serves_and_shows_no_password() {
    let folder = tempfile::tempdir().expect("a folder");
    // A database that does not answer delays the start.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let database = silent.local_addr().expect("an address").port().to_string();
    let args = ["--db-port", &database, "--db-pwd", "hunter2", "--state-file", "state"];
    let port = free_port();
    let mut parent = background(folder.path(), port, &args).spawn().expect("starts");
    silent.set_nonblocking(true).expect("a listener");
    let _connected = wait_for("it to connect", || silent.accept().ok());
    let pid = pid_in(&folder.path().join("pid"));
    let daemon = Daemon { pid, address: SocketAddr::from(([127, 0, 0, 1], port)) };
    assert_ne!(pid, parent.id());
    let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("a process");
    assert!(title.contains("--db-port") && !title.contains("hunter2"), "{title:?}");

    parent.kill().and_then(|()| parent.wait()).expect("it ends");
    // With a state file it serves after a moment, even if the state file is empty.
    wait_for("the child to serve", || TcpStream::connect(daemon.address).ok());
    assert_eq!(post(daemon.address, &[("username", "x")]).status, 503);
    assert!(!is_gone(pid));
    daemon.stop();
    assert!(!folder.path().join("pid").exists());
}

/// The warnings of a server's start: they come before a reload that is asked for later.
fn warnings(server: &Server) -> Vec<String> {
    server.signal("HUP");
    server.wait_for_log("SIGHUP");
    let log = server.log();
    log.into_iter().filter(|line| line.contains(" WARN ")).collect()
}

#[test]
fn the_start_names_version_and_options_and_what_is_dangerous_about_them() {
    let file = SqliteFile::empty();
    let secret = |name: &str, mode: u32| {
        let path = file.folder.path().join(name);
        std::fs::write(&path, "0123456789abcdef0123456789abcdef").expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("a mode");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (open, closed) = (secret("open", 0o644), secret("closed", 0o640));
    let is_root = status_of("self", "Uid").starts_with("0\t");

    let args = ["--admin-secret-file", &open, "--admin-token-file", &open, "--poll-interval", "1"];
    let server = Server::on_sqlite(&file.path, &args);
    let line = server.wait_for_log(concat!("jitsiprovs ", env!("CARGO_PKG_VERSION"), " starts with "));
    assert!(line.contains("--foreground") && line.contains(&format!("--admin-token-file {open}")), "{line}");
    assert!(!line.contains("--poll-interval") && !line.contains("0123456789abcdef"), "{line}");
    let found = warnings(&server);
    for option in ["--admin-secret-file", "--admin-token-file"] {
        let is_it = |line: &String| line.contains(&format!("can read {option} {open}: run `chmod o= "));
        assert_eq!(found.iter().filter(|line| is_it(line)).count(), 1, "{found:#?}");
    }
    assert_eq!(found.iter().any(|line| line.contains("runs as root: give --user")), is_root, "{found:#?}");
    assert!(!found.iter().any(|line| line.contains("plain text")), "on loopback: {found:#?}");

    let args = ["--admin-secret-file", &closed, "--http-ip", "0.0.0.0"];
    let args = [&["-n", "--http-port", "0", "--db-path", text(&file.path)], &args[..]].concat();
    let server = Server::spawn(jitsiprovs(&args));
    let found = warnings(&server);
    assert!(found.iter().any(|line| line.contains("in plain text to --http-ip 0.0.0.0")), "{found:#?}");
    assert!(!found.iter().any(|line| line.contains("--admin-secret-file")), "{found:#?}");
    let server = Server::spawn(jitsiprovs(&[&args[..], &["--trusted-proxy", "10.0.0.1"]].concat()));
    assert!(!warnings(&server).iter().any(|line| line.contains("plain text")));
}

#[test]
fn a_state_file_that_cannot_be_written_is_reported_everywhere() {
    let file = SqliteFile::empty();
    let state = file.folder.path().join("none/state");
    let server = Server::on_sqlite(&file.path, &["--admin-port", "0", "--state-file", text(&state)]);
    server.wait_for_log(&format!("--state-file {} cannot be written", state.display()));
    let get = |path: &str| {
        let reply = Connection::open(server.admin()).ask(&request("GET", path, &[], b""));
        reply.text().to_owned()
    };
    assert!(get("/metrics").contains("\njitsiprovs_state_file_writable 0\n"));
    assert!(get("/status").contains("\"is_state_file_failing\":true"));
    let output = run(&["status", &format!("http://{}", server.admin())]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("state file cannot be written"));
    // It is written as soon as that is possible.
    std::fs::create_dir(state.parent().expect("a folder")).expect("created");
    server.signal("HUP");
    wait_for("the metric", || get("/metrics").contains("\njitsiprovs_state_file_writable 1\n").then_some(()));
}

#[test]
fn the_log_goes_to_a_file_if_one_is_given_even_in_the_background() {
    let file = SqliteFile::empty();
    let folder = file.folder.path();
    let read = || std::fs::read_to_string(folder.join("own.log")).unwrap_or_default();
    let (daemon, _) = Daemon::start(folder, &["--db-path", "test.db", "--log-file", "own.log"]);
    wait_for("the log", || read().contains(" INFO serving http://").then_some(()));
    daemon.stop();
    assert!(read().contains(" INFO stopped\n") && !read().contains('\x1b'), "{}", read());
    let mode = folder.join("own.log").metadata().expect("a file").mode();
    assert_eq!(mode & 0o007, 0);

    let args = ["--db-path", "test.db", "--log-file", "no/such/folder/log"];
    let output = run_command(background(folder, free_port(), &args));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("cannot write the log "), "{said}");
}

#[test]
fn an_interrupted_start_exits_with_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let database = silent.local_addr().expect("an address").port().to_string();
    let mut command = background(folder.path(), free_port(), &["--db-port", &database]);
    let mut parent = command.stderr(Stdio::piped()).spawn().expect("starts");
    silent.set_nonblocking(true).expect("a listener");
    let _connected = wait_for("it to connect", || silent.accept().ok());
    send_signal(pid_in(&folder.path().join("pid")), "INT");
    assert_eq!(parent.wait().expect("it ends").code(), Some(1));
    let mut said = String::new();
    parent.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(said.contains("stopped before serving"), "{said}");
}

#[test]
fn a_second_server_with_the_same_pidfile_is_refused() {
    let file = SqliteFile::empty();
    let pidfile = file.folder.path().join("pid");
    std::fs::write(&pidfile, "1\n").expect("left behind");
    let server = Server::on_sqlite(&file.path, &["--pidfile", text(&pidfile)]);
    assert_eq!(pid_in(&pidfile), server.pid());
    let output = run(&["-n", "--pidfile", text(&pidfile), "--db-path", text(&file.path)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("process {} is running", server.pid())), "{said}");
    assert!(said.contains(text(&pidfile)) && said.contains("--pidfile"), "{said}");

    // A killed server leaves its pidfile behind, but no process locks it.
    server.signal("KILL");
    server.wait();
    let server = Server::on_sqlite(&file.path, &["--pidfile", text(&pidfile)]);
    assert_eq!(pid_in(&pidfile), server.pid());
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(!pidfile.exists());
}

#[test]
fn a_pidfile_that_cannot_be_written_is_named_with_its_option() {
    for path in ["/no/such/folder/pid", "/dev/null", "/proc"] {
        let output = run(&["-n", "--http-port", "0", "--pidfile", path]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(path) && said.contains("--pidfile"), "{said}");
    }
}

/// The uid, the gid and the groups of `user`, as `id` prints them.
fn ids(user: &str) -> [String; 3] {
    ["-u", "-g", "-G"].map(|option| {
        let output = Command::new("id").args([option, user]).output().expect("id");
        String::from_utf8(output.stdout).expect("numbers").trim().to_owned()
    })
}

/// As root, this tests which privileges remain; as another user, that switching users is refused.
#[test]
fn after_switching_users_no_privilege_of_root_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    if folder.path().metadata().expect("a folder").uid() != 0 {
        let output = run(&["-n", "--http-port", "0", "--user", "root", "--db-path", "x"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot become user root") && said.contains("start as root"), "{said}");
        return;
    }
    let [uid, gid, groups] = ids("nobody");
    let theirs = folder.path().join("theirs");
    std::fs::create_dir(&theirs).expect("a folder");
    chown(&theirs, uid.parse().ok(), gid.parse().ok()).expect("given away");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("open");
    let path = theirs.join("test.db");
    let setup = run(&["--setup", "--db-path", text(&path), "--user", "nobody"]);
    assert!(setup.status.success(), "{}", String::from_utf8_lossy(&setup.stderr));
    assert_eq!(path.metadata().expect("a file").uid().to_string(), uid);

    let pidfile = folder.path().join("pid");
    for (args, uid, gid, groups) in [
        (&["--user", "nobody"][..], &uid[..], &gid[..], &groups[..]),
        (&["--user", &uid, "--group", "4000000001"], &uid, "4000000001", "4000000001"),
        (&["--user", "4000000000", "--group", &gid], "4000000000", &gid, &gid),
        (&["--group", &gid], "0", &gid, &gid),
    ] {
        // The number without an account may not read the other's file.
        let keeps = ["--state-file", "/no/such/folder/state"];
        let own = ["--pidfile", text(&pidfile), "-v"];
        let server = Server::on_sqlite(&path, &[&own[..], &keeps, args].concat());
        let four = |id: &str| [id; 4].join("\t");
        let mut threads = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("threads") {
            let thread = thread.expect("a thread").file_name().into_string().expect("a number");
            assert_eq!(status_of(&thread, "Uid"), four(uid), "{args:?}");
            assert_eq!(status_of(&thread, "Gid"), four(gid), "{args:?}");
            let mut found: Vec<String> =
                status_of(&thread, "Groups").split_whitespace().map(str::to_owned).collect();
            let mut wanted: Vec<&str> = groups.split_whitespace().collect();
            found.sort_unstable();
            wanted.sort_unstable();
            // Systems differ in whether the first group is also in the list of groups.
            found.dedup();
            assert_eq!(found, wanted, "{args:?}");
            if uid != "0" {
                assert_eq!(status_of(&thread, "CapPrm"), "0000000000000000", "{args:?}");
            }
            threads += 1;
        }
        assert!(threads > 1);
        server.signal("TERM");
        assert!(server.wait().success());
        // A user who may not remove the file empties it.
        let left = std::fs::read_to_string(&pidfile).ok();
        assert_eq!(left.as_deref(), (uid != "0").then_some(""), "{args:?}");
        let _ = std::fs::remove_file(&pidfile);
    }
}

#[test]
fn switching_to_the_current_user_and_group_works() {
    let file = SqliteFile::empty();
    let [uid, gid] = ["Uid", "Gid"].map(|name| {
        let four = status_of("self", name);
        four.split_whitespace().next().expect("a number").to_owned()
    });
    let server = Server::on_sqlite(&file.path, &["--user", &uid, "--group", &gid]);
    assert_eq!(post(server.address, &[("username", "x")]).status, 401);
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let file = SqliteFile::empty();
    let server = Server::on_sqlite(&file.path, &["--drain-timeout", "3600"]);
    let whole = form_request(&[("username", "alice@a.org"), ("password", "pw")]);
    let mut under_way = Connection::open(server.address);
    under_way.send(&whole[..whole.len() - 5]);
    // The server has accepted the connection above once this request is answered.
    assert_eq!(post(server.address, &[("username", "x")]).status, 401);
    server.signal("TERM");
    server.wait_for_log("finishing the requests under way");
    let address = server.address;
    wait_for("it to stop listening", || TcpStream::connect(address).is_err().then_some(()));
    server.signal("INT");
    assert!(server.wait().success());
}
