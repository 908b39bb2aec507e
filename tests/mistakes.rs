//! Mistakes of operators, scripts and databases: while one happens, nobody is refused whose password
//! was right before it, and a user who is added and a rule that is changed are served soon.
//!
//! A cell is a mistake with a number of users and tenants, a database, and what makes the server
//! notice it. The suite runs [`CELLS`]; with `MISTAKES=all` in the environment, all cells run,
//! and with `MISTAKES=Truncated` those with this word in their names.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::client::post;
use support::database::{self, Database, Session};
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts};

/// How many cells run at once.
const AT_ONCE: usize = 8;
/// How long an edit may take to be served. It takes far less than 2 s, except where a server
/// that is not optimised reads very many rows while other tests run.
const DEADLINE: Duration = Duration::from_secs(45);
/// After so many seconds, a user who is gone and whose loss is not withheld gets 401.
const SETTLE: &str = "3";
/// How long users keep signing in after a mistake. Longer than [`SETTLE`].
const AFTERWARDS: Duration = Duration::from_millis(4500);
/// With so few users, the edit is made in a transaction that the server sees later than the
/// mistake. With more, it mostly sees both at once.
const FEW: usize = 2;
/// How much later. Longer than the poll interval.
const PAUSE: Duration = Duration::from_millis(400);
/// How long a mistake takes that is made row by row.
const SLOWLY: Duration = Duration::from_millis(1500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    AllDeleted,
    TenantDeleted,
    DeletedOneByOne,
    Truncated,
    EmptiedAndRefilledSlowly,
    OnePasswordForAll,
    NoPasswords,
    PasswordsInAnotherFormat,
    IdsRenumbered,
    CharsetConverted,
    ColumnAdded,
    ColumnAddedUnderLock,
    ViewSwappedIn,
    DomainsMistyped,
    NamesWithDomains,
    /// The database of another installation.
    WrongDatabase,
    /// A replica that lags is promoted: the latest users are missing, and so are the latest
    /// lines of changes.
    OlderState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    MariaDb,
    Postgres,
}

/// What makes the server notice the mistake. It also notices each write to a SQLite file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    Poll,
    Timer,
    Hangup,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell(Mistake, usize, usize, Kind, Notice);

use Kind::{MariaDb, Postgres, Sqlite};
use Mistake::*;
use Notice::{Hangup, Poll, Timer};

/// The mistake, the users, the tenants, the database, and how it is noticed.
const CELLS: [Cell; 40] = [
    Cell(AllDeleted, 2, 1, Sqlite, Poll),
    Cell(AllDeleted, 15, 1, MariaDb, Poll),
    Cell(AllDeleted, 60, 5, MariaDb, Hangup),
    Cell(AllDeleted, 10_000, 5, Sqlite, Timer),
    Cell(TenantDeleted, 15, 5, Sqlite, Poll),
    Cell(TenantDeleted, 60, 5, MariaDb, Timer),
    Cell(DeletedOneByOne, 60, 1, Sqlite, Poll),
    Cell(DeletedOneByOne, 15, 1, MariaDb, Poll),
    Cell(Truncated, 15, 1, MariaDb, Timer),
    Cell(Truncated, 15, 1, MariaDb, Poll),
    Cell(EmptiedAndRefilledSlowly, 15, 1, MariaDb, Poll),
    Cell(EmptiedAndRefilledSlowly, 60, 5, Sqlite, Poll),
    Cell(EmptiedAndRefilledSlowly, 60, 1, MariaDb, Timer),
    Cell(OnePasswordForAll, 60, 1, MariaDb, Poll),
    Cell(OnePasswordForAll, 15, 1, Sqlite, Hangup),
    Cell(NoPasswords, 15, 1, MariaDb, Timer),
    Cell(NoPasswords, 60, 5, Sqlite, Poll),
    Cell(PasswordsInAnotherFormat, 60, 1, MariaDb, Hangup),
    Cell(IdsRenumbered, 60, 5, MariaDb, Poll),
    Cell(IdsRenumbered, 15, 1, Sqlite, Poll),
    Cell(CharsetConverted, 15, 1, MariaDb, Poll),
    Cell(ColumnAdded, 15, 1, MariaDb, Poll),
    Cell(ColumnAddedUnderLock, 60, 1, MariaDb, Timer),
    Cell(ViewSwappedIn, 15, 1, MariaDb, Poll),
    Cell(ViewSwappedIn, 15, 1, Sqlite, Poll),
    Cell(DomainsMistyped, 60, 5, MariaDb, Poll),
    Cell(NamesWithDomains, 15, 1, Sqlite, Poll),
    Cell(NoPasswords, 2, 1, MariaDb, Poll),
    Cell(OnePasswordForAll, 2, 1, Sqlite, Poll),
    Cell(WrongDatabase, 60, 5, MariaDb, Timer),
    Cell(OlderState, 15, 1, MariaDb, Poll),
    Cell(OlderState, 60, 5, Sqlite, Poll),
    Cell(AllDeleted, 15, 1, Postgres, Poll),
    Cell(Truncated, 60, 5, Postgres, Poll),
    Cell(EmptiedAndRefilledSlowly, 15, 1, Postgres, Poll),
    Cell(NoPasswords, 60, 1, Postgres, Timer),
    Cell(IdsRenumbered, 60, 5, Postgres, Hangup),
    Cell(ViewSwappedIn, 15, 1, Postgres, Poll),
    Cell(WrongDatabase, 60, 5, Postgres, Timer),
    Cell(OlderState, 15, 1, Postgres, Poll),
];

/// All cells that make sense.
fn all() -> Vec<Cell> {
    let mistakes = [
        AllDeleted,
        TenantDeleted,
        DeletedOneByOne,
        Truncated,
        EmptiedAndRefilledSlowly,
        OnePasswordForAll,
        NoPasswords,
        PasswordsInAnotherFormat,
        IdsRenumbered,
        CharsetConverted,
        ColumnAdded,
        ColumnAddedUnderLock,
        ViewSwappedIn,
        DomainsMistyped,
        NamesWithDomains,
        WrongDatabase,
        OlderState,
    ];
    let mut cells = Vec::new();
    for mistake in mistakes {
        for (users, tenants) in [(FEW, 1), (15, 1), (15, 5), (60, 1), (60, 5), (10_000, 1), (10_000, 5)] {
            for kind in [Sqlite, MariaDb, Postgres] {
                for notice in [Poll, Timer, Hangup] {
                    cells.push(Cell(mistake, users, tenants, kind, notice));
                }
            }
        }
    }
    // SQLite knows none of these, and PostgreSQL only the first.
    cells.retain(|Cell(mistake, _, _, kind, _)| match mistake {
        Truncated => *kind != Sqlite,
        CharsetConverted | ColumnAddedUnderLock => *kind == MariaDb,
        _ => true,
    });
    cells
}

/// The database of a cell, which has users with the ids from 1 on.
enum Base {
    Sqlite(SqliteFile),
    Server(Database<'static>),
}

impl Base {
    fn new(kind: Kind, users: usize, tenants: usize) -> Base {
        let base = match kind {
            Sqlite => Base::Sqlite(SqliteFile::empty()),
            MariaDb => Base::on_server(database::Kind::MariaDb),
            Postgres => Base::on_server(database::Kind::Postgres),
        };
        let row = |number| {
            let (name, domain, password) = user(number, tenants);
            format!("({}, '{name}', '{domain}', '{}')", number + 1, md5_hex(&password))
        };
        let rows: Vec<String> = (0..users).map(row).collect();
        for rows in rows.chunks(1000) {
            base.execute(&format!(
                "INSERT INTO user_auth (id, username, domain, password) VALUES {}",
                rows.join(",")
            ));
        }
        if let Base::Server(database) = &base {
            database.script(&database.kind().count_from("user_auth", users as u32 + 1));
        }
        base.execute(
            "INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
             VALUES ('default', 1, 1, 'v', '1')",
        );
        base
    }

    fn on_server(kind: database::Kind) -> Base {
        let database = kind.database();
        let output = run(&[&["--setup"], &texts(&database.all())[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        database.script("DELETE FROM jitsi_property");
        Base::Server(database)
    }

    fn args(&self) -> Vec<String> {
        match self {
            Base::Sqlite(file) => vec!["--db-path".into(), file.path.to_str().expect("UTF-8").into()],
            Base::Server(database) => database.read(),
        }
    }

    fn execute(&self, sql: &str) {
        match self {
            Base::Sqlite(file) => file.execute(sql),
            Base::Server(database) => drop(database.script(sql)),
        }
    }

    /// Runs a statement for each user, slowly and each in a transaction of its own. The edit is
    /// made in the middle; with [`FEW`] users at the end, because to lose two of three users is
    /// no large loss.
    fn each(&self, users: usize, statement: impl Fn(usize) -> String, edit: impl FnOnce()) {
        let mut session = match self {
            Base::Sqlite(_) => None,
            Base::Server(database) => Some(Session::open(database)),
        };
        let mut edit = Some(edit);
        for number in 0..users {
            if users != FEW
                && number >= users / 2
                && let Some(edit) = edit.take()
            {
                edit();
            }
            match (&mut session, self) {
                (Some(session), _) => session.execute(&statement(number + 1)),
                (None, base) => base.execute(&statement(number + 1)),
            }
            std::thread::sleep(SLOWLY / users as u32);
        }
        if let Some(edit) = edit {
            edit();
        }
    }

    /// Makes a mistake, and the right edit during it or right after it.
    fn mistake(&self, mistake: Mistake, users: usize) {
        let table = if mistake == ViewSwappedIn { "user_base" } else { "user_auth" };
        let edit = || {
            self.execute(&format!(
                "INSERT INTO {table} (username, domain, password) VALUES ('newcomer', 't0.org', '{}');
                 UPDATE jitsi_property SET property_value = '2'",
                md5_hex("new")
            ));
        };
        let is_mariadb = matches!(self, Base::Server(database) if database.kind() == database::Kind::MariaDb);
        let joined = |one: &str, other: &str| match is_mariadb {
            true => format!("concat({one}, {other})"),
            false => format!("{one} || {other}"),
        };
        let set = |what: &str| format!("UPDATE user_auth SET {what}");
        let locked = |how: &str| match is_mariadb {
            true => format!("ALTER TABLE user_auth ADD COLUMN note TEXT, {how}"),
            false => "ALTER TABLE user_auth ADD COLUMN note TEXT".to_owned(),
        };
        let sql = match mistake {
            AllDeleted => "DELETE FROM user_auth".into(),
            TenantDeleted => "DELETE FROM user_auth WHERE domain = 't0.org'".into(),
            Truncated => "TRUNCATE TABLE user_auth".into(),
            OnePasswordForAll => set(&format!("password = '{}'", md5_hex("x"))),
            NoPasswords => set("password = NULL"),
            PasswordsInAnotherFormat => set(&format!("password = {}", joined("'secret'", "id"))),
            IdsRenumbered => set("id = id + 100000"),
            CharsetConverted => "ALTER TABLE user_auth CONVERT TO CHARACTER SET latin1".into(),
            ColumnAdded => locked("LOCK = NONE"),
            ColumnAddedUnderLock => locked("ALGORITHM = COPY, LOCK = EXCLUSIVE"),
            ViewSwappedIn => "ALTER TABLE user_auth RENAME TO user_base;
                CREATE VIEW user_auth AS SELECT * FROM user_base"
                .into(),
            DomainsMistyped => set(&format!("domain = {}", joined("domain", "'x'"))),
            NamesWithDomains => set(&format!("username = {}", joined("username", &joined("'@'", "domain")))),
            WrongDatabase => "DELETE FROM user_auth; INSERT INTO user_auth (username, domain, password)
                VALUES ('eve', 'other.org', 'x'), ('bob', 'other.org', 'x')"
                .into(),
            // As if the latest users had never been added.
            OlderState => format!(
                "BEGIN; DELETE FROM user_auth WHERE id > {}; DELETE FROM jitsiprovs_change WHERE id > 3;
                 COMMIT",
                users - 2
            ),
            DeletedOneByOne => {
                return self.each(users, |id| format!("DELETE FROM user_auth WHERE id = {id}"), edit);
            }
            EmptiedAndRefilledSlowly => {
                self.execute("CREATE TABLE backup AS SELECT * FROM user_auth; DELETE FROM user_auth");
                let one = |id| format!("INSERT INTO user_auth SELECT * FROM backup WHERE id = {id}");
                return self.each(users, one, edit);
            }
        };
        self.execute(&sql);
        if users == FEW {
            std::thread::sleep(PAUSE);
        }
        edit();
    }
}

/// Name, domain and password of a user.
fn user(number: usize, tenants: usize) -> (String, String, String) {
    (format!("user{number}"), format!("t{}.org", number % tenants), format!("pw{number}"))
}

fn sign_in(address: SocketAddr, number: usize, tenants: usize) -> u16 {
    let (name, domain, password) = user(number, tenants);
    post(address, &[("username", &name), ("domain", &domain), ("password", &password)]).status
}

/// What went wrong in a cell, and how long the edit took to be served.
struct Outcome {
    refused: usize,
    edit: Option<Duration>,
}

impl Cell {
    fn run(self) -> Outcome {
        let Cell(mistake, users, tenants, kind, notice) = self;
        let base = Base::new(kind, users, tenants);
        let intervals = match notice {
            Poll => ["--poll-interval", "0.1", "--reload-interval", "0"],
            Timer => ["--poll-interval", "0", "--reload-interval", "0.3"],
            Hangup => ["--poll-interval", "0", "--reload-interval", "0"],
        };
        let settle = ["--settle", SETTLE];
        let server = Server::start(&[&intervals[..], &settle, &texts(&base.args())].concat());
        let (address, is_over) = (server.address, AtomicBool::new(false));
        std::thread::scope(|scope| {
            let signing_in = scope.spawn(|| {
                let mut refused = 0;
                for number in (0..users).cycle() {
                    refused += usize::from(sign_in(address, number, tenants) == 401);
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                refused
            });
            base.mistake(mistake, users);
            let begun = Instant::now();
            if notice == Hangup {
                server.signal("HUP");
            }
            let newcomer = [("username", "newcomer@t0.org"), ("password", "new")];
            let edit = loop {
                let reply = post(address, &newcomer);
                if reply.status == 200 && reply.text() == "v=2\n" {
                    break Some(begun.elapsed());
                }
                if begun.elapsed() > DEADLINE {
                    break None;
                }
                std::thread::sleep(Duration::from_millis(20));
            };
            std::thread::sleep(AFTERWARDS.saturating_sub(begun.elapsed()));
            is_over.store(true, Ordering::Relaxed);
            let mut refused = signing_in.join().expect("no panic");
            // Some users may not have had a turn.
            refused += (0..users).take(100).filter(|user| sign_in(address, *user, tenants) == 401).count();
            Outcome { refused, edit }
        })
    }
}

#[test]
fn no_mistake_refuses_a_right_password_or_holds_up_an_edit() {
    let cells = match std::env::var("MISTAKES") {
        Ok(which) if which == "all" => all(),
        Ok(name) => all().into_iter().filter(|cell| format!("{cell:?}").contains(&name)).collect(),
        Err(_) => CELLS.to_vec(),
    };
    let (queue, failed) = (Mutex::new(VecDeque::from(cells.clone())), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = { queue.lock().expect("cells").pop_front() } {
                    let Outcome { refused, edit } = cell.run();
                    let served = match edit {
                        Some(time) => format!("the edit is served after {} ms", time.as_millis()),
                        None => "the edit is not served".to_owned(),
                    };
                    let line = format!("{cell:?}: {refused} right passwords refused, {served}");
                    println!("{line}");
                    if refused > 0 || edit.is_none() {
                        failed.lock().expect("results").push(line);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("results");
    assert!(failed.is_empty(), "{} of {} cells failed:\n{}", failed.len(), cells.len(), failed.join("\n"));
}
