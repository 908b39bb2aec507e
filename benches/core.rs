//! The core alone: templates, credentials, resolution, whole answers and edits, with 1, 10,000 and
//! 1,000,000 users in the snapshot.
//!
//! Ratios are meaningful, absolute times are not: at the end, the promised ratios are measured in
//! turns within the same run.

#![allow(clippy::disallowed_methods, reason = "benches may wait for files and for each other")]

use std::hint::black_box;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use jitsiprovs::core::conventions::Conventions;
use jitsiprovs::core::credential::{Credential, Owner, PwdFmt, Verdict};
use jitsiprovs::core::model::{AttributeRow, Cell, Row, RuleRow, UserRow};
use jitsiprovs::core::names::Comparison;
use jitsiprovs::core::params::{Known, Params};
use jitsiprovs::core::properties::Side;
use jitsiprovs::core::template::Template;
use jitsiprovs::metrics::Metrics;
use jitsiprovs::serve::fetches::{Asking, Decided, FetchSettings, Fetches};
use jitsiprovs::snapshot::{AccountState, Session, SignIn, Snapshot, Writer};
use jitsiprovs::source::{Queries, default_properties, sqlite};
use support::figures::median;
use support::server::resident;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 3] = [1, 10_000, 1_000_000];
/// How many different requests are sent in turn. They are enough that the users' rows do not stay
/// in the nearest caches of the processor.
const ASKED: usize = 4096;

/// All names have the same length, so that answers have the same length with any number of users.
fn user(id: usize) -> Row {
    let password = format!("{:x}", md5::compute(format!("pw{id:07}")));
    let (username, domain) = (format!("user{id:07}"), "example.org".into());
    let (username, password) = (username.as_str().into(), password.as_str().into());
    Row::User(UserRow::from_cells(id as i64, [username, domain, password]))
}

fn rule(id: usize, subject: &str, key: &str, value: &str) -> Row {
    let (domain, spriority, ppriority) = (Cell::Null, Cell::Int(10), Cell::Int(10));
    let (subject, key, value) = (subject.into(), key.into(), value.into());
    Row::Rule(RuleRow::from_cells(id as i64, [domain, subject, spriority, ppriority, key, value]))
}

const OWN_KEYS: [&str; 3] = ["DISPLAY_NAME", "SERVER_ADDRESS", "VOICEMAIL_URI"];

/// `users` users with the default properties, and `own` rules for each user.
fn rows(users: usize, own: usize) -> impl Iterator<Item = Row> {
    let defaults = default_properties().enumerate();
    let defaults = defaults.map(|(id, (key, value))| rule(id, "default", key, value));
    let own = (1..=users).flat_map(move |id| {
        OWN_KEYS.iter().take(own).enumerate().map(move |(at, key)| {
            let key = format!("net.java.sip.communicator.impl.protocol.sip.accsip.{key}");
            let value = format!("value {at} of user {id:07}");
            rule(1000 + id * own + at, &format!("user{id:07}"), &key, &value)
        })
    });
    (1..=users).map(user).chain(defaults).chain(own)
}

fn snapshot(users: usize, own: usize) -> Arc<Snapshot> {
    Writer::build(Conventions::default(), rows(users, own)).0
}

/// The parameters of clients, for users spread over the whole snapshot.
fn requests(users: usize) -> Vec<Params> {
    requests_of(ASKED, users)
}

fn requests_of(clients: usize, users: usize) -> Vec<Params> {
    (0..clients)
        .map(|at| {
            let id = at * 7919 % users + 1;
            let mut params = Params::new();
            for (name, value) in [
                ("username", format!("user{id:07}")),
                ("domain", "example.org".into()),
                ("password", format!("pw{id:07}")),
                ("osname", "Linux".into()),
                ("hwaddr", format!("00:1A:2B:{:02X}:{:02X}:{:02X}", at >> 16 & 255, at >> 8 & 255, at & 255)),
                ("uuid", format!("8e5c1f7e-0c5f-4f0b-9d5e-{at:012x}")),
                ("arch", "amd64".into()),
                ("hostname", format!("host{at}")),
            ] {
                params.offer(name, value);
            }
            params
        })
        .collect()
}

fn session<'s>(snapshot: &'s Snapshot, params: &Params) -> Session<'s> {
    match snapshot.authenticate(params) {
        SignIn::Granted(session) => session,
        _ => panic!("the password is right"),
    }
}

fn templates(c: &mut Criterion) {
    let params = &requests(1)[0];
    for (name, text) in [("fixed", "AUTO_DTMF"), ("three holes", "Jabber\\:${username}@${domain}@${domain}")]
    {
        let template = Template::parse(text, Side::Value, |_| {});
        let mut out = Vec::with_capacity(256);
        c.bench_function(&format!("template/{name}"), |b| {
            b.iter(|| {
                out.clear();
                template.whole().render(black_box(params), &mut out);
            });
        });
    }
    c.bench_function("template/parse", |b| {
        b.iter(|| Template::parse(black_box("Jabber\\:${username}@${domain}"), Side::Value, |_| {}));
    });
}

fn credentials(c: &mut Criterion) {
    let owner = Owner { username: "alice", realm: "example.org" };
    for (name, stored, format) in [
        ("plain", "wonderland", PwdFmt::Plain),
        ("md5", "4cecaff2b30bbe75ce7322109164cfb5", PwdFmt::Md5),
        ("ha1", "4cecaff2b30bbe75ce7322109164cfb5", PwdFmt::Ha1),
        ("remembered bcrypt", "$2y$04$rMMY6FBZ6XwCAgPTs2aiWOnxxS2rPs.jiZBkUilLlRk28W35op.WG", PwdFmt::Md5),
    ] {
        let credential = Credential::parse(stored, format, owner).expect("usable");
        if let Verdict::Ask(slow) = credential.verify("wonderland") {
            slow.remember("wonderland");
        }
        c.bench_function(&format!("credential/{name}"), |b| {
            b.iter(|| credential.verify(black_box("wonderland")))
        });
    }
}

fn answers(c: &mut Criterion) {
    for (name, own) in [("default properties", 0), ("three own rules each", 3)] {
        for users in SIZES {
            let snapshot = snapshot(users, own);
            let requests = requests(users);
            let sessions: Vec<_> = requests.iter().map(|params| session(&snapshot, params)).collect();
            let mut at = 0;
            c.bench_function(&format!("resolve and render/{name}/{users}"), |b| {
                b.iter(|| {
                    at = (at + 1) % ASKED;
                    snapshot.answer(sessions[at], &requests[at])
                });
            });
            c.bench_function(&format!("authenticate, resolve and render/{name}/{users}"), |b| {
                b.iter(|| {
                    at = (at + 1) % ASKED;
                    snapshot.answer(session(&snapshot, &requests[at]), &requests[at])
                });
            });
        }
    }
}

/// Subjects that are patterns, of the kinds that operators write.
fn pattern(at: usize) -> String {
    match at % 4 {
        0 => format!("hostname=pc-{at:04}*"),
        1 => format!("hostname=*-lab{at}"),
        2 => format!("hostname=*x{at}y*"),
        _ => format!("ipaddr=10.{}.{}.0/{}", at / 256, at % 256, 17 + at % 8),
    }
}

/// Measures what the patterns of a tenant add to a request, among 10,000 tenants, each of which has
/// patterns.
fn patterns(c: &mut Criterion) {
    const TENANTS: usize = 10_000;
    for count in [0, 10, 100, 1000] {
        let row = |domain: &str, id: usize, subject: &str| {
            let cells = [domain.into(), subject.into(), 10.into(), 10.into(), subject.into(), "v".into()];
            Row::Rule(RuleRow::from_cells(id as i64, cells))
        };
        let defaults = default_properties().enumerate();
        let defaults = defaults.map(|(id, (key, value))| rule(id, "default", key, value));
        let own = (0..count).map(|at| row("example.org", 1000 + at, &pattern(at)));
        let others = (0..TENANTS * 10)
            .map(|at| row(&format!("t{}.example", at / 10), 10_000 + at, &pattern(at % 1000)));
        let rows = [user(1)].into_iter().chain(defaults).chain(own).chain(others);
        let snapshot = Writer::build(Conventions::default(), rows).0;
        let requests: Vec<Params> = requests(1)
            .into_iter()
            .enumerate()
            .map(|(at, mut params)| {
                params.offer("ipaddr", format!("10.{}.{}.7", at % 4, at % 256));
                params
            })
            .collect();
        let sessions: Vec<_> = requests.iter().map(|params| session(&snapshot, params)).collect();
        let mut at = 0;
        c.bench_function(&format!("resolve and render/{count} patterns in the tenant"), |b| {
            b.iter(|| {
                at = (at + 1) % ASKED;
                snapshot.answer(sessions[at], &requests[at])
            });
        });
    }
}

/// The median nanoseconds per request of each of `works`. They run in turns, so that other work on
/// the machine affects them alike.
fn side_by_side<const N: usize>(works: [&dyn Fn(usize); N]) -> [f64; N] {
    let mut rounds: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        for (work, times) in works.iter().zip(&mut rounds) {
            let begun = Instant::now();
            (0..ASKED).for_each(work);
            times.push(begun.elapsed().as_nanos() as f64 / ASKED as f64);
        }
    }
    rounds.map(median)
}

fn ratios() {
    println!("\nside by side, medians of one run, {ASKED} of the users in turn:");
    for (name, own) in [("the default properties", 0), ("and three rules of each user's own", 3)] {
        let (small, large) = (snapshot(1, own), snapshot(1_000_000, own));
        let (one, many) = (requests(1), requests(1_000_000));
        let one_sessions: Vec<_> = one.iter().map(|params| session(&small, params)).collect();
        let many_sessions: Vec<_> = many.iter().map(|params| session(&large, params)).collect();
        let body = small.answer(one_sessions[0], &one[0]).body;
        let [copy, one_answer, many_answer, one_whole, many_whole] = side_by_side([
            &|_| drop(black_box(black_box(&body).clone())),
            &|at| drop(black_box(small.answer(one_sessions[at], &one[at]))),
            &|at| drop(black_box(large.answer(many_sessions[at], &many[at]))),
            &|at| drop(black_box(small.answer(session(&small, &one[at]), &one[at]))),
            &|at| drop(black_box(large.answer(session(&large, &many[at]), &many[at]))),
        ]);
        let line = |what: &str, time: f64, ratio: f64, of: &str| {
            println!("  {what:40} {time:6.0} ns {ratio:7.2} of {of}");
        };
        println!("{name}, an answer of {} bytes:", body.len());
        line("copying it", copy, 1.0, "itself");
        line("resolve and render, 1 user", one_answer, one_answer / copy, "copying");
        line("resolve and render, 1,000,000 users", many_answer, many_answer / one_answer, "1 user");
        line("and authenticate, 1 user", one_whole, one_whole / one_answer, "without");
        line("and authenticate, 1,000,000 users", many_whole, many_whole / one_whole, "1 user");
    }
}

/// Measures the cost of an edit: of a user's own rule, and of a rule for everyone.
fn edits() {
    println!("one edit, medians of 1,000:");
    for users in SIZES {
        let mut writer = Writer::new(Conventions::default());
        let mut draft = writer.draft();
        for row in rows(users, 3) {
            draft.put(&row);
        }
        draft.commit();
        let mut measure = |what: &str, edit: &dyn Fn(usize) -> Row| {
            let mut served = None;
            let mut times = Vec::new();
            for at in 0..1000 {
                let row = edit(at);
                let begun = Instant::now();
                let mut draft = writer.draft();
                draft.put(&row);
                served = Some(draft.commit().0);
                times.push(begun.elapsed().as_micros());
            }
            times.sort_unstable();
            println!("  {what:22} {users:9} users {:6} µs", times[500]);
            black_box(served);
        };
        let own = |at: usize| 1000 + (at * 7919 % users + 1) * 3;
        measure("a user's own rule", &|at| {
            rule(own(at), &format!("user{:07}", at * 7919 % users + 1), OWN_KEYS[0], &format!("edit {at}"))
        });
        measure("a rule for everyone", &|at| rule(1, "default", "key", &format!("edit {at}")));
    }
}

const USERS: usize = 1_000_000;
/// In the environment of a process that measures its memory with or without attributes.
const MEMORY: &str = "CORE_BENCH_MEMORY";
/// The attributes of each user in [`attributes`].
const NAMES: [&str; 5] = ["extension", "display_name", "branch", "line2", "sip_password"];

/// A million users with three rules each and, if asked for, five attributes. Also returns the
/// length of the attributes' names and values.
fn known_users(have_attributes: bool) -> (Writer, usize) {
    let mut text = 0;
    let attributes = (0..if have_attributes { USERS * NAMES.len() } else { 0 }).map(|at| {
        let (user, name) = (at / NAMES.len() + 1, NAMES[at % NAMES.len()]);
        let (domain, username) = ("example.org".into(), format!("user{user:07}"));
        let value = format!("{name} of {user:07}");
        text += name.len() + value.len();
        let cells = [domain, username.as_str().into(), name.into(), value.as_str().into()];
        Row::Attribute(AttributeRow::from_cells(at as i64 + 1, cells))
    });
    let mut writer = Writer::new(Conventions::default());
    let mut draft = writer.draft();
    let of_all = rule(1, "default", "extension", "${user.extension:-none}");
    for row in rows(USERS, 3).chain([of_all]).chain(attributes) {
        draft.put(&row);
    }
    draft.commit();
    (writer, text)
}

/// Measures what five attributes of each of a million users cost: memory, in processes of their
/// own, and time of a request of which one rule uses one of them.
fn attributes() {
    let memory = |which: &str| {
        let program = std::env::current_exe().expect("Linux");
        let output = Command::new(program).env(MEMORY, which).output().expect("runs");
        String::from_utf8(output.stdout).expect("UTF-8").trim().parse::<f64>().expect("a number")
    };
    let each = (memory("with") - memory("without")) / (USERS * NAMES.len()) as f64;
    println!("{each:.1} bytes an attribute beyond the text of its name and value");
    let params = requests(USERS);
    let ((without, _), (with, _)) = (known_users(false), known_users(true));
    let (without, with) = (without.current(), with.current());
    let [plain, known] = side_by_side([
        &|at| drop(black_box(without.answer(session(without, &params[at]), &params[at]))),
        &|at| drop(black_box(with.answer(session(with, &params[at]), &params[at]))),
    ]);
    println!("authenticate, resolve and render: {plain:.0} ns without, {known:.0} ns with them");
}

/// Measures searches of the console over a million users with five attributes each, in which a
/// name or nothing is found.
fn searches() {
    println!("one search, medians of 20:");
    for have_attributes in [false, true] {
        let (writer, _) = known_users(have_attributes);
        let snapshot = writer.current();
        for typed in ["user0500000", "0500", "nothing like it", "example.org 99"] {
            let mut times: Vec<u128> = (0..20)
                .map(|_| {
                    let begun = Instant::now();
                    black_box(snapshot.search(black_box(typed), None, 50));
                    begun.elapsed().as_micros()
                })
                .collect();
            times.sort_unstable();
            let with = if have_attributes { "with attributes" } else { "without attributes" };
            println!("  {typed:20} {with:20} {:8} µs", times[10]);
        }
    }
}

/// How many devices ask in turn: fewer than a table has room for, and more.
const DEVICES: [usize; 2] = [60_000, 120_000];
/// How many fetches the table has room for, three quarters of them successes.
const FETCHES: usize = 100_000;
/// How many requests are read before they are noted.
const READ: usize = 16;

/// What noting a request costs: of devices that sent the same before, of those that sent something
/// else, and of new ones in a table that is full.
///
/// A server has just read the parameters of a request when it notes it, so they are read before the
/// clock runs. The tables are mostly in no cache.
fn fetches(c: &mut Criterion) {
    let params = requests_of(DEVICES[1], 1_000_000);
    let name = |params: &Params, known| Comparison::Folded.fold(params.known(known).unwrap_or_default());
    let names: Vec<_> = params
        .iter()
        .map(|params| [Known::Domain, Known::Username].map(|known| name(params, known)))
        .collect();
    let read = |at: usize| {
        let (params, names) = (&params[at], &names[at]);
        let values = Known::ALL.into_iter().filter_map(|known| params.known(known)).map(str::as_bytes);
        let all = values.chain(names.iter().map(|name| &**name)).flatten();
        black_box(all.map(|byte| usize::from(*byte)).sum::<usize>());
    };
    let note = |table: &Fetches, at: usize, address: u32| {
        let asking = Asking {
            domain: &names[at][0],
            username: &names[at][1],
            params: &params[at],
            address: IpAddr::V4(address.into()),
            agent: b"Jitsi/2.10 (Linux)",
        };
        let (account, snapshot) = (AccountState::Usable, Some(7));
        let decided = Decided { asking, account, reason: None, snapshot, properties: 60 };
        table.note(table.expect(&asking), &decided);
    };
    let table = || {
        let settings = FetchSettings { most: FETCHES, keep: None };
        let source = sqlite("/nonexistent/jitsiprovs.db", Queries::default());
        Fetches::new(settings, source, Arc::new(Metrics::new(false)))
    };
    let mut next = 0;
    let mut bench = |name: &str, (table, devices): (&Fetches, usize), changes_address: bool| {
        c.bench_function(&format!("fetches/{name}"), |b| {
            b.iter_custom(|times| {
                let mut taken = Duration::ZERO;
                for begun in (0..times as usize).step_by(READ) {
                    let some = next..next + READ.min(times as usize - begun);
                    some.clone().for_each(|at| read(at % devices));
                    let begun = Instant::now();
                    for at in some.clone() {
                        note(table, at % devices, if changes_address { at as u32 } else { 1 });
                    }
                    taken += begun.elapsed();
                    next = some.end;
                }
                taken
            });
        });
    };
    let [some, many] = DEVICES;
    let known = table();
    (0..some).for_each(|at| note(&known, at, 1));
    bench("the same as before", (&known, some), false);
    bench("other parameters", (&known, some), true);
    // Each device makes room before it asks again.
    let full = table();
    (0..many).for_each(|at| note(&full, at, 1));
    bench("a new device", (&full, many), false);
}

fn main() {
    if let Ok(which) = std::env::var(MEMORY) {
        let (writer, text) = known_users(which == "with");
        println!("{}", resident(std::process::id()).0 as usize - text);
        drop(writer);
        return;
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    templates(&mut criterion);
    credentials(&mut criterion);
    answers(&mut criterion);
    patterns(&mut criterion);
    fetches(&mut criterion);
    criterion.final_summary();
    // With a filter, only the benches whose name contains it run; `ratios` matches none of them.
    if std::env::args().skip(1).all(|arg| arg == "--bench" || arg == "ratios") {
        ratios();
        edits();
    }
    if std::env::args().skip(1).all(|arg| arg == "--bench" || arg == "known") {
        attributes();
    }
    if std::env::args().skip(1).all(|arg| arg == "--bench" || arg == "searches") {
        searches();
    }
}
