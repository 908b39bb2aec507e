//! Tests of CSV files.

use proptest::prelude::*;

use super::*;
use crate::core::credential::PwdFmt;

fn read(text: &[u8]) -> Result<Vec<(u64, UserRow)>, FileError> {
    parse(text, &Conventions::default())
}

fn error(text: &str) -> String {
    read(text.as_bytes()).err().expect("refused").to_string()
}

#[test]
fn columns_go_by_their_heads_and_may_be_quoted() {
    let users = read(b"\xEF\xBB\xBFpassword,username,domain\r\n\"a,\"\"b\n\",alice,a.org\r\n").expect("CSV");
    assert_eq!(users.len(), 1);
    let said: Vec<_> = users[0].1.cells().iter().map(|cell| cell.shown().into_owned()).collect();
    assert_eq!(said, ["alice", "a.org", "a,\"b\n"]);
    assert!(read(b"username,domain,password\n").expect("CSV").is_empty());
}

#[test]
fn a_bad_line_is_named_by_its_number_and_without_its_password() {
    let heads = "username,domain,password\n";
    assert!(error("").contains("line 1: there is no column `username`"));
    assert!(error("alice,a.org,hunter2\n").starts_with("line 1: column 1 has no known name"));
    assert!(!error("username,hunter2\n").contains("hunter2"));
    assert!(error("username,domain,domain\n").contains("two columns"));
    assert!(error(&format!("{heads}a,a.org,x\n\"b\nb\",a.org,x\n,a.org,x\n")).starts_with("line 5: "));
    assert!(error(&format!("{heads}a,a.org\n")).contains("line 2: 2 fields"));
    for ends in ["\n", "\r\n", "\r"] {
        let text = format!("\u{feff}\n{heads}\n\na,a.org,x\n\n\n,a.org,x\n").replace('\n', ends);
        assert!(error(&text).starts_with("line 8: "), "{}: {ends:?}", error(&text));
    }
    let unclosed = error(&format!("{heads}a,a.org,\"x\r\ny\"\r\nb,a.org,\"x\r\nc,a.org,y\r\n"));
    assert!(unclosed.starts_with("line 4: a field begins with a quote"), "{unclosed}");
    assert!(error(&format!("{heads}a,a.org,\"x\nb,a.org,\"y\n")).starts_with("line 2: a field in quotes"));
    assert_eq!(read(format!("{heads}a,a.org,x\"y\n").as_bytes()).expect("CSV").len(), 1);
    let mixed = [heads.as_bytes(), "\u{e9},a.org,x\n".as_bytes(), b"b\xe9,a.org,x\n"].concat();
    assert_eq!(read(&mixed).err().expect("refused").line, 3);
    // In quotes too, and after a line that names the separator.
    let named = error("sep=;\nusername;domain;password\na;a.org;x\nb;a.org\n");
    assert_eq!(named, "line 4: 2 fields, but the first line has 3 (the separator is ';')");
}

#[test]
fn further_columns_of_users_are_attributes() {
    let heads = "username,domain,password";
    let parse = |text: &str| parse_users(text.as_bytes(), &CsvOptions::default(), &Conventions::default());
    let text = format!("{heads},extension,user.password,user.user.x\na,a.org,x,17,\"y,z\",\nb,a.org,x,,,\n");
    let file = parse(&text).expect("CSV");
    assert_eq!(file.names, ["extension", "password", "user.x"]);
    let shown: Vec<_> = file
        .attributes
        .iter()
        .map(|(line, row)| format!("{line} {}={}", row.label(&Conventions::default()), row.value.shown()))
        .collect();
    assert_eq!(shown, ["2 extension of a@a.org=17", "2 password of a@a.org=y,z"]);
    let users: Vec<UserRow> = file.users.into_iter().map(|(_, user)| user).collect();
    let mut rows: Vec<AttributeRow> = file.attributes.into_iter().map(|(_, row)| row).collect();
    let again = format!("{heads},extension,user.password\na,a.org,x,17,\"y,z\"\nb,a.org,x,,\n");
    // Left out: a second value, an empty one, one of a tenant, and one of nobody.
    for [domain, username, name, value] in [
        ["a.org", "A", "Extension", "18"],
        ["a.org", "b", "e", ""],
        ["a.org", "", "e", "1"],
        ["a.org", "c", "e", "1"],
    ] {
        rows.push(AttributeRow::from_cells(0, [domain, username, name, value].map(Cell::from)));
    }
    let (written, left_out) = write_users(&users, &rows, Comparison::Folded);
    assert_eq!((String::from_utf8(written).expect("UTF-8"), left_out), (again, 4));
    assert_eq!(write_users(&users, &[], Comparison::Folded).0, write(&users));
    for (heads, words) in [
        ("username,domain,passwd", "no column `password`"),
        ("username,domain,password,x,user.X", "column 5 and another"),
    ] {
        let error = parse(&format!("{heads}\n")).err().expect("refused").to_string();
        assert!(error.contains(words), "{error}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(texts in prop::collection::vec(any::<(String, String, String)>(), 0..5)) {
        let users: Vec<UserRow> = texts
            .into_iter()
            .map(|(username, domain, password)| {
                let texts = [username + "u", domain + "d", password];
                UserRow::from_cells(0, texts.map(|text| Cell::from(text.as_str())))
            })
            .collect();
        let written = write(&users);
        let again: Vec<UserRow> = read(&written).expect("CSV").into_iter().map(|(_, user)| user).collect();
        prop_assert!(again == users);
        prop_assert!(write(&again) == written);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, rest in r#"[a,"\r\n]{0,40}"#) {
        let _ = read(&bytes);
        let _ = read(&[b"username,domain,password\n".as_slice(), rest.as_bytes(), &bytes].concat());
    }
}

/// The users, their attributes and the notes, as texts.
fn shown(file: &UserFile) -> (Vec<String>, Vec<String>, &[String]) {
    let users = file.users.iter().map(|(line, row)| {
        let [username, domain, password] = row.cells().map(|cell| cell.shown().into_owned());
        format!("{line}: {username}@{domain} [{password}]")
    });
    let attributes = file.attributes.iter();
    let attributes = attributes.map(|(_, row)| format!("{}={}", row.name.shown(), row.value.shown()));
    (users.collect(), attributes.collect(), &file.notes)
}

fn users_of(text: &[u8], csv: &CsvOptions) -> UserFile {
    parse_users(text, csv, &Conventions::default()).unwrap_or_else(|why| panic!("{why}"))
}

fn renames(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

#[test]
fn spreadsheets_and_other_systems_say_the_same() {
    let text = "Username;DOMAIN; password ;Extension\r\n Jos\u{e9};a.org ;x;\"1;2\"\r\n;;;\r\nbob;b.org;\"q\"\"\";\u{a0}3\r\n";
    let expected = (
        vec!["2: Jos\u{e9}@a.org [x]".to_owned(), "4: bob@b.org [q\"]".into()],
        vec!["extension=1;2".to_owned(), "extension=3".into()],
    );
    let utf_16 = |bytes: fn(u16) -> [u8; 2]| {
        format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect::<Vec<u8>>()
    };
    let cp1252: Vec<u8> = text.chars().map(|c| c as u8).collect();
    let (tab, comma) =
        (text.replace(';', "\t"), text.replace("\"1;2\"", "1!2").replace(';', ",").replace("1!2", "1;2"));
    for (file, added, notes) in [
        (text.as_bytes().to_vec(), 0, 0),
        (format!("\u{feff}{text}").into_bytes(), 0, 0),
        (format!("sep=;\r\n{text}").into_bytes(), 1, 0),
        (format!("\u{feff}sep=\t\r\n{tab}").into_bytes(), 1, 0),
        (tab.clone().into_bytes(), 0, 0),
        (comma.into_bytes(), 0, 0),
        (utf_16(u16::to_le_bytes), 0, 0),
        (utf_16(u16::to_be_bytes), 0, 0),
        (cp1252, 0, 1),
    ] {
        let read = users_of(&file, &CsvOptions::default());
        let (users, attributes, said) = shown(&read);
        let lines: Vec<u64> = read.users.iter().map(|(line, _)| line - added).collect();
        assert_eq!((lines, said.len()), (vec![2, 4], notes), "{said:?}");
        let names = |users: &[String]| users.iter().map(|user| user[2..].to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&users), names(&expected.0));
        // In the file with tabs, the field has a tab instead.
        assert_eq!(attributes.iter().map(|text| text.replace('\t', ";")).collect::<Vec<_>>(), expected.1);
    }
}

#[test]
fn columns_are_renamed_left_out_or_ignored_with_a_note() {
    let text = b"extension;secret;username;Full Name;;id\n17;x;Alice;Alice A;;4\n";
    let columns = renames(&[("Extension", "username"), ("secret", "password"), ("username", "login")]);
    let csv = CsvOptions { columns, domain: Some("a.org".into()), ..CsvOptions::default() };
    let read = users_of(text, &csv);
    let (users, attributes, notes) = shown(&read);
    assert_eq!((users, attributes), (vec!["2: 17@a.org [x]".into()], vec!["login=Alice".into()]));
    assert!(notes.len() == 1 && notes[0].contains("Full Name, column 5"), "{notes:?}");
    // A column can be left out.
    let columns =
        renames(&[("Full Name", ""), ("extension", "username"), ("username", ""), ("secret", "password")]);
    let read = users_of(text, &CsvOptions { columns, ..csv });
    assert_eq!((read.names.len(), read.notes.len()), (0, 1), "{:?}", read.notes);
}

#[test]
fn users_without_a_tenant_get_the_one_that_is_named() {
    let named = CsvOptions { domain: Some("a.org".into()), ..CsvOptions::default() };
    let read = users_of(b"username,domain,password\na,,x\nb, ,x\nc,c.org,x\n", &named);
    assert_eq!(shown(&read).0, ["2: a@a.org [x]", "3: b@a.org [x]", "4: c@c.org [x]"]);
    let read = users_of(b"username,password\na,x\n", &named);
    assert_eq!(shown(&read).0, ["2: a@a.org [x]"]);
    let why = error("username,domain,password\na,,x\n");
    assert_eq!(why, "line 2: the domain is empty: --domain is for users without one");
}

#[test]
fn blanks_stay_around_clear_passwords_and_in_quotes() {
    let text =
        b"username,domain,password,note\n bob , a.org, pa ss ,\" n \"\nal,a.org, $6$x ,\n c,a.org,\" q\",\n";
    let (plain, clear) = (
        Conventions { pwd_fmt: PwdFmt::Plain, ..Conventions::default() },
        CsvOptions { is_clear: true, ..CsvOptions::default() },
    );
    let md5 = users_of(text, &CsvOptions::default());
    let (users, attributes, notes) = shown(&md5);
    assert_eq!(users, ["2: bob@a.org [pa ss]", "3: al@a.org [$6$x]", "4: c@a.org [ q]"]);
    assert_eq!((attributes, notes.len()), (vec!["note= n ".into()], 0));
    for read in [parse_users(text, &CsvOptions::default(), &plain).expect("CSV"), users_of(text, &clear)] {
        let (users, _, notes) = shown(&read);
        assert_eq!(users, ["2: bob@a.org [ pa ss ]", "3: al@a.org [$6$x]", "4: c@a.org [ q]"]);
        assert_eq!(notes, ["2 passwords begin or end with a blank, which is kept: the first is in line 2"]);
    }
    // Where everything is in quotes, they do not say that a blank is meant.
    let quoted = b"\"username\",\"domain\",\"password\"\n\" bob\",\"a.org \",\" \"\n";
    assert_eq!(shown(&users_of(quoted, &clear)).0, ["2: bob@a.org []"]);
    let why = error("username,domain,password\nbob,a.org, \"x\"\n");
    assert!(why.starts_with("line 2: a blank comes before the quote"), "{why}");
}

#[test]
fn messages_say_what_was_found_and_never_what_may_be_a_password() {
    let why = |text: &str, csv: &CsvOptions| {
        let read = parse_users(text.as_bytes(), csv, &Conventions::default());
        read.err().expect("refused").to_string()
    };
    let plain = CsvOptions::default();
    for (text, words) in [
        (
            "extension;secret\n",
            &[
                "perhaps --columns 'extension=username,secret=password'",
                "the separator is ';'",
                "the columns of the file are extension, secret",
            ][..],
        ),
        (
            "Username\tDomain\tcode\n",
            &["no column `password`", "are Username, Domain, code", "--columns NAME=password", "a tab"],
        ),
        ("username,password\n", &["no column `domain`", "--domain for all users", "the encoding is UTF-8"]),
        ("alice,a.org,hunter2\n", &["no column `username`", "the first line must name the columns"]),
        ("alice,a.org,secret\n", &["the first line must name the columns"]),
        ("username,hunter2\n", &["no column `domain`"]),
        ("", &["no column `username`"]),
    ] {
        let why = why(text, &plain);
        assert!(words.iter().all(|words| why.contains(words)), "{why}");
        assert!(!why.contains("hunter2") && (!why.contains("secret") || text.starts_with('e')), "{why}");
    }
    let csv = CsvOptions { columns: renames(&[("secrets", "password")]), ..CsvOptions::default() };
    let why = why("username;domain;secret\n", &csv);
    assert!(
        why.contains("--columns renames `secrets`, but no column")
            && why.contains("are username, domain, secret"),
        "{why}"
    );
}

#[test]
fn names_with_blanks_come_back() {
    let rows = [[" a ", "a.org\u{a0}", " p"], ["b", "\tb.org", ""]];
    let users = rows.map(|cells| UserRow::from_cells(0, cells.map(Cell::from)));
    let attribute = AttributeRow::from_cells(0, ["\tb.org", "b", "note", " v "].map(Cell::from));
    let (written, _) = write_users(&users, &[attribute], Comparison::Folded);
    let again = users_of(&written, &CsvOptions::default());
    let read: Vec<UserRow> = again.users.iter().map(|(_, user)| user.clone()).collect();
    assert!(read == users, "{}", String::from_utf8_lossy(&written));
    assert_eq!(again.attributes[0].1.value.shown(), " v ");
}
