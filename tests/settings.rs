//! `jitsiprovs import properties`: the settings of a Jitsi, in every form in which they come.

use std::path::Path;
use std::process::Output;

use support::client::post;
use support::java::{Java, Leaving, hsqldb_settings, read_hsqldb};
use support::server::{Server, run};
use support::sqlite::SqliteFile;

const ROOT: &str = "net.java.sip.communicator.";

/// Imports a file into the database.
fn import(database: &SqliteFile, file: &Path, more: &[&str]) -> Output {
    let (file, path) = (file.to_str().expect("UTF-8"), database.path.to_str().expect("UTF-8"));
    run(&[&["import", "properties", file, "--db-path", path], more].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes the file next to the database.
fn write(database: &SqliteFile, name: &str, text: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = database.folder.path().join(name);
    std::fs::write(&path, text).expect("writes");
    path
}

/// Keys and values as they are stored, in their order, each as `key=value`.
fn stored(database: &SqliteFile) -> Vec<String> {
    let all = "SELECT coalesce(group_concat(property_key || '=' || property_value, x'0a' ORDER BY id), '') \
               FROM jitsi_property";
    database.ask(all).lines().map(str::to_owned).collect()
}

#[test]
fn settings_that_hsqldb_wrote_are_served_as_java_reads_them_from_the_database() {
    let folder = tempfile::tempdir().expect("a folder");
    hsqldb_settings(folder.path(), 2000, Leaving::Closed);
    let database = SqliteFile::empty();
    database.user("a.org", "alice", "pw");
    let script = folder.path().join("props.hsql.script");
    let output = import(&database, &script, &["--domain", "a.org", "--subject", "alice"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(summary, "rules: 2000 added, 0 changed, 0 removed, 0 as they were\n");
    let server = Server::on_sqlite(&database.path, &[]);
    let reply = post(server.address, &[("username", "alice@a.org"), ("password", "pw")]);
    assert_eq!(reply.status, 200);
    let served = Java::start().load(&reply.body).expect("Java reads it");
    let expected = read_hsqldb(folder.path());
    assert_eq!(expected.len(), 2000);
    for (served, expected) in served.iter().zip(&expected) {
        assert_eq!(served, expected);
    }
    assert_eq!(served.len(), expected.len());
}

#[test]
fn settings_in_the_log_of_a_database_that_is_open_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    hsqldb_settings(folder.path(), 3, Leaving::Killed);
    let database = SqliteFile::empty();
    let script = folder.path().join("props.hsql.script");
    // Nothing is in the script yet, not even the table.
    let output = import(&database, &script, &[]);
    assert_eq!(output.status.code(), Some(1));
    let why = said(&output);
    assert!(why.contains("props.hsql.log has later changes") && why.contains("close Jitsi"), "{why}");
    assert!(why.contains("no table PROPS"), "{why}");
    // The other files of the database are not settings either.
    for (name, words) in [
        ("props.hsql.log", "the log of a database"),
        ("props.hsql.properties", "import the props.hsql.script"),
    ] {
        let output = import(&database, &folder.path().join(name), &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    // What is in the script is imported, with the note.
    let text = "INSERT INTO PROPS VALUES('a','b')\n";
    let old = write(&database, "props.hsql.script", text);
    write(&database, "props.hsql.properties", "version=2.7.1\nmodified=yes\n");
    let output = import(&database, &old, &[]);
    assert!(output.status.success() && said(&output).contains("Jitsi was not closed"), "{}", said(&output));
    write(&database, "props.hsql.properties", "version=2.7.1\nmodified=no\n");
    let output = import(&database, &old, &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    assert_eq!(stored(&database), ["a=b"]);
}

#[test]
fn settings_of_a_script_are_text_unless_they_are_templates() {
    let script = "SET DATABASE UNIQUE NAME X\n\
        CREATE MEMORY TABLE PUBLIC.PROPS(K VARCHAR(16777216),V VARCHAR(16777216),UNIQUE(K))\n\
        INSERT INTO PROPS VALUES('p.acc1.ACCOUNT_UID','SIP:alice@example.org')\n\
        INSERT INTO PROPS VALUES('p.acc1.ENCRYPTED_PASSWORD','c2VjcmV0')\n\
        INSERT INTO PUBLIC.PROPS VALUES('path of ''it''','C:\\Users\\${username}')\n";
    for (more, expected) in [
        (
            &[][..],
            [
                "p.acc1.ACCOUNT_UID=SIP:alice@example.org",
                "p.acc1.ENCRYPTED_PASSWORD=c2VjcmV0",
                "$${username}",
            ],
        ),
        (
            &["--templates"],
            ["p.acc1.ACCOUNT_UID=SIP:alice@example.org", "p.acc1.ENCRYPTED_PASSWORD=c2VjcmV0", "${username}"],
        ),
        (
            &["--templatize", "alice@example.org"],
            ["p.acc1.ACCOUNT_UID=SIP:${username}@${domain}", "p.acc1.PASSWORD=${password}", "$${username}"],
        ),
    ] {
        let database = SqliteFile::empty();
        let file = write(&database, "settings", script);
        let output = import(&database, &file, more);
        assert!(output.status.success(), "{}", said(&output));
        let [uid, password, end] = expected;
        let path = format!("path\\ of\\ 'it'=C:\\\\Users\\\\{end}");
        assert_eq!(stored(&database), [uid, password, &path], "{more:?}");
    }
}

#[test]
fn files_that_are_no_settings_are_refused_by_what_they_look_like() {
    let database = SqliteFile::empty();
    for (bytes, looks) in [
        (&b"<!DOCTYPE html>\n<html><body>hunter2</body></html>"[..], "an HTML page"),
        (b"<?xml version=\"1.0\"?>\n<sip-communicator><a value=\"hunter2\"/></sip-communicator>", "XML"),
        (b"-- MySQL dump 10.13\nINSERT INTO `t` VALUES (1,'hunter2');\n", "SQL"),
        (b"INSERT INTO jitsi_property VALUES (1,'default',10,10,'a','hunter2');\n", "SQL"),
        (b"{\"a\": \"hunter2\"}", "JSON"),
        (b"PK\x03\x04\x14\0\0\0hunter2", "a ZIP archive"),
        (b"\x1f\x8b\x08\0hunter2", "gzip"),
        (b"a=hunter2\0\n", "a binary file"),
        (b"\xff\xfea\0=\0b\0", "UTF-16"),
        (b"username,domain,password\nalice,a.org,hunter2\n", "CSV"),
        (b"", "the file is empty"),
    ] {
        let file = write(&database, "settings", bytes);
        for more in [&[][..], &["--dry-run"], &["--replace"], &["--latin1"]] {
            let output = import(&database, &file, more);
            let why = said(&output);
            assert_eq!(output.status.code(), Some(1), "{why}");
            assert!(why.contains(looks) && why.lines().count() == 1 && !why.contains("hunter2"), "{why}");
        }
    }
    assert!(stored(&database).is_empty());
}

#[test]
fn what_belongs_to_one_person_is_left_out_and_named() {
    let personal = [
        "UUID",
        "plugin.provisioning.METHOD",
        "plugin.provisioning.URL",
        "plugin.provisioning.auth",
        "plugin.provisioning.auth.USERNAME",
        "impl.credentialsstorage.MASTER",
        "plugin.otr.SIP_alice_example_org_privateKey",
        "plugin.otr.SIP_alice_example_org_publicKey",
        "impl.protocol.jabber.acc1.ZID_SALT",
        "impl.gui.main.MainFrame.width",
        "impl.gui.main.MainFrame.x",
        "impl.callhistory.sip.acc1.LAST_CALL",
    ];
    let kept =
        ["plugin.provisioning.MANDATORY", "impl.neomedia.video.width", "impl.protocol.sip.acc1.PASSWORD"];
    let all = || personal.iter().chain(&kept);
    let properties: String = all().map(|key| format!("{ROOT}{key}=hunter2\n")).collect();
    let rows: String =
        all().map(|key| format!("INSERT INTO PROPS VALUES('{ROOT}{key}','hunter2')\n")).collect();
    for text in [properties, rows] {
        for (more, who) in [
            (&[][..], "everyone of all tenants"),
            (&["--domain", "a.org"], "everyone of a.org"),
            (&["--templatize", "alice@example.org"], "everyone of all tenants"),
            (
                &["--domain", "a.org", "--subject", "alice"],
                "the clients that get the rules for `alice` of a.org",
            ),
        ] {
            let database = SqliteFile::empty();
            let file = write(&database, "settings", &text);
            let output = import(&database, &file, more);
            let notes = said(&output);
            assert!(output.status.success() && !notes.contains("hunter2"), "{notes}");
            for (line, key) in (1..).zip(personal) {
                assert!(notes.contains(&format!("{ROOT}{key} (line {line})")), "{key}: {notes}");
            }
            let secret =
                format!("1 stored secret among the properties, visible to {who}: {ROOT}{}:", kept[2]);
            assert!(notes.contains(&secret), "{notes}");
            assert_eq!(notes.contains("everyone"), who.contains("everyone"), "{notes}");
            assert_eq!(stored(&database), kept.map(|key| format!("{ROOT}{key}=hunter2")));
        }
    }
}

#[test]
fn utf8_is_read_as_such_unless_java_s_reading_is_asked_for() {
    let mut java = Java::start();
    for (bytes, more, expected, note) in [
        ("k=café 😀\n".as_bytes(), &[][..], ("k", "café 😀"), "is read as UTF-8"),
        ("\u{feff}k=café\n".as_bytes(), &[], ("k", "café"), "begins with a byte order mark"),
        ("\u{feff}k=1\n".as_bytes(), &[], ("k", "1"), "begins with a byte order mark"),
        ("k=café\n".as_bytes(), &["--latin1"], ("k", "cafÃ©"), ""),
        ("\u{feff}k=1\n".as_bytes(), &["--latin1"], ("ï»¿k", "1"), ""),
        (b"k=caf\xe9\n", &[], ("k", "café"), ""),
        (b"k=caf\\u00e9\n", &[], ("k", "café"), ""),
    ] {
        let database = SqliteFile::empty();
        database.user("a.org", "alice", "pw");
        let file = write(&database, "settings", bytes);
        let output = import(&database, &file, more);
        let notes = said(&output);
        assert!(output.status.success(), "{notes}");
        assert!(notes.contains(note) && notes.is_empty() == note.is_empty(), "{notes}");
        let server = Server::on_sqlite(&database.path, &[]);
        let reply = post(server.address, &[("username", "alice@a.org"), ("password", "pw")]);
        let expected = (expected.0.to_owned(), expected.1.to_owned());
        assert_eq!(java.load(&reply.body), Ok(vec![expected]));
    }
    let output = run(&["import", "users", "x", "--latin1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--latin1"), "{}", said(&output));
}

#[test]
fn rule_add_says_what_becomes_of_a_backslash() {
    let database = SqliteFile::empty();
    let path = database.path.to_str().expect("UTF-8");
    for (property, words) in [
        (
            "k1=C:\\Program Files\\Jitsi",
            "warning: property_value: Java leaves out a single backslash, so the client \
                                         reads `C:Program FilesJitsi`: write `C:\\\\Program Files\\\\Jitsi`",
        ),
        ("k2=DOMAIN\\alice", "reads `DOMAINalice`: write `DOMAIN\\\\alice`"),
        ("k3=C:\\temp", "note: property_value: the client reads `\\t` as a tab"),
    ] {
        let output = run(&["rule", "add", property, "--db-path", path]);
        assert!(output.status.success() && said(&output).contains(words), "{}", said(&output));
    }
    for property in ["k4=C\\:\\\\temp", "k5=a\\:b\\=c\\ d\\u00e9\\t\\n\\#\\!"] {
        let output = run(&["rule", "add", property, "--db-path", path]);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    }
    let output = run(&["rule", "add", &format!("{ROOT}impl.credentialsstorage.MASTER=x"), "--db-path", path]);
    assert!(said(&output).contains("several users get this property"), "{}", said(&output));
}
