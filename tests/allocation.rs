//! Counts the allocations of a request and of a swap in the core.

use std::sync::Arc;

use jitsiprovs::core::conventions::Conventions;
use jitsiprovs::core::credential::PwdFmt;
use jitsiprovs::core::model::{Cell, Change, Row, RuleRow, UserRow};
use jitsiprovs::core::params::{Known, Params};
use jitsiprovs::core::request::{self, Body, ParamSettings};
use jitsiprovs::snapshot::{SignIn, Snapshot, Writer};
use jitsiprovs::source::default_properties;

fn rule(id: i64, subject: &str, key: &str, value: &str) -> Row {
    let (domain, spriority, ppriority) = (Cell::Null, Cell::Int(10), Cell::Int(10));
    let (subject, key, value) = (subject.into(), key.into(), value.into());
    Row::Rule(RuleRow::from_cells(id, [domain, subject, spriority, ppriority, key, value]))
}

fn user(id: i64, username: &str, password: &str) -> Row {
    let (username, domain, password) = (username.into(), "a.org".into(), password.into());
    Row::User(UserRow::from_cells(id, [username, domain, password]))
}

fn snapshot(more: impl IntoIterator<Item = Row>) -> Arc<Snapshot> {
    let user = user(1, "alice", "pw");
    let defaults = (1..).zip(default_properties()).map(|(id, (key, value))| rule(id, "default", key, value));
    let options = Conventions { pwd_fmt: PwdFmt::Plain, ..Conventions::default() };
    Writer::build(options, [user].into_iter().chain(defaults).chain(more)).0
}

/// The length of the answer in bytes, and how many allocations it took to resolve and render it.
fn measure(snapshot: &Snapshot) -> (usize, u64) {
    let params: Params = [
        ("username", "alice"),
        ("domain", "a.org"),
        ("password", "pw"),
        ("osname", "Linux"),
        ("hwaddr", "00:1A:2B:3C:4D:5E"),
        ("uuid", "8e5c1f7e-0c5f-4f0b-9d5e-0c6d2d1f4b7a"),
    ]
    .into_iter()
    .collect();
    let SignIn::Granted(session) = snapshot.authenticate(&params) else { panic!("the password is right") };
    let mut len = 0;
    // The first answer may set up data that the process keeps.
    snapshot.answer(session, &params);
    let counted = allocation_counter::measure(|| len = snapshot.answer(session, &params).body.len());
    (len, counted.count_total)
}

#[test]
fn an_answer_with_the_default_properties_allocates_only_its_body() {
    let (len, allocations) = measure(&snapshot([]));
    assert!(len > 3000, "{len}");
    assert_eq!(allocations, 1);
}

#[test]
fn a_form_that_is_read_allocates_only_its_values() {
    let form = Body::Form(b"username=alice@a.org&password=pw&osname=Linux&hwaddr=00-1A-2B");
    let settings = ParamSettings::default();
    let counted = allocation_counter::measure(|| {
        let read = request::read("", form, None, &settings);
        assert!(read.is_ok_and(|(params, _)| params.known(Known::Domain) == Some("a.org")));
    });
    // Of the username, the domain is a value of its own.
    assert_eq!(counted.count_total, 5);
}

#[test]
fn rules_of_user_and_hardware_add_no_allocation() {
    let key = "net.java.sip.communicator.impl.protocol.sip.accsip.SERVER_PORT";
    let more = [
        rule(101, "alice", key, "5071"),
        rule(102, "alice", "own", "${username}"),
        rule(103, "hwaddr=00:1a:2b:3c:4d:5e", "hardware", "${hwaddr}"),
        rule(104, "Linux", "system", "${osname}"),
    ];
    assert_eq!(measure(&snapshot(more)).1, 1);
}

#[test]
fn a_changed_row_among_many_users_copies_kilobytes_and_not_the_snapshot() {
    let users = (1..=50_000).map(|id| user(id, &format!("user{id}"), "pw"));
    let mut writer = Writer::new(Conventions { pwd_fmt: PwdFmt::Plain, ..Conventions::default() });
    let mut draft = writer.draft();
    for row in users {
        draft.put(&row);
    }
    let served = draft.commit().0;
    for change in [
        user(25_000, "user25000", "another"),
        rule(1, "user100000", "key", "value"),
        rule(2, "default", "key", "for everyone"),
    ] {
        let counted = allocation_counter::measure(|| {
            let mut draft = writer.draft();
            draft.apply(Change::Put(change));
            draft.commit();
        });
        assert!(counted.bytes_total <= 64 << 10, "{} bytes", counted.bytes_total);
    }
    // Requests in progress keep using the snapshot that they began with.
    assert!(*served != *writer.current());
}
