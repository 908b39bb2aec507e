//! Users who are switched off by the attribute `disabled`, and the rules that `--setup` seeds for
//! them.

use support::client::post;
use support::database::Kind;
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts, wait_for};

/// What a client needs to give up its accounts, and nothing else.
const GIVE_UP: &str = "net.java.sip.communicator.impl.protocol=${null}\n\
    net.java.sip.communicator.impl.gui.accounts=${null}\nprovisioning.ALLOW_PREFIX=nothing\n";

/// A database of either kind, as `--setup` creates it.
struct Seeded {
    args: Vec<String>,
    execute: Box<dyn Fn(&str)>,
}

impl Seeded {
    fn each() -> Vec<Seeded> {
        let file = SqliteFile::seeded();
        let args = ["--db-path", file.path.to_str().expect("UTF-8")].map(str::to_owned).into();
        let sqlite = Seeded { args, execute: Box::new(move |sql| file.execute(sql)) };
        let on_server = |kind: Kind| {
            let database = kind.database();
            let args = database.all();
            let seeded = Seeded { args, execute: Box::new(move |sql| drop(database.script(sql))) };
            assert!(seeded.set_up().contains("seeded 3 rules"));
            seeded
        };
        [sqlite].into_iter().chain(Kind::ALL.map(on_server)).collect()
    }

    fn set_up(&self) -> String {
        let output = run(&[&["--setup"], &texts(&self.args)[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn serve(&self) -> Server {
        let polling = ["--poll-interval", "0.05", "--settle", "0"];
        Server::start(&[&texts(&self.args), &polling[..]].concat())
    }
}

fn add_users(execute: &dyn Fn(&str)) {
    let hash = md5_hex("pw");
    execute(&format!(
        "INSERT INTO user_auth (username, domain, password)
             VALUES ('alice', 'a.org', '{hash}'), ('bob', 'a.org', '{hash}')"
    ));
}

fn get(server: &Server, username: &str, password: &str) -> (u16, String) {
    let pairs = [("username", username), ("domain", "a.org"), ("password", password), ("osname", "Linux")];
    let reply = post(server.address, &pairs);
    (reply.status, reply.text().to_owned())
}

#[test]
fn who_is_switched_off_gets_the_seeded_rules_and_no_others() {
    for database in Seeded::each() {
        let Seeded { execute, .. } = &database;
        add_users(execute);
        execute(
            "INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
                 VALUES ('alice', 1, 1, 'own', '1'), ('osname=Linux', 1, 1, 'os', '1'),
                     ('user.disabled=no', 1, 1, 'no', '1')",
        );
        let server = database.serve();
        let is_off = |username: &str, expected: bool| {
            let what = format!("{username} to be switched off: {expected}");
            wait_for(&what, || {
                let (status, text) = get(&server, username, "pw");
                assert_eq!(status, 200);
                let is_all = text.lines().count() > 59 && text.contains("os=1\n");
                assert!(text == GIVE_UP || is_all, "{text}");
                ((text == GIVE_UP) == expected).then_some(())
            });
        };
        is_off("alice", false);
        execute(
            "INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'alice', 'disabled', 'yes')",
        );
        is_off("alice", true);
        is_off("bob", false);
        assert_eq!(get(&server, "alice", "wrong").0, 401);
        for (value, expected) in [
            ("no", false),
            ("1", true),
            ("0", false),
            ("left", true),
            ("FALSE", false),
            ("true", true),
            ("", false),
        ] {
            execute(&format!("UPDATE user_attribute SET value = '{value}'"));
            is_off("alice", expected);
        }
        // The value of the user counts before that of the tenant.
        execute("INSERT INTO user_attribute (domain, name, value) VALUES ('a.org', 'disabled', 'yes')");
        is_off("bob", true);
        is_off("alice", false);
        assert_eq!(get(&server, "bob", "wrong").0, 401);
        execute("DELETE FROM user_attribute");
        is_off("bob", false);
    }
}

#[test]
fn the_rules_for_users_who_are_switched_off_are_seeded_once() {
    for database in Seeded::each() {
        let Seeded { execute, .. } = &database;
        add_users(execute);
        execute(
            "INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'alice', 'disabled', 'yes')",
        );
        assert!(database.set_up().starts_with("nothing to do"));
        // A database of before, with its own rules.
        execute(
            "DELETE FROM jitsi_property WHERE subject = 'user.disabled=yes' OR property_key NOT LIKE '%jabber%'",
        );
        assert!(database.set_up().starts_with("nothing to do"));
        assert_eq!(get(&database.serve(), "alice", "pw"), (200, String::new()));
        execute("DELETE FROM jitsiprovs_schema WHERE version = -1");
        assert!(database.set_up().starts_with("seeded 3 rules for users who are switched off"));
        assert_eq!(get(&database.serve(), "alice", "pw"), (200, GIVE_UP.into()));
    }
}
