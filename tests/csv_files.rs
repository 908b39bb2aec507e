//! Files of users as spreadsheets and other systems write them, and what `--replace` removes.

use std::io::{Read, Write};
use std::sync::mpsc;

use serde_json::Value;
use support::client::post;
use support::server::{Running, jitsiprovs};
use support::sqlite::SqliteFile;
use support::tables::Tables;
use support::terminal::terminal;
use support::{PATIENCE, md5_hex, texts};

const HEADS: &str = "username,domain,password\n";

fn on(file: &SqliteFile) -> Tables {
    Tables::on(vec!["--db-path".into(), file.path.to_str().expect("UTF-8").into()])
}

/// Users with letters of windows-1252, and with separators and quotes in an attribute.
fn table(count: usize) -> Vec<[String; 4]> {
    let heads = ["username", "domain", "password", "note"].map(str::to_owned);
    let user = |at: usize| {
        let note = if at.is_multiple_of(10) { "a,b;c\t\"d\"|e".to_owned() } else { format!("Zoë €{at}") };
        [format!("user{at:05}"), format!("tenant{}.example.org", at % 7), md5_hex(&at.to_string()), note]
    };
    std::iter::once(heads).chain((0..count).map(user)).collect()
}

fn file(rows: &[[String; 4]], separator: char, end: &str, quotes_all: bool) -> String {
    let field = |text: &String| match quotes_all || text.contains([separator, '"']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.clone(),
    };
    let line = |row: &[String; 4]| row.each_ref().map(field).join(&separator.to_string()) + end;
    rows.iter().map(line).collect()
}

fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect()
}

fn windows_1252(text: &str) -> Vec<u8> {
    text.chars().map(|c| if c == '€' { 0x80 } else { u8::try_from(u32::from(c)).expect("a byte") }).collect()
}

#[test]
fn ten_thousand_users_are_the_same_in_eight_dialects() {
    let rows = table(10_000);
    let mut renamed = rows.clone();
    renamed[0] = [" Extension ", "REALM", "Secret", "Note"].map(str::to_owned);
    let semicolons = file(&rows, ';', "\r\n", false);
    let dialects: [(&str, Vec<u8>, &[&str]); 8] = [
        ("commas", file(&rows, ',', "\n", false).into_bytes(), &[]),
        ("semicolons with a mark", format!("\u{feff}{semicolons}").into_bytes(), &[]),
        ("a line sep=", format!("sep=;\r\n{semicolons}").into_bytes(), &[]),
        ("tabs in UTF-16", utf_16(&file(&rows, '\t', "\r\n", true), u16::to_le_bytes), &[]),
        ("the other UTF-16", utf_16(&semicolons, u16::to_be_bytes), &[]),
        ("windows-1252", windows_1252(&semicolons), &[]),
        (
            "a named encoding, quotes",
            windows_1252(&file(&rows, ',', "\r", true)),
            &["--encoding", "windows-1252"],
        ),
        (
            "other heads",
            file(&renamed, '|', "\n", false).into_bytes(),
            &["--columns", "extension=username,realm=domain,secret=password"],
        ),
    ];
    let (tables, folder) = (Tables::sqlite(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("users.csv");
    for (at, (name, bytes, more)) in dialects.into_iter().enumerate() {
        std::fs::write(&path, bytes).expect("written");
        let args = ["import", "users", path.to_str().expect("UTF-8"), "--replace"];
        let output = tables.say(&[&args[..], more].concat(), "");
        let said = String::from_utf8_lossy(&output.stdout);
        let counts = if at == 0 {
            "10000 added, 0 changed, 0 removed, 0"
        } else {
            "0 added, 0 changed, 0 removed, 10000"
        };
        let expected = format!("users: {counts} as they were\nattributes: {counts} as they were\n");
        let noted = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, expected, "{name}: {noted}");
        assert_eq!(noted.contains("was read as windows-1252"), name == "windows-1252", "{noted}");
    }
    // Spot checks of what all of them say.
    let written = tables.done(&["export", "users"]);
    for line in [
        format!("user00001,tenant1.example.org,{},Zoë €1\n", md5_hex("1")),
        format!("user00010,tenant3.example.org,{},\"a,b;c\t\"\"d\"\"|e\"\n", md5_hex("10")),
    ] {
        assert!(written.contains(&line), "{line}");
    }
    assert_eq!(written.lines().count(), 10_001);
}

#[test]
fn clear_passwords_are_hashed_and_those_that_are_stored_already_stay() {
    let file = SqliteFile::empty();
    let tables = on(&file);
    let text = "name;pw\nalice; correct horse \nbob;pässword\nnobody;\n";
    let import = |text: &str, hash: &str| {
        let columns = ["--columns", "name=username,pw=password", "--domain", "a.org", "--hash", hash];
        let output = tables.say(&[&["import", "users", "-"], &columns[..]].concat(), text);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let noted = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{noted}");
        assert!(!(said.clone() + &noted).contains("horse"));
        (said, noted)
    };
    let (said, noted) = import(text, "argon2id");
    assert_eq!(said, "users: 3 added, 0 changed, 0 removed, 0 as they were\n");
    assert!(
        noted.contains("1 password begins or ends with a blank, which is kept: the first is in line 2"),
        "{noted}"
    );
    let stored = |name: &str| {
        file.ask(&format!("SELECT coalesce(password, '') FROM user_auth WHERE username = '{name}'"))
    };
    assert!(stored("alice").starts_with("$argon2id$") && stored("nobody").is_empty());
    let before = [stored("alice"), stored("bob")];
    let server = tables.serve();
    for (password, status) in [(" correct horse ", 200), ("correct horse", 401)] {
        let parameters = [("username", "alice@a.org"), ("password", password)];
        assert_eq!(post(server.address, &parameters).status, status, "{password:?}");
    }
    drop(server);
    // The same passwords are not hashed again, because servers would have to load the rows.
    assert_eq!(import(text, "argon2id").0, "users: 0 added, 0 changed, 0 removed, 3 as they were\n");
    let (said, _) = import(&text.replace("pässword", "other"), "argon2id");
    assert_eq!(said, "users: 0 added, 1 changed, 0 removed, 2 as they were\n");
    assert!(stored("alice") == before[0] && stored("bob") != before[1]);
    // Another form is another hash; one that is in the file stays.
    let mixed = format!("{text}carol;{}\n", before[0]);
    let (said, noted) = import(&mixed, "bcrypt");
    assert_eq!(said, "users: 1 added, 2 changed, 0 removed, 1 as they were\n");
    assert!(noted.contains("1 password is stored as in the file"), "{noted}");
    assert!(stored("bob").starts_with("$2b$") && stored("carol") == before[0]);
    import(text, "md5");
    assert_eq!(stored("alice"), md5_hex(" correct horse "));
    import(text, "sha512-crypt");
    assert!(stored("alice").starts_with("$6$"));
    // What cannot be hashed is refused with its line.
    let refused = |rows: &str, hash: &str, code| {
        tables.refused(&["import", "users", "--hash", hash], &format!("{HEADS}{rows}"), code)
    };
    let long = "x".repeat(73);
    let why = refused(&format!("a,a.org,x\nb,a.org,{long}\n"), "bcrypt", 1);
    assert!(why.contains("line 3: the password is longer than 72 bytes") && !why.contains("xx"), "{why}");
    let why = refused("a,a.org,$1$abcdefgh$irWbblnpmw.5z7wgBnprh0\n", "argon2id", 1);
    assert!(why.contains("line 2: the password of a@a.org is a hash that servers cannot verify"), "{why}");
    let digests: String = (0..4).map(|at| format!("u{at},a.org,{}\n", md5_hex("x"))).collect();
    let why = refused(&digests, "argon2id", 1);
    assert!(why.contains("4 of 4 passwords look like hashes") && why.contains("leave it out"), "{why}");
    let why = refused("a,a.org,x\n", "ha1", 2);
    assert!(why.contains("--hash ha1 with --pwd-fmt md5"), "{why}");
}

#[test]
fn passwords_of_another_format_are_refused_if_they_are_more_than_a_few() {
    let tables = Tables::sqlite();
    let text = |clear: usize, hashed: usize| {
        let clear = (0..clear).map(|at| format!("c{at},a.org,hunter{at}\n"));
        let hashed = (0..hashed).map(|at| format!("h{at},a.org,{}\n", md5_hex("x")));
        HEADS.to_owned() + &clear.chain(hashed).collect::<String>()
    };
    for more in [&[][..], &["--dry-run"]] {
        let args = [&["import", "users", "-"], more].concat();
        let why = tables.refused(&args, &text(4, 6), 1);
        assert!(why.contains("4 of 10 passwords cannot be what --pwd-fmt md5 says"), "{why}");
        assert!(
            why.contains("--hash argon2id") && why.contains("c0@a.org") && !why.contains("hunter"),
            "{why}"
        );
    }
    // Digests are hardly passwords either.
    let why = tables.refused(&["import", "users", "--pwd-fmt", "plain"], &text(0, 4), 1);
    assert!(why.contains("cannot be what --pwd-fmt plain says"), "{why}");
    assert_eq!(tables.done(&["export", "users"]), HEADS);
    // A few may be meant, and so are users without a password.
    let output = tables.say(&["import", "users"], &text(3, 0));
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("3 users cannot sign in"));
    let empty: String = (0..9).map(|at| format!("e{at},a.org,\n")).collect();
    let output = tables.say(&["import", "users"], &(HEADS.to_owned() + &empty));
    assert!(output.status.success() && output.stderr.is_empty());
    // What is stored as it is in the file is no reason to refuse the file.
    tables.done_with(&["import", "users"], &text(4, 400));
    tables.done_with(&["import", "users"], &text(4, 0));
}

#[test]
fn replace_touches_only_tenants_and_subjects_that_are_named_or_in_the_file() {
    for tables in Tables::each() {
        let users = |domains: &[&str], count: usize| {
            let of =
                |domain: &&str| (0..count).map(move |at| format!("u{at},{domain},\n")).collect::<String>();
            HEADS.to_owned() + &domains.iter().map(of).collect::<String>()
        };
        tables.done_with(&["import", "users"], &users(&["a.org", "b.org"], 6));
        let replace = ["import", "users", "-", "--replace"];
        let dry = tables.done_with(&[&replace[..], &["--dry-run"]].concat(), &users(&["A.org"], 3));
        assert!(dry.ends_with("users: 0 to add, 3 to change, 3 to remove, 0 as they should be\n"), "{dry}");
        assert!(!dry.contains("b.org"));
        // A row of another tenant than the one that is named is a mistake.
        let args = [&replace[..], &["--domain", "a.org"]].concat();
        let why = tables.refused(&args, &users(&["a.org", "b.org"], 1), 1);
        assert!(why.contains("line 3: u0@b.org is not what --domain"), "{why}");
        let nobody = "username,password\nu0,\nu1,\nu2,\n";
        assert_eq!(tables.done_with(&args, nobody), "users: 0 added, 0 changed, 3 removed, 3 as they were\n");
        // Rules: those of the tenants and subjects in the file.
        let rules = "domain,subject,key,value\n,default,k,v\na.org,default,k,v\na.org,osname=Linux,k,v\na.org,osname=Linux,l,v\nb.org,default,k,v\n";
        tables.done_with(&["import", "rules"], rules);
        let json = r#"[{"domain": "a.org", "subject": "osname=Linux", "key": "l", "value": "v"}]"#;
        let csv = "domain,subject,key,value\na.org,osname=Linux,l,v\n";
        for (content, text) in [("rules", csv), ("rules-json", json)] {
            let removed = |more: &[&str]| {
                let args =
                    [&["import", content, "-", "--replace", "--dry-run", "--format", "json"], more].concat();
                let told: Value = serde_json::from_str(&tables.done_with(&args, text)).expect("JSON");
                told["rules"]["removed"].as_u64().expect("a number")
            };
            assert_eq!(removed(&[]), 1, "{content}");
            assert_eq!(removed(&["--domain", "a.org"]), 2, "{content}");
            assert_eq!(removed(&["--subject", "osname=Linux"]), 1, "{content}");
            let args = ["import", content, "-", "--replace", "--domain", ""];
            let why = tables.refused(&args, text, 1);
            assert!(why.contains("osname=Linux of a.org: l is not what --domain"), "{why}");
        }
        // Attributes, and those that are columns of users.
        let attributes = "domain,username,name,value\n,,x,1\na.org,u0,x,1\na.org,,y,1\nb.org,u0,x,1\n";
        tables.done_with(&["import", "attributes"], attributes);
        let said = tables.done_with(
            &["import", "attributes", "-", "--replace"],
            "domain,username,name,value\na.org,u0,x,2\n",
        );
        assert_eq!(said, "attributes: 0 added, 1 changed, 1 removed, 0 as they were\n");
        let said =
            tables.done_with(&replace, "username,domain,password,x\nu0,a.org,,\nu1,a.org,,\nu2,a.org,,\n");
        assert!(said.ends_with("attributes: 0 added, 0 changed, 1 removed, 0 as they were\n"), "{said}");
        assert!(tables.done(&["export", "attributes"]).ends_with(",,x,1\nb.org,u0,x,1\n"));
    }
}

#[test]
fn a_large_loss_and_a_file_without_rows_want_allow_shrink() {
    let tables = Tables::sqlite();
    let users =
        |count: usize| HEADS.to_owned() + &(0..count).map(|at| format!("u{at},a.org,\n")).collect::<String>();
    tables.done_with(&["import", "users"], &users(7));
    let replace = ["import", "users", "-", "--replace"];
    let with = |more: &[&'static str]| [&replace[..], more].concat();
    let why = tables.refused(&replace, &users(3), 1);
    assert!(why.contains("4 of 7 users of a.org") && why.contains("--allow-shrink"), "{why}");
    // A dry run shows what it is about, and ends like the import.
    let dry = tables.say(&with(&["--dry-run"]), &users(3));
    let noted = String::from_utf8_lossy(&dry.stderr);
    assert!(dry.status.code() == Some(1) && noted.contains("4 of 7 users of a.org"), "{noted}");
    assert!(String::from_utf8_lossy(&dry.stdout).starts_with("- u3@a.org\n"));
    for more in [&[][..], &["--dry-run"], &["--domain", "a.org"]] {
        let why = tables.refused(&with(more), HEADS, 1);
        assert!(why.contains("there is no row in it") && why.contains("--allow-shrink"), "{why}");
    }
    let why = tables.refused(&["import", "json", "-", "--replace"], r#"{"users": [], "rules": []}"#, 1);
    assert!(why.contains("there is no row in it"), "{why}");
    assert_eq!(tables.done(&["export", "users"]), users(7));
    assert!(tables.done_with(&with(&["--max-shrink", "60"]), &users(3)).contains("4 removed"));
    let why = tables.refused(&replace, &users(0).replace("password\n", "password\nnew,a.org,\n"), 1);
    assert!(why.contains("3 of 3 users of a.org"), "{why}");
    assert!(tables.done_with(&with(&["--allow-shrink"]), HEADS).contains("3 removed"));
    // Rules and attributes alike.
    let rows = |heads: &str, row: &str, count: usize| {
        heads.to_owned() + &(0..count).map(|at| row.replace('#', &at.to_string())).collect::<String>()
    };
    for (content, heads, row) in [
        ("rules", "domain,subject,key,value\n", "a.org,osname=Linux,k#,v\n"),
        ("attributes", "domain,username,name,value\n", "a.org,,n#,v\n"),
    ] {
        tables.done_with(&["import", content], &rows(heads, row, 5));
        let why = tables.refused(&["import", content, "-", "--replace"], &rows(heads, row, 1), 1);
        assert!(why.contains(&format!("4 of 5 {content} of a.org")), "{why}");
        let args = ["import", content, "-", "--replace", "--allow-shrink"];
        assert!(tables.done_with(&args, &rows(heads, row, 1)).contains("4 removed"));
    }
}

#[test]
fn at_a_terminal_a_large_loss_is_asked_about() {
    let file = SqliteFile::empty();
    for at in 0..5 {
        file.user("a.org", &format!("u{at}"), "x");
    }
    let path = file.folder.path().join("users.csv");
    std::fs::write(&path, format!("{HEADS}u0,a.org,{}\n", md5_hex("x"))).expect("written");
    let tables = on(&file);
    for (answer, code, left) in [("no\n", 1, "5"), ("yes\n", 0, "1")] {
        let (mut person, end) = terminal();
        let mut command = jitsiprovs(&["import", "users", path.to_str().expect("UTF-8"), "--replace"]);
        command.args(texts(&tables.args)).stdin(end.try_clone().expect("a handle"));
        command.stdout(end.try_clone().expect("a handle")).stderr(end);
        let mut child = Running(command.spawn().expect("starts"));
        drop(command);
        let mut reader = person.try_clone().expect("a handle");
        let (sender, shown) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut text, mut bytes) = (String::new(), [0; 1024]);
            // Reading fails once the command has ended.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                let _ = sender.send(text.clone());
            }
        });
        let mut asked = String::new();
        while !asked.contains("Type yes") {
            asked = shown.recv_timeout(PATIENCE).expect("a question");
        }
        assert!(asked.contains("--replace would remove 4 of 5 users of a.org."), "{asked}");
        person.write_all(answer.as_bytes()).expect("typed");
        assert_eq!(child.0.wait().expect("ended").code(), Some(code));
        assert_eq!(file.ask("SELECT CAST(count(*) AS TEXT) FROM user_auth"), left);
    }
}

#[test]
fn a_dry_run_finds_what_the_database_would_refuse_and_changes_nothing() {
    let file = SqliteFile::empty();
    file.execute("CREATE TRIGGER no BEFORE INSERT ON user_auth BEGIN SELECT RAISE(ABORT, 'read only'); END");
    let (sqlite, mysql) = (on(&file), Tables::mysql());
    let long = format!("{HEADS}a,a.org,{}\n", "x".repeat(70_000));
    for (tables, text) in [(&sqlite, format!("{HEADS}a,a.org,\n")), (&mysql, long)] {
        for more in [&[][..], &["--dry-run"]] {
            let output = tables.say(&[&["import", "users", "-"], more].concat(), &text);
            let noted = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code() == Some(1) && noted.contains("writing `user_auth`"), "{noted}");
        }
    }
    // A dry run that succeeds writes nothing either.
    let text = format!("{HEADS}b,a.org,\n");
    let dry = mysql.done_with(&["import", "users", "-", "--dry-run"], &text);
    assert!(dry.contains("users: 1 to add"), "{dry}");
    assert_eq!(mysql.done(&["export", "users"]), HEADS);
    assert_eq!(
        mysql.done_with(&["import", "users"], &text),
        "users: 1 added, 0 changed, 0 removed, 0 as they were\n"
    );
}

#[test]
fn options_that_say_nothing_about_a_file_are_refused() {
    let tables = Tables::sqlite();
    for (args, words) in [
        (&["users", "--encoding", "utf-9"][..], "no encoding has this name"),
        (&["users", "--columns", "secret"], "--columns"),
        (&["rules-json", "--columns", "a=b"], "are for CSV"),
        (&["rules", "--hash", "md5"], "--hash is for users"),
        (&["rules", "--domain", "a.org"], "--domain is for users"),
        (&["users", "--domain", ""], "--domain is empty"),
        (&["users", "--replace", "--subject", "x"], "--subject is for rules"),
        (&["rules", "--subject", "x"], "--subject is for properties"),
        (&["users", "--allow-shrink"], "--allow-shrink is for --replace"),
    ] {
        let why = tables.refused(&[&["import"], args].concat(), "", 2);
        assert!(why.contains(words), "{args:?}: {why}");
    }
}
