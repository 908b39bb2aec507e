//! `jitsiprovs user` and `jitsiprovs tenant`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStderr, Stdio};

use rustix::termios::{LocalModes, tcgetattr};
use serde_json::json;

use support::client::{Reply, post};
use support::database::Kind;
use support::mariadb::mariadb;
use support::server::{Running, Server, jitsiprovs, send_signal};
use support::sqlite::SqliteFile;
use support::tables::Tables;
use support::terminal::terminal;
use support::wait_for;

fn ask(server: &Server, username: &str, password: &str) -> Reply {
    post(server.address, &[("username", username), ("password", password)])
}

support::on_each_server!(of_several_users_with_one_name_all_or_one_can_be_removed,);

#[test]
fn edits_by_commands_are_served_moments_later() {
    for tables in Tables::each() {
        let server = tables.serve();
        let until = |what: &str, password: &str, is_it: &dyn Fn(&Reply) -> bool| {
            wait_for(what, || is_it(&ask(&server, "alice@a.org", password)).then_some(()));
        };
        let said = tables.done_with(&["user", "add", "alice@a.org", "--password-stdin"], "pw\n");
        assert_eq!(said, "added alice@a.org, password stored as argon2id\n");
        until("the user", "pw", &|reply| reply.status == 200 && reply.body.is_empty());

        let said = tables.done(&["rule", "add", "k = for all"]);
        assert!(said.starts_with("added rule ") && said.ends_with("for everyone of all tenants\n"), "{said}");
        let said =
            tables.done(&["rule", "add", "k=for ${username}", "--domain", "a.org", "--subject", "ALICE"]);
        assert!(said.ends_with("for the user ALICE of the tenant a.org\n"), "{said}");
        until("the rule", "pw", &|reply| reply.text() == "k=for alice\n");

        let id = said.split_whitespace().nth(2).expect("an id").trim_end_matches(',').to_owned();
        let said = tables.done(&["rule", "set", &id, "--value", "other"]);
        assert!(
            said.contains("before") && said.contains("for ${username}") && said.contains("other"),
            "{said}"
        );
        until("the value", "pw", &|reply| reply.text() == "k=other\n");

        tables.done_with(&["user", "passwd", "Alice@A.org", "--password-stdin", "--hash", "bcrypt"], "new");
        until("the password", "new", &|reply| reply.status == 200);
        assert_eq!(ask(&server, "alice@a.org", "pw").status, 401);

        tables.done_with(&["user", "add", "bob@a.org", "--password-stdin"], "pw\n");
        // If bob came in the same poll in which alice goes, he might be her with another name.
        wait_for("bob", || (ask(&server, "bob@a.org", "pw").status == 200).then_some(()));
        let said = tables.done(&["user", "remove", "alice@a.org", "--with-rules"]);
        assert!(said.contains("removed alice@a.org, id ") && said.contains(" and rule "), "{said}");
        until("the removal", "new", &|reply| reply.status == 401);
        assert_eq!(tables.json(&["user", "list"]).as_array().map(Vec::len), Some(1));
        assert_eq!(tables.json(&["rule", "list"])[0]["value"], "for all");
    }
}

#[test]
fn passwords_are_stored_in_the_requested_format_and_never_shown() {
    for (format, expected) in
        [("md5", "argon2id"), ("plain", "argon2id"), ("ha1", "ha1"), ("ha1_sha256", "ha1_sha256")]
    {
        let tables = Tables::sqlite();
        let with = |args: &[&'static str]| [args, &["--pwd-fmt", format]].concat();
        tables.done_with(&with(&["user", "add", "default@a.org", "--password-stdin"]), "hunter2");
        let own: Vec<&'static str> = vec!["argon2id", "bcrypt", "sha512-crypt", format];
        for hash in own {
            let user: &'static str = Box::leak(format!("{hash}@a.org").into_boxed_str());
            tables.done_with(&with(&["user", "add", user, "--hash", hash, "--password-stdin"]), "hunter2");
        }
        let server = Server::start(&[&["--pwd-fmt", format][..], &support::texts(&tables.args)].concat());
        let listed = tables.json(&with(&["user", "list"]));
        for user in listed.as_array().expect("a list") {
            let name = user["username"].as_str().expect("a name");
            let stored_as = if name == "default" { expected } else { name };
            assert_eq!(user["stored_as"], stored_as, "{user}");
            assert_eq!(ask(&server, &format!("{name}@a.org"), "hunter2").status, 200, "{format} {name}");
        }
        let shown = tables.done(&with(&["user", "list"])) + &listed.to_string();
        assert!(!shown.contains("hunter2") && !shown.contains("$argon2id$"), "{shown}");
        for other in ["md5", "plain", "ha1", "ha1_sha256"].into_iter().filter(|other| *other != format) {
            let args = with(&["user", "add", "x@a.org", "--password-stdin", "--hash", other]);
            let why = tables.refused(&args, "hunter2", 2);
            assert!(why.contains("--pwd-fmt") && why.contains("would take"), "{why}");
        }
    }
}

/// Runs the commands at the same time, each with `input` on its standard input. Returns how many
/// succeeded.
fn at_once(tables: &Tables, commands: &[&[&str]], input: &str) -> usize {
    std::thread::scope(|scope| {
        let run = |command| {
            let args = tables.args.clone();
            scope.spawn(move || Tables::on(args).say(command, input).status.success())
        };
        let running: Vec<_> = commands.iter().copied().map(run).collect();
        running.into_iter().map(|one| one.join().expect("no panic")).filter(|done| *done).count()
    })
}

#[test]
fn if_several_commands_add_the_same_user_at_once_one_succeeds() {
    for tables in Tables::each() {
        let add = &["user", "add", "alice@a.org", "--hash", "md5", "--password-stdin"][..];
        assert_eq!(at_once(&tables, &[add; 6], "pw"), 1);
        assert_eq!(tables.json(&["user", "list"]).as_array().expect("a list").len(), 1);
    }
}

#[test]
fn simultaneous_changes_of_different_columns_are_all_kept() {
    for tables in Tables::each() {
        tables.done(&["rule", "add", "k=v"]);
        let id = tables.json(&["rule", "list"])[0]["id"].to_string();
        let set = |option, to| ["rule", "set", &*id, option, to];
        let sets = [
            set("--key", "l"),
            set("--value", "w"),
            set("--subject", "osname=Linux"),
            set("--spriority", "77"),
            set("--ppriority", "78"),
        ];
        let commands: Vec<&[&str]> = sets.iter().map(|set| &set[..]).collect();
        assert_eq!(at_once(&tables, &commands, ""), commands.len());
        let rule = tables.json(&["rule", "show", &id]);
        for (name, expected) in [("key", "l"), ("value", "w"), ("subject", "osname=Linux")] {
            assert_eq!(rule[name], expected, "{rule}");
        }
        assert_eq!((&rule["spriority"], &rule["ppriority"]), (&77.into(), &78.into()));
    }
}

#[test]
fn a_command_that_waits_for_others_says_so() {
    let file = SqliteFile::empty();
    file.execute("BEGIN IMMEDIATE");
    let mut command = jitsiprovs(&["rule", "add", "k=v", "--db-path", file.path.to_str().expect("UTF-8")]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut child = Running(child);
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    assert!(line.contains("somebody else may be editing"), "{line}");
    file.execute("COMMIT");
    assert!(child.0.wait().expect("ends").success());
}

#[test]
fn users_that_cannot_be_added_are_refused_with_a_reason() {
    for tables in Tables::each() {
        tables.user("Alice@a.org", "pw");
        let add = |user, more: &[&'static str]| [&["user", "add", user, "--password-stdin"], more].concat();
        for (args, input, code, why) in [
            (add("alice@A.ORG ", &[]), "pw", 1, "Alice@a.org exists already"),
            (add("bob", &[]), "pw", 1, "write user@domain"),
            (add(" @a.org", &[]), "pw", 1, "username is empty"),
            (add("bob@a.org", &[]), "\n", 1, "--password-stdin"),
            (add("bob@a.org", &["--hash", "bcrypt"]), &"hunter2".repeat(11), 1, "72 bytes"),
            (add("bob@a.org", &[]), &"hunter2".repeat(37), 1, "256 bytes"),
            (add("bob@a.org", &["--hash", "sha512-crypt"]), &"hunter2".repeat(37), 1, "256 bytes"),
            (
                vec!["user", "passwd", "alice@a.org", "--password-stdin", "--hash", "sha512-crypt"],
                &"hunter2".repeat(37),
                1,
                "256 bytes",
            ),
            (add("bob@a.org", &[]), "${password}", 1, "clients send"),
            (vec!["user", "add", "bob@a.org"], "pw", 1, "--password-stdin"),
            (vec!["user", "add", "bob@a.org", "hunter2"], "", 2, "--password-stdin"),
            (vec!["user", "passwd", "bob@a.org", "--password-stdin"], "pw", 1, "no user bob@a.org"),
            (add("bob@a.org", &["--auth-query", "SELECT 1, 2, 3"]), "pw", 1, "--auth-query"),
        ] {
            let said = tables.refused(&args, input, code);
            assert!(said.contains(why), "{args:?}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        assert_eq!(tables.json(&["user", "list"]).as_array().expect("a list").len(), 1);
    }
}

#[test]
fn a_new_user_gets_existing_rules_for_that_name_and_the_command_says_so() {
    for tables in Tables::each() {
        tables.done(&["rule", "add", "k=v", "--subject", "linux"]);
        tables.done(&["rule", "add", "k=v", "--subject", "osname=linux"]);
        let output = tables.say(&["user", "add", "Linux@a.org", "--password-stdin"], "pw");
        let warned = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success());
        assert!(warned.starts_with("warning: rule ") && warned.contains("for this user alone"), "{warned}");
        assert_eq!(warned.lines().count(), 1);
    }
}

#[test]
fn lists_are_filtered_by_the_rules_for_names_and_have_a_stable_format() {
    for tables in Tables::each() {
        for user in ["alice@a.org", "Alina@A.org", "bob@b.org"] {
            tables.user(user, "pw");
        }
        let names = |args: &[&str]| {
            let listed = tables.json(&[&["user", "list"], args].concat());
            let users = listed.as_array().expect("a list").iter();
            users.map(|user| user["username"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["alice", "Alina", "bob"]);
        assert_eq!(names(&["--domain", "A.ORG"]), ["alice", "Alina"]);
        assert_eq!(names(&["--name", "ALI", "--domain", "b.org"]), [""; 0]);
        assert_eq!(names(&["--name", "LIN"]), ["Alina"]);
        assert_eq!(names(&["--domain", "a.org", "--case-sensitive"]), ["alice"]);
        let bob = &tables.json(&["user", "list", "--name", "bob"])[0];
        let id = bob["id"].as_i64().expect("a number");
        assert_eq!(
            *bob,
            json!({ "id": id, "username": "bob", "domain": "b.org", "stored_as": "md5", "counts": true })
        );
        let table = tables.done(&["user", "list"]);
        assert!(table.starts_with("ID") && table.lines().count() == 4, "{table}");

        tables.done(&["rule", "add", "k=v", "--subject", "bob", "--domain", "b.org"]);
        tables.done(&["rule", "add", "k=v", "--domain", "c.org"]);
        tables.done(&["rule", "add", "acc.PASSWORD=hunter2"]);
        assert_eq!(
            tables.json(&["tenant", "list"]),
            json!([
                { "domain": null, "users": 0, "rules": 1, "attributes": 0 },
                { "domain": "a.org", "users": 2, "rules": 0, "attributes": 0 },
                { "domain": "b.org", "users": 1, "rules": 1, "attributes": 0 },
                { "domain": "c.org", "users": 0, "rules": 1, "attributes": 0 },
            ])
        );
        assert!(tables.done(&["tenant", "list"]).contains("all tenants"));
        let shown = tables.json(&["user", "show", "BOB@b.org"]);
        assert_eq!((&shown["users"][0], &shown["rules"][0]["key"]), (bob, &json!("k")));
        assert!(tables.done(&["user", "show", "alice@a.org"]).contains("no rules of their own"));
    }
}

fn of_several_users_with_one_name_all_or_one_can_be_removed(kind: Kind) {
    let database = kind.database();
    let tables = Tables::of(database.all());
    database.script(
        "DELETE FROM jitsi_property;
         INSERT INTO user_auth (id, username, domain, password) VALUES
             (1, 'alice', 'a.org', NULL), (2, 'ALICE ', 'a.org', 'x'), (3, 'alice', 'b.org', 'x'), (4, NULL, 'a.org', 'x');
         INSERT INTO jitsi_property (id, domain, subject, spriority, ppriority, property_key, property_value) VALUES
             (11, 'a.org', 'alice', 1, 1, 'k', 'v'), (12, 'a.org', 'username=alice', 1, 1, 'k', 'v'),
             (13, NULL, 'alice', 1, 1, 'k', 'v'), (14, 'b.org', 'alice', 1, 1, 'k', 'v')",
    );
    let listed = tables.json(&["user", "list", "--domain", "a.org"]);
    let counts: Vec<_> =
        listed.as_array().expect("a list").iter().map(|user| (&user["id"], &user["counts"])).collect();
    assert_eq!(json!(counts), json!([[4, false], [1, true], [2, false]]),);
    assert_eq!(listed[1]["stored_as"], "none");
    let why = tables.refused(&["user", "remove", "alice@a.org"], "", 1);
    assert!(why.contains("ids 1, 2") && why.contains("--all") && why.contains("--id"), "{why}");
    let why = tables.refused(&["user", "remove", "alice@a.org", "--id", "3"], "", 1);
    assert!(why.contains("id 3 is not"), "{why}");
    let output = tables.say(&["user", "passwd", "alice@a.org", "--password-stdin"], "pw");
    assert!(String::from_utf8_lossy(&output.stderr).contains("id 2"), "{output:?}");
    // Another row with this name stays, and the rules are for that too.
    let said = tables.done(&["user", "remove", "alice@a.org", "--id", "2", "--with-rules"]);
    assert_eq!(said, "removed alice@a.org, id 2\n");

    let output = tables.say(&["user", "remove", "alice@a.org"], "");
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(warned.contains("rule 13 stays") && warned.contains("all tenants"), "{warned}");
    assert_eq!(database.script("SELECT id FROM jitsi_property ORDER BY id"), "13\n14\n");
    // No other user has this name then.
    let output = tables.say(&["user", "remove", "alice@b.org", "--keep-rules"], "");
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(
        warned.contains("rules 13, 14 stay") && warned.contains("any new user with that name"),
        "{warned}"
    );
    assert_eq!(database.script("SELECT count(*) FROM user_auth").trim(), "1");
}

#[test]
fn the_originals_tables_can_be_edited_without_setup() {
    let database = mariadb().database();
    database.script(include_str!("fixtures/original.sql"));
    let tables = Tables::on(database.all());
    tables.user("zoe@example.org", "pw");
    let said = tables.done(&["rule", "add", "zoe=1", "--subject", "zoe"]);
    assert!(said.ends_with("for the user zoe of all tenants\n"), "{said}");
    let why = tables.refused(&["rule", "add", "k=v", "--domain", "a.org"], "", 1);
    assert!(why.contains("--setup"), "{why}");
    let said = tables.done(&["user", "remove", "zoe@example.org", "--with-rules"]);
    assert!(said.contains(" and rule "), "{said}");
}

/// A command with a terminal as its standard input.
struct AtTerminal {
    child: Running,
    /// The end at which people type and read.
    typing: File,
    /// The command's end, kept open so that the terminal outlives the command.
    end: File,
    prompts: BufReader<ChildStderr>,
    said: Vec<u8>,
}

impl AtTerminal {
    fn start(args: &[&str]) -> AtTerminal {
        let (typing, end) = terminal();
        let mut command = jitsiprovs(args);
        // A new process group: a signal that ends the command must not end the tests.
        command.process_group(0);
        command.stdin(end.try_clone().expect("a handle")).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let prompts = BufReader::new(child.stderr.take().expect("a pipe"));
        AtTerminal { child: Running(child), typing, end, prompts, said: Vec::new() }
    }

    fn wait_for(&mut self, prompt: &str) {
        while !self.said.ends_with(prompt.as_bytes()) {
            let read = self.prompts.read_until(b' ', &mut self.said).expect("a prompt");
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&self.said));
        }
    }

    fn shows_what_is_typed(&self) -> bool {
        tcgetattr(&self.end).expect("a terminal").local_modes.contains(LocalModes::ECHO)
    }

    /// Waits until the command has ended, and returns its exit code as a shell reports it.
    fn wait(&mut self) -> i32 {
        self.prompts.read_to_end(&mut self.said).expect("the rest");
        let status = self.child.0.wait().expect("ends");
        status.code().or(status.signal().map(|signal| 128 + signal)).expect("an end")
    }
}

/// Types each answer when its prompt has appeared. Returns the exit code, and what the terminal
/// showed.
fn type_at(args: &[&str], answers: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = AtTerminal::start(args);
    for (prompt, answer) in answers {
        command.wait_for(prompt);
        command.typing.write_all(answer.as_bytes()).expect("typed");
    }
    let code = command.wait();
    // The terminal echoes what is typed: this marks the end.
    let mut shown = Vec::new();
    command.typing.write_all(b"the end\n").expect("typed");
    let mut buffer = [0; 256];
    while !String::from_utf8_lossy(&shown).contains("the end") {
        let read = command.typing.read(&mut buffer).expect("shown");
        shown.extend_from_slice(&buffer[..read]);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (code, text(&shown), text(&command.said))
}

#[test]
fn a_password_is_prompted_for_twice_and_not_shown() {
    let tables = Tables::sqlite();
    let args: Vec<&str> = ["user", "add", "alice@a.org", "--hash", "md5"]
        .into_iter()
        .chain(support::texts(&tables.args))
        .collect();
    let (first, second) = ("Password of alice@a.org: ", "The same again: ");
    for (answers, code, why) in [
        (&[(first, "hunter2\n"), (second, "hunter3\n")][..], 1, "differ"),
        (&[(first, "\n")], 1, "empty"),
        (&[(first, "hunt\x03")], 130, "nothing was changed"),
        (&[(first, "hunter2\n"), (second, "hunt\x03")], 130, "nothing was changed"),
        (&[(first, "hunter2\n"), (second, "hunter2\n")], 0, ""),
    ] {
        let (ended, shown, said) = type_at(&args, answers);
        assert_eq!(ended, code, "{said}");
        assert!(said.contains(why) && !shown.contains("hunt") && !said.contains("hunt"), "{said} {shown}");
    }
    let server = tables.serve();
    assert_eq!(ask(&server, "alice@a.org", "hunter2").status, 200);
}

#[test]
fn a_signal_at_the_prompt_ends_the_command_and_restores_the_terminal() {
    let tables = Tables::sqlite();
    tables.user("alice@a.org", "pw");
    let args = [&["user", "passwd", "alice@a.org"], &support::texts(&tables.args)[..]].concat();
    let (first, second) = ("Password of alice@a.org: ", "The same again: ");
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130), ("QUIT", 131)] {
        for prompts in [&[first][..], &[first, second]] {
            let mut command = AtTerminal::start(&args);
            assert!(command.shows_what_is_typed());
            for (at, prompt) in prompts.iter().enumerate() {
                if at > 0 {
                    command.typing.write_all(b"hunter2\n").expect("typed");
                }
                command.wait_for(prompt);
                assert!(!command.shows_what_is_typed());
            }
            send_signal(command.child.0.id(), signal);
            assert_eq!(command.wait(), code, "{signal}");
            assert!(command.shows_what_is_typed(), "{signal}");
        }
    }
    let server = tables.serve();
    assert_eq!(ask(&server, "alice@a.org", "pw").status, 200);
}
