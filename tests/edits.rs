//! `Source::edit`: all edits or none, on both databases.

use std::sync::Arc;
use std::time::Duration;

use jitsiprovs::cli::advice;
use jitsiprovs::core::columns::ColumnSet;
use jitsiprovs::core::history::{Editor, Tool};
use jitsiprovs::core::model::{Cell, Edit, Row, RuleRow, Table, UserRow};
use jitsiprovs::source::{Source, SourceError, Transaction, Which};
use tokio::sync::{mpsc, oneshot};

use support::database::{Database, Kind, Session};
use support::mariadb::MariaDb;
use support::proxy::Proxy;
use support::sqlite::SqliteFile;
use support::tables::Tables;
use support::{source_of, wait_for};

support::on_each_server!(
    a_row_that_is_removed_during_the_edit_is_reported_as_gone,
    if_the_connection_ends_during_the_commit_the_outcome_is_reported_as_unknown,
    edits_wait_for_locked_rows_and_do_not_overwrite_them,
    many_edits_neither_wait_for_nor_lock_other_rows,
);

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

/// The caller's side of a transaction.
struct Ours {
    rows: mpsc::Receiver<Vec<Row>>,
    is_read: oneshot::Receiver<()>,
    edits: mpsc::Sender<Vec<Edit>>,
    all: oneshot::Sender<()>,
}

fn transaction(which: Which) -> (Transaction, Ours) {
    let ((sender, rows), (edits, receiver)) = (mpsc::channel(1), mpsc::channel(1));
    let ((read, is_read), (all, is_all)) = (oneshot::channel(), oneshot::channel());
    let editor = Editor { name: "somebody".into(), tool: Tool::Command };
    let theirs =
        Transaction { editor, undoes: None, which, rows: sender, is_read: read, edits: receiver, is_all };
    (theirs, Ours { rows, is_read, edits, all })
}

/// Makes the edits in batches, and commits them if `keep` is set.
fn edit(source: &dyn Source, batches: Vec<Vec<Edit>>, keep: bool) -> Result<(), SourceError> {
    let (theirs, Ours { rows: _rows, is_read: _is_read, edits, all }) = transaction(Which::None);
    let send = async move {
        for batch in batches {
            if edits.send(batch).await.is_err() {
                break;
            }
        }
        drop(edits);
        if keep {
            let _ = all.send(());
        }
    };
    block_on(async { tokio::join!(source.edit(theirs), send).0 }).map(|_| ())
}

fn set(row: Row) -> Edit {
    Edit::Set(row, ColumnSet::ALL)
}

fn user(id: i64, username: &str) -> Row {
    let (domain, password) = ("a.org".into(), "x".into());
    Row::User(UserRow::from_cells(id, [username.into(), domain, password]))
}

fn rule(id: i64, domain: Cell, value: &str) -> Row {
    let (spriority, ppriority) = (1.into(), 2.into());
    let (subject, key, value) = ("default".into(), "k".into(), value.into());
    Row::Rule(RuleRow::from_cells(id, [domain, subject, spriority, ppriority, key, value]))
}

/// All rows, each as a text.
fn rows(source: &dyn Source) -> Vec<String> {
    let text = |cell: &Cell| match cell.text() {
        Ok(text) => text.map_or("NULL".to_owned(), |text| text.into_owned()),
        Err(_) => format!("{:?}", matches!(cell, Cell::Text(_))),
    };
    let line = |row: &Row| match row {
        Row::User(row) => format!("{} {} {}", row.id, text(&row.username), text(&row.domain)),
        Row::Rule(row) => {
            let cells = [&row.domain, &row.subject, &row.spriority, &row.ppriority, &row.key, &row.value];
            format!("{} {}", row.id, cells.map(text).join(" "))
        }
        Row::Attribute(row) => {
            let cells = [&row.domain, &row.username, &row.name, &row.value];
            format!("{} {}", row.id, cells.map(text).join(" "))
        }
    };
    let (sender, mut receiver) = mpsc::channel::<Vec<Row>>(1);
    let collect = async {
        let mut lines = Vec::new();
        while let Some(batch) = receiver.recv().await {
            lines.extend(batch.iter().map(line));
        }
        lines
    };
    let (loaded, mut lines) =
        block_on(async { tokio::join!(source.load(Which::All, sender, false), collect) });
    loaded.expect("loads");
    lines.sort();
    lines
}

fn each() -> impl Iterator<Item = (Tables, Arc<dyn Source>)> {
    Tables::each().into_iter().map(|tables| {
        let source = source_of(&tables.args);
        (tables, source)
    })
}

#[test]
fn edits_of_every_kind_are_made_in_their_order() {
    for (_tables, source) in each() {
        let adds = vec![
            Edit::Add(user(0, "alice")),
            Edit::Add(user(0, "bób 'x' \\ 😀")),
            Edit::Add(rule(0, Cell::Null, "v")),
            Edit::Add(rule(0, "a.org".into(), "")),
        ];
        edit(&*source, vec![adds, vec![]], true).expect("made");
        let first = rows(&*source);
        let ids: Vec<i64> = first
            .iter()
            .map(|row| row.split(' ').next().expect("an id").parse().expect("a number"))
            .collect();
        let id_of = |what: &str| ids[first.iter().position(|row| row.contains(what)).expect(what)];
        let (alice, bob, all, own) =
            (id_of("alice"), id_of("bób 'x' \\ 😀"), id_of("NULL"), id_of("a.org default"));
        let changes = vec![
            set(user(alice, "carol")),
            // Writes the value that is there already. The row must not be taken for missing.
            set(rule(own, "a.org".into(), "")),
            set(rule(all, "b.org".into(), "w")),
        ];
        edit(&*source, vec![changes, vec![Edit::Remove(Table::UserAuth, bob)]], true).expect("made");
        let mut expected = vec![
            format!("{alice} carol a.org"),
            format!("{all} b.org default 1 2 k w"),
            format!("{own} a.org default 1 2 k "),
        ];
        expected.sort();
        assert_eq!(rows(&*source), expected);
    }
}

/// Many edits are made by one statement, which must have the same effect.
#[test]
fn many_changes_are_made_each_in_its_row_and_a_row_that_is_gone_is_named() {
    const COUNT: i64 = 1100;
    for (_tables, source) in each() {
        let of = |table: Table| -> Vec<i64> {
            let (theirs, Ours { mut rows, is_read: _is_read, edits, all }) = transaction(Which::Of(table));
            let look = async move {
                let mut ids = Vec::new();
                while let Some(batch) = rows.recv().await {
                    ids.extend(batch.iter().map(Row::id));
                }
                drop((edits, all));
                ids
            };
            block_on(async { tokio::join!(source.edit(theirs), look).1 })
        };
        let adds = (0..COUNT).flat_map(|at| {
            [Edit::Add(user(0, &format!("u{at}"))), Edit::Add(rule(0, "a.org".into(), &format!("v{at}")))]
        });
        edit(&*source, vec![adds.collect()], true).expect("made");
        let (user_ids, rule_ids) = (of(Table::UserAuth), of(Table::JitsiProperty));
        let domain_and_value = ColumnSet::of([true, false, false, false, false, true]);
        let spriority = ColumnSet::of([false, false, true]);
        let changed = |at: usize, id: i64| {
            let Row::Rule(row) =
                rule(id, if at.is_multiple_of(2) { Cell::Null } else { "b.org".into() }, &format!("w{at}"))
            else {
                unreachable!()
            };
            Row::Rule(RuleRow {
                spriority: if at.is_multiple_of(3) { Cell::Null } else { (at as i64).into() },
                ..row
            })
        };
        let rules = || rule_ids.iter().enumerate();
        let mut changes: Vec<Edit> =
            rules().map(|(at, id)| Edit::Set(changed(at, *id), domain_and_value)).collect();
        changes.extend(rules().map(|(at, id)| Edit::Set(changed(at, *id), spriority)));
        let names = ColumnSet::of([true]);
        changes.extend(user_ids.iter().map(|id| Edit::Set(user(*id, &format!("n{id}")), names)));
        // The last of several edits of one row wins.
        changes.extend((0..3).map(|at| Edit::Set(user(user_ids[7], &format!("last{at}")), names)));
        changes.extend(user_ids[500..].iter().map(|id| Edit::Remove(Table::UserAuth, *id)));
        edit(&*source, vec![changes], true).expect("made");
        let mut expected: Vec<String> = rules()
            .map(|(at, id)| {
                let domain = if at.is_multiple_of(2) { "NULL" } else { "b.org" };
                let spriority = if at.is_multiple_of(3) { "NULL".to_owned() } else { at.to_string() };
                format!("{id} {domain} default {spriority} 2 k w{at}")
            })
            .collect();
        expected.extend(user_ids[..500].iter().map(|id| match *id == user_ids[7] {
            true => format!("{id} last2 a.org"),
            false => format!("{id} n{id} a.org"),
        }));
        expected.sort();
        assert!(rows(&*source) == expected, "the rows differ");

        for gone in [(|id| Edit::Remove(Table::UserAuth, id)) as fn(i64) -> Edit, |id| {
            Edit::Set(user(id, "x"), ColumnSet::of([true]))
        }] {
            let mut edits: Vec<Edit> = user_ids[..400].iter().map(|id| gone(*id)).collect();
            edits.insert(200, gone(user_ids[700]));
            let failed = edit(&*source, vec![edits], true).expect_err("one is gone");
            assert!(matches!(failed, SourceError::Gone { id, .. } if id == user_ids[700]), "{failed}");
            assert!(rows(&*source) == expected, "an edit was made");
        }
    }
}

#[test]
fn only_the_columns_that_are_meant_are_written() {
    for (_tables, source) in each() {
        let id = |row: &str| -> i64 { row.split(' ').next().expect("an id").parse().expect("a number") };
        edit(
            &*source,
            vec![vec![Edit::Add(user(0, "alice")), Edit::Add(rule(0, "a.org".into(), "v"))]],
            true,
        )
        .expect("made");
        let before = rows(&*source);
        let (rule_id, user_id) = match before[0].contains("alice") {
            true => (id(&before[1]), id(&before[0])),
            false => (id(&before[0]), id(&before[1])),
        };
        let (old, new) = (rule(rule_id, "a.org".into(), "v"), rule(rule_id, "a.org".into(), "w"));
        let domain = ColumnSet::of([false, true]);
        let Row::User(mut moved) = user(user_id, "not meant") else { unreachable!() };
        moved.domain = "b.org".into();
        let edits = vec![
            Edit::Set(rule(rule_id, "b.org".into(), "v"), old.differing(&rule(0, "b.org".into(), "v"))),
            Edit::Set(new.clone(), old.differing(&new)),
            Edit::Set(Row::User(moved), domain),
            // Changes no column. The row must still be found.
            Edit::Set(user(user_id, "nor this"), old.differing(&old)),
        ];
        edit(&*source, vec![edits], true).expect("made");
        let mut expected = vec![format!("{rule_id} b.org default 1 2 k w"), format!("{user_id} alice b.org")];
        expected.sort();
        assert_eq!(rows(&*source), expected);
        let gone = Edit::Set(user(999, "x"), old.differing(&old));
        assert!(matches!(edit(&*source, vec![vec![gone]], true), Err(SourceError::Gone { id: 999, .. })));
    }
}

#[test]
fn a_transaction_reads_what_is_asked_for() {
    for (_tables, source) in each() {
        let adds =
            vec![Edit::Add(user(0, "alice")), Edit::Add(user(0, "bob")), Edit::Add(rule(0, Cell::Null, "v"))];
        edit(&*source, vec![adds], true).expect("made");
        let read = |which| {
            let (theirs, Ours { mut rows, is_read, edits, all }) = transaction(which);
            let look = async move {
                let mut found = Vec::new();
                while let Some(batch) = rows.recv().await {
                    found.extend(batch.iter().map(|row| (row.table(), row.id())));
                }
                is_read.await.expect("it says that this was all");
                drop((edits, all));
                found
            };
            block_on(async { tokio::join!(source.edit(theirs), look).1 })
        };
        let all = read(Which::All);
        assert_eq!(all.len(), 3);
        let of = |table| all.iter().copied().filter(|row| row.0 == table).collect::<Vec<_>>();
        for table in [Table::UserAuth, Table::JitsiProperty] {
            assert_eq!(read(Which::Of(table)), of(table));
        }
        let (table, id) = of(Table::UserAuth)[1];
        assert_eq!(read(Which::One(table, id)), [(table, id)]);
        assert!(read(Which::One(Table::JitsiProperty, 999)).is_empty() && read(Which::None).is_empty());
    }
}

/// No other transaction writes between the reads and the writes of a transaction.
#[test]
fn a_transaction_waits_until_the_other_is_over_and_sees_its_edits() {
    for (_tables, source) in each() {
        let ((theirs, mut first), (others, mut second)) = (transaction(Which::All), transaction(Which::All));
        let (begin, is_begun) = oneshot::channel();
        let script = async move {
            while first.rows.recv().await.is_some() {}
            first.is_read.await.expect("the first has read");
            begin.send(()).expect("the second waits for it");
            let early = tokio::time::timeout(Duration::from_millis(300), second.rows.recv()).await;
            assert!(early.is_err(), "the second does not wait");
            first.edits.send(vec![Edit::Add(user(0, "alice"))]).await.expect("taken");
            drop(first.edits);
            first.all.send(()).expect("it waits for this");
            let mut seen = 0;
            while let Some(batch) = second.rows.recv().await {
                seen += batch.len();
            }
            drop((second.edits, second.all));
            seen
        };
        let late = async {
            is_begun.await.expect("the first has read");
            source.edit(others).await
        };
        let (made, _, seen) = block_on(async { tokio::join!(source.edit(theirs), late, script) });
        made.expect("made");
        assert_eq!(seen, 1);
    }
}

#[test]
fn many_edits_are_made_in_batches_of_any_size() {
    for (_tables, source) in each() {
        let adds = (0..1203).map(|at| Edit::Add(user(0, &format!("u{at}")))).collect();
        edit(&*source, vec![adds], true).expect("made");
        let ids: Vec<i64> = rows(&*source)
            .iter()
            .map(|row| row.split(' ').next().expect("an id").parse().expect("a number"))
            .collect();
        assert_eq!(ids.len(), 1203);
        let removed = ids.iter().map(|id| Edit::Remove(Table::UserAuth, *id)).collect();
        edit(&*source, vec![removed], true).expect("made");
        assert!(rows(&*source).is_empty());
    }
}

#[test]
fn if_one_edit_fails_none_is_made() {
    for (_tables, source) in each() {
        edit(&*source, vec![vec![Edit::Add(user(0, "alice")), Edit::Add(rule(0, Cell::Null, "v"))]], true)
            .expect("made");
        let before = rows(&*source);
        let first = || vec![Edit::Add(user(0, "bob"))];
        for (last, table) in [
            (Edit::Remove(Table::UserAuth, 999), Table::UserAuth),
            (Edit::Remove(Table::JitsiProperty, 999), Table::JitsiProperty),
            (set(user(999, "x")), Table::UserAuth),
            (set(rule(999, Cell::Null, "x")), Table::JitsiProperty),
        ] {
            let failed = edit(&*source, vec![first(), vec![last]], true).expect_err("nothing has this id");
            assert!(matches!(failed, SourceError::Gone { table: of, id: 999 } if of == table), "{failed}");
            assert_eq!(rows(&*source), before);
        }
        // The sender stops halfway.
        let failed = edit(&*source, vec![first(), first()], false).expect_err("the edits were not completed");
        assert!(matches!(failed, SourceError::Cancelled), "{failed}");
        assert_eq!(rows(&*source), before);
        // The edits that were rolled back hold no locks.
        edit(&*source, vec![first()], true).expect("made");
        assert_eq!(rows(&*source).len(), 3);
    }
}

#[test]
fn tables_of_a_query_are_not_edited() {
    for (tables, _) in each() {
        let with = |option: &str, query: &str| {
            source_of(&[&tables.args[..], &[option.to_owned(), query.to_owned()]].concat())
        };
        let users = with("--auth-query", "SELECT username, domain, password, id FROM user_auth");
        let rules = with(
            "--rules-query",
            "SELECT NULL, subject, spriority, ppriority, property_key, property_value FROM jitsi_property",
        );
        let (add_user, add_rule) = (Edit::Add(user(0, "x")), Edit::Add(rule(0, "a.org".into(), "v")));
        for (source, edits, option) in [
            (&users, vec![add_rule.clone(), add_user.clone()], "--auth-query"),
            (&users, vec![Edit::Remove(Table::UserAuth, 1)], "--auth-query"),
            (&rules, vec![add_user.clone(), add_rule.clone()], "--rules-query"),
        ] {
            let failed = edit(&**source, vec![edits], true).expect_err("not ours");
            assert!(
                matches!(failed, SourceError::OwnQuery { .. }) && advice::of_source(&failed).contains(option),
                "{failed}"
            );
        }
        assert!(users.editable(Table::UserAuth).is_err() && users.editable(Table::JitsiProperty).is_ok());
        assert!(rows(&*source_of(&tables.args)).is_empty());
        // The table that no query replaces can be edited.
        edit(&*users, vec![vec![add_rule]], true).expect("made");
        edit(&*rules, vec![vec![add_user]], true).expect("made");
        assert_eq!(rows(&*source_of(&tables.args)).len(), 2);
    }
}

#[test]
fn the_originals_table_takes_only_rules_for_all_tenants() {
    let databases = Kind::ALL.map(|kind| {
        let database = kind.database();
        database.script(kind.original());
        database
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("original.db");
    let columns = "id INTEGER PRIMARY KEY, subject TEXT, spriority INT, ppriority INT, property_key TEXT, property_value TEXT";
    rusqlite::Connection::open(&path)
        .and_then(|file| {
            file.execute_batch(&format!(
                "CREATE TABLE user_auth (id INTEGER PRIMARY KEY, username TEXT, domain TEXT, password TEXT);
                 CREATE TABLE jitsi_property ({columns})"
            ))
        })
        .expect("made");
    let sqlite = vec!["--db-path".to_owned(), path.to_str().expect("UTF-8").to_owned()];
    for args in [sqlite].into_iter().chain(databases.iter().map(Database::all)) {
        let source = source_of(&args);
        let before = rows(&*source).len();
        let of_one = vec![Edit::Add(user(0, "x")), Edit::Add(rule(0, "a.org".into(), "v"))];
        let failed = edit(&*source, vec![of_one], true).expect_err("there is no column for it");
        assert!(
            matches!(failed, SourceError::NoColumn { column: "domain", .. })
                && advice::of_source(&failed).contains("--setup"),
            "{failed}"
        );
        assert_eq!(rows(&*source).len(), before);
        let of_all = vec![Edit::Add(rule(0, Cell::Null, "v")), Edit::Add(rule(0, "".into(), "new"))];
        edit(&*source, vec![of_all], true).expect("made");
        let after = rows(&*source);
        assert_eq!(after.len(), before + 2);
        let added = after.iter().find(|row| row.ends_with(" NULL default 1 2 k new")).expect("the rule");
        let id = added.split(' ').next().expect("an id").parse().expect("a number");
        edit(&*source, vec![vec![set(rule(id, Cell::Null, "newer"))]], true).expect("made");
        edit(&*source, vec![vec![Edit::Remove(Table::JitsiProperty, id)]], true).expect("made");
        assert_eq!(rows(&*source).len(), before + 1);
    }
}

#[test]
fn a_missing_table_or_file_is_named() {
    let file = SqliteFile::empty();
    file.execute("DROP TABLE user_auth");
    let sqlite = vec!["--db-path".to_owned(), file.path.to_str().expect("UTF-8").to_owned()];
    for args in [sqlite.clone()].into_iter().chain(Kind::ALL.map(|kind| kind.database().all())) {
        let failed =
            edit(&*source_of(&args), vec![vec![Edit::Add(user(0, "x"))]], true).expect_err("no table");
        let message = format!("{failed}{}", advice::of_source(&failed));
        assert!(message.contains("`user_auth`") && message.contains("--auth-query"), "{message}");
    }
    std::fs::remove_file(&file.path).expect("removed");
    let failed = edit(&*source_of(&sqlite), vec![vec![]], true).expect_err("no file");
    assert!(matches!(failed, SourceError::NoFile(_)), "{failed}");
}

fn a_row_that_is_removed_during_the_edit_is_reported_as_gone(kind: Kind) {
    let database = kind.database();
    let source = source_of(&Tables::of(database.all()).args);
    database.script("DELETE FROM jitsi_property");
    edit(&*source, vec![vec![Edit::Add(user(0, "one")), Edit::Add(user(0, "two"))]], true).expect("made");
    let ids: Vec<i64> = rows(&*source)
        .iter()
        .map(|row| row.split(' ').next().expect("an id").parse().expect("a number"))
        .collect();
    let (theirs, Ours { rows: _rows, is_read: _is_read, edits: sender, all }) = transaction(Which::None);
    let meddle = async move {
        sender.send(vec![set(user(ids[0], "one"))]).await.expect("taken");
        for _ in 0..2 {
            // The first batch has been executed when the second one is received.
            sender.send(vec![]).await.expect("taken");
        }
        database.script(&format!("DELETE FROM user_auth WHERE id = {}", ids[1]));
        let _ = sender.send(vec![set(user(ids[1], "two"))]).await;
        drop(sender);
        let _ = all.send(());
    };
    let failed = block_on(async { tokio::join!(source.edit(theirs), meddle).0 });
    assert_overtaken(kind, failed.expect_err("it has gone"));
}

/// A snapshot of MariaDB shows that the row has gone. PostgreSQL refuses to write to a row that was
/// changed after the snapshot.
fn assert_overtaken(kind: Kind, failed: SourceError) {
    let is_right = match kind {
        Kind::MariaDb => matches!(failed, SourceError::Gone { .. }),
        Kind::Postgres => matches!(failed, SourceError::Busy(_)),
    };
    assert!(is_right, "{failed}");
}

/// A server with settings that some operators use: few prepared statements, values that are too
/// long are cut off, and a statement has at most a megabyte.
#[test]
fn edits_work_with_few_prepared_statements_and_a_lax_sql_mode() {
    let server = MariaDb::start(&[
        "--max-prepared-stmt-count=8".into(),
        "--sql-mode=".into(),
        "--max-allowed-packet=1M".into(),
    ]);
    let database = server.database();
    let tables = Tables::of(database.all());
    let source = source_of(&tables.args);
    let adds = (0..40).map(|at| Edit::Add(user(0, &format!("u{at}")))).collect();
    edit(&*source, vec![adds], true).expect("made");
    let ids: Vec<i64> = rows(&*source)
        .iter()
        .filter(|row| row.split(' ').nth(1).is_some_and(|name| name.starts_with('u')))
        .map(|row| row.split(' ').next().expect("an id").parse().expect("a number"))
        .collect();
    let removed = ids.iter().map(|id| Edit::Remove(Table::UserAuth, *id)).collect();
    edit(&*source, vec![removed], true).expect("made");
    let value = "x".repeat(60_000);
    let large = (0..400).map(|_| Edit::Add(rule(0, Cell::Null, &value))).collect();
    edit(&*source, vec![large], true).expect("made");
    database.script("DELETE FROM jitsi_property WHERE length(property_value) = 60000");

    let before = rows(&*source).len();
    let Row::Rule(mut long) = rule(0, Cell::Null, "v") else { unreachable!() };
    long.subject = Cell::from(&*"x".repeat(192));
    let failed = edit(&*source, vec![vec![Edit::Add(Row::Rule(long))]], true).expect_err("it does not fit");
    assert!(failed.to_string().contains("subject"), "{failed}");
    assert_eq!(rows(&*source).len(), before);

    database.script("ALTER TABLE jitsi_property ENGINE = MyISAM");
    let failed = edit(&*source, vec![vec![Edit::Add(user(0, "x"))]], true).expect_err("no transactions");
    assert!(
        matches!(failed, SourceError::NoTransactions) && failed.to_string().contains("InnoDB"),
        "{failed}"
    );
}

/// If a connection ends during the commit, nobody knows whether the edits were kept.
fn if_the_connection_ends_during_the_commit_the_outcome_is_reported_as_unknown(kind: Kind) {
    let database = kind.database();
    let tables = Tables::of(database.all());
    let proxy = Proxy::to(database.server.port);
    let through = source_of(&proxy.through(database.all()));
    *proxy.last_words.lock().expect("no panic") = "COMMIT";
    let failed = edit(&*through, vec![vec![Edit::Add(user(0, "alice"))]], true).expect_err("no answer");
    assert!(matches!(failed, SourceError::Uncertain { .. }), "{failed}");
    wait_for("the row", || {
        rows(&*source_of(&tables.args)).iter().any(|row| row.contains("alice")).then_some(())
    });
}

fn edits_wait_for_locked_rows_and_do_not_overwrite_them(kind: Kind) {
    let database = kind.database();
    let tables = Tables::of(database.all());
    database.script("INSERT INTO user_auth (id, username, domain) VALUES (7, 'alice', 'a.org')");
    let mut session = Session::open(&database);
    session.execute("START TRANSACTION; DELETE FROM user_auth WHERE id = 7");
    let source = source_of(&tables.args);
    let editing = std::thread::spawn(move || edit(&*source, vec![vec![set(user(7, "bob"))]], true));
    database.wait_for_waiting_row();
    session.execute("COMMIT");
    let failed = editing.join().expect("no panic").expect_err("it has gone");
    assert_overtaken(kind, failed);
}

/// For a small table, a server prefers to scan and lock all rows instead of looking up many by
/// their ids.
fn many_edits_neither_wait_for_nor_lock_other_rows(kind: Kind) {
    let database = kind.database();
    let tables = Tables::of(database.all());
    let source = source_of(&tables.args);
    let analyze = if kind == Kind::MariaDb { "ANALYZE TABLE" } else { "ANALYZE" };
    database.script(&format!(
        "INSERT INTO user_auth (id, username, domain) SELECT seq, concat('u', seq), 'a.org' FROM {};
         {analyze} user_auth",
        kind.count_to(1000)
    ));
    let mut session = Session::open(&database);
    session.execute("START TRANSACTION; UPDATE user_auth SET password = 'held' WHERE id = 1");
    let removed = (2..=500).map(|id| Edit::Remove(Table::UserAuth, id));
    let changed = (501..=900).map(|id| set(user(id, &format!("v{id}"))));
    let (theirs, Ours { rows: _rows, is_read: _is_read, edits: sender, all }) = transaction(Which::None);
    let send = async move {
        let batches = [removed.chain(changed).collect(), vec![], vec![]];
        for batch in batches {
            sender.send(batch).await.expect("it waits for no row");
        }
        // The first batch is executed but not committed. Other sessions do not wait for its rows
        // either.
        session.execute("UPDATE user_auth SET password = 'held' WHERE id > 900; COMMIT");
        drop(sender);
        let _ = all.send(());
    };
    block_on(async { tokio::join!(source.edit(theirs), send).0 }).expect("made");
    let counts = "SELECT count(*), count(CASE WHEN username LIKE 'v%' THEN 1 END),
        count(CASE WHEN password = 'held' THEN 1 END) FROM user_auth";
    assert_eq!(database.script(counts).trim(), "501\t400\t101");
}

#[test]
fn rows_that_stay_locked_for_too_long_are_reported_as_busy() {
    let server = MariaDb::start(&["--innodb-lock-wait-timeout=1".into()]);
    let database = server.database();
    let source = source_of(&Tables::of(database.all()).args);
    database.script("INSERT INTO user_auth (id, username, domain) VALUES (7, 'alice', 'a.org')");
    let mut session = Session::open(&database);
    session.execute("START TRANSACTION; UPDATE user_auth SET password = 'held'");
    let failed = edit(&*source, vec![vec![set(user(7, "bob"))]], true).expect_err("it is held");
    assert!(matches!(failed, SourceError::Busy(_)), "{failed}");
}
