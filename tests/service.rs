//! Messages to a service manager: a socket of the test takes the place of systemd's.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;

use support::client::post;
use support::daemon::free_port;
use support::database::Kind;
use support::server::{Running, Server, jitsiprovs, run, send_signal, with_sockets};
use support::sqlite::SqliteFile;
use support::{PATIENCE, texts, uninterrupted, wait_for};

/// The socket on which the manager listens.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn start() -> Manager {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Manager { folder, socket }
    }

    /// A server as the manager starts it.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = jitsiprovs(&[&["-n", "--http-ip", "127.0.0.1"], args].concat());
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify")).env("WATCHDOG_USEC", "100000");
        command
    }

    /// The next message.
    fn hear(&self) -> String {
        let mut message = [0; 1024];
        let length = uninterrupted(|| self.socket.recv(&mut message)).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }

    /// The next message with a line that begins with `text`.
    fn hear_of(&self, text: &str) -> String {
        wait_for(text, || Some(self.hear()).filter(|said| said.lines().any(|line| line.starts_with(text))))
    }
}

support::on_each_server!(watchdog_messages_and_reloads_continue_while_a_poll_hangs,);

#[test]
fn ready_is_reported_when_requests_are_answered_and_not_before() {
    let manager = Manager::start();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (database, port) = (silent.local_addr().expect("an address").port().to_string(), free_port());
    let port = port.to_string();
    let args = ["--http-port", &port, "--db-ip", "127.0.0.1", "--db-port", &database];
    let mut child = Running(manager.command(&args).stderr(Stdio::null()).spawn().expect("starts"));
    silent.set_nonblocking(true).expect("a listener");
    let _connected = wait_for("it to connect", || silent.accept().ok());
    let address = format!("127.0.0.1:{port}");
    assert!(TcpStream::connect(&address).is_err());
    manager.socket.set_nonblocking(true).expect("a socket");
    assert!(manager.socket.recv(&mut [0; 1024]).is_err(), "it told something");
    manager.socket.set_nonblocking(false).expect("a socket");
    send_signal(child.0.id(), "TERM");
    assert!(child.0.wait().expect("it ends").success());

    let file = SqliteFile::empty();
    let path = file.path.to_str().expect("UTF-8");
    let mut command = manager.command(&["--http-port", &port, "--db-path", path]);
    let _child = Running(command.stderr(Stdio::null()).spawn().expect("starts"));
    assert_eq!(manager.hear(), "READY=1\n");
    assert_eq!(post(address.parse().expect("an address"), &[("username", "x")]).status, 401);
}

#[test]
fn reloads_watchdog_messages_and_the_end_are_reported() {
    let manager = Manager::start();
    let file = SqliteFile::empty();
    let path = file.path.to_str().expect("UTF-8");
    let server = Server::spawn(manager.command(&["--http-port", "0", "--db-path", path]));
    manager.hear_of("READY=1");
    assert_eq!(manager.hear_of("STATUS="), "STATUS=ready: snapshot 1\n");
    (0..3).for_each(|_| drop(manager.hear_of("WATCHDOG=1")));

    file.user("a.org", "alice", "pw");
    assert_eq!(manager.hear_of("STATUS="), "STATUS=ready: snapshot 2\n");
    for _ in 0..2 {
        server.signal("HUP");
        let reloading = manager.hear_of("RELOADING=1");
        let moment = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(moment.is_some_and(|moment| moment.parse::<u64>().is_ok()), "{reloading}");
        manager.hear_of("READY=1");
    }
    // A failed reload is reported as finished, too.
    file.execute("ALTER TABLE user_auth RENAME TO elsewhere");
    server.signal("HUP");
    manager.hear_of("RELOADING=1");
    manager.hear_of("READY=1");
    assert!(manager.hear_of("STATUS=").contains("the database cannot be read"));

    server.signal("TERM");
    manager.hear_of("STOPPING=1");
    assert!(server.wait().success());
}

fn watchdog_messages_and_reloads_continue_while_a_poll_hangs(kind: Kind) {
    let manager = Manager::start();
    let database = kind.database();
    assert!(run(&[&["--setup"], &texts(&database.all())[..]].concat()).status.success());
    let args = database.read();
    let own = ["--http-port", "0", "--poll-interval", "0.05"];
    let server = Server::spawn(manager.command(&[&own, &texts(&args)[..]].concat()));
    manager.hear_of("WATCHDOG=1");
    let holder = database.hold("jitsiprovs_change", if kind == Kind::MariaDb { 4 } else { 9 });
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| database.wait_for_waiting());
        // Otherwise the server would wait for room for its messages.
        while !waiting.is_finished() {
            manager.hear_of("WATCHDOG=1");
        }
    });
    // Messages sent before do not count.
    manager.socket.set_nonblocking(true).expect("a socket");
    while manager.socket.recv(&mut [0; 1024]).is_ok() {}
    manager.socket.set_nonblocking(false).expect("a socket");
    (0..10).for_each(|_| drop(manager.hear_of("WATCHDOG=1")));
    server.signal("HUP");
    manager.hear_of("RELOADING=1");
    manager.hear_of("READY=1");
    assert!(!holder.is_finished());
    let has_failed = |line: &String| line.contains("asking for changes failed");
    assert!(!server.log().iter().any(has_failed), "{:#?}", server.log());
    holder.join().expect("no panic");
}

fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port")
}

#[test]
fn sockets_of_the_manager_take_the_place_of_the_addresses() {
    let file = SqliteFile::empty();
    let (public, admin) = (loopback(), loopback());
    let address = |socket: &TcpListener| socket.local_addr().expect("an address");
    // This machine does not have the addresses of the options.
    let path = file.path.to_str().expect("UTF-8");
    let args = ["-n", "--http-ip", "192.0.2.1", "--db-path", path];
    let server = Server::spawn(with_sockets([&public, &admin], "http:admin", &args));
    assert_eq!(server.address, address(&public));
    assert_eq!(server.admin(), address(&admin));
    assert_eq!(post(server.address, &[("username", "x")]).status, 401);
    let said = server.wait_for_log(&format!("socket for {}", address(&public)));
    assert!(said.contains("--http-ip and --http-port are ignored"), "{said}");
    drop(server);

    let server = Server::spawn(with_sockets(
        [&admin, &public],
        "admin",
        &["-n", "--http-ip", "127.0.0.1", "--http-port", "0", "--db-path", path],
    ));
    assert_ne!(server.address, address(&public));
    assert_eq!(server.admin(), address(&admin));
}

#[test]
fn sockets_that_cannot_be_used_are_reported() {
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let refused = |command: Command, expected: &str| {
        let mut command = command;
        let output = command.stderr(Stdio::piped()).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    refused(
        with_sockets([&datagrams; 2], "http", &["-n"]),
        "socket 1 of the service manager (LISTEN_FDS) is not",
    );
    let listener = loopback();
    refused(
        with_sockets([&listener; 2], "http:http", &["-n"]),
        "socket 2 of the service manager (LISTEN_FDS)",
    );
    refused(with_sockets([&listener; 2], "http", &[]), "-n is missing");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
    refused(with_sockets([&client; 2], "http", &["-n"]), "does not listen");
}

#[test]
fn restarts_with_a_socket_of_the_manager_refuse_no_connection() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "k", "v");
    let path = file.path.to_str().expect("UTF-8");
    let socket = loopback();
    let address = socket.local_addr().expect("an address");
    let start = || Server::spawn(with_sockets([&socket; 2], "jitsiprovs.socket", &["-n", "--db-path", path]));
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = || {
        while !stop.load(Ordering::Relaxed) {
            let reply = post(address, &[("username", "alice@a.org"), ("password", "pw")]);
            assert_eq!((reply.status, reply.text()), (200, "k=v\n"));
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        let mut server = start();
        for _ in 0..5 {
            let before = answered.load(Ordering::Relaxed);
            wait_for("answers", || (answered.load(Ordering::Relaxed) > before + 20).then_some(()));
            server.signal("TERM");
            assert!(server.wait().success());
            server = start();
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("no connection was refused"));
    });
}

#[test]
fn the_server_keeps_running_when_the_manager_has_gone() {
    let manager = Manager::start();
    let file = SqliteFile::empty();
    let path = file.path.to_str().expect("UTF-8");
    let command = manager.command(&["--http-port", "0", "--db-path", path]);
    drop(manager);
    let server = Server::spawn(command);
    server.signal("HUP");
    server.wait_for_log("nothing has changed");
    assert_eq!(post(server.address, &[("username", "x")]).status, 401);
}
