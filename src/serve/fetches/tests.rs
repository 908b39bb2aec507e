//! Tests of the table.

use std::net::IpAddr;
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

use super::details::KEPT;
use super::*;
use crate::core::fetch::FetchReason;
use crate::core::names::Comparison;
use crate::core::params::Params;
use crate::source::{Queries, sqlite};

fn fetches(most: usize) -> Arc<Fetches> {
    let source = sqlite("/nonexistent/db", Queries::default());
    let settings = FetchSettings { most, keep: None };
    Arc::new(Fetches::new(settings, source, Arc::new(Metrics::new(false))))
}

/// A request of a user, from the address with this last number.
struct Sent<'a> {
    username: &'a str,
    params: &'a [(&'a str, &'a str)],
    host: u8,
    account: AccountState,
    reason: Option<FetchReason>,
}

const ALICE: Sent<'_> = Sent {
    username: "alice",
    params: &[("uuid", "u1")],
    host: 1,
    account: AccountState::Usable,
    reason: None,
};

impl Sent<'_> {
    fn decided<T>(&self, then: impl FnOnce(&Decided<'_>) -> T) -> T {
        let params: Params = self.params.iter().copied().collect();
        then(&Decided {
            asking: Asking {
                domain: &Comparison::Folded.fold("example.org"),
                username: &Comparison::Folded.fold(self.username),
                params: &params,
                address: [192, 0, 2, self.host].into(),
                agent: b"Jitsi",
            },
            account: self.account,
            reason: self.reason,
            snapshot: Some(7),
            properties: 60,
        })
    }
}

fn note(fetches: &Fetches, sent: &Sent<'_>) {
    sent.decided(|decided| fetches.note(fetches.expect(&decided.asking), decided));
}

/// Gives all fetches of a user this time, which is not 0.
fn set_time(fetches: &Fetches, username: &str, at: u32) {
    let account = fetches.keys.account(b"example.org", username.as_bytes());
    fetches.table.open(fetches.table.part(account)).set_time(account, at);
}

fn all(fetches: &Fetches) -> Vec<Fetch> {
    fetches.seen(&FetchFilter { most: usize::MAX, ..FetchFilter::default() })
}

#[test]
fn a_device_has_its_last_success_and_its_last_failure() {
    let fetches = fetches(1000);
    note(&fetches, &ALICE);
    note(&fetches, &Sent { params: &[("uuid", "u1"), ("osname", "Linux")], ..ALICE });
    note(&fetches, &Sent { reason: Some(FetchReason::WrongPassword), host: 2, ..ALICE });
    note(&fetches, &Sent { params: &[("hwaddr", "00:11")], ..ALICE });
    note(&fetches, &Sent { params: &[], ..ALICE });
    let mut found: Vec<_> = all(&fetches).into_iter().map(|f| (f.device, f.is_ok, f.params.len())).collect();
    found.sort();
    let device = |name: &str, is_ok, params| (name.to_owned(), is_ok, params);
    assert_eq!(
        found,
        [
            device("00:11", true, 1),
            device("192.0.2.1 Jitsi", true, 0),
            device("u1", false, 1),
            device("u1", true, 2)
        ]
    );
}

#[test]
fn a_stranger_cannot_choose_devices() {
    let fetches = fetches(1000);
    for uuid in ["a", "b", "c"] {
        let reason = Some(FetchReason::WrongPassword);
        note(&fetches, &Sent { params: &[("uuid", uuid)], reason, ..ALICE });
    }
    let found = all(&fetches);
    assert_eq!(found.len(), 1);
    assert_eq!((&*found[0].device, &*found[0].params[0].1), ("192.0.2.1", "c"));
}

#[test]
fn unknown_names_push_out_neither_successes_nor_failures_and_are_not_written() {
    let fetches = fetches(16_000);
    let failed = Some(FetchReason::WrongPassword);
    for user in 0..100 {
        let username = format!("user{user}");
        note(&fetches, &Sent { username: &username, ..ALICE });
        note(&fetches, &Sent { username: &username, params: &[], reason: failed, ..ALICE });
    }
    for stranger in 0..20_000 {
        let username = format!("stranger{stranger}");
        let (account, reason) = (AccountState::NoUser, Some(FetchReason::NoUser));
        note(&fetches, &Sent { username: &username, account, reason, ..ALICE });
    }
    let found = all(&fetches);
    let of = |reason| found.iter().filter(|fetch| fetch.reason == reason).count();
    assert_eq!((of(None), of(failed)), (100, 100));
    assert!((1..=1000).contains(&of(Some(FetchReason::NoUser))));
    let taken = fetches.take(usize::MAX, Some(9));
    assert_eq!(taken.len(), 200);
    assert!(taken.iter().all(|fetch| fetch.username.starts_with("user")));
    assert_eq!(fetches.metrics.fetches_dropped.get(), 0);
}

#[test]
fn the_table_is_bounded_and_counts_what_it_loses() {
    let fetches = fetches(1000);
    for user in 0..5000 {
        note(&fetches, &Sent { username: &format!("user{user}"), ..ALICE });
    }
    let kept: usize = (0..fetches.table.parts()).map(|part| fetches.table.open(part).len()).sum();
    assert!((700..=750).contains(&kept), "{kept}");
    assert_eq!(fetches.metrics.fetches.get(), kept as i64);
    assert_eq!(fetches.metrics.fetches_dropped.get(), 5000 - kept as u64);
    assert_eq!(fetches.take(100, Some(9)).len(), 100);
    assert_eq!(fetches.take(usize::MAX, Some(9)).len(), kept - 100);
    assert_eq!(fetches.take(usize::MAX, Some(9)).len(), 0);
    // Written ones are replaced without a loss.
    let lost = fetches.metrics.fetches_dropped.get();
    note(&fetches, &Sent { username: "another", ..ALICE });
    assert_eq!(fetches.metrics.fetches_dropped.get(), lost);
    assert_eq!(fetches.take(usize::MAX, Some(9)).len(), 1);
}

#[test]
fn in_a_full_set_the_oldest_makes_room() {
    // Of which eight are for successes, in one set.
    let fetches = fetches(11);
    for user in 0..8 {
        let username = format!("user{user}");
        note(&fetches, &Sent { username: &username, ..ALICE });
        set_time(&fetches, &username, (user + 5) % 8 + 1);
    }
    assert_eq!(all(&fetches).len(), 8);
    note(&fetches, &Sent { username: "another", ..ALICE });
    let users: Vec<String> = all(&fetches).into_iter().map(|fetch| fetch.username).collect();
    assert_eq!((users.len(), &*users[0]), (8, "another"));
    assert!(!users.contains(&"user3".to_owned()), "{users:?}");
}

/// Notes one of 150 devices, for which no set is too small.
fn note_at(table: &Table, number: u64, at: u32, (details, snapshot): (u64, i64)) {
    let device = number * (u64::MAX / 150);
    let request = details ^ snapshot as u64;
    let asker = Asker { account: number, device };
    let keys = Keys { asker, address: 0, details, request };
    if !table.note_again(Region::Answered, &keys, at) {
        let moment = Moment { at, snapshot: Some(snapshot), properties: 0 };
        let write = |place: &mut Details| ALICE.decided(|decided| place.set(decided));
        table.try_open(0).expect("nobody has it open").note(Region::Answered, &keys, moment, write);
    }
}

/// Takes at most nine that only repeat themselves, and returns their times and snapshots.
fn take_of(table: &Table, most: usize, before: i64) -> Vec<(i64, Option<i64>)> {
    let mut taken = Vec::new();
    table.open(0).take(&mut Wanted { most, repeated: 9, before }, &mut taken);
    taken.iter().filter_map(|copied| copied.fetch("node")).map(|fetch| (fetch.at, fetch.snapshot)).collect()
}

#[test]
fn what_changes_only_its_moment_is_written_again_later() {
    let table = Table::new(500);
    let note = |at, request| note_at(&table, 1, at, request);
    let take = |before| take_of(&table, 99, before);
    note(100, (1, 7));
    assert_eq!(take(40), [(100, Some(7))]);
    note(100, (1, 7));
    assert_eq!(take(i64::MAX), [], "the same second");
    note(130, (1, 7));
    note(129, (1, 7));
    assert_eq!((take(70), take(101), take(i64::MAX)), (vec![], vec![(130, Some(7))], vec![]));
    note(130, (1, 8));
    assert_eq!((take(70), take(131)), (vec![], vec![(130, Some(8))]));
    note(129, (1, 9));
    assert_eq!(take(131), [], "it is older");
    note(130, (2, 8));
    assert_eq!(take(0), [(130, Some(8))], "other details are written at once");
}

#[test]
fn those_that_only_repeat_themselves_delay_no_others() {
    let table = Table::new(500);
    for (again, at) in [(15, 100), (30, 110)] {
        (0..again).for_each(|number| note_at(&table, number, at, (1, 7)));
        assert_eq!(take_of(&table, 15, 100).len(), 15);
    }
    // It is too early for those that were written before.
    assert_eq!(take_of(&table, 15, 100), []);
    assert_eq!([15, 15, 15].map(|most| take_of(&table, most, 101).len()), [9, 6, 0]);
}

#[test]
fn requests_of_many_threads_are_noted_while_the_table_is_read() {
    let fetches = fetches(10_000);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut taken = 0;
            while !is_over.load(Relaxed) {
                taken += fetches.take(usize::MAX, Some(0)).len();
                all(&fetches).iter().for_each(|fetch| assert_eq!(fetch.params[0].1, fetch.username));
            }
            taken + fetches.take(usize::MAX, Some(0)).len()
        });
        let writers = [0, 1, 2].map(|_| {
            scope.spawn(|| {
                for round in 0..3000 {
                    let username = format!("user{}", round % 300);
                    note(&fetches, &Sent { username: &username, params: &[("uuid", &username)], ..ALICE });
                }
            })
        });
        writers.into_iter().for_each(|writer| writer.join().expect("it ends"));
        is_over.store(true, Relaxed);
        assert_eq!(reader.join().expect("it ends"), 300);
    });
    assert_eq!((all(&fetches).len(), fetches.metrics.fetches.get()), (300, 300));
    assert_eq!(fetches.metrics.fetches_dropped.get(), 0);
}

#[test]
fn a_request_waits_for_no_other() {
    // It has one part, but is so large that no set is full.
    let fetches = fetches(511);
    assert_eq!(fetches.table.parts(), 1);
    let held = fetches.table.open(0);
    for user in 0..WAITING + 3 {
        note(&fetches, &Sent { username: &format!("user{}", user % 20), ..ALICE });
    }
    drop(held);
    assert_eq!(fetches.metrics.fetches_dropped.get(), 3);
    assert_eq!(all(&fetches).len(), 20);
}

#[tokio::test]
async fn when_the_server_stops_all_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = sqlite(folder.path().join("db"), Queries::default());
    // So many that no set of the table is full, wherever the keys of this process put the devices.
    let settings = FetchSettings { most: 100_000, keep: None };
    let fetches = Arc::new(Fetches::new(settings, source.clone(), Arc::new(Metrics::new(false))));
    let note_some = |users: Range<u32>| {
        users.for_each(|user| note(&fetches, &Sent { username: &format!("user{user}"), ..ALICE }));
    };
    // There is no file yet, so these are taken from the table and cannot be written.
    note_some(0..10);
    fetches.record(false).await;
    source.setup().await.expect("a database");
    note_some(10..2500);
    fetches.close().await;
    let wanted = FetchFilter { most: 9999, ..FetchFilter::default() };
    assert_eq!(source.fetches(wanted).await.expect("read").len(), 2500);
    assert_eq!(fetches.metrics.fetches_recorded.get(), 2500);
}

#[test]
fn passwords_are_not_kept_and_what_is_kept_is_bounded() {
    let fetches = fetches(100);
    let long = "x".repeat(10_000);
    let mut params =
        vec![("password", "hunter2"), ("other", "hunter2"), ("sip.password", "hunter3"), ("long", &*long)];
    let names: Vec<String> = (0..50).map(|number| format!("p{number}")).collect();
    params.extend(names.iter().map(|name| (&**name, &*long)));
    note(&fetches, &Sent { params: &params, ..ALICE });
    let found = all(&fetches);
    let shown = format!("{found:?}");
    assert!(!shown.contains("hunter") && shown.len() < 4096, "{shown}");
    assert!(found[0].params.iter().any(|(name, value)| name == "long" && value.len() == 255));
}

#[test]
fn those_of_a_user_or_a_tenant_are_found() {
    let fetches = fetches(1000);
    note(&fetches, &ALICE);
    note(&fetches, &Sent { username: "bob", reason: Some(FetchReason::Locked), ..ALICE });
    let name = |name: &str| Some(name.to_owned());
    let filter = FetchFilter { most: 9, ..FetchFilter::default() };
    let count = |wanted: FetchFilter| fetches.seen(&wanted).len();
    let (domain, username) = (name("example.org"), name("alice"));
    assert_eq!(count(FetchFilter { domain: domain.clone(), ..filter.clone() }), 2);
    assert_eq!(
        count(FetchFilter { domain: domain.clone(), username: username.clone(), ..filter.clone() }),
        1
    );
    assert_eq!(count(FetchFilter { username, ..filter.clone() }), 1);
    assert_eq!(count(FetchFilter { domain: name("other.org"), ..filter.clone() }), 0);
    let address = |begin| FetchFilter { address: name(begin), ..filter.clone() };
    assert_eq!((count(address("192.0.2.")), count(address("192.0.2.1")), count(address("92."))), (2, 2, 0));
    assert_eq!(count(FetchFilter { failed: true, ..filter.clone() }), 1);
    assert_eq!(count(FetchFilter { since: Some(now() + 9), ..filter.clone() }), 0);
    assert_eq!(count(FetchFilter { most: 1, ..filter }), 1);
    let own = fetches.seen(&FetchFilter { domain, most: 9, ..FetchFilter::default() });
    let later: Vec<Fetch> = own.iter().map(|fetch| Fetch { at: fetch.at + 1, ..fetch.clone() }).collect();
    assert_eq!(merge(own, later.clone(), 9), later);
}

#[test]
fn of_more_than_are_wanted_the_newest_are_found() {
    let fetches = fetches(10_000);
    for user in 0..500 {
        let username = format!("user{user}");
        note(&fetches, &Sent { username: &username, ..ALICE });
        // Neither in the order of the parts nor in that of the times.
        set_time(&fetches, &username, (user * 7919) % 500 + 1);
    }
    let newest = fetches.seen(&FetchFilter { most: 20, ..FetchFilter::default() });
    let times: Vec<i64> = newest.iter().map(|fetch| fetch.at).collect();
    assert_eq!(times, (481..=500).rev().collect::<Vec<i64>>());
}

#[test]
fn of_the_longest_request_as_much_is_kept_as_there_is_room_for() {
    let fetches = fetches(100);
    let long = "x".repeat(10_000);
    let known = ["osname", "hwaddr", "uuid", "arch", "hostname", "locale", "build", "ipaddr", "resx", "resy"];
    let short: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let params = known.map(|name| (name, &long[..100])).into_iter();
    let params: Params = params.chain(short.iter().map(|name| (&**name, ""))).collect();
    let name = Comparison::Folded.fold(&long);
    let asking = Asking {
        domain: &name,
        username: &name,
        params: &params,
        address: [u8::MAX; 16].into(),
        agent: long.as_bytes(),
    };
    let decided = Decided {
        asking,
        account: AccountState::Usable,
        reason: Some(FetchReason::Locked),
        snapshot: Some(i64::MAX),
        properties: u32::MAX,
    };
    fetches.note(fetches.expect(&asking), &decided);
    let found = all(&fetches);
    assert_eq!((found[0].username.len(), found[0].agent.len()), (255, 255));
    assert!(found[0].params.len() > known.len() + 100, "{:?}", found[0].params.len());
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        known in vec(proptest::option::of(".{0,12}"), KEPT.len()),
        others in vec(".{0,12}", 0..9),
        agent in ".{0,60}",
        address: [u8; 16],
        is_v4: bool,
        reason in 0..=FetchReason::ALL.len(),
    ) {
        let known = KEPT.iter().zip(&known).filter_map(|(known, value)| Some((known.name().to_owned(), value.clone()?)));
        let others = others.iter().enumerate().map(|(number, value)| (format!("x-{number}"), value.clone()));
        let given: Vec<(String, String)> = known.chain(others).collect();
        let params: Params = given.iter().map(|(name, value)| (&**name, &**value)).collect();
        let address = if is_v4 { IpAddr::from([address[0], 0, 2, 255]) } else { address.into() };
        let asking = Asking {
            domain: &Comparison::Folded.fold("example.org"),
            username: &Comparison::Folded.fold("Älice"),
            params: &params,
            address,
            agent: agent.as_bytes(),
        };
        let decided = Decided {
            asking,
            account: AccountState::Usable,
            reason: FetchReason::ALL.get(reason).copied(),
            snapshot: None,
            properties: 0,
        };
        let mut details = Details::default();
        // Longer ones, of which something is left behind.
        ALICE.decided(|longer| {
            let asking = Asking { agent: &[b'x'; 255], ..longer.asking };
            details.set(&Decided { asking, ..*longer });
        });
        details.set(&decided);
        let fetch = details.fetch(false, "node").expect("it is read");
        prop_assert_eq!(fetch.params, given);
        prop_assert_eq!((&*fetch.agent, fetch.address, fetch.reason), (&*agent, address, decided.reason));
        prop_assert_eq!((&*fetch.domain, fetch.username.as_bytes()), ("example.org", &**asking.username));
    }
}
