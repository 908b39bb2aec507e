//! Attributes in the files of `jitsiprovs import` and `export`.

use serde_json::{Value, json};
use support::sqlite::SqliteFile;
use support::tables::Tables;

const HEADS: &str = "username,domain,password";

/// The attributes as `export attributes` writes them, without its heads.
fn stored(tables: &Tables) -> String {
    let written = tables.done(&["export", "attributes"]);
    written.strip_prefix("domain,username,name,value\n").expect("heads").to_owned()
}

#[test]
fn further_columns_of_a_users_file_are_attributes_and_come_back() {
    let all = format!(
        "{HEADS},display_name,extension,user.id\nalice,a.org,x,\"Alice, Á\",17,\nbob,a.org,x,Bob,,4\ncarol,b.org,x,,,\n"
    );
    for tables in Tables::each() {
        let import =
            |text: &str, more: &[&str]| tables.done_with(&[&["import", "users", "-"], more].concat(), text);
        let dry = import(&all, &["--dry-run"]);
        assert!(dry.contains("+ extension of alice@a.org\n"), "{dry}");
        assert!(
            dry.ends_with("attributes: 4 to add, 0 to change, 0 to remove, 0 as they should be\n"),
            "{dry}"
        );
        assert_eq!(
            import(&all, &[]),
            "users: 3 added, 0 changed, 0 removed, 0 as they were\n\
             attributes: 4 added, 0 changed, 0 removed, 0 as they were\n"
        );
        assert_eq!(tables.done(&["export", "users"]), all);
        let of_b = tables.done(&["export", "users", "--domain", "B.org"]);
        assert_eq!(of_b, format!("{HEADS}\ncarol,b.org,x\n"));
        // Other attributes: of a tenant, of another name, a second value, and an empty one.
        let more = r#"[{"domain": "a.org", "name": "extension", "value": "1"},
            {"domain": "a.org", "username": "alice", "name": "note", "value": "n"},
            {"domain": "a.org", "username": "ALICE", "name": "Extension", "value": "18"},
            {"domain": "b.org", "username": "carol", "name": "extension", "value": ""}]"#;
        let said = tables.done_with(&["import", "attributes-json", "-"], more);
        // A value is matched with the one that is stored first. So this one was changed.
        assert_eq!(said, "attributes: 3 added, 1 changed, 0 removed, 0 as they were\n");
        let both = r#"[{"domain": "a.org", "username": "alice", "name": "extension", "value": "17"},
            {"domain": "a.org", "username": "alice", "name": "extension", "value": "18"}]"#;
        let said = tables.done_with(&["import", "attributes-json", "-"], both);
        assert_eq!(said, "attributes: 1 added, 1 changed, 0 removed, 0 as they were\n");
        let before = stored(&tables);
        // A file without a value leaves it, and so does a file without the column.
        let less = format!("{HEADS},extension\nalice,a.org,x,\nbob,a.org,x,\ncarol,b.org,x,\n");
        let kept = "users: 0 added, 0 changed, 0 removed, 3 as they were\n";
        let none = |kept: usize| format!("attributes: 0 added, 0 changed, 0 removed, {kept} as they were\n");
        assert_eq!(import(&less, &[]), kept.to_owned() + &none(0));
        assert_eq!(
            import(&format!("{HEADS}\nalice,a.org,x\nbob,a.org,x\ncarol,b.org,x\n"), &["--replace"]),
            kept
        );
        // What was exported says the same when it replaces the tables.
        let exported = tables.say(&["export", "users"], "");
        let note = String::from_utf8_lossy(&exported.stderr).into_owned();
        assert!(note.contains("3 attributes left out"), "{note}");
        let exported = String::from_utf8(exported.stdout).expect("UTF-8");
        assert_eq!(import(&exported, &["--replace"]), kept.to_owned() + &none(5));
        assert_eq!(stored(&tables), before);
        // With --replace, an empty field removes the values of that user and name, and nothing else.
        let said = import(&less, &["--replace"]);
        assert!(said.ends_with("attributes: 0 added, 0 changed, 2 removed, 0 as they were\n"), "{said}");
        let left = stored(&tables);
        let gone = before.lines().filter(|line| !left.lines().any(|other| other == *line));
        assert!(gone.clone().all(|line| line.to_lowercase().starts_with("a.org,alice,extension,")), "{left}");
        assert_eq!(gone.count(), 2, "{left}");
    }
}

#[test]
fn attributes_alone_keep_all_values_and_their_order() {
    let list = |rows: &[[&str; 4]]| {
        let row = |[domain, username, name, value]: &[&str; 4]| {
            let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
            json!({ "domain": text(domain), "username": text(username), "name": name, "value": value })
        };
        serde_json::to_string(&rows.iter().map(row).collect::<Vec<_>>()).expect("JSON")
    };
    let rows = [
        ["", "", "proxy", "p0"],
        ["a.org", "", "proxy", "p1"],
        ["a.org", "alice", "grp", "sales"],
        ["a.org", "alice", "grp", "support"],
        ["a.org", "bob", "grp", ""],
    ];
    for tables in Tables::each() {
        let import = |rows: &[[&str; 4]], more: &[&str]| {
            tables.done_with(&[&["import", "attributes-json", "-"], more].concat(), &list(rows))
        };
        assert_eq!(
            import(&rows, &["--replace"]),
            "attributes: 5 added, 0 changed, 0 removed, 0 as they were\n"
        );
        let text =
            ",,proxy,p0\na.org,,proxy,p1\na.org,alice,grp,sales\na.org,alice,grp,support\na.org,bob,grp,\n";
        assert_eq!(stored(&tables), text);
        let written = tables.done(&["export", "attributes-json"]);
        let read: Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(read, serde_json::from_str::<Value>(&list(&rows)).expect("JSON"));
        assert_eq!(tables.done(&["export", "attributes", "--domain", ""]).lines().last(), Some(",,proxy,p0"));
        for (content, text) in
            [("attributes", tables.done(&["export", "attributes"])), ("attributes-json", written)]
        {
            let said = tables.done_with(&["import", content, "-", "--replace"], &text);
            assert_eq!(said, "attributes: 0 added, 0 changed, 0 removed, 5 as they were\n", "{content}");
        }
        // The order of a user's values counts, and no other order does.
        let mut other = rows;
        other.reverse();
        let said = import(&other, &["--replace", "--dry-run"]);
        assert!(
            said.starts_with("~ grp of alice@a.org (place)\nattributes: 0 to add, 1 to change,"),
            "{said}"
        );
        import(&other, &["--replace"]);
        assert!(
            stored(&tables).contains("alice,grp,support\na.org,alice,grp,sales\n"),
            "{}",
            stored(&tables)
        );
        let said = import(&[["A.ORG", "Alice", "grp", "new"]], &["--replace", "--allow-shrink"]);
        // Those of everyone are not of this tenant.
        assert_eq!(said, "attributes: 0 added, 1 changed, 3 removed, 0 as they were\n");
        for (row, words) in [
            (["", "alice", "x", "1"], "the domain is empty but the username is not"),
            (["a.org", "alice", "line 2", "secret"], "the name is no name"),
        ] {
            let why = tables.refused(&["import", "attributes-json", "-"], &list(&[row]), 1);
            assert!(why.contains(words) && !why.contains("secret"), "{why}");
        }
        assert_eq!(stored(&tables).lines().count(), 2);
    }
}

#[test]
fn everything_is_copied_with_its_attributes() {
    let file = SqliteFile::seeded();
    file.user("a.org", "alice", "pw");
    file.execute(
        "INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'alice', 'grp', 'sales'),
             ('a.org', 'alice', 'grp', 'support'), (NULL, NULL, 'proxy', 'p'), ('a.org', NULL, 'bad name', 'x')",
    );
    let from = file.path.to_str().expect("UTF-8");
    let source = Tables::on(vec!["--db-path".into(), from.into()]);
    let whole = source.done(&["export", "json"]);
    let keys: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!(keys["attributes"].as_array().map(Vec::len), Some(3));
    for tables in Tables::each() {
        let said = tables.done(&["import", "database", "--from", from]);
        assert_eq!(
            said.lines().last(),
            Some("attributes: 3 added, 0 changed, 0 removed, 0 as they were"),
            "{said}"
        );
        assert_eq!(tables.done(&["export", "json"]), whole);
        let said = tables.done_with(&["import", "json", "-", "--replace"], &whole);
        assert!(said.lines().all(|line| line.contains(": 0 added, 0 changed, 0 removed, ")), "{said}");
        // A list that is missing leaves its table alone; one that is empty does not.
        assert_eq!(tables.done_with(&["import", "json", "-", "--replace"], "{}"), "");
        // A database without attributes leaves those of this one alone.
        let bare = SqliteFile::empty();
        bare.execute("DROP TABLE user_attribute");
        let from = bare.path.to_str().expect("UTF-8");
        let said = tables.done(&["import", "database", "--from", from, "--replace", "--allow-shrink"]);
        assert!(!said.contains("attributes") && said.contains("1 removed"), "{said}");
        assert_eq!(stored(&tables).lines().count(), 3);
        let empty = ["import", "json", "-", "--replace", "--allow-shrink"];
        let said = tables.done_with(&empty, "{\"attributes\": []}");
        assert_eq!(said, "attributes: 0 added, 0 changed, 3 removed, 0 as they were\n");
    }
    // Without the table, nothing can be imported into it, and nothing else is missing.
    file.execute("DROP TABLE user_attribute");
    assert_eq!(source.done(&["export", "users"]).lines().next(), Some(HEADS));
    let row = "name,value\nx,1\n";
    let why = source.refused(&["import", "attributes", "-"], row, 1);
    assert!(why.contains("`user_attribute` is missing") && why.contains("--setup"), "{why}");
}
