//! The settings files in `contrib/databases`, each with the tables of the program that it is for. The
//! tables are those of the program's own definitions; columns that play no part are left out.

use support::client::post;
use support::database::Kind;
use support::server::{Server, run};
use support::{md5_hex, texts, wait_for};

/// A program's database, and a test of it.
struct Example {
    /// The settings file.
    file: &'static str,
    /// The program's tables and rows.
    tables: String,
    /// Users who can sign in, as username, domain and password, and what they get.
    users: Vec<([&'static str; 3], &'static str)>,
    /// A user who cannot sign in with this password.
    refused: [&'static str; 3],
    /// Gives the first user the password `new`.
    edit: String,
}

/// Settings that do not depend on the program. The server reads nothing but what lines of changes
/// say.
const FOLLOW: [&str; 4] = ["--reload-interval", "0", "--poll-interval", "0.05"];

const RULE: &str = "DELETE FROM jitsi_property;
    INSERT INTO jitsi_property (subject, spriority, ppriority, property_key, property_value)
    VALUES ('default', 1, 1, 'name', '${user.caller_name:-none}')";

impl Example {
    /// Sets up, creates the triggers, serves, asks and edits, as the file says.
    fn try_on(&self, kind: Kind) {
        let database = kind.database();
        let (all, read) = (database.all(), database.read());
        let script = |sql: &str| database.script(sql);
        let path = format!("{}/contrib/databases/{}", env!("CARGO_MANIFEST_DIR"), self.file);
        // If the file is for both kinds, it names MySQL.
        let db_type: &[&str] = match kind {
            Kind::MariaDb => &[],
            Kind::Postgres => &["--db-type", "postgres"],
        };
        let settings = ["--config", &path];
        let done = |args: &[&str]| {
            let output = run(args);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{}: {said}", self.file);
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        script(&self.tables);
        done(&[&["--setup"], &settings[..], &texts(&all)].concat());
        script(RULE);
        let triggers = triggers(&path);
        let tables: Vec<&str> = triggers.iter().flat_map(|table| ["--for", table]).collect();
        script(&done(&[&["sql", "triggers"], &settings[..], db_type, &tables].concat()));
        let server = Server::start(&[&settings[..], &texts(&read), &FOLLOW].concat());
        for (user, name) in &self.users {
            assert_eq!(get(&server, *user), (200, format!("name={name}\n")), "{}: {user:?}", self.file);
        }
        assert_eq!(get(&server, self.refused).0, 401, "{}", self.file);
        let ([username, domain, old], name) = self.users[0];
        script(&self.edit);
        let expected = (200, format!("name={name}\n"));
        wait_for("the new password", || (get(&server, [username, domain, "new"]) == expected).then_some(()));
        assert_ne!(get(&server, [username, domain, old]).0, 200, "{}", self.file);
    }
}

/// The tables that the command in the settings file names.
fn triggers(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a file");
    let command = text.lines().find(|line| line.starts_with("#   jitsiprovs sql triggers --for '"));
    let (command, _) = command.expect("a command").split_once(" | ").expect("a client");
    command.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

fn get(server: &Server, [username, domain, password]: [&str; 3]) -> (u16, String) {
    let reply = post(server.address, &[("username", username), ("domain", domain), ("password", password)]);
    (reply.status, reply.text().to_owned())
}

/// Kamailio's `subscriber`, with the type of its id.
fn kamailio(id: &str) -> Example {
    let ha1 = |password: &str| md5_hex(&format!("alice:a.org:{password}"));
    Example {
        file: "kamailio.conf",
        tables: format!(
            "CREATE TABLE subscriber (id {id} PRIMARY KEY NOT NULL,
                 username VARCHAR(64) DEFAULT '' NOT NULL, domain VARCHAR(64) DEFAULT '' NOT NULL,
                 password VARCHAR(64) DEFAULT '' NOT NULL, ha1 VARCHAR(128) DEFAULT '' NOT NULL,
                 ha1b VARCHAR(128) DEFAULT '' NOT NULL,
                 CONSTRAINT subscriber_account_idx UNIQUE (username, domain));
             CREATE INDEX subscriber_username_idx ON subscriber (username);
             INSERT INTO subscriber (username, domain, ha1) VALUES ('alice', 'a.org', '{}'), ('bob', 'a.org', '')",
            ha1("pw")
        ),
        users: vec![(["alice", "a.org", "pw"], "none")],
        refused: ["bob", "a.org", ""],
        edit: format!("UPDATE subscriber SET ha1 = '{}' WHERE username = 'alice'", ha1("new")),
    }
}

/// The `subscriber` of OpenSIPS, with the type of its id, and the hashes of two passwords.
fn opensips(id: &str) -> Example {
    let sha256 = |password| {
        let sql = format!("SELECT encode(sha256('alice:a.org:{password}'), 'hex')");
        Kind::Postgres.server().script("", &sql)
    };
    let (old, new) = (sha256("pw"), sha256("new"));
    Example {
        file: "opensips.conf",
        tables: format!(
            "CREATE TABLE subscriber (id {id} PRIMARY KEY NOT NULL, username CHAR(64) DEFAULT '' NOT NULL,
                 domain CHAR(64) DEFAULT '' NOT NULL, password CHAR(25) DEFAULT '' NOT NULL,
                 ha1 CHAR(64) DEFAULT '' NOT NULL, ha1_sha256 CHAR(64) DEFAULT '' NOT NULL,
                 ha1_sha512t256 CHAR(64) DEFAULT '' NOT NULL,
                 CONSTRAINT subscriber_account_idx UNIQUE (username, domain));
             INSERT INTO subscriber (username, domain, ha1, ha1_sha256) VALUES
                 ('alice', 'a.org', '0', '{}'), ('bob', 'a.org', '0', '')",
            old.trim()
        ),
        users: vec![(["alice", "a.org", "pw"], "none")],
        refused: ["bob", "a.org", ""],
        edit: format!("UPDATE subscriber SET ha1_sha256 = '{}' WHERE username = 'alice'", new.trim()),
    }
}

/// Asterisk's `ps_auths`, with the type of `auth_type`.
fn asterisk(before: &str, auth_type: &str) -> Example {
    Example {
        file: "asterisk.conf",
        tables: format!(
            "{before} CREATE TABLE ps_auths (id VARCHAR(40) NOT NULL, auth_type {auth_type},
                 nonce_lifetime INTEGER, md5_cred VARCHAR(40), password VARCHAR(80), realm VARCHAR(40),
                 username VARCHAR(40), refresh_token VARCHAR(255), oauth_clientid VARCHAR(255),
                 oauth_secret VARCHAR(255), UNIQUE (id));
             INSERT INTO ps_auths (id, auth_type, username, password, md5_cred) VALUES
                 ('a', 'userpass', 'alice', 'pw', NULL), ('b', 'md5', 'bob', 'unused', '{}'),
                 ('c', 'userpass', 'carol', NULL, NULL), ('d', NULL, 'dave', 'pw', NULL)",
            md5_hex("bob:asterisk:pw")
        ),
        users: vec![
            (["alice", "example.org", "pw"], "none"),
            (["bob", "example.org", "pw"], "none"),
            (["dave", "example.org", "pw"], "none"),
        ],
        refused: ["bob", "example.org", "unused"],
        edit: "UPDATE ps_auths SET password = 'new' WHERE id = 'a'".into(),
    }
}

const MYSQL_ID: &str = "INT(10) UNSIGNED AUTO_INCREMENT";

#[test]
fn kamailio_on_both() {
    kamailio(MYSQL_ID).try_on(Kind::MariaDb);
    kamailio("SERIAL").try_on(Kind::Postgres);
}

#[test]
fn opensips_on_both() {
    opensips(MYSQL_ID).try_on(Kind::MariaDb);
    opensips("SERIAL").try_on(Kind::Postgres);
}

#[test]
fn asterisk_on_both() {
    let kinds = "ENUM('md5', 'userpass', 'google_oauth')";
    asterisk("", kinds).try_on(Kind::MariaDb);
    let before = format!("CREATE TYPE pjsip_auth_type_values_v2 AS {kinds};");
    asterisk(&before, "pjsip_auth_type_values_v2").try_on(Kind::Postgres);
}

#[test]
fn freepbx_on_mysql() {
    let example = Example {
        file: "freepbx.conf",
        tables: "CREATE TABLE sip (id VARCHAR(20) NOT NULL DEFAULT '-1', keyword VARCHAR(30) NOT NULL DEFAULT '',
                     data VARCHAR(255) NOT NULL, flags INT(1) NOT NULL DEFAULT 0, PRIMARY KEY (id, keyword));
                 CREATE TABLE devices (id VARCHAR(20) NOT NULL DEFAULT '', tech VARCHAR(10) NOT NULL DEFAULT '',
                     dial VARCHAR(255) NOT NULL DEFAULT '', devicetype VARCHAR(5) NOT NULL DEFAULT '',
                     user VARCHAR(50) DEFAULT NULL, description VARCHAR(50) DEFAULT NULL,
                     emergency_cid VARCHAR(100) DEFAULT NULL, PRIMARY KEY (id), KEY tech (tech));
                 INSERT INTO sip VALUES ('101', 'secret', 'pw', 2), ('101', 'callerid', 'Alice <101>', 3),
                     ('102', 'account', '102', 4), ('102', 'secret', 'other', 2), ('tr-peer-1', 'secret', 'trunk', 2);
                 INSERT INTO devices (id, tech, dial, devicetype, user, description) VALUES
                     ('101', 'pjsip', 'PJSIP/101', 'fixed', '101', 'Alice'),
                     ('102', 'sip', 'SIP/102', 'fixed', '102', 'Bob')"
            .into(),
        users: vec![(["101", "example.org", "pw"], "Alice"), (["102", "example.org", "other"], "Bob")],
        refused: ["tr-peer-1", "example.org", "trunk"],
        edit: "UPDATE sip SET data = 'new' WHERE id = '101' AND keyword = 'secret'".into(),
    };
    example.try_on(Kind::MariaDb);
}

#[test]
fn fusionpbx_on_postgres() {
    let [alices, bobs, others, domain, closed] =
        [1, 2, 3, 8, 9].map(|n| format!("00000000-0000-0000-0000-{n:012}"));
    for flag in ["TEXT", "BOOLEAN"] {
        let example = Example {
            file: "fusionpbx.conf",
            tables: format!(
                "CREATE TABLE v_domains (domain_uuid UUID PRIMARY KEY, domain_parent_uuid UUID, domain_name TEXT,
                     domain_enabled {flag}, domain_description TEXT);
                 CREATE TABLE v_extensions (extension_uuid UUID PRIMARY KEY, domain_uuid UUID, extension TEXT,
                     number_alias TEXT, password TEXT, accountcode TEXT, effective_caller_id_name TEXT,
                     effective_caller_id_number TEXT, user_context TEXT, enabled {flag}, description TEXT);
                 INSERT INTO v_domains (domain_uuid, domain_name, domain_enabled)
                     VALUES ('{domain}', 'a.org', 'true'), ('{closed}', 'b.org', 'false');
                 INSERT INTO v_extensions (extension_uuid, domain_uuid, extension, password,
                     effective_caller_id_name, enabled) VALUES
                     ('{alices}', '{domain}', '101', 'pw', 'Alice', 'true'), ('{bobs}', '{domain}', '102', 'b', '', 'true'),
                     ('{others}', '{domain}', '103', 'pw', '', 'false'), (gen_random_uuid(), '{closed}', '101', 'pw', '', 'true')"
            ),
            users: vec![(["101", "a.org", "pw"], "Alice"), (["102", "a.org", "b"], "none")],
            refused: ["103", "a.org", "pw"],
            edit: "UPDATE v_extensions SET password = 'new' WHERE extension = '101'".into(),
        };
        example.try_on(Kind::Postgres);
    }
}

#[test]
fn wazo_on_postgres() {
    let example = Example {
        file: "wazo.conf",
        tables: "CREATE TYPE endpoint_sip_section_type AS ENUM ('aor', 'auth', 'endpoint', 'identify',
                     'outbound_auth', 'registration_outbound_auth', 'registration');
                 CREATE TABLE endpoint_sip (uuid UUID PRIMARY KEY DEFAULT gen_random_uuid(), label TEXT,
                     name TEXT NOT NULL UNIQUE, asterisk_id TEXT, tenant_uuid VARCHAR(36) NOT NULL,
                     transport_uuid UUID, template BOOLEAN DEFAULT false);
                 CREATE TABLE endpoint_sip_section (uuid UUID PRIMARY KEY DEFAULT gen_random_uuid(),
                     type endpoint_sip_section_type NOT NULL,
                     endpoint_sip_uuid UUID NOT NULL REFERENCES endpoint_sip ON DELETE CASCADE,
                     UNIQUE (type, endpoint_sip_uuid));
                 CREATE TABLE endpoint_sip_section_option (uuid UUID PRIMARY KEY DEFAULT gen_random_uuid(),
                     key TEXT NOT NULL, value TEXT NOT NULL,
                     endpoint_sip_section_uuid UUID NOT NULL REFERENCES endpoint_sip_section ON DELETE CASCADE);
                 CREATE TABLE linefeatures (id SERIAL PRIMARY KEY, context VARCHAR(79), name VARCHAR(128),
                     number VARCHAR(40), endpoint_sip_uuid UUID REFERENCES endpoint_sip ON DELETE SET NULL);
                 INSERT INTO endpoint_sip (name, tenant_uuid) VALUES ('alice', 't'), ('bob', 't'), ('trunk', 't');
                 INSERT INTO endpoint_sip_section (type, endpoint_sip_uuid)
                     SELECT kind::endpoint_sip_section_type, uuid FROM endpoint_sip, (VALUES ('auth'), ('endpoint')) k (kind);
                 INSERT INTO endpoint_sip_section_option (key, value, endpoint_sip_section_uuid)
                     SELECT key, value, s.uuid FROM endpoint_sip_section s JOIN endpoint_sip e ON e.uuid = endpoint_sip_uuid,
                         LATERAL (VALUES ('username', e.name), ('password', e.name || 'pw')) o (key, value)
                         WHERE type = 'auth';
                 INSERT INTO linefeatures (endpoint_sip_uuid) SELECT uuid FROM endpoint_sip WHERE name <> 'trunk'"
            .into(),
        users: vec![(["alice", "example.org", "alicepw"], "none"), (["bob", "example.org", "bobpw"], "none")],
        refused: ["trunk", "example.org", "trunkpw"],
        edit: "UPDATE endpoint_sip_section_option SET value = 'new' WHERE key = 'password' AND value = 'alicepw'"
            .into(),
    };
    example.try_on(Kind::Postgres);
}
