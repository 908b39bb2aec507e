//! Workers share connections evenly: of k connections on w workers, the busiest has at most
//! ⌈k/w⌉ + 1.
//!
//! A cell is a kind of connection with a number of workers and of connections. The suite runs
//! [`CELLS`] once; with `BALANCE=all` in the environment, all cells run ten times each, and with
//! `BALANCE=Tls` those with this word in their names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tempfile::TempDir;

use crate::tls::{Authority, Client, Shaken, write};
use support::client::{Connection, Reply, form_request};
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::{PATIENCE, wait_for};

/// How many cells run at once.
const AT_ONCE: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Tls,
    H2,
}
use Kind::{H2, Plain, Tls};

/// A kind of connections, how many workers, and how many connections.
#[derive(Debug, Clone, Copy)]
struct Cell(Kind, usize, usize);

const CELLS: [Cell; 6] = [
    Cell(Plain, 2, 32),
    Cell(Plain, 4, 8),
    Cell(Plain, 16, 128),
    Cell(Tls, 2, 8),
    Cell(Tls, 16, 32),
    Cell(H2, 4, 32),
];

fn all() -> Vec<Cell> {
    let of = |kind| {
        [2, 4, 16].map(move |workers| [8, 32, 128, 512].map(move |number| Cell(kind, workers, number)))
    };
    [Plain, Tls, H2].into_iter().flat_map(of).flatten().collect()
}

/// A connection that is open for another request.
enum Kept {
    Plain(Connection),
    Secure(Box<Shaken>),
}

impl Kept {
    /// Sends one more request over HTTP/1.1.
    fn ask(&mut self) {
        // Some clients send a line break after the body.
        let request = [&sign_in()[..], b"\r\n"].concat();
        let reply = match self {
            Kept::Plain(connection) => connection.ask(&request),
            Kept::Secure(shaken) => {
                shaken.stream.write_all(&request).expect("sends");
                let reply = Reply::read(&mut shaken.stream, &mut Vec::new());
                reply.expect("an answer in time").expect("an answer")
            }
        };
        assert_eq!((reply.status, reply.text()), (200, "v=1\n"));
    }

    /// Keeps its worker busy until `is_over`.
    fn flood(self, is_over: &AtomicBool) {
        match self {
            Kept::Plain(connection) => flood(connection.into_stream(), is_over),
            Kept::Secure(shaken) => flood(shaken.stream, is_over),
        }
    }
}

/// A server and its clients.
struct Site {
    kind: Kind,
    workers: usize,
    server: Server,
    client: Client,
    /// The same without h2.
    http1: Client,
    _file: SqliteFile,
    _folder: TempDir,
}

impl Site {
    fn start(kind: Kind, workers: usize) -> Site {
        let (file, folder, authority) =
            (SqliteFile::empty(), tempfile::tempdir().expect("a folder"), Authority::new());
        file.user("a.org", "alice", "pw").rule(None, "default", 1, "v", "1");
        write(folder.path(), &authority.pair());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (key, chain, number) = (path("key"), path("chain"), workers.to_string());
        let mut args = vec!["--workers", &number, "--admin-port", "0", "--no-access-log"];
        // None is closed during the test.
        let limits = ["--client-idle-timeout", "--idle-timeout", "--header-timeout"];
        args.extend(limits.into_iter().flat_map(|limit| [limit, "3600"]));
        if kind != Plain {
            args.extend(["--ssl-keyfile", &key, "--ssl-certfile", &chain]);
        }
        let server = Server::on_sqlite(&file.path, &args);
        let speaking =
            |offered| Client::speaking(server.address, &authority, &[&rustls::version::TLS13], offered);
        let http1 = speaking(&[]);
        let client = if kind == H2 { speaking(&[b"h2"]) } else { http1.clone() };
        Site { kind, workers, server, client, http1, _file: file, _folder: folder }
    }

    /// Connections that the system has accepted before the server accepts any of them.
    fn burst(&self, number: usize) -> Vec<Kept> {
        self.server.signal("STOP");
        let connect = |_| TcpStream::connect_timeout(&self.server.address, PATIENCE).expect("connects");
        let sockets: Vec<TcpStream> = (0..number).map(connect).collect();
        self.server.signal("CONT");
        sockets.into_iter().map(|socket| self.kept(socket)).collect()
    }

    fn open(&self) -> Kept {
        self.kept(TcpStream::connect_timeout(&self.server.address, PATIENCE).expect("connects"))
    }

    /// A connection that speaks HTTP/1.1.
    fn open_http1(&self) -> Kept {
        let socket = TcpStream::connect_timeout(&self.server.address, PATIENCE).expect("connects");
        match self.kind {
            Plain => Kept::Plain(Connection::on(socket)),
            Tls | H2 => Kept::Secure(Box::new(self.http1.shake_on(socket).expect("a handshake"))),
        }
    }

    fn kept(&self, socket: TcpStream) -> Kept {
        let mut kept = match self.kind {
            Plain => Kept::Plain(Connection::on(socket)),
            Tls | H2 => Kept::Secure(Box::new(self.client.shake_on(socket).expect("a handshake"))),
        };
        match &mut kept {
            Kept::Secure(shaken) if self.kind == H2 => {
                // Settings without values.
                let opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
                shaken.stream.write_all(opening).expect("sends");
            }
            kept => kept.ask(),
        }
        kept
    }

    /// How many connections each worker has, once they are `number` together.
    fn counts(&self, number: usize) -> Vec<usize> {
        wait_for("as many connections", || {
            let counts = self.server.worker_connections();
            assert_eq!(counts.len(), self.workers);
            (counts.iter().sum::<usize>() == number).then_some(counts)
        })
    }

    /// How many connections the busiest worker has more than its share, rounded up.
    fn surplus(&self, counts: &[usize]) -> usize {
        let share = counts.iter().sum::<usize>().div_ceil(self.workers);
        counts.iter().max().map_or(0, |most| most.saturating_sub(share))
    }

    /// Opens connections, and returns those of all workers but the first, and those of the first.
    fn open_and_split(&self, number: usize) -> (Vec<Kept>, Vec<Kept>) {
        let (mut others, mut of_first, mut before) = (Vec::new(), Vec::new(), self.counts(0));
        for number in 1..=number {
            let connection = self.open();
            let counts = self.counts(number);
            if counts[0] > before[0] { &mut of_first } else { &mut others }.push(connection);
            before = counts;
        }
        (others, of_first)
    }

    /// Waits until connections have moved from workers that have too many, and uses all of them.
    fn assert_levelled(&self, kept: &mut [Kept]) -> usize {
        if self.kind == H2 {
            // These do not move.
            self.counts(kept.len());
            return 0;
        }
        wait_for("an even share", || (self.surplus(&self.counts(kept.len())) <= 1).then_some(()));
        kept.iter_mut().for_each(Kept::ask);
        self.assert_even("a move", kept.len())
    }

    fn assert_even(&self, what: &str, number: usize) -> usize {
        let counts = self.counts(number);
        let surplus = self.surplus(&counts);
        assert!(surplus <= 1, "{what}, {:?}: {counts:?}", self.kind);
        surplus
    }
}

fn sign_in() -> Vec<u8> {
    form_request(&[("username", "alice@a.org"), ("password", "pw")])
}

/// Sends requests until `is_over`, one or many at once.
fn flood(mut stream: impl Read + Write, is_over: &AtomicBool) {
    let (mut ahead, begun) = (Vec::new(), Instant::now());
    for number in [1, 50, 2].into_iter().cycle() {
        // A test that has failed does not say that it is over.
        if is_over.load(Ordering::Relaxed) || begun.elapsed() > 2 * PATIENCE {
            break;
        }
        stream.write_all(&sign_in().repeat(number)).expect("sends");
        for _ in 0..number {
            let reply = Reply::read(&mut stream, &mut ahead).expect("an answer in time");
            assert_eq!(reply.expect("an answer").status, 200);
        }
    }
}

impl Cell {
    /// Returns the largest surplus that was seen.
    fn run(self) -> usize {
        let Cell(kind, workers, number) = self;
        let site = Site::start(kind, workers);
        let mut seen = Vec::new();

        // All connections open at once.
        let mut kept = site.burst(number);
        seen.push(site.assert_even("a burst", number));

        // Every other one closes, and new ones open one by one.
        let mut is_kept = true;
        kept.retain(|_| {
            is_kept = !is_kept;
            is_kept
        });
        seen.push(site.assert_levelled(&mut kept));
        kept.extend((kept.len()..number).map(|_| site.open()));
        seen.push(site.assert_even("closes", number));

        // All of one worker close, and new ones open at once.
        drop(kept);
        let (mut kept, ending) = site.open_and_split(number);
        drop(ending);
        seen.push(site.assert_levelled(&mut kept));
        kept.extend(site.burst(number - kept.len()));
        seen.push(site.assert_even("closes on one worker", number));

        // A worker is busy meanwhile.
        drop(kept);
        site.counts(0);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let busy = site.open_http1();
            site.counts(1);
            scope.spawn(|| busy.flood(&is_over));
            let mut kept = site.burst(number);
            seen.push(site.assert_even("a burst at a busy worker", number + 1));
            kept.truncate(number / 2);
            site.counts(kept.len() + 1);
            kept.extend(site.burst(number - kept.len()));
            seen.push(site.assert_even("closes at a busy worker", number + 1));
            is_over.store(true, Ordering::Relaxed);
        });
        seen.into_iter().max().unwrap_or_default()
    }
}

#[test]
fn kept_connections_are_shared_evenly_after_bursts_and_closes_and_beside_a_busy_worker() {
    jitsiprovs::process::raise_descriptors();
    let (cells, runs) = match std::env::var("BALANCE") {
        Ok(which) if which == "all" => (all(), 10),
        Ok(name) => (all().into_iter().filter(|cell| format!("{cell:?}").contains(&name)).collect(), 10),
        Err(_) => (CELLS.to_vec(), 1),
    };
    let queue = Mutex::new(cells.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = { queue.lock().expect("cells").next() } {
                    let surplus = (0..runs).map(|_| cell.run()).max().unwrap_or(0);
                    println!("{cell:?}: {runs} runs, the busiest had at most {surplus} more than its share");
                }
            });
        }
    });
}

#[test]
fn requests_are_answered_while_their_connections_move() {
    for kind in [Plain, Tls] {
        let site = Site::start(kind, 4);
        let (busy, ending) = site.open_and_split(32);
        let (number, is_over) = (busy.len(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            busy.into_iter().for_each(|busy| drop(scope.spawn(|| busy.flood(&is_over))));
            assert_eq!(site.counts(32), [8; 4]);
            drop(ending);
            wait_for("an even share", || (site.surplus(&site.counts(number)) <= 1).then_some(()));
            is_over.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn the_number_of_workers_is_checked() {
    for (number, expected) in
        [("0", "0 is not in 1..=1024"), ("1025", "1025 is not in 1..=1024"), ("two", "invalid digit")]
    {
        let output = run(&["-n", "--workers", number]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--workers") && said.contains(expected), "{said}");
    }
}
