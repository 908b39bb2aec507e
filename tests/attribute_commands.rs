//! Commands that edit and list attributes.

use serde_json::json;

use support::client::post;
use support::server::Server;
use support::sqlite::SqliteFile;
use support::tables::Tables;
use support::wait_for;

fn wait_for_answer(server: &Server, username: &str, expected: &str) {
    wait_for(expected, || {
        let reply = post(server.address, &[("username", username), ("password", "pw")]);
        (reply.status == 200 && reply.text() == expected).then_some(())
    });
}

/// What a command that succeeds says on standard error.
fn said(tables: &Tables, args: &[&str]) -> String {
    let output = tables.say(args, "");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

#[test]
fn attributes_of_a_user_are_set_and_removed_and_served_moments_later() {
    for tables in Tables::each() {
        tables.user("Alice@a.org", "pw");
        tables.done(&["rule", "add", "k=${user.extension} ${user.display_name:-?} ${user.sip_password:-?}"]);
        let server = tables.serve();
        let done = tables.done(&["user", "set", "alice@A.org", "extension=17", "display_name=Alice Á"]);
        assert_eq!(done, "Alice@a.org: added extension, added display_name\n");
        wait_for_answer(&server, "alice@a.org", "k=17 Alice \\u00C1 ?\n");

        let set = ["user", "set", "alice@a.org", "Extension=18", "--value-stdin", "sip_password"];
        assert_eq!(
            tables.done_with(&set, "a\\b$c\nmore"),
            "Alice@a.org: changed Extension, added sip_password\n"
        );
        wait_for_answer(&server, "alice@a.org", "k=18 Alice \\u00C1 a\\\\b$c\n");
        assert_eq!(
            tables.done_with(&set, "a\\b$c"),
            "Alice@a.org: left unchanged Extension, left unchanged sip_password\n"
        );

        let shown = tables.json(&["user", "show", "alice@a.org"]);
        let named = |name: &str| {
            let all = shown["attributes"].as_array().expect("a list");
            all.iter().find(|one| one["name"] == name).expect("the attribute").clone()
        };
        assert_eq!(named("extension")["value"], "18");
        assert_eq!(named("extension")["level"], "user");
        assert_eq!(
            (&named("sip_password")["value"], &named("sip_password")["hidden"]),
            (&json!(null), &json!(true))
        );
        let table = tables.done(&["user", "show", "alice@a.org"]);
        assert!(table.contains("Alice Á") && table.contains("***") && !table.contains("a\\b$c"), "{table}");
        assert!(tables.done(&["user", "show", "alice@a.org", "--show-secrets"]).contains("a\\b$c"));

        assert_eq!(
            tables.done(&["user", "unset", "alice@a.org", "DISPLAY_NAME", "sip_password"]),
            "Alice@a.org: removed display_name, removed sip_password\n"
        );
        wait_for_answer(&server, "alice@a.org", "k=18 ? ?\n");
    }
}

#[test]
fn attributes_that_cannot_be_set_are_refused_and_nothing_is_changed() {
    let tables = Tables::sqlite();
    tables.user("alice@a.org", "pw");
    tables.done(&["user", "set", "alice@a.org", "group=support", "group=sales", "extension=17"]);
    for (args, input, code, why) in [
        (
            &["set", "alice@a.org", "extension=1", "sip_password=hunter2"][..],
            "",
            1,
            "--value-stdin sip_password",
        ),
        (&["set", "alice@a.org", "PIN=4711"], "", 1, "--value-stdin PIN"),
        (&["set", "alice@a.org", "extension=1", "user.branch=berlin"], "", 1, "write the name as `branch`"),
        (&["set", "alice@a.org", "extension=1", "1a=x"], "", 1, "cannot be an attribute"),
        (&["set", "alice@a.org", "extension=1", "a b=x"], "", 1, "cannot be an attribute"),
        (&["set", "alice@a.org", "group=x"], "", 1, "2 values of group"),
        (&["set", "alice@a.org"], "", 2, "nothing to set"),
        (&["set", "alice@a.org", "extension"], "", 2, "NAME=VALUE"),
        (&["set", "alice@a.org", "--value-stdin", "x"], "\n", 1, "--value-stdin"),
        (&["set", "bob@a.org", "extension=1"], "", 1, "no user bob@a.org"),
        (&["set", "alice", "extension=1"], "", 1, "write user@domain"),
        (&["unset", "alice@a.org", "extension", "gruop"], "", 1, "did you mean \"group\""),
        (&["disable", "bob@a.org"], "", 1, "no user bob@a.org"),
    ] {
        let said = tables.refused(&[&["user"], args].concat(), input, code);
        assert!(said.contains(why), "{args:?}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("4711"), "{said}");
    }
    let shown = tables.json(&["user", "show", "alice@a.org"]);
    let values: Vec<_> =
        shown["attributes"].as_array().expect("a list").iter().map(|one| &one["value"]).collect();
    assert_eq!(values, ["17", "support", "sales"]);
}

#[test]
fn a_user_who_is_switched_off_gets_other_rules_until_switched_on_again() {
    for tables in Tables::each() {
        tables.user("alice@a.org", "pw");
        tables.done(&["rule", "add", "k=v"]);
        let server = tables.serve();
        wait_for_answer(&server, "alice@a.org", "k=v\n");
        let warned = said(&tables, &["user", "disable", "alice@a.org"]);
        assert!(warned.contains("is switched off") && warned.contains("--setup"), "{warned}");
        wait_for_answer(&server, "alice@a.org", "");
        tables.done(&["rule", "add", "k=off", "--subject", "user.disabled=yes"]);
        wait_for_answer(&server, "alice@a.org", "k=off\n");
        let note = said(&tables, &["user", "disable", "alice@a.org"]);
        assert!(note.lines().count() == 1 && note.contains("is switched off"), "{note}");
        assert!(said(&tables, &["user", "enable", "alice@a.org"]).contains("is not switched off"));
        wait_for_answer(&server, "alice@a.org", "k=v\n");
        let done = tables.done(&["user", "enable", "alice@a.org"]);
        assert_eq!(done, "alice@a.org: no attribute disabled, so nothing was changed\n");
        let note = said(&tables, &["user", "set", "alice@a.org", "disabled=False"]);
        assert!(note.contains("is not switched off"), "{note}");
    }
}

#[test]
fn the_attributes_of_a_user_go_with_the_user() {
    for tables in Tables::each() {
        for user in ["alice@a.org", "bob@a.org", "alice@b.org"] {
            tables.user(user, "pw");
            tables.done(&["user", "set", user, "extension=17", "group=a", "group=b"]);
        }
        let done = tables.done(&["user", "remove", "Alice@a.org"]);
        assert!(
            done.starts_with("removed Alice@a.org, id ") && done.ends_with(", with 3 attributes\n"),
            "{done}"
        );
        tables.user("alice@a.org", "pw");
        assert_eq!(tables.json(&["user", "show", "alice@a.org"])["attributes"], json!([]));
        for user in ["bob@a.org", "alice@b.org"] {
            assert_eq!(tables.json(&["user", "show", user])["attributes"].as_array().map(Vec::len), Some(3));
        }
    }
}

#[test]
fn attributes_of_a_tenant_and_of_everyone_count_for_users_without_their_own() {
    for tables in Tables::each() {
        for user in ["alice@a.org", "bob@a.org", "carol@b.org"] {
            tables.user(user, "pw");
        }
        tables.done(&["rule", "add", "k=${user.branch:-?}"]);
        let server = tables.serve();
        assert_eq!(tables.done(&["tenant", "set", "--all", "branch=world"]), "all tenants: added branch\n");
        assert_eq!(
            tables.done(&["tenant", "set", "A.org", "branch=berlin", "x=y"]),
            "A.org: added branch, added x\n"
        );
        tables.done(&["user", "set", "bob@a.org", "branch=own"]);
        for (user, expected) in [("alice@a.org", "berlin"), ("bob@a.org", "own"), ("carol@b.org", "world")] {
            wait_for_answer(&server, user, &format!("k={expected}\n"));
        }
        let shown = tables.json(&["user", "show", "alice@a.org"]);
        let levels: Vec<_> =
            shown["attributes"].as_array().expect("a list").iter().map(|one| &one["level"]).collect();
        assert_eq!(levels, ["tenant", "tenant"]);

        let shown = tables.json(&["tenant", "show", "a.org"]);
        assert_eq!(
            (&shown["users"], &shown["rules"], &shown["attribute_rows"]),
            (&json!(2), &json!(0), &json!(3))
        );
        assert_eq!(shown["attributes"][0]["value"], "berlin");
        let shown = tables.json(&["tenant", "show", "--all"]);
        assert_eq!((&shown["domain"], &shown["rules"]), (&json!(null), &json!(1)));
        assert_eq!(shown["attributes"][0]["level"], "everyone");
        let shown = tables.done(&["tenant", "show", "a.org"]);
        assert!(
            shown.starts_with("a.org: 2 users, 0 rules and 3 attributes\n") && shown.contains("berlin"),
            "{shown}"
        );
        let listed = tables.json(&["tenant", "list"]);
        let counts: Vec<_> =
            listed.as_array().expect("a list").iter().map(|one| one["attributes"].clone()).collect();
        assert_eq!(counts, [1, 3, 0]);

        let warned = said(&tables, &["tenant", "set", "b.orgg", "x=y"]);
        assert!(warned.contains("warning") && warned.contains("did you mean b.org"), "{warned}");
        tables.done(&["tenant", "unset", "a.org", "branch"]);
        wait_for_answer(&server, "alice@a.org", "k=world\n");
        tables.done(&["tenant", "unset", "--all", "branch"]);
        wait_for_answer(&server, "alice@a.org", "k=?\n");

        let note = said(&tables, &["tenant", "set", "a.org", "disabled=yes"]);
        assert!(note.contains("all users of a.org are switched off"), "{note}");
        wait_for_answer(&server, "alice@a.org", "");
        let warned = said(&tables, &["user", "enable", "alice@a.org"]);
        assert!(
            warned.contains("because the tenant is: `jitsiprovs tenant unset a.org disabled`"),
            "{warned}"
        );
        tables.done(&["user", "set", "alice@a.org", "disabled=no"]);
        wait_for_answer(&server, "alice@a.org", "k=?\n");
        wait_for_answer(&server, "bob@a.org", "");
    }
}

#[test]
fn a_tenant_is_removed_with_all_that_is_its_own_and_nothing_else() {
    for tables in Tables::each() {
        for user in ["alice@a.org", "bob@A.org", "alice@b.org"] {
            tables.user(user, "pw");
            tables.done(&["user", "set", user, "extension=17"]);
        }
        for domain in ["a.org", "b.org", ""] {
            tables.done(&["rule", "add", "k=v", "--domain", domain]);
        }
        tables.done(&["tenant", "set", "a.org", "branch=berlin"]);
        tables.done(&["tenant", "set", "--all", "branch=berlin"]);
        // The test has no terminal, so nobody can be asked.
        let output = tables.say(&["tenant", "remove", "a.org"], "yes\n");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let (shown, said) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(shown, "the tenant a.org has 2 users, 1 rule and 3 attributes\n");
        assert!(said.contains("--yes"), "{said}");
        assert!(tables.refused(&["tenant", "remove", "a.or", "--yes"], "", 1).contains("did you mean A.org"));
        assert!(tables.refused(&["tenant", "remove", " ", "--yes"], "", 2).contains("domain is empty"));
        for args in [&["set", "x=y"][..], &["set"], &["unset", "--all"], &["set", "a.org"], &["show"]] {
            tables.refused(&[&["tenant"], args].concat(), "", 2);
        }

        let before = tables.json(&["tenant", "list"]);
        let done = tables.done(&["tenant", "remove", "a.org", "--yes"]);
        assert_eq!(done, "removed the tenant a.org: 2 users, 1 rule and 3 attributes\n");
        let kept: Vec<_> = before
            .as_array()
            .expect("a list")
            .iter()
            .filter(|one| one["domain"] != "a.org")
            .cloned()
            .collect();
        assert_eq!(tables.json(&["tenant", "list"]), json!(kept));
        assert_eq!(kept.len(), 2);
    }
}

#[test]
fn users_are_listed_with_the_attributes_that_count_for_them() {
    for tables in Tables::each() {
        for user in ["alice@a.org", "bob@a.org", "carol@b.org"] {
            tables.user(user, "pw");
        }
        tables.done(&["user", "set", "alice@a.org", "Extension=17", "branch=own"]);
        tables.done_with(&["user", "set", "bob@a.org", "--value-stdin", "sip_password"], "hunter2");
        tables.done(&["tenant", "set", "a.org", "branch=berlin"]);
        tables.done(&["tenant", "set", "--all", "branch=world"]);
        let list = ["user", "list", "--with", "extension,Branch,sip_password"];
        let listed = tables.json(&list);
        let attributes: Vec<_> =
            listed.as_array().expect("a list").iter().map(|one| one["attributes"].clone()).collect();
        assert_eq!(
            attributes,
            [
                json!({ "extension": "17", "branch": "own", "sip_password": null }),
                json!({ "extension": null, "branch": "berlin", "sip_password": "***" }),
                json!({ "extension": null, "branch": "world", "sip_password": null }),
            ]
        );
        let table = tables.done(&list);
        let head: Vec<&str> = table.lines().next().expect("a head").split_whitespace().collect();
        assert_eq!(head[5..], ["EXTENSION", "BRANCH", "SIP_PASSWORD"]);
        assert!(table.contains("***") && !table.contains("hunter2"), "{table}");
        assert!(tables.done(&[&list[..], &["--show-secrets"]].concat()).contains("hunter2"));
        assert_eq!(tables.json(&["user", "list"])[0].get("attributes"), None);
        tables.refused(&["user", "list", "--with", "user.extension"], "", 1);
    }
}

#[test]
fn explain_names_the_attributes_of_a_winner_and_tries_others() {
    for tables in Tables::each() {
        tables.user("alice@a.org", "pw");
        tables.done(&["user", "set", "Alice@a.org", "extension=17", "branch=berlin"]);
        tables.done(&["tenant", "set", "a.org", "proxy=p1"]);
        tables.done(&["tenant", "set", "--all", "theme=dark"]);
        tables.done(&["rule", "add", "a=${user.extension} ${user.proxy} ${user.theme} ${user.x:-y}"]);
        tables.done(&["rule", "add", "b=in ${client.address}", "--subject", "user.branch=munich"]);
        tables.done(&["rule", "add", "c=${user.line2}"]);
        tables.done(&["rule", "add", "e=v", "--subject", "user.branch=mu*"]);
        let explained = tables.json(&["explain", "alice@a.org"]);
        let rule = |explained: &serde_json::Value, key: &str| {
            let keys = explained["keys"].as_array().expect("a list");
            let key = keys.iter().find(|one| one["key"] == key).expect("the key");
            (key["value"].clone(), key["rules"][0].clone())
        };
        let (value, winner) = rule(&explained, "a");
        assert_eq!(value, "17 p1 dark y");
        assert_eq!(
            winner["attributes"],
            json!([
                { "name": "extension", "level": "user" },
                { "name": "proxy", "level": "tenant" },
                { "name": "theme", "level": "everyone" },
            ])
        );
        let why = winner["why"].as_str().expect("text");
        assert_eq!(why, "won, with user.extension (user), user.proxy (tenant), user.theme (everyone)");
        let (value, loser) = rule(&explained, "b");
        assert_eq!((value, &loser["why"]), (json!(null), &json!("user.branch is \"berlin\"")));
        assert_eq!(rule(&explained, "c").1["why"], "the user has no user.line2");
        let why = rule(&explained, "e").1["why"].clone();
        assert_eq!(why, "user.branch is \"berlin\", which does not match mu*");

        let tried =
            ["explain", "alice@A.org", "User.Branch=munich", "user.proxy=p2", "client.address=10.0.0.9"];
        let explained = tables.json(&tried);
        assert_eq!(rule(&explained, "a").0, "17 p2 dark y");
        let (value, winner) = rule(&explained, "b");
        assert_eq!((value, &winner["why"]), (json!("in 10.0.0.9"), &json!("won, with user.branch (user)")));
        let answer = tables.done(&[&tried[..], &["--properties"]].concat());
        assert_eq!(answer, "b=in 10.0.0.9\ne=v\na=17 p2 dark y\n");
        for (typed, code, why) in [
            ("user.sip_password=x", 1, "--value-stdin sip_password"),
            ("user.a-b=x", 1, "cannot be an attribute"),
            ("client.address=x", 1, "is no address"),
            ("client.username=x", 1, "comes from the server"),
        ] {
            let said = tables.refused(&["explain", "alice@a.org", typed], "", code);
            assert!(said.contains(why), "{said}");
        }
        tables.done(&["rule", "add", "d=off", "--subject", "user.disabled=yes"]);
        let output = tables.say(&["explain", "alice@a.org", "user.disabled=1"], "");
        let (shown, note) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && note.contains("is switched off"), "{note}");
        assert!(
            shown.contains("the user is switched off") && shown.contains("won, with user.disabled"),
            "{shown}"
        );
        assert_eq!(tables.done(&["explain", "alice@a.org", "user.disabled=1", "--properties"]), "d=off\n");
    }
}

#[test]
fn a_new_user_gets_attributes_that_were_there_before_and_the_command_says_so() {
    let file = SqliteFile::empty();
    file.execute(
        "INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'Alice', 'x', '17')",
    );
    let tables = Tables::on(["--db-path", file.path.to_str().expect("UTF-8")].map(str::to_owned).into());
    let output = tables.say(&["user", "add", "alice@a.org", "--password-stdin"], "pw");
    let warned = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success() && warned.contains("this user's now: x"), "{warned}");
}
