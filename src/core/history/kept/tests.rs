use super::*;
use crate::core::model::{AttributeRow, RuleRow, UserRow};

fn user(password: Cell) -> Row {
    Row::User(UserRow::from_cells(1, ["alice".into(), "a.org".into(), password]))
}

fn rule(key: &str, value: &str) -> Row {
    let cells = [Cell::Null, "default".into(), "10".into(), Cell::Int(10), key.into(), value.into()];
    Row::Rule(RuleRow::from_cells(7, cells))
}

fn keep(format: PwdFmt, before: &Row, after: &Row) -> [KeptRow; 2] {
    Keeper::new(format).keep(Some(before), Some(after)).map(|kept| kept.expect("kept"))
}

fn last(kept: &KeptRow) -> (&Cell, bool) {
    let at = kept.row.table().columns().len() - 1;
    (kept.row.cells().last().expect("cells"), kept.secrets.flags().nth(at).expect("a flag"))
}

#[test]
fn rows_survive_json_with_odd_bytes_nulls_and_numbers() {
    for row in [
        user(Cell::Null),
        user(Cell::Text(b"5f4dcc3b5aa765d61d8327deb882cf99".to_vec())),
        Row::User(UserRow::from_cells(3, [Cell::Text(vec![0xff, 0, 1]), "\u{1F600}\0\"".into(), "".into()])),
        Row::Attribute(AttributeRow::from_cells(4, [Cell::Null, "".into(), "zip".into(), "0123".into()])),
    ] {
        let [kept, none] = Keeper::new(PwdFmt::Md5).keep(Some(&row), None);
        let kept = kept.expect("kept");
        assert!(none.is_none() && kept.row == row && kept.secrets.is_empty());
        let read = KeptRow::from_json(row.table(), row.id(), &kept.json()).expect("an object");
        assert!(read == kept, "{}", kept.json());
    }
    // A number has one form, however the database writes it.
    let [kept, _] = keep(PwdFmt::Md5, &rule("k", "v"), &rule("k", "w"));
    assert!(kept.json().contains("\"spriority\":10"), "{}", kept.json());
    assert!(differing(&rule("k", "v"), &kept.row).is_empty());
    for json in ["", "[]", "{\"username\":[]}", "{\"username\":{\"base64\":\"?\"}}", "{\"username\":1.5}"] {
        assert!(KeptRow::from_json(Table::UserAuth, 1, json).is_none(), "{json}");
    }
}

#[test]
fn stored_hashes_stay_and_plain_passwords_become_hashes_that_the_server_accepts() {
    let md5 = "5f4dcc3b5aa765d61d8327deb882cf99";
    let [before, after] = keep(PwdFmt::Md5, &user(md5.into()), &user("$6$is odd".into()));
    assert!(last(&before) == (&md5.into(), false));
    assert!(last(&after).0 != &Cell::from("$6$is odd"), "a damaged hash may be a password");
    for plain in ["hunter2", md5] {
        let [before, after] = keep(PwdFmt::Plain, &user(plain.into()), &user("other".into()));
        let (hash, is_secret) = last(&before);
        assert!(!is_secret && verifies(hash, &plain.into()) && !verifies(hash, &"other".into()));
        assert!(!before.json().contains(plain) && !after.json().contains("other"));
        assert!(changed_since(&before, &user(plain.into())).is_empty());
        assert!(!changed_since(&before, &user("third".into())).is_empty());
    }
}

#[test]
fn secrets_of_rules_are_hashed_and_unchanged_ones_stay_recognisable() {
    let [before, after] =
        keep(PwdFmt::Md5, &rule("acc.PASSWORD", "hunter2"), &rule("acc.PASSWORD", "hunter3"));
    assert!(last(&before).1 && last(&after).1 && last(&before).0 != last(&after).0);
    assert!(changed_since(&after, &rule("acc.PASSWORD", "hunter3")).is_empty());
    assert!(!changed_since(&after, &rule("acc.PASSWORD", "hunter2")).is_empty());
    let [before, after] = keep(PwdFmt::Md5, &rule("acc.FOO", "hunter2"), &rule("acc.PASSWORD", "hunter2"));
    assert!(last(&before).1 && last(&before) == last(&after));
    let [before, after] =
        keep(PwdFmt::Md5, &rule("acc.PASSWORD", "${password}"), &rule("acc.PASSWORD", "hunter2"));
    assert!(last(&before) == (&"${password}".into(), false) && last(&after).1);
    for kept in [before, after] {
        assert!(!kept.json().contains("hunter"), "{}", kept.json());
        assert!(KeptRow::from_json(Table::JitsiProperty, 7, &kept.json()) == Some(kept));
    }
}

#[test]
fn after_some_hashes_only_marks_are_kept() {
    let mut keeper = Keeper::new(PwdFmt::Plain);
    keeper.hashed = HASHED;
    let (old, new) = (user("hunter2".into()), user("hunter3".into()));
    let [before, after] = keeper.keep(Some(&old), Some(&new)).map(|kept| kept.expect("kept"));
    assert!(last(&before) == (&Cell::Int(0), true) && last(&after) == (&Cell::Int(1), true));
    assert!(after.json().contains("{\"secret\":1}"), "{}", after.json());
    assert!(changed_since(&after, &old).is_empty(), "nothing is known of it");
    let [before, after] = keeper.keep(Some(&old), Some(&old)).map(|kept| kept.expect("kept"));
    assert!(before == after && last(&after).1);
}
