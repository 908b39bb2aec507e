//! The tables of either kind of database, and commands that run on them.

use std::io::{Seek, Write};
use std::process::Output;

use crate::mariadb::mariadb;
use crate::server::{Server, jitsiprovs, run_command};
use crate::sqlite::SqliteFile;
use crate::texts;

/// Tables that `--setup` created, without the default properties.
pub struct Tables {
    /// The options that select the database.
    pub args: Vec<String>,
    _file: Option<SqliteFile>,
}

impl Tables {
    pub fn sqlite() -> Tables {
        let file = SqliteFile::empty();
        let args = ["--db-path", file.path.to_str().expect("UTF-8")].map(str::to_owned).into();
        Tables { args, _file: Some(file) }
    }

    pub fn mysql() -> Tables {
        let database = mariadb().database();
        let tables = Tables::of(database.all());
        database.script("DELETE FROM jitsi_property; ALTER TABLE jitsi_property AUTO_INCREMENT = 60");
        tables
    }

    /// Runs `--setup` on the database of these options.
    pub fn of(args: Vec<String>) -> Tables {
        let tables = Tables::on(args);
        tables.done(&["--setup"]);
        tables
    }

    /// The database of these options, without changes.
    pub fn on(args: Vec<String>) -> Tables {
        Tables { args, _file: None }
    }

    pub fn both() -> [Tables; 2] {
        [Tables::sqlite(), Tables::mysql()]
    }

    /// Runs a command with `input` on its standard input.
    pub fn say(&self, args: &[&str], input: &str) -> Output {
        let mut stdin = tempfile::tempfile().expect("a file");
        stdin.write_all(input.as_bytes()).and_then(|()| stdin.rewind()).expect("written");
        let mut command = jitsiprovs(args);
        command.args(&self.args).stdin(stdin);
        run_command(command)
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub fn done(&self, args: &[&str]) -> String {
        self.done_with(args, "")
    }

    pub fn done_with(&self, args: &[&str], input: &str) -> String {
        let output = self.say(args, input);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs a command that must fail with `code` and a message of one line. Returns this line.
    pub fn refused(&self, args: &[&str], input: &str, code: i32) -> String {
        let output = self.say(args, input);
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(code == 2 || stderr.trim_end().lines().count() == 1, "{stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
        stderr
    }

    /// The output of a command in its format for programs.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.done(&[args, &["--format", "json"]].concat())).expect("JSON")
    }

    pub fn user(&self, user: &str, password: &str) {
        self.done_with(&["user", "add", user, "--hash", "md5", "--password-stdin"], password);
    }

    pub fn serve(&self) -> Server {
        let args: Vec<&str> =
            ["--poll-interval", "0.05", "--settle", "0"].into_iter().chain(texts(&self.args)).collect();
        Server::start(&args)
    }
}
