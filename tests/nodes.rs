//! What several servers on one database report about themselves.

use support::client::{Reply, post};
use support::database::Kind;
use support::server::{ADMIN_SECRET, Server, run};
use support::sqlite::SqliteFile;
use support::{texts, wait_for};

const ALICE: [(&str, &str); 2] = [("username", "alice@a.org"), ("password", "pw")];

fn database() -> SqliteFile {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").rule(None, "default", 1, "k", "v");
    file
}

fn node(file: &SqliteFile, more: &[&str]) -> Server {
    let own = ["--admin-port", "0", "--admin-secret-file", ADMIN_SECRET];
    Server::on_sqlite(&file.path, &[&own, more].concat())
}

fn snapshot(reply: &Reply) -> Option<i64> {
    reply.header("x-snapshot").map(|number| number.parse().expect("a number"))
}

fn newest_change(file: &SqliteFile) -> i64 {
    file.connection.query_row("SELECT max(id) FROM jitsiprovs_change", [], |row| row.get(0)).expect("a line")
}

/// Runs `jitsiprovs status` for the servers; returns its exit code and output.
fn status(servers: &[&Server], more: &[&str]) -> (Option<i32>, String) {
    let urls: Vec<String> = servers.iter().map(|server| format!("http://{}", server.admin())).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let output = run(&[&["status"], more, &urls].concat());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
}

support::on_each_server!(status_compares_a_single_node_with_the_database,);

#[test]
fn a_user_who_is_locked_out_on_all_nodes_is_let_in_by_one_command() {
    let file = database();
    let nodes = [(); 3].map(|()| node(&file, &["--auth-fail-limit", "1", "--auth-fail-window", "3600"]));
    let sign_in = |node: &Server, password| {
        post(node.address, &[("username", "alice@a.org"), ("password", password)]).status
    };
    let urls: Vec<String> = nodes.iter().map(|node| format!("http://{}", node.admin())).collect();
    let expected: Vec<String> = urls.iter().map(|url| format!("{url}: 1 lock lifted")).collect();
    // A node that does not answer does not keep the others locked.
    for (guess, silent) in [("one", &[][..]), ("another", &["http://127.0.0.1:1"])] {
        for node in &nodes {
            assert_eq!([sign_in(node, guess), sign_in(node, "pw")], [401, 429]);
        }
        let output = run(&[&["lock", "clear", "alice@a.org"], silent, &texts(&urls)].concat());
        let [said, error] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
        assert_eq!(output.status.success(), silent.is_empty(), "{error}");
        assert!(silent.iter().all(|url| error.contains(url)), "{error}");
        for node in &nodes {
            assert_eq!(sign_in(node, "pw"), 200);
        }
    }
}

#[test]
fn answers_name_the_change_they_include_and_nodes_agree_about_it() {
    let file = database();
    let nodes = [node(&file, &[]), node(&file, &[])];
    let before = newest_change(&file);
    for node in &nodes {
        assert_eq!(snapshot(&post(node.address, &ALICE)), Some(before));
    }
    file.execute("UPDATE jitsi_property SET property_value = 'w'");
    let after = newest_change(&file);
    assert!(after > before);
    for node in &nodes {
        wait_for("the change", || (snapshot(&post(node.address, &ALICE)) == Some(after)).then_some(()));
        assert_eq!(post(node.address, &ALICE).text(), "k=w\n");
    }
    // All refusals are alike, and reveal nothing about the snapshot.
    assert_eq!(snapshot(&post(nodes[0].address, &[("username", "alice@a.org"), ("password", "no")])), None);
    assert_eq!(snapshot(&post(nodes[0].address, &[])), None);
}

#[test]
fn a_change_that_leaves_rows_the_same_still_counts() {
    let file = database();
    let nodes = [node(&file, &[]), node(&file, &[])];
    file.execute("UPDATE jitsi_property SET property_value = property_value");
    let third = node(&file, &[]);
    let newest = newest_change(&file);
    for node in nodes.iter().chain([&third]) {
        wait_for("the change", || (snapshot(&post(node.address, &ALICE)) == Some(newest)).then_some(()));
    }
    assert_eq!(status(&[&nodes[0], &nodes[1], &third], &[]).0, Some(0));
    assert!(!nodes[0].log().iter().any(|line| line.contains("version=2")), "nothing was swapped");
}

#[test]
fn without_a_table_of_changes_rows_are_compared_and_answers_name_no_change() {
    let (file, other) = (database(), database());
    for file in [&file, &other] {
        // Like the original's tables: without triggers, no line is added to the table of changes.
        for trigger in
            ["user_insert", "user_update", "user_delete", "rule_insert", "rule_update", "rule_delete"]
        {
            file.execute(&format!("DROP TRIGGER jitsiprovs_{trigger}"));
        }
        file.execute("DROP TABLE jitsiprovs_change");
    }
    other.user("b.org", "bob", "pw");
    let nodes = [node(&file, &[]), node(&file, &[]), node(&other, &[])];
    assert_eq!(snapshot(&post(nodes[0].address, &ALICE)), None);
    let (code, text) = status(&[&nodes[0], &nodes[1]], &["--max-lag", "0"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = status(&[&nodes[0], &nodes[2]], &["--max-lag", "0"]);
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn after_a_start_from_the_state_file_the_age_of_the_data_is_reported() {
    let file = database();
    let state = file.folder.path().join("state");
    let options = ["--state-file", state.to_str().expect("UTF-8")];
    let server = node(&file, &options);
    file.execute("UPDATE jitsi_property SET property_value = 'w'");
    let newest = newest_change(&file);
    wait_for("the change", || (snapshot(&post(server.address, &ALICE)) == Some(newest)).then_some(()));
    server.signal("TERM");
    assert!(server.wait().success());

    let elsewhere = file.folder.path().join("elsewhere");
    std::fs::rename(&file.path, &elsewhere).expect("renamed");
    // The age of the data counts, not how long it has been served.
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    std::fs::File::options()
        .write(true)
        .open(&state)
        .and_then(|file| file.set_modified(hour_ago))
        .expect("set");
    let server = node(&file, &options);
    assert_eq!(snapshot(&post(server.address, &ALICE)), Some(newest));
    let (_, text) = status(&[&server], &["--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(report["nodes"][0]["age"].as_f64() > Some(3599.0), "{text}");
    let (code, text) = status(&[&server], &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("database down") && text.contains("has been unreadable for"), "{text}");
}

#[test]
fn status_shows_nodes_that_are_behind_or_do_not_answer() {
    let file = database();
    let good = node(&file, &[]);
    let other = database();
    let behind = node(&other, &[]);
    let (code, text) = status(&[&good, &behind], &["--max-lag", "0"]);
    assert_eq!(code, Some(0), "the same rows at the same place are the same: {text}");

    file.execute(
        "UPDATE jitsi_property SET property_value = 'w'; UPDATE jitsi_property SET property_value = 'x'",
    );
    let newest = newest_change(&file);
    wait_for("the change", || (snapshot(&post(good.address, &ALICE)) == Some(newest)).then_some(()));
    let (code, text) = status(&[&good, &behind], &["--max-lag", "1"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("differ for more than 1 s"), "{text}");
    let (code, text) = status(&[&good, &behind], &["--max-lag", "0", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &report["agree"]), (Some(1), &false.into()));
    let nodes = report["nodes"].as_array().expect("a list");
    assert_eq!(nodes[0]["lag"], 0);
    assert_eq!(nodes[1]["lag"], 2);
    assert_eq!((&nodes[1]["users"], &nodes[1]["rules"]), (&1.into(), &1.into()));
    assert_ne!(nodes[0]["digest"], nodes[1]["digest"]);

    let gone = format!("http://{}", behind.admin());
    drop(behind);
    let output = run(&["status", "--max-lag", "0", &format!("http://{}", good.admin()), &gone]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("no answer") && text.contains("cannot connect"), "{text}");
    // The public listener does not serve admin requests.
    let output = run(&["status", "--max-lag", "0", &format!("http://{}", good.address)]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("404 Not Found for /status"));
}

#[test]
fn status_waits_for_a_node_that_is_just_behind() {
    let file = database();
    let nodes = [node(&file, &[]), node(&file, &[])];
    for value in 0..5 {
        file.execute(&format!("UPDATE jitsi_property SET property_value = '{value}'"));
        let (code, text) = status(&[&nodes[0], &nodes[1]], &["--max-lag", "20"]);
        assert_eq!(code, Some(0), "{text}");
    }
}

#[test]
fn an_invalid_node_url_is_refused_without_printing_its_secret() {
    for url in ["ftp://127.0.0.1:1", "http://user:secret@127.0.0.1:1", "http://127.0.0.1"] {
        let output = run(&["status", url]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with("error: not a node's URL: ") && !text.contains("secret"), "{text}");
    }
}

fn status_compares_a_single_node_with_the_database(kind: Kind) {
    let database = kind.database();
    let output = run(&[&["--setup"], &texts(&database.all())[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = database.read();
    let never = ["--admin-port", "0", "--poll-interval", "0", "--reload-interval", "0"];
    let server = Server::start(&[&never, &texts(&read)[..]].concat());
    assert_eq!(status(&[&server], &texts(&read)).0, Some(0));
    database.script(
        "UPDATE jitsi_property SET property_value = 'x' WHERE id <= 2;
         UPDATE jitsiprovs_change SET changed_at = now() - INTERVAL '1' MINUTE",
    );
    let (code, text) = status(&[&server], &texts(&read));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("behind the database by 2 changes, for 6"), "{text}");
    assert!(text.contains("1 of 1 nodes are behind for more than 5 s"), "{text}");
    let (code, text) = status(&[&server], &[&["--format", "json"], &texts(&read)[..]].concat());
    assert!(code == Some(1) && text.contains("\"changes\": 2"), "{text}");
    // Not yet too long, or not asked.
    assert_eq!(status(&[&server], &[&["--max-lag", "3600"], &texts(&read)[..]].concat()).0, Some(0));
    assert_eq!(status(&[&server], &[]).0, Some(0));
    // A database that cannot be read.
    let (code, text) = status(&[&server], &["--db-path", "/no/such/file"]);
    assert!(code == Some(1) && text.contains("--db-path"), "{text}");
}

#[test]
fn status_fails_while_a_node_has_not_read_the_database_for_too_long() {
    let file = database();
    let server = node(&file, &["--poll-interval", "0.05"]);
    std::fs::rename(&file.path, file.path.with_extension("away")).expect("renamed");
    let text = wait_for("the node to notice", || {
        let (code, text) = status(&[&server], &["--max-lag", "0"]);
        (code == Some(1)).then_some(text)
    });
    assert!(text.contains("database down") && text.contains("1 of 1 nodes are behind"), "{text}");
    assert_eq!(status(&[&server], &["--max-lag", "3600"]).0, Some(0));
}
