//! `jitsiprovs rule`.

use serde_json::json;

use support::database::Kind;
use support::tables::Tables;

support::on_each_server!(rules_are_listed_in_order_of_precedence,);

fn ids(tables: &Tables, args: &[&str]) -> Vec<i64> {
    let listed = tables.json(&[&["rule", "list"], args].concat());
    listed.as_array().expect("a list").iter().map(|rule| rule["id"].as_i64().expect("a number")).collect()
}

fn rules_are_listed_in_order_of_precedence(kind: Kind) {
    let database = kind.database();
    let tables = Tables::of(database.all());
    database.script(
        "DELETE FROM jitsi_property;
         INSERT INTO jitsi_property (id, domain, subject, spriority, ppriority, property_key, property_value) VALUES
             (1, 'A.org', 'default', 10, 10, 'one.KEY', 'v'), (2, '', 'Alice ', 9, 10, 'two.key', 'v'),
             (3, NULL, 'default', NULL, 10, 'k', 'v'), (4, 'a.ORG', 'alice', 10, NULL, 'k', 'v'),
             (5, NULL, NULL, 10, 10, NULL, NULL)",
    );
    assert_eq!(ids(&tables, &[]), [3, 2, 4, 1, 5]);
    assert_eq!(ids(&tables, &["--domain", "a.org"]), [4, 1]);
    assert_eq!(ids(&tables, &["--domain", ""]), [3, 2, 5]);
    assert_eq!(ids(&tables, &["--subject", "ALICE"]), [2, 4]);
    assert_eq!(ids(&tables, &["--subject", "ALICE", "--domain", "a.org"]), [4]);
    assert_eq!(ids(&tables, &["--key", ".key"]), [2, 1]);
    assert_eq!(ids(&tables, &["--subject", "alice", "--case-sensitive"]), [4]);
    assert_eq!(
        tables.json(&["rule", "show", "5"]),
        json!({ "id": 5, "domain": null, "subject": null, "spriority": 10, "ppriority": 10,
                "key": null, "value": null, "hidden": false })
    );
    assert_eq!(tables.done(&["rule", "list"]).lines().count(), 6);
}

#[test]
fn values_that_look_like_secrets_are_hidden_in_all_output() {
    let tables = Tables::sqlite();
    tables.user("alice@a.org", "pw");
    for key in ["x.API_TOKEN", "x.userPwd", "x.private_key", "x.voicemailPin", "x.ENCRYPTED_PASSWORD"] {
        let property = format!("{key}=hunter2");
        let added = tables.say(&["rule", "add", &property, "--subject", "alice"], "");
        let said = String::from_utf8(added.stderr).expect("UTF-8");
        assert!(added.status.success() && said.contains("what looks like a secret"), "{key}: {said}");
    }
    for args in [
        &["rule", "list"][..],
        &["user", "show", "alice@a.org"],
        &["explain", "alice@a.org", "pin=hunter2"],
        &["rule", "set", &ids(&tables, &["--key", "TOKEN"])[0].to_string(), "--value", "hunter3"],
    ] {
        let said = tables.done(args);
        assert!(said.contains("***") && !said.contains("hunter"), "{args:?}: {said}");
        if args[0] != "rule" || args[1] == "list" {
            let said = tables.json(args).to_string();
            assert!(!said.contains("hunter"), "{args:?}: {said}");
        }
    }
    let file = "subject,key,value\nbob,x.API_TOKEN,hunter2\n";
    let said = tables.done_with(&["import", "rules", "--dry-run"], file);
    assert!(said.contains("x.API_TOKEN") && !said.contains("hunter"), "{said}");
    assert!(tables.done(&["rule", "list", "--show-secrets"]).contains("hunter"));
}

#[test]
fn passwords_in_rules_are_shown_only_when_asked_for() {
    for tables in Tables::each() {
        let said = tables.done(&["rule", "add", "acc.PASSWORD=hunter2"])
            + &tables.done(&["rule", "add", "own.PASSWORD=${password}"]);
        let id = ids(&tables, &["--key", "acc"])[0].to_string();
        let set = tables.done(&["rule", "set", &id, "--value", "hunter3"]);
        let list = tables.done(&["rule", "list"]);
        let shown = tables.json(&["rule", "show", &id]);
        assert!(list.contains("***") && list.contains("${password}"), "{list}");
        assert_eq!((&shown["value"], &shown["hidden"]), (&json!(null), &json!(true)));
        for said in [said, set, list, shown.to_string()] {
            assert!(!said.contains("hunter"), "{said}");
        }
        assert!(tables.done(&["rule", "list", "--show-secrets"]).contains("hunter3"));
        assert_eq!(tables.json(&["rule", "show", &id, "--show-secrets"])["value"], "hunter3");
    }
}

#[test]
fn a_property_is_split_as_java_does_and_oddities_cause_warnings() {
    for tables in Tables::each() {
        for (property, key, value, warned) in [
            ("a.b = c = d ", "a.b", "c = d ", ""),
            ("a\\:b:c", "a\\:b", "c", ""),
            ("${osname:-x=y}.k=${null}", "${osname:-x=y}.k", "${null}", "the key ends for the client"),
            ("${osname:-x}.k=${null}", "${osname:-x}.k", "${null}", ""),
            ("k=5$", "k", "5$", "a `$` that begins no placeholder"),
            ("k=C:\\", "k", "C:\\", "a backslash at the end"),
            ("k=", "k", "", "the value is empty"),
        ] {
            let output = tables.say(&["rule", "add", property, "--subject", "x=y", "--also"], "");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{property}: {said}");
            assert!(said.contains(warned) && said.is_empty() == warned.is_empty(), "{property}: {said}");
            let id = ids(&tables, &[]).into_iter().max().expect("a rule");
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said, format!("added rule {id}, for clients of all tenants that send \"y\" for x\n"));
            let shown = tables.json(&["rule", "show", &id.to_string()]);
            assert_eq!((&shown["key"], &shown["value"]), (&json!(key), &json!(value)));
        }
    }
}

#[test]
fn rules_that_the_server_could_not_use_are_refused() {
    for tables in Tables::each() {
        tables.done(&["rule", "add", "k=v"]);
        let id = ids(&tables, &[])[0].to_string();
        let long = format!("{}=hunter2", "k".repeat(1025));
        for (args, code, why) in [
            (&["rule", "add", "no value"][..], 1, "blank"),
            (&["rule", "add", "novalue"], 1, "key=value"),
            (&["rule", "add", "#k=hunter2"], 1, "comment"),
            (&["rule", "add", &long], 1, "longer than 1024 bytes"),
            (&["rule", "add", "k=hunter2", "--subject", ""], 1, "subject is empty"),
            (&["rule", "add", "k=hunter2", "--subject", "osname="], 1, "subject is empty"),
            (&["rule", "add", "k=hunter2", "--spriority", "ten"], 2, "--spriority"),
            (&["rule", "set", &id], 2, "--value"),
            (&["rule", "set", &id, "--key", "a b"], 1, "blank"),
            (&["rule", "set", "999", "--key", "a"], 1, "no rule id 999"),
            (&["rule", "show", "999"], 1, "no rule id 999"),
            (&["rule", "remove", &id, "999"], 1, "no rule id 999"),
        ] {
            let said = tables.refused(args, "", code);
            assert!(said.contains(why) && !said.contains("hunter2"), "{args:?}: {said}");
        }
        assert_eq!(ids(&tables, &[]), [id.parse::<i64>().expect("a number")]);
    }
}

#[test]
fn adding_a_rule_gives_the_warnings_that_check_would_give_for_it() {
    let tables = Tables::sqlite();
    let provisioning = "net.java.sip.communicator.plugin.provisioning.MANDATORY";
    for (property, subject, warned) in [
        ("k=$usernmae", "default", "did you mean `username`?"),
        ("k=v", "osnmae=Linux", "did you mean `osname`?"),
        ("k=a$", "default", "write `$$`"),
        (&format!("{provisioning}=true"), "default", "MANDATORY"),
        ("provisioning.ENFORCE_PREFIX=acc", "default", "UUID"),
        ("acc.SECRET=$password", "default", "log"),
        // The rule alone does not show whether these are mistakes: that depends on other rows.
        ("acc.k=$username", "username=bob", ""),
        ("acc.k=$branch", "default", ""),
    ] {
        let output = tables.say(&["rule", "add", property, "--subject", subject, "--also"], "");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success(), "{property}: {said}");
        match warned {
            "" => assert_eq!(said, "", "{property}"),
            _ => assert!(said.starts_with("warning: ") && said.contains(warned), "{property}: {said}"),
        }
    }
    let id = ids(&tables, &["--key", "SECRET"])[0].to_string();
    let said = tables.say(&["rule", "set", &id, "--value", "${osnam}"], "").stderr;
    assert!(String::from_utf8(said).expect("UTF-8").contains("did you mean `osname`?"));
}

#[test]
fn set_changes_only_the_given_columns_and_remove_accepts_several_rules() {
    for tables in Tables::each() {
        for value in ["a", "b", "c"] {
            let property = format!("k={value}");
            tables.done(&["rule", "add", &property, "--domain", "a.org", "--spriority", "-3", "--also"]);
        }
        let all = ids(&tables, &["--domain", "a.org"]);
        let first = all[0].to_string();
        tables.done(&["rule", "set", &first, "--domain", "", "--ppriority", "-1", "--value", "-x"]);
        assert_eq!(
            tables.json(&["rule", "show", &first]),
            json!({ "id": all[0], "domain": null, "subject": "default", "spriority": -3, "ppriority": -1,
                    "key": "k", "value": "-x", "hidden": false })
        );
        let (second, third) = (all[1].to_string(), all[2].to_string());
        let said = tables.done(&["rule", "remove", &third, &second, &third]);
        assert_eq!(said, format!("removed rules {second}, {third}\n"));
        assert_eq!(ids(&tables, &[]), [all[0]]);
    }
}

#[test]
fn list_and_add_say_for_which_users_a_rule_is() {
    for tables in Tables::each() {
        tables.user("alice@a.org", "pw");
        for (args, whom) in [
            (&["--subject", "default", "--domain", "a.org"][..], "everyone of the tenant a.org"),
            (&["--subject", "username=alice"], "the user alice of all tenants"),
            (
                &["--subject", "alice", "--domain", "b.org"],
                "the user alice of the tenant b.org, who does not exist",
            ),
            (
                &["--subject", "Linux"],
                "clients of all tenants that send \"Linux\" for osname, as long as no user",
            ),
            (&["--subject", "Username=alice"], "the user alice of all tenants"),
            (&["--subject", "osname=Linux"], "clients of all tenants that send \"Linux\" for osname\n"),
            (&["--subject", r"osname=a\*"], "clients of all tenants that send \"a*\" for osname\n"),
            (
                &["--subject", "osname=Windows*"],
                "clients of all tenants that send a value for osname that matches windows*\n",
            ),
            (
                &["--subject", "client.address=10.1.2.3/16"],
                "clients of all tenants whose address is in 10.1.0.0/16\n",
            ),
            (&["--subject", "user.branch=b*"], "users of all tenants whose attribute branch matches b*\n"),
        ] {
            let said = tables.done(&[&["rule", "add", "k=v", "--also"], args].concat());
            assert!(said.contains(whom), "{said}");
        }
        let spriorities: Vec<i64> = tables
            .json(&["rule", "list"])
            .as_array()
            .expect("a list")
            .iter()
            .map(|rule| rule["spriority"].as_i64().expect("a number"))
            .collect();
        assert_eq!(spriorities, [5, 5, 5, 5, 5, 5, 5, 5, 5, 7]);
        for (subject, stored) in
            [("os=WINDOWS*", "osname=Windows*"), ("client.address=10.1.0.0/16", "client.address=10.1.2.3/16")]
        {
            let found = tables.json(&["rule", "list", "--subject", subject]);
            assert_eq!(found[0]["subject"], stored);
            assert_eq!(found.as_array().map(Vec::len), Some(1));
        }
    }
}

#[test]
fn a_literal_value_arrives_as_it_was_typed() {
    let tables = Tables::sqlite();
    tables.user("alice@a.org", "pw");
    let value = " a\\b$c ${username:ID} é";
    let stored = "\\ a\\\\b$$c $${username:ID} \\u00E9";
    tables.done(&["rule", "add", "t.added=1", "--spriority", "1"]);
    let set = ids(&tables, &["--key", "t.added"])[0].to_string();
    tables.done(&["rule", "set", &set, "--value", value, "--literal"]);
    tables.done(&["rule", "add", &format!("t.typed={value}"), "--literal", "--spriority", "2"]);
    let csv = format!("subject,spriority,key,value\ndefault,3,t.imported,\"{value}\"\n");
    tables.done_with(&["import", "rules", "--literal"], &csv);
    let rules = tables.json(&["rule", "list", "--key", "t."]);
    let rules = rules.as_array().expect("a list");
    assert!(rules.len() == 3 && rules.iter().all(|rule| rule["value"] == stored), "{rules:?}");
    let answer = tables.done(&["explain", "alice@a.org", "--properties"]);
    for key in ["t.added", "t.typed", "t.imported"] {
        assert!(answer.contains(&format!("{key}=\\ a\\\\b$c ${{username:ID}} \\u00E9\n")), "{answer}");
    }
    // The client takes this for a command, however it is written.
    let refused = tables.refused(&["rule", "add", "t.x=${null}", "--literal"], "", 1);
    assert!(refused.contains("leave out --literal"), "{refused}");
    tables.refused(&["import", "rules", "--literal"], "subject,key,value\ndefault,t.x,${null}\n", 1);
    tables.refused(&["rule", "set", &set, "--key", "t.y", "--literal"], "", 2);
    tables.refused(&["import", "users", "--literal"], "", 2);
    tables.refused(&["rule", "add", &format!("t.x={value}")], "", 1);
}
