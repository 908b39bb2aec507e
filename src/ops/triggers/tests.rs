use super::*;

fn printed(dialect: Dialect, table: &str) -> Result<String, String> {
    statements(dialect, Table::UserAuth, &[table.parse()?], "jitsiprovs")
}

#[test]
fn names_are_quoted_as_each_database_does() {
    for (dialect, typed, words) in [
        (Dialect::Sqlite, "Sub(name)", "ON \"Sub\" BEGIN"),
        (Dialect::Sqlite, "main.sub ( a , \"b\"\"c\" )", "AFTER UPDATE OF \"a\", \"b\"\"c\" ON \"sub\""),
        (Dialect::Mysql, "`a``b`(\"c d\")", "OLD.`c d` AS BINARY"),
        (Dialect::Mysql, "`a``b`(c)", "ON `a``b` FOR EACH ROW"),
        (Dialect::Mysql, "sip.sub(a)", "CREATE TRIGGER `sip`.`jitsiprovs_users_sub_insert`"),
        (Dialect::Mysql, "sip.sub(a)", "INSERT INTO `jitsiprovs`.jitsiprovs_change"),
        (Dialect::Mysql, "sub(a)", "INSERT INTO jitsiprovs_change"),
        (Dialect::Postgres, "Sub(Name)", "UPDATE OF \"name\" OR DELETE OR TRUNCATE\n  ON \"sub\""),
        (Dialect::Postgres, "sip.\"Sub\"(a)", "ON \"sip\".\"Sub\" FOR EACH STATEMENT"),
    ] {
        let printed = printed(dialect, typed).expect("statements");
        assert!(printed.contains(words), "{typed}: {printed}");
    }
}

#[test]
fn tables_that_cannot_be_understood_are_refused() {
    let long = "x".repeat(65);
    for (dialect, typed, words) in [
        (Dialect::Sqlite, "", "write the table and, in brackets"),
        (Dialect::Sqlite, "sub", "write the table and, in brackets"),
        (Dialect::Sqlite, "sub()", "write the table and, in brackets"),
        (Dialect::Sqlite, "sub(a", "write the table and, in brackets"),
        (Dialect::Sqlite, "sub(a) x", "write the table and, in brackets"),
        (Dialect::Sqlite, "sub(a); DROP TABLE sub", "write the table and, in brackets"),
        (Dialect::Sqlite, "sub(a b)", "write the table and, in brackets"),
        (Dialect::Sqlite, "\"sub(a)", "does not end with it"),
        (Dialect::Sqlite, "\"a\nb\"(a)", "control character"),
        (Dialect::Sqlite, "sub(a, A)", "`A` comes twice"),
        (Dialect::Sqlite, "other.sub(a)", "leave out `other.`"),
        (Dialect::Mysql, "a.b.c(d)", "at most one schema"),
        (Dialect::Mysql, &format!("{long}(a)"), "too long"),
        (Dialect::Postgres, &format!("{}(a)", &long[2..]), "CREATE"),
        (Dialect::Postgres, &format!("a({})", &long[1..]), "too long"),
    ] {
        let printed = printed(dialect, typed).unwrap_or_else(|why| why);
        assert!(printed.contains(words), "{typed}: {printed}");
    }
}

#[test]
fn names_of_triggers_fit_and_differ_as_their_tables_do() {
    let name = |table: &str| {
        let table: ForeignTable = table.parse().expect("a table");
        table.trigger_name(Table::UserAttribute, "update")
    };
    assert_eq!(name("sub(a)"), "jitsiprovs_attributes_sub_update");
    let long = "x".repeat(64);
    let names = [format!("{long}(a)"), format!("{long}y(a)"), "\"a b\"(c)".into(), "\"a-b\"(c)".into()];
    let names: Vec<String> = names.iter().map(|table| name(table)).collect();
    assert!(names.iter().all(|name| name.len() <= 64 && name.is_ascii()), "{names:?}");
    let different: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "{names:?}");
}
