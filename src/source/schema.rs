//! The steps in `sql/` that create our schema.

use crate::core::client::REMOVED;
use crate::core::model::Table;

/// One step. A database notes each step that was applied in `jitsiprovs_schema`.
pub(super) struct SchemaStep {
    pub version: i64,
    pub name: &'static str,
    sql: &'static str,
}

impl SchemaStep {
    /// Its statements. In the files, blank lines separate them.
    pub fn statements(&self) -> impl Iterator<Item = &'static str> {
        self.sql.split(";\n\n").map(|statement| statement.trim().trim_end_matches(';'))
    }

    /// The tables of users, rules and attributes that its statements create or change.
    pub fn tables(&self) -> impl Iterator<Item = Table> {
        Table::ALL.into_iter().filter(|table| self.statements().any(|sql| table_of(sql) == Some(*table)))
    }

    /// How `jitsiprovs_schema` notes that the statements for a table were left out, because the
    /// operator's own query replaced that table. They are applied when the query is gone.
    pub fn without(&self, table: Table) -> (i64, String) {
        (self.version + 1000 * (table as i64 + 1), format!("{} without {table}", self.name))
    }
}

/// The table of users, rules or attributes that a statement creates or changes: the one that it
/// names after TABLE or ON.
pub(super) fn table_of(statement: &str) -> Option<Table> {
    let mut words = statement.lines().filter(|line| !line.starts_with("--")).flat_map(str::split_whitespace);
    words.find(|word| ["TABLE", "ON"].contains(word))?;
    let name = words.find(|word| !["IF", "NOT", "EXISTS"].contains(word))?;
    Table::ALL.into_iter().find(|table| table.name() == name)
}

/// The names of all triggers, and the statements that create them. Setup creates missing
/// triggers again, because a backup of tables may lack them.
pub(super) fn triggers(steps: &'static [SchemaStep]) -> impl Iterator<Item = (&'static str, &'static str)> {
    steps.iter().flat_map(SchemaStep::statements).filter_map(|sql| {
        let code = sql.strip_prefix("CREATE TRIGGER ")?;
        let name = code.strip_prefix("IF NOT EXISTS ").unwrap_or(code).split(' ').next()?;
        Some((name, sql))
    })
}

macro_rules! steps {
    ($($path:literal)*) => {
        &[$(SchemaStep { version: version($path), name: $path, sql: include_str!(concat!("../../sql/", $path)) }),*]
    };
}

/// The number after the folder: 2 for `mysql/002_tenant.sql`.
const fn version(path: &str) -> i64 {
    let path = path.as_bytes();
    let (mut at, mut version) = (0, 0);
    while path[at] != b'/' {
        at += 1;
    }
    at += 1;
    while path[at].is_ascii_digit() {
        version = version * 10 + (path[at] - b'0') as i64;
        at += 1;
    }
    version
}

pub(super) const MYSQL: &[SchemaStep] = steps![
    "mysql/001_original.sql" "mysql/002_tenant.sql" "mysql/003_change.sql" "mysql/004_attribute.sql"
    "mysql/005_history.sql" "mysql/006_fetch.sql" "mysql/007_fetch_search.sql"
];

pub(super) const SQLITE: &[SchemaStep] = steps![
    "sqlite/001_original.sql" "sqlite/002_tenant.sql" "sqlite/003_change.sql" "sqlite/004_attribute.sql"
    "sqlite/005_history.sql" "sqlite/006_fetch.sql" "sqlite/007_fetch_search.sql"
];

pub(super) const POSTGRES: &[SchemaStep] = steps![
    "postgres/001_original.sql" "postgres/002_tenant.sql" "postgres/003_change.sql"
    "postgres/004_attribute.sql" "postgres/005_history.sql" "postgres/006_fetch.sql"
    "postgres/007_fetch_search.sql"
];

/// The end of an INSERT of fetches in SQLite and PostgreSQL.
pub(super) const KEEP_LATER: &str = " ON CONFLICT(id) DO UPDATE SET fetched_at = excluded.fetched_at, \
     reason = excluded.reason, address = excluded.address, agent = excluded.agent, \
     node = excluded.node, snapshot = excluded.snapshot, properties = excluded.properties, \
     parameters = excluded.parameters WHERE excluded.fetched_at >= jitsiprovs_fetch.fetched_at";

/// Creates the table in which all databases note the steps that were applied.
pub(super) const CREATE_VERSIONS: &str = "CREATE TABLE IF NOT EXISTS jitsiprovs_schema (\
    version INTEGER PRIMARY KEY, name VARCHAR(64) NOT NULL, \
    applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)";

/// Notes a step, by version and name.
pub(super) const NOTE_VERSION: &str = "INSERT INTO jitsiprovs_schema (version, name) VALUES (?, ?)";

/// The versions of all steps that were noted.
pub(super) const NOTED: &str = "SELECT version FROM jitsiprovs_schema";

/// Removes the note of a version.
pub(super) const FORGET_VERSION: &str = "DELETE FROM jitsiprovs_schema WHERE version = ?";

/// Counts how often a step was applied.
pub(super) fn count_taken(version: i64) -> String {
    format!("SELECT count(*) FROM jitsiprovs_schema WHERE version = {version}")
}

/// Seeding is noted like a step, so that setup does not add the default properties again
/// after an operator has deleted them.
pub(super) const SEED: (i64, &str) = (0, "default_properties");

/// The rules for users who are switched off are seeded on their own, also in databases that had
/// rules before there were attributes.
pub(super) const SEED_DISABLED: (i64, &str) = (-1, "disabled_rules");

/// The original gave its removals of subtrees the same priorities as all other rules. They are
/// moved once, so that an operator can move them back.
pub(super) const MOVE_REMOVALS: (i64, &str) = (-2, "moved_removals");

/// Finds the rules for the keys of [`removals`].
pub(super) fn rules_of_removals() -> String {
    let keys: Vec<String> = removals().map(|key| format!("'{key}'")).collect();
    format!(
        "SELECT id, domain, subject, spriority, ppriority, property_key, property_value \
         FROM jitsi_property WHERE property_key IN ({}) ORDER BY id",
        keys.join(", ")
    )
}

/// Moves a rule to the front.
pub(super) const MOVE_RULE: &str = "UPDATE jitsi_property SET spriority = ? WHERE id = ?";

/// The first priority of seeded rules that remove a subtree: before all rules that operators add,
/// because the client also removes what comes earlier in the answer.
pub(super) const REMOVAL_PRIORITY: i64 = 0;

/// Both priorities of the original's seeded rules.
pub(super) const ORIGINAL_PRIORITY: i64 = 10;

/// The keys of the seeded rules that remove a subtree.
pub(super) fn removals() -> impl Iterator<Item = &'static str> {
    default_properties().filter(|(_, value)| *value == REMOVED).map(|(key, _)| key)
}

/// The subject of rules for users who are switched off.
pub(super) const DISABLED_SUBJECT: &str = "user.disabled=yes";

/// Adds a rule for users who are switched off.
pub(super) const SEED_DISABLED_RULE: &str = "INSERT INTO jitsi_property \
    (subject, spriority, ppriority, property_key, property_value) VALUES ('user.disabled=yes', ?, ?, ?, ?)";

/// The parameters of [`SEED_DISABLED_RULE`]: by these the client gives up its accounts with
/// their passwords, without asking its user. After the last one it ignores what follows, so
/// that comes after the rules that operators may add.
pub(super) const DISABLED_RULES: [(i64, i64, &str, &str); 3] = [
    (0, 10, "net.java.sip.communicator.impl.protocol", "${null}"),
    (0, 11, "net.java.sip.communicator.impl.gui.accounts", "${null}"),
    (10, 10, "provisioning.ALLOW_PREFIX", "nothing"),
];

/// Finds out whether there are any rules. Then the default properties are not added.
pub(super) const ANY_RULE: &str = "SELECT id FROM jitsi_property LIMIT 1";

/// Adds a default property. The original gives them the priority 10.
pub(super) const SEED_PROPERTY: &str = "INSERT INTO jitsi_property \
    (subject, spriority, ppriority, property_key, property_value) VALUES ('default', ?, 10, ?, ?)";

/// The parameters of [`SEED_PROPERTY`].
pub(super) fn seeds() -> impl Iterator<Item = (i64, &'static str, &'static str)> {
    let priority = |value| if value == REMOVED { REMOVAL_PRIORITY } else { ORIGINAL_PRIORITY };
    default_properties().map(move |(key, value)| (priority(value), key, value))
}

/// The keys and values, which are templates, of the properties that [`Source::setup`] seeds.
///
/// [`Source::setup`]: super::Source::setup
pub fn default_properties() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("../../sql/default_properties")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_from_one_and_hold_only_whole_statements() {
        for (steps, count) in [(MYSQL, 18), (SQLITE, 18), (POSTGRES, 21)] {
            for (expected, step) in (1..).zip(steps) {
                assert_eq!(step.version, expected, "{}", step.name);
                let verbs = ["CREATE ", "ALTER "];
                let begins = |statement: &str| {
                    let code: Vec<&str> = statement.lines().filter(|line| !line.starts_with("--")).collect();
                    verbs.iter().any(|verb| code[0].starts_with(verb))
                };
                assert!(step.statements().all(begins), "{}", step.name);
            }
            assert_eq!(triggers(steps).count(), count);
            assert!(triggers(steps).all(|(_, sql)| table_of(sql).is_some()));
            let tables: Vec<usize> = steps.iter().map(|step| step.tables().count()).collect();
            assert_eq!(tables, [2, 2, 2, 1, 3, 0, 0]);
            assert!(triggers(steps).all(|(name, _)| name.starts_with("jitsiprovs_")));
        }
    }

    #[test]
    fn a_statement_belongs_to_the_table_that_it_creates_or_changes() {
        for (sql, table) in [
            ("CREATE TABLE IF NOT EXISTS user_auth (\n  id INT", Some(Table::UserAuth)),
            ("-- Not ON user_auth.\nALTER TABLE jitsi_property ADD", Some(Table::JitsiProperty)),
            ("CREATE INDEX i ON user_attribute (domain)", Some(Table::UserAttribute)),
            ("CREATE TRIGGER t AFTER UPDATE OF name ON user_auth\nFOR EACH ROW", Some(Table::UserAuth)),
            ("CREATE TABLE jitsiprovs_change (\n  changed_table TEXT", None),
            ("CREATE FUNCTION f() RETURNS trigger AS $$ SELECT 'user_auth' $$", None),
        ] {
            assert_eq!(table_of(sql), table, "{sql}");
        }
    }

    #[test]
    fn the_default_properties_are_those_of_the_original_without_its_double() {
        let all: Vec<_> = default_properties().collect();
        assert_eq!(all.len(), 59);
        assert!(all.contains(&(
            "net.java.sip.communicator.impl.protocol.sip.accsip.ACCOUNT_UID",
            "SIP\\:${username}@${domain}"
        )));
    }
}
