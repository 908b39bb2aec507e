//! The history of edits: `jitsiprovs history`, its table, and undoing.

use serde_json::Value;

use support::database::Kind;
use support::tables::{Place, Tables};
use support::{md5_hex, wait_for};

/// A database of each kind, without rules and without a history.
fn each() -> impl Iterator<Item = Tables> {
    Tables::each().into_iter().inspect(|tables| drop(tables.execute("DELETE FROM jitsiprovs_history")))
}

/// All that the history has stored, as one text.
fn stored(tables: &Tables) -> String {
    match &tables.place {
        Place::File(file) => file.ask(
            "SELECT coalesce(group_concat(coalesce(row_before, '') || coalesce(row_after, '')), '')
                 FROM jitsiprovs_history",
        ),
        _ => tables.execute("SELECT row_before, row_after FROM jitsiprovs_history"),
    }
}

/// What the newest edits did, the newest first.
fn newest(tables: &Tables, most: usize) -> Vec<String> {
    let edits = tables.json(&["history", "--most", &most.to_string()]);
    let what = |edit: &Value| edit["what"].as_str().expect("a text").to_owned();
    edits.as_array().expect("a list").iter().map(what).collect()
}

/// The id of the newest edit.
fn last(tables: &Tables) -> String {
    tables.json(&["history", "--most", "1"])[0]["id"].to_string()
}

fn undo(tables: &Tables, id: &str) -> String {
    tables.done(&["history", "undo", id, "--yes"])
}

/// All users, rules and attributes.
fn everything(tables: &Tables) -> Value {
    let mut all: Value = serde_json::from_str(&tables.done(&["export", "json"])).expect("JSON");
    let rules = tables.json(&["rule", "list"]);
    all.as_object_mut().expect("an object").insert("listed".into(), rules);
    all
}

#[test]
fn edits_are_noted_with_who_and_what_and_are_undone() {
    for tables in each() {
        let states = std::cell::RefCell::new(vec![everything(&tables)]);
        let step = |args: &[&str], input: &str| {
            tables.done_with(args, input);
            states.borrow_mut().push(everything(&tables));
        };
        step(&["user", "add", "alice@a.org", "--hash", "md5", "--password-stdin", "--set", "zip=1"], "pw");
        step(&["user", "passwd", "alice@a.org", "--hash", "md5", "--password-stdin"], "new");
        step(&["user", "set", "alice@a.org", "zip=0123", "extension=7"], "");
        step(&["user", "disable", "alice@a.org"], "");
        step(&["user", "enable", "alice@a.org"], "");
        step(&["tenant", "set", "a.org", "sip_server=sip.a.org"], "");
        step(&["rule", "add", "k=v", "--domain", "a.org", "--subject", "alice"], "");
        let id = tables.json(&["rule", "list", "--key", "k"])[0]["id"].to_string();
        step(&["rule", "set", &id, "--value", "w", "--spriority", "3"], "");
        step(&["user", "remove", "alice@a.org"], "");
        let rule = format!("rule {id}");
        assert_eq!(
            newest(&tables, 50),
            [
                format!("removed alice@a.org, with 2 attributes and {rule}"),
                format!("changed the spriority, value of {rule} (k)"),
                format!("added {rule} (k)"),
                "set sip_server of the tenant a.org".into(),
                "unset disabled of alice@a.org".into(),
                "set disabled of alice@a.org".into(),
                "set zip, extension of alice@a.org".into(),
                "changed the password of alice@a.org".into(),
                "added alice@a.org, with 1 attribute".into(),
            ]
        );
        let edits = tables.json(&["history"]);
        let edits = edits.as_array().expect("a list");
        assert!(edits.iter().all(|edit| edit["editor"].is_string() && edit["tool"] == "command"));
        let of_rule = tables.json(&["history", "--rule", &id]);
        assert_eq!(of_rule.as_array().map(Vec::len), Some(3));
        let of_user = tables.json(&["history", "--user", "ALICE@a.org", "--since", "2h"]);
        assert_eq!(of_user.as_array().map(Vec::len), Some(8), "{of_user}");
        assert_eq!(tables.json(&["history", "--since", "2100-01-01"]).as_array().map(Vec::len), Some(0));
        // Each edit is undone, the newest first, and then the undos.
        let states = states.into_inner();
        let ids: Vec<String> = edits.iter().map(|edit| edit["id"].to_string()).collect();
        for (id, state) in ids.iter().zip(states.iter().rev().skip(1)) {
            let before = everything(&tables);
            let tried = tables.done(&["history", "undo", id, "--dry-run"]);
            assert!(tried.contains("would be undone"), "{tried}");
            assert_eq!(everything(&tables), before);
            let said = undo(&tables, id);
            assert!(said.starts_with(&format!("undone edit {id}, which ")), "{said}");
            assert_eq!(&everything(&tables), state, "{said}");
        }
        assert!(newest(&tables, 1)[0].starts_with(&format!("undid edit {}: removed alice@a.org", ids[8])));
        let again = tables.refused(&["history", "undo", &ids[8], "--yes"], "", 1);
        assert!(again.contains("was removed since"), "{again}");
        for undone in 0..ids.len() {
            let undos = tables.json(&["history"]);
            undo(&tables, &undos[undone * 2]["id"].to_string());
        }
        assert_eq!(&everything(&tables), states.last().expect("a state"));
    }
}

#[test]
fn an_edit_whose_rows_have_changed_is_not_undone() {
    let tables = Tables::sqlite();
    tables.user("alice@a.org", "pw");
    let added = last(&tables);
    let refused = |id: &str, words: &str| {
        let before = everything(&tables);
        let said = tables.refused(&["history", "undo", id, "--yes"], "", 1);
        assert!(said.contains(words) && said.contains("nothing was changed"), "{said}");
        assert_eq!(everything(&tables), before);
    };
    tables.done_with(&["user", "passwd", "alice@a.org", "--password-stdin"], "other");
    refused(&added, "alice@a.org has changed since (password)");
    tables.done(&["user", "remove", "alice@a.org"]);
    let removed = last(&tables);
    refused(&added, "alice@a.org was removed since");
    tables.execute("INSERT INTO user_auth (id, username, domain, password) VALUES (1, 'b', 'b.org', 'x')");
    refused(&removed, "its id 1 is taken");
    refused(&last(&tables), "b@b.org: another tool made this edit");
    assert_eq!(newest(&tables, 1), ["added b@b.org"]);
    let none = tables.refused(&["history", "undo", "999", "--yes"], "", 1);
    assert!(none.contains("there is no edit 999"), "{none}");
    let unasked = tables.refused(&["history", "undo", &removed], "", 1);
    assert!(unasked.contains("--yes"), "{unasked}");
}

#[test]
fn passwords_and_secrets_do_not_reach_the_history() {
    for mut tables in each() {
        tables.args.extend(["--pwd-fmt".into(), "plain".into()]);
        let plain = ["user", "add", "alice@a.org", "--hash", "plain", "--password-stdin"];
        tables.done_with(&plain, "hunter2");
        tables
            .done_with(&["user", "passwd", "alice@a.org", "--hash", "plain", "--password-stdin"], "hunter3");
        let changed = last(&tables);
        let set = ["user", "set", "alice@a.org", "--value-stdin", "sip_password"];
        tables.done_with(&set, "hunter4");
        let secret = last(&tables);
        tables.done_with(&set, "hunter5");
        let changed_secret = last(&tables);
        tables.done(&["rule", "add", "acc.PASSWORD=hunter6"]);
        let rule = last(&tables);
        let id = tables.json(&["rule", "list", "--key", "acc"])[0]["id"].to_string();
        tables.done(&["rule", "set", &id, "--spriority", "3"]);
        let priority = last(&tables);
        let all = stored(&tables);
        assert!(all.contains("$argon2id$") && !all.contains("hunter"), "{all}");
        for edit in [&changed, &secret, &changed_secret, &rule, &priority] {
            for format in ["table", "json"] {
                let shown = tables.done(&["history", "show", edit, "--format", format]);
                assert!(shown.contains("***"), "{shown}");
                assert!(!shown.contains("hunter") && !shown.contains("argon2"), "{shown}");
            }
        }
        // A secret that the edit left as it was is no obstacle; one that it changed is.
        undo(&tables, &priority);
        undo(&tables, &rule);
        let refused = tables.refused(&["history", "undo", &changed_secret, "--yes"], "", 1);
        assert!(refused.contains("the old value is a secret"), "{refused}");
        let refused = tables.refused(&["history", "undo", &secret, "--yes"], "", 1);
        assert!(refused.contains("has changed since (value)"), "{refused}");
        // The old password comes back as a hash that the server accepts.
        undo(&tables, &changed);
        let server = tables.serve();
        wait_for("the old password", || {
            let reply = support::client::post(
                server.address,
                &[("username", "alice@a.org"), ("password", "hunter2")],
            );
            (reply.status == 200).then_some(())
        });
    }
}

#[test]
fn an_import_is_one_edit_and_is_undone_as_a_whole() {
    for tables in each() {
        tables.user("old@a.org", "pw");
        let before = everything(&tables);
        let rows: String =
            (0..1200).map(|at| format!("user{at},a.org,{}\n", md5_hex(&at.to_string()))).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("users.csv");
        std::fs::write(&file, format!("username,domain,password\nold,a.org,{}\n{rows}", md5_hex("x")))
            .expect("written");
        tables.done(&["import", "users", file.to_str().expect("UTF-8"), "--dry-run"]);
        tables.done(&["import", "users", file.to_str().expect("UTF-8")]);
        let edits = tables.json(&["history"]);
        assert_eq!(edits.as_array().map(Vec::len), Some(2), "a dry run is no edit");
        assert_eq!(edits[0]["tool"], "import");
        assert!(newest(&tables, 1)[0].starts_with("imported more than 200 rows"), "{edits}");
        assert_eq!(tables.json(&["history", "--user", "user700@a.org"]).as_array().map(Vec::len), Some(1));
        let id = last(&tables);
        let shown = tables.json(&["history", "show", &id]);
        assert_eq!(shown["rows"].as_array().map(Vec::len), Some(1201));
        let after = everything(&tables);
        undo(&tables, &id);
        assert_eq!(everything(&tables), before);
        undo(&tables, &last(&tables));
        assert_eq!(everything(&tables), after);
        // The same rows again change nothing, so there is nothing to note.
        tables.done(&["import", "users", file.to_str().expect("UTF-8")]);
        assert_eq!(tables.json(&["history"]).as_array().map(Vec::len), Some(4));
    }
}

#[test]
fn no_edit_of_another_tool_fails_because_of_the_history() {
    let long = "x".repeat(2000);
    let rows = |odd: &str| {
        format!(
            "INSERT INTO user_auth (username, domain, password) VALUES (NULL, NULL, NULL), ('{long}', '{long}', 'p');
             INSERT INTO user_auth (username, domain, password) VALUES ({odd}, {odd}, {odd});
             INSERT INTO jitsi_property (subject, property_key, property_value) VALUES (NULL, NULL, NULL);
             INSERT INTO jitsi_property (subject, property_key, property_value) VALUES ('u', '{long}', {odd});
             INSERT INTO user_attribute (domain, username, name, value) VALUES ('', '', 'n', {odd});
             UPDATE user_auth SET password = {odd}; UPDATE user_auth SET username = '\u{1F600}';
             UPDATE jitsi_property SET spriority = 7; UPDATE user_attribute SET value = '';
             DELETE FROM user_auth; DELETE FROM jitsi_property WHERE spriority = 7; DELETE FROM user_attribute;"
        )
    };
    let sqlite = Tables::sqlite();
    sqlite.execute(&rows("x'ff00fe'"));
    sqlite.execute(
        "PRAGMA recursive_triggers = 1; REPLACE INTO user_auth (id, username) VALUES (9, 'a'), (9, 'b')",
    );
    let edits = sqlite.json(&["history", "--most", "200"]);
    let edits = edits.as_array().expect("a list");
    assert!(edits.len() > 18 && edits.iter().all(|edit| edit["editor"].is_null() && edit["tool"].is_null()));
    assert_eq!(newest(&sqlite, 1), ["added b@"]);

    let mysql = Tables::mysql();
    for (alter, odd) in [
        ("", "'\u{1F600}'"),
        (
            "ALTER TABLE user_auth MODIFY username BLOB, MODIFY domain VARBINARY(3000), MODIFY password BLOB;
          ALTER TABLE jitsi_property MODIFY property_key BLOB, MODIFY property_value BLOB;
          ALTER TABLE user_attribute MODIFY value BLOB;",
            "x'ff00fe'",
        ),
        (
            "ALTER TABLE user_auth MODIFY username TEXT CHARACTER SET latin1, MODIFY domain TEXT CHARACTER SET utf16;",
            "'ü'",
        ),
    ] {
        let username = if odd == "'ü'" { "SET sql_mode = ''; " } else { "SET sql_mode = 'TRADITIONAL'; " };
        mysql.execute(&format!("{alter} {username}{}", rows(odd)));
    }
    assert!(newest(&mysql, 200).len() > 40);
    let postgres = Tables::on_server(Kind::Postgres);
    postgres.execute(&rows("'\u{1F600}'"));
    postgres.execute(
        "ALTER TABLE user_auth ALTER username TYPE BYTEA USING NULL, ALTER domain TYPE BYTEA USING NULL,
             ALTER password TYPE BYTEA USING NULL;
         ALTER TABLE jitsi_property ALTER property_key TYPE BYTEA USING NULL,
             ALTER property_value TYPE BYTEA USING NULL;
         ALTER TABLE user_attribute ALTER value TYPE BYTEA USING ''",
    );
    postgres.execute(&rows("'\\xff00fe'"));
    assert!(newest(&postgres, 200).len() > 30);
    // Even without the table, others can edit.
    for tables in [mysql, postgres] {
        tables.execute("ALTER TABLE jitsiprovs_history RENAME TO elsewhere");
        tables.execute("INSERT INTO user_auth (username, domain) VALUES ('a', 'b'); DELETE FROM user_auth");
    }
}

#[test]
fn edits_go_on_without_the_table_and_without_rights_on_it() {
    let tables = Tables::sqlite();
    let drop: String = ["user", "rule", "attribute"]
        .iter()
        .flat_map(|kind| {
            ["insert", "update", "delete"]
                .map(|event| format!("DROP TRIGGER jitsiprovs_history_{kind}_{event};"))
        })
        .collect();
    tables.execute(&format!("{drop} DROP TABLE jitsiprovs_history; DROP TABLE jitsiprovs_editor"));
    let add = ["user", "add", "alice@a.org", "--hash", "md5", "--password-stdin"];
    let output = tables.say(&add, "pw");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(tables.json(&["history"]).as_array().map(Vec::len), Some(0));

    Kind::ALL.into_iter().for_each(edits_go_on_without_rights);
}

fn edits_go_on_without_rights(kind: Kind) {
    let tables = Tables::on_server(kind);
    let Place::Server(database) = &tables.place else { unreachable!() };
    let name = &database.name;
    let (at, account, create) = match kind {
        Kind::MariaDb => (format!("{name}."), format!("{name}_some@'%'"), "CREATE USER"),
        Kind::Postgres => (String::new(), format!("{name}_some"), "CREATE ROLE"),
    };
    let password = if kind == Kind::MariaDb { "IDENTIFIED BY" } else { "LOGIN PASSWORD" };
    database.server.script("", &format!("{create} {account} {password} 'some'"));
    for table in ["user_auth", "jitsi_property", "user_attribute", "jitsiprovs_change"] {
        tables.execute(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {at}{table} TO {account}"));
    }
    let mut args = tables.args.clone();
    (args[7], args[9]) = (format!("{name}_some"), "some".into());
    let some = Tables::on(args);
    for grant in ["", "SELECT", "SELECT, INSERT"] {
        if !grant.is_empty() {
            tables.execute(&format!("GRANT {grant} ON {at}jitsiprovs_history TO {account}"));
        }
        let user = format!("{}@a.org", grant.len());
        let output = some.say(&["user", "add", &user, "--hash", "md5", "--password-stdin"], "pw");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(
            said.contains("the history does not say who made this edit"),
            grant != "SELECT, INSERT",
            "{said}"
        );
        // The triggers have noted what the account could not.
        let edits = tables.json(&["history", "--most", "1"]);
        assert_eq!(edits[0]["what"], format!("added {user}"));
        assert_eq!(edits[0]["editor"].is_null(), grant != "SELECT, INSERT");
    }
}

#[test]
fn the_server_prunes_old_lines() {
    for tables in each() {
        tables.user("alice@a.org", "pw");
        let line = |days: u32| {
            let now = match tables.kind() {
                None => "strftime('%s', 'now')",
                Some(Kind::MariaDb) => "unix_timestamp()",
                Some(Kind::Postgres) => "extract(epoch FROM now())",
            };
            format!(
                "INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id, name)
                 VALUES ({now} - {}, 'add', 'user_auth', 9, 'old');",
                days * 24 * 3600
            )
        };
        tables.execute(&[line(11), line(9), line(800)].concat());
        let source = support::source_of(&tables.args);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let prune = |days| runtime.block_on(source.prune_history(days)).expect("pruned");
        assert_eq!((prune(0), prune(365), prune(10), prune(10)), (0, 1, 1, 0));
        assert_eq!(newest(&tables, 9), ["added old", "added alice@a.org"]);
    }
}
