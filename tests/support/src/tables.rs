//! The tables of each kind of database, and commands that run on them.

use std::io::{Seek, Write};
use std::process::Output;

use crate::database::{Database, Kind};
use crate::server::{Server, jitsiprovs, run_command};
use crate::sqlite::SqliteFile;
use crate::texts;

/// Tables that `--setup` created, without the default properties.
pub struct Tables {
    /// The options that select the database.
    pub args: Vec<String>,
    pub place: Place,
}

/// Where tables are.
pub enum Place {
    File(SqliteFile),
    Server(Database<'static>),
    /// Only the options are known.
    Elsewhere,
}

impl Tables {
    pub fn sqlite() -> Tables {
        let file = SqliteFile::empty();
        let args = ["--db-path", file.path.to_str().expect("UTF-8")].map(str::to_owned).into();
        Tables { args, place: Place::File(file) }
    }

    pub fn mysql() -> Tables {
        Tables::on_server(Kind::MariaDb)
    }

    /// Tables in a new database of the server that all tests share.
    pub fn on_server(kind: Kind) -> Tables {
        let database = kind.database();
        let mut tables = Tables::of(database.all());
        database.script(&format!("DELETE FROM jitsi_property; {}", kind.count_from("jitsi_property", 60)));
        tables.place = Place::Server(database);
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
        Tables { args, place: Place::Elsewhere }
    }

    /// Tables in each kind of database.
    pub fn each() -> [Tables; 3] {
        [Tables::sqlite(), Tables::on_server(Kind::MariaDb), Tables::on_server(Kind::Postgres)]
    }

    /// The kind of server, if the tables are on one.
    pub fn kind(&self) -> Option<Kind> {
        match &self.place {
            Place::Server(database) => Some(database.kind()),
            Place::File(_) | Place::Elsewhere => None,
        }
    }

    /// Runs statements as another tool does, and returns the rows that a server selects.
    pub fn execute(&self, sql: &str) -> String {
        match &self.place {
            Place::File(file) => {
                file.execute(sql);
                String::new()
            }
            Place::Server(database) => database.script(sql),
            Place::Elsewhere => panic!("only the options are known"),
        }
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
