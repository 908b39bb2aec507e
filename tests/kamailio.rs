//! `import kamailio`: users and preferences of Kamailio and OpenSIPS.

use std::path::PathBuf;
use std::process::Output;

use support::client::post;
use support::mariadb::{Database, mariadb};
use support::server::Server;
use support::tables::Tables;
use support::{md5_hex, texts};

/// The table of users in Kamailio's form.
const KAMAILIO: &str = "CREATE TABLE subscriber (id INTEGER NOT NULL PRIMARY KEY,
     username VARCHAR(64) DEFAULT '' NOT NULL, domain VARCHAR(64) DEFAULT '' NOT NULL,
     password VARCHAR(64) DEFAULT '' NOT NULL, ha1 VARCHAR(128) DEFAULT '' NOT NULL,
     ha1b VARCHAR(128) DEFAULT '' NOT NULL, UNIQUE (username, domain));";
/// The table of users in the form of OpenSIPS.
const OPENSIPS: &str = "CREATE TABLE subscriber (id INTEGER NOT NULL PRIMARY KEY,
     username CHAR(64) DEFAULT '' NOT NULL, domain CHAR(64) DEFAULT '' NOT NULL,
     password CHAR(25) DEFAULT '' NOT NULL, ha1 CHAR(64) DEFAULT '' NOT NULL,
     ha1_sha256 CHAR(64) DEFAULT '' NOT NULL, ha1_sha512t256 CHAR(64) DEFAULT '' NOT NULL,
     UNIQUE (username, domain));";
/// The table of preferences, which both have.
const PREFERENCES: &str = "CREATE TABLE usr_preferences (id INTEGER NOT NULL PRIMARY KEY,
     uuid VARCHAR(64) DEFAULT '' NOT NULL, username VARCHAR(128) DEFAULT '0' NOT NULL,
     domain VARCHAR(64) DEFAULT '' NOT NULL, attribute VARCHAR(32) DEFAULT '' NOT NULL,
     type INTEGER DEFAULT 0 NOT NULL, value VARCHAR(128) DEFAULT '' NOT NULL,
     last_modified DATETIME DEFAULT '1900-01-01 00:00:01' NOT NULL);";

/// A SIP server's database.
enum Sip {
    File(tempfile::TempDir),
    Server(Database<'static>, tempfile::TempDir),
}

impl Sip {
    /// One of each kind.
    fn both(sql: &str) -> [Sip; 2] {
        let [file, folder] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let connection = rusqlite::Connection::open(file.path().join("sip.db")).expect("opens");
        connection.execute_batch(sql).expect("tables");
        let database = mariadb().database();
        database.script(sql);
        std::fs::write(folder.path().join("password"), "read\n").expect("written");
        [Sip::File(file), Sip::Server(database, folder)]
    }

    /// The options that name it.
    fn from(&self) -> Vec<String> {
        let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        match self {
            Sip::File(folder) => vec!["--from".into(), text(folder.path().join("sip.db"))],
            Sip::Server(database, folder) => {
                let (name, port) = (&database.name, database.server.port);
                let url = format!("mysql://{name}_read@127.0.0.1:{port}/{name}");
                vec!["--from".into(), url, "--from-pwd-file".into(), text(folder.path().join("password"))]
            }
        }
    }

    fn import(&self, tables: &Tables, args: &[&str]) -> Output {
        tables.say(&[args, &texts(&self.from())].concat(), "")
    }

    /// Imports, which must succeed. Returns the notes.
    fn imports(&self, tables: &Tables, args: &[&str], said: &str) -> String {
        let output = self.import(tables, args);
        let noted = stderr(&output);
        assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{noted}");
        noted
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ha1(username: &str, realm: &str, password: &str) -> String {
    md5_hex(&format!("{username}:{realm}:{password}"))
}

#[test]
fn rows_without_a_domain_or_a_hash_and_preferences_are_imported() {
    let bob = ha1("bob", "b.org", "bobs");
    let sql = format!(
        "{KAMAILIO}{PREFERENCES}
         INSERT INTO subscriber (id, username, domain, password, ha1) VALUES
             (7, 'alice', '', 'pw', ''), (9, 'bob', 'b.org', 'other', '{bob}'), (11, 'carol', 'b.org', '', '');
         INSERT INTO usr_preferences (id, uuid, username, domain, attribute, type, value) VALUES
             (8, '', 'alice', '', 'Grp', 0, 'third'), (3, '', 'alice', '', 'Grp', 0, 'first'),
             (5, '', 'alice', '', 'Grp', 0, 'second'), (12, '', '', 'b.org', 'proxy', 0, 'sip.b.org'),
             (1, '', 'bob', 'b.org', 'call-fwd', 2, '1'), (2, '', 'bob', 'b.org', '7x', 2, '1');
         INSERT INTO usr_preferences (id, uuid, attribute, value) VALUES (4, 'u-1', 'proxy', 'mine')"
    );
    for sip in Sip::both(&sql) {
        let tables = Tables::sqlite();
        let import = ["import", "kamailio", "--pwd-fmt", "ha1"];
        let refused = sip.import(&tables, &import);
        let why = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{why}");
        assert!(why.contains("1 row of `subscriber` without a domain") && why.contains("--domain"), "{why}");
        assert_eq!(tables.done(&["export", "users"]), "username,domain,password\n");

        let import = [&import[..], &["--domain", "example.org"]].concat();
        let counts = |users, attributes| {
            format!("users: {users} as they were\nattributes: {attributes} as they were\n")
        };
        let said = counts("3 added, 0 changed, 0 removed, 0", "4 added, 0 changed, 0 removed, 0");
        let noted = sip.imports(&tables, &import, &said);
        for words in [
            "1 row of `usr_preferences` with a uuid and no username",
            "2 rows of `usr_preferences`, because no template can use the names: `7x`, `call-fwd`",
            "1 user of `subscriber` without any password cannot sign in",
        ] {
            assert!(noted.contains(words), "{noted}");
        }
        let alice = ha1("alice", "example.org", "pw");
        assert_eq!(
            tables.done(&["export", "users"]),
            format!(
                "username,domain,password,grp\nbob,b.org,{bob},\ncarol,b.org,,\nalice,example.org,{alice},first\n"
            )
        );
        assert_eq!(
            tables.done(&["export", "attributes"]),
            "domain,username,name,value\nb.org,,proxy,sip.b.org\nexample.org,alice,Grp,first\n\
             example.org,alice,Grp,second\nexample.org,alice,Grp,third\n"
        );
        let said = counts("0 added, 0 changed, 0 removed, 3", "0 added, 0 changed, 0 removed, 4");
        sip.imports(&tables, &import, &said);
    }
}

#[test]
fn sha256_is_read_from_where_each_program_keeps_it() {
    let sha256 = |username: &str| {
        mariadb().script("", &format!("SELECT sha2('{username}:sip.org:pw', 256)")).trim().to_owned()
    };
    let (md5, bob) = (ha1("bob", "sip.org", "other"), sha256("bob"));
    let opensips = format!(
        "{OPENSIPS} INSERT INTO subscriber VALUES (1, 'alice', 'a.org', 'pw', '{md5}', '', ''),
             (2, 'bob', 'a.org', 'other', '{md5}', '{bob}', 'x')"
    );
    let kamailio = format!(
        "{KAMAILIO} INSERT INTO subscriber (id, username, domain, password, ha1)
             VALUES (1, 'alice', 'a.org', 'pw', '{md5}'), (2, 'bob', 'a.org', 'other', '{bob}')"
    );
    for (content, sql) in [("opensips", opensips), ("kamailio", kamailio)] {
        for sip in Sip::both(&sql) {
            let tables = Tables::sqlite();
            let format = ["--pwd-fmt", "ha1_sha256", "--realm", "sip.org"];
            let said = "users: 2 added, 0 changed, 0 removed, 0 as they were\n";
            let noted = sip.imports(&tables, &[&["import", content][..], &format].concat(), said);
            assert_eq!(noted, "", "{content}");
            let users = tables.done(&["export", "users"]);
            for (username, hash) in [("alice", sha256("alice")), ("bob", bob.clone())] {
                assert!(users.contains(&format!("{username},a.org,{hash}\n")), "{content}: {users}");
            }
        }
    }
}

#[test]
fn clear_passwords_are_stored_in_the_form_of_the_options() {
    let dave = ha1("dave", "a.org", "pw");
    let sql = format!(
        "{KAMAILIO} INSERT INTO subscriber (id, username, domain, password, ha1) VALUES
             (1, 'alice', 'a.org', 'pw', 'x'), (2, 'bob', 'a.org', 'pw', ''), (3, 'carol', 'a.org', 'pw', 'x'),
             (4, 'dave', 'a.org', '', '{dave}')"
    );
    let added = "users: 4 added, 0 changed, 0 removed, 0 as they were\n";
    for sip in Sip::both(&sql) {
        for (options, alice, is_dave_lost) in [
            (&["--pwd-fmt", "md5"][..], md5_hex("pw"), true),
            (&["--pwd-fmt", "plain"], "pw".into(), true),
            (&["--pwd-fmt", "ha1", "--hash", "ha1"], ha1("alice", "a.org", "pw"), false),
            (&["--pwd-fmt", "ha1", "--hash", "sha512-crypt"], "$6$".into(), false),
        ] {
            let tables = Tables::sqlite();
            let import = [&["import", "kamailio"][..], options].concat();
            let noted = sip.imports(&tables, &import, added);
            let words = "1 user of `subscriber` with neither a clear password nor a hash for this --pwd-fmt";
            assert_eq!(noted.contains(words), is_dave_lost, "{options:?}: {noted}");
            let users = tables.done(&["export", "users"]);
            assert!(users.contains(&format!("alice,a.org,{alice}")), "{options:?}: {users}");
            assert_eq!(users.contains(&format!("dave,a.org,{dave}")), !is_dave_lost, "{options:?}: {users}");
            sip.imports(&tables, &import, "users: 0 added, 0 changed, 0 removed, 4 as they were\n");
            if !is_dave_lost {
                let server = Server::start(&[&texts(&tables.args)[..], &["--pwd-fmt", "ha1"]].concat());
                for username in ["alice", "dave"] {
                    let login = [("username", username), ("domain", "a.org"), ("password", "pw")];
                    assert_eq!(post(server.address, &login).status, 200, "{options:?} {username}");
                }
            }
        }
    }
}

#[test]
fn tables_that_would_lose_all_passwords_are_refused() {
    let hash = ha1("alice", "a.org", "pw");
    let users = |columns: &str, values: &str| {
        let users: Vec<_> = (1..=5).map(|id| format!("({id}, 'user{id}', 'a.org', '{values}')")).collect();
        format!(
            "{KAMAILIO} INSERT INTO subscriber (id, username, domain, {columns}) VALUES {}",
            users.join(", ")
        )
    };
    for (sql, format, words) in [
        (users("ha1", &hash), "md5", "5 users of `subscriber` with neither"),
        (users("ha1", &hash), "md5", "give --pwd-fmt ha1"),
        (users("ha1", &hash), "ha1_sha256", "give --pwd-fmt ha1"),
        (users("password", &hash), "ha1", "5 of 5 passwords look like hashes: the column `password`"),
        (users("password", "{SSHA}5J3w1yyyQj2mP5sVxq1Jm0gQ0Xb7cDkq"), "ha1", "subscriber id 1: "),
        ("CREATE TABLE location (id INT)".into(), "ha1", "there is no table `subscriber`"),
    ] {
        for sip in Sip::both(&sql) {
            let tables = Tables::sqlite();
            let output = sip.import(&tables, &["import", "kamailio", "--pwd-fmt", format]);
            let why = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{why}");
            assert!(why.contains(words) && why.contains("--from ") && !why.contains(&hash), "{why}");
            assert_eq!(tables.done(&["export", "users"]), "username,domain,password\n");
        }
    }
}

#[test]
fn tables_with_few_columns_are_read() {
    let hash = ha1("alice", "a.org", "pw");
    let sql = format!(
        "CREATE TABLE subscriber (username VARCHAR(64), HA1 VARCHAR(64));
         INSERT INTO subscriber VALUES ('alice', '{hash}');
         CREATE TABLE usr_preferences (username VARCHAR(64), attribute VARCHAR(64), value VARCHAR(64));
         INSERT INTO usr_preferences VALUES ('alice', 'ext', '17'), ('alice', 'note', NULL)"
    );
    for sip in Sip::both(&sql) {
        let tables = Tables::sqlite();
        let output = sip
            .import(&tables, &["import", "kamailio", "--pwd-fmt", "ha1", "--domain", "a.org", "--replace"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let users = tables.done(&["export", "users"]);
        assert!(users.contains(&format!("alice,a.org,{hash},17")), "{users}");
    }
}
