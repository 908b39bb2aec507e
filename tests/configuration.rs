//! The settings file, `jitsiprovs config`, and the names of databases.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::client::post;
use support::server::{Server, jitsiprovs, run, run_command};
use support::sqlite::SqliteFile;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// A settings file in `folder` that names the database.
fn settings_file(folder: &Path, database: &SqliteFile, more: &str) -> String {
    let path = folder.join("jitsiprovs.conf");
    let lines = format!("# a comment\nJITSIPROVS_DB_PATH={}\n{more}\n", database.path.display());
    fs::write(&path, lines).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn the_server_and_the_commands_read_the_same_settings_file() {
    let (folder, database) = (tempfile::tempdir().expect("a folder"), SqliteFile::empty());
    let file = settings_file(folder.path(), &database, "JITSIPROVS_DEFAULT_DOMAIN=a.org");
    let added = run(&["rule", "add", "greeting=hello", "--config", &file]);
    assert!(added.status.success(), "{}", text(&added));
    let mut command = jitsiprovs(&["tenant", "list"]);
    command.env("JITSIPROVS_CONFIG", &file);
    let listed = text(&run_command(command));
    assert!(listed.contains("all tenants"), "{listed}");
    database.user("a.org", "alice", "wonderland");
    let server = Server::start(&["--config", &file]);
    let answer = post(server.address, &[("username", "alice"), ("password", "wonderland")]);
    assert!(answer.status == 200 && answer.text() == "greeting=hello\n", "{}", answer.text());
}

#[test]
fn config_shows_values_with_their_origin_and_hides_secrets() {
    let (folder, database) = (tempfile::tempdir().expect("a folder"), SqliteFile::empty());
    let file = settings_file(folder.path(), &database, "JITSIPROVS_HTTP_PORT=8443");
    let shown = run(&["config", "--config", &file, "--format", "json", "--realm", "r"]);
    let all: Vec<Value> = serde_json::from_slice(&shown.stdout).expect("JSON");
    let of = |option: &str| all.iter().find(|one| one["option"] == option).expect("listed").clone();
    assert_eq!(of("http-port")["value"], "8443");
    assert_eq!(of("http-port")["origin"], format!("{file}, line 3"));
    assert_eq!(of("realm")["origin"], "command line");
    assert_eq!(of("idle-timeout")["origin"], "default");
    assert_eq!(of("admin-port")["value"], Value::Null);
    let one = |option: &str| text(&run(&["config", option, "--config", &file]));
    assert_eq!(one("http-port"), "8443\n");
    assert_eq!(one("JITSIPROVS_HTTP_PORT"), "8443\n");
    assert_eq!(one("admin-port"), "");
    let mut secret = jitsiprovs(&["config", "--config", ""]);
    secret.env("JITSIPROVS_DB_PWD", "hunter2");
    let secret = text(&run_command(secret));
    assert!(secret.contains("***") && !secret.contains("hunter2"), "{secret}");
    assert!(secret.contains("settings file: none"), "{secret}");
}

#[test]
fn config_check_fails_where_a_start_would_fail() {
    let (folder, database) = (tempfile::tempdir().expect("a folder"), SqliteFile::empty());
    let check = |more: &str| {
        let file = settings_file(folder.path(), &database, more);
        let checked = run(&["config", "--check", "--http-ip", "127.0.0.1", "--config", &file]);
        (checked.status.code(), text(&checked))
    };
    let (code, said) = check("JITSIPROVS_HTTP_PORT=0");
    assert!(code == Some(0) && said.contains("can start"), "{said}");
    let missing = folder.path().join("missing").display().to_string();
    for (more, words) in [
        (format!("JITSIPROVS_SSL_KEYFILE={missing}"), "--ssl-certfile"),
        (format!("JITSIPROVS_SSL_KEYFILE={missing}\nJITSIPROVS_SSL_CERTFILE={missing}"), "cannot read"),
        ("JITSIPROVS_HTTP_IP=192.0.2.1".into(), ""),
        ("JITSIPROVS_AUTH_QUERY=SELECT nonsense".into(), "nonsense"),
    ] {
        let file = settings_file(folder.path(), &database, &more);
        let checked = run(&["config", "--check", "--http-port", "0", "--config", &file]);
        let said = text(&checked);
        assert!(checked.status.code() == Some(1) && said.contains(words), "{more}: {said}");
    }
}

#[test]
fn unknown_settings_are_errors_with_the_nearest_name() {
    let (folder, database) = (tempfile::tempdir().expect("a folder"), SqliteFile::empty());
    let file = settings_file(folder.path(), &database, "JITSIPROVS_HTTP_PROT=1");
    let refused = run(&["check", "--config", &file]);
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("{file}, line 3")) && said.contains("JITSIPROVS_HTTP_PORT"), "{said}");
    let mut command = jitsiprovs(&["-n", "--config", ""]);
    command.env("JITSIPROVS_DBPATH", "/x");
    let refused = run_command(command);
    assert!(refused.status.code() == Some(2) && text(&refused).contains("JITSIPROVS_DB_PATH"));
}

#[test]
fn the_log_and_the_status_name_the_database() {
    let database = SqliteFile::empty();
    let server = Server::start(&["--db-path", database.path.to_str().expect("UTF-8"), "--admin-port", "0"]);
    let named = format!("the SQLite database {}", database.path.display());
    let first = server.log().into_iter().find(|line| line.contains(" starts with ")).expect("a line");
    assert!(first.contains(&named), "{first}");
    let url = format!("http://{}", server.admin());
    let shown = text(&run(&["status", &url, "--config", ""]));
    assert!(shown.contains(&format!("database: {named}")), "{shown}");
}
