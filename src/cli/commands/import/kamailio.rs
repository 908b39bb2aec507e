//! Reads users and preferences of a SIP server: the tables `subscriber` and `usr_preferences` of
//! Kamailio and OpenSIPS, in all their versions.

use std::collections::{BTreeMap, HashSet};

use anyhow::bail;

use super::passwords::are_too_many;
use super::wanted::Wanted;
use crate::cli::edit_session;
use crate::cli::print::{NAMED, counted, note, note_left_out};
use crate::cli::source::origin::ImportOrigin;
use crate::core::attributes::attribute_name;
use crate::core::conventions::Conventions;
use crate::core::credential::PwdFmt;
use crate::core::model::{AttributeRow, Cell, Table, TableRows, UserRow};
use crate::ops::transfer::plan::usable;
use crate::source::{Queries, Which};

const USERS: &str = "subscriber";
const PREFERENCES: &str = "usr_preferences";
/// The column of our query with a clear password that is to be hashed.
const CLEAR: &str = "clear_password";
/// The column of our query that is given if a user has only hashes of other kinds.
const OTHER: &str = "other_hash";

/// How to read a SIP server's tables.
pub(super) struct SipTables<'o> {
    /// The tenant of rows without one.
    pub domain: Option<&'o str>,
    /// Whether a clear password counts more than a hash.
    pub prefers_clear: bool,
    pub options: &'o Conventions,
}

impl SipTables<'_> {
    /// Reads the tables. Rows that a server could not use are left out.
    ///
    /// # Errors
    /// When the tables cannot be read, rows have no tenant, or many users would lose their
    /// passwords.
    pub async fn read(&self, origin: ImportOrigin) -> anyhow::Result<Wanted> {
        let mut rows = TableRows::default();
        let take = |row| rows.push(row);
        let (queries, which) = self.queries(&origin).await?;
        let scanned = edit_session::scan(&*origin.source(queries), which, take).await;
        scanned.map_err(|error| origin.failure(error))?;
        self.wanted(rows, origin.named)
    }

    async fn queries(&self, origin: &ImportOrigin) -> anyhow::Result<(Queries, Which)> {
        let source = origin.source(Queries::default());
        let columns = source.columns(USERS).await.map_err(|error| origin.failure(error))?;
        if columns.is_empty() {
            bail!("{}: there is no table `{USERS}`, or the account may not read it", origin.named);
        }
        let users = Some(users_query(&columns, self.options.pwd_fmt, self.prefers_clear));
        let columns = source.columns(PREFERENCES).await.map_err(|error| origin.failure(error))?;
        let attributes = (!columns.is_empty()).then(|| preferences_query(&columns));
        // Without a query, a table of attributes of ours that is in the same database would be read.
        let which = match attributes {
            Some(_) => Which::Without(Table::JitsiProperty),
            None => Which::Of(Table::UserAuth),
        };
        Ok((Queries { users, attributes, ..Queries::default() }, which))
    }

    fn wanted(&self, rows: TableRows, named: String) -> anyhow::Result<Wanted> {
        let TableRows { mut users, attributes, .. } = rows;
        let mut attributes = with_names(attributes);
        self.set_tenants(users.iter_mut().map(|row| &mut row.domain), USERS, &named)?;
        self.set_tenants(attributes.iter_mut().map(|row| &mut row.domain), PREFERENCES, &named)?;
        self.check_hashes(&users, &named)?;
        let clear = take_clear(&mut users);
        let (users, mut left_out) = usable_of(USERS, users, self.options);
        let (attributes, attributes_left_out) = usable_of(PREFERENCES, attributes, self.options);
        left_out.extend(attributes_left_out);
        note_left_out(&left_out);
        let mut users: Vec<(u64, UserRow)> = (1..).zip(users).collect();
        users.sort_by_key(|(_, row)| !clear.contains(&row.id));
        Ok(Wanted {
            named,
            clear: users.iter().take_while(|(_, row)| clear.contains(&row.id)).count(),
            users: Some(users),
            attributes: (!attributes.is_empty()).then(|| (1..).zip(attributes).collect()),
            ..Wanted::default()
        })
    }

    /// Gives rows without a tenant the one of the options.
    fn set_tenants<'r>(
        &self,
        domains: impl Iterator<Item = &'r mut Cell>,
        table: &str,
        named: &str,
    ) -> anyhow::Result<()> {
        let without = domains.filter(|domain| domain.shown().trim().is_empty());
        match self.domain {
            Some(tenant) => without.for_each(|domain| *domain = tenant.into()),
            None => match without.count() {
                0 => {}
                count => bail!(
                    "{named}: {} of `{table}` without a domain: name the tenant with --domain, \
                     which is usually the realm of the SIP server; nothing was changed",
                    counted(count, "row")
                ),
            },
        }
        Ok(())
    }

    /// Refuses to lose the passwords of many users, and notes how many cannot sign in.
    fn check_hashes(&self, users: &[UserRow], named: &str) -> anyhow::Result<()> {
        let has = |row: &UserRow, column: &str| row.attributes.iter().any(|(name, _)| **name == *column);
        let others: Vec<&UserRow> = users.iter().filter(|row| has(row, OTHER)).collect();
        let without = |row: &&UserRow| row.password.shown().is_empty() && !has(row, CLEAR);
        let without = users.iter().filter(without).count();
        if let Some(first) = others.first() {
            let what = format!(
                "{} of `{USERS}` with neither a clear password nor a hash for this --pwd-fmt, but with \
                 another hash; the first is id {}",
                counted(others.len(), "user"),
                first.id
            );
            // A table may be so small that a few users are all or most of them.
            if are_too_many(others.len(), users.len()) || others.len() * 2 >= users.len() {
                bail!(
                    "{named}: {what}: give --pwd-fmt ha1, or ha1_sha256 if those are the hashes, here and to the \
                     servers; nothing was changed"
                );
            }
            note(format_args!("{what}: they cannot sign in"));
        }
        if without > others.len() {
            let count = counted(without - others.len(), "user");
            note(format_args!("{count} of `{USERS}` without any password cannot sign in"));
        }
        Ok(())
    }
}

/// Reads users, each with the hash that `format` asks for, and with [`CLEAR`] and [`OTHER`].
fn users_query(columns: &[String], format: PwdFmt, prefers_clear: bool) -> String {
    let given = |name: &str| match columns.iter().any(|column| column == name) {
        true => format!("nullif({name}, '')"),
        false => "NULL".into(),
    };
    let hash = match format {
        PwdFmt::Ha1 => given("ha1"),
        PwdFmt::Ha1Sha256 if columns.iter().any(|column| column == "ha1_sha256") => given("ha1_sha256"),
        // Kamailio keeps either hash in this column.
        PwdFmt::Ha1Sha256 => format!("CASE WHEN length({0}) = 64 THEN {0} END", given("ha1")),
        PwdFmt::Md5 | PwdFmt::Plain => "NULL".into(),
    };
    let clear = match prefers_clear {
        true => given("password"),
        false => format!("CASE WHEN {hash} IS NULL THEN {} END", given("password")),
    };
    let other = format!(
        "CASE WHEN coalesce({hash}, {}) IS NULL AND coalesce({}, {}) IS NOT NULL THEN 1 END",
        given("password"),
        given("ha1"),
        given("ha1_sha256")
    );
    let mut query = format!(
        "SELECT {}, {}, {hash}, {clear} AS {CLEAR}, {other} AS {OTHER}",
        given("username"),
        given("domain")
    );
    if columns.iter().any(|column| column == "id") {
        query += ", id";
    }
    query + " FROM " + USERS
}

/// Reads preferences. Those of a `uuid` without a username have no name, because it is not known
/// who they are for: they must not become everybody's. The username is 0 if none was given.
fn preferences_query(columns: &[String]) -> String {
    let has = |name: &str| columns.iter().any(|column| column == name);
    let name = match has("uuid") {
        true => {
            "CASE WHEN coalesce(uuid, '') <> '' AND coalesce(username, '') IN ('', '0') THEN NULL \
             ELSE coalesce(attribute, '') END"
        }
        false => "coalesce(attribute, '')",
    };
    let id = if has("id") { ", id" } else { "" };
    let domain = if has("domain") { "domain" } else { "NULL" };
    format!("SELECT {domain}, username, {name}, value{id} FROM {PREFERENCES}")
}

/// The preferences that can be attributes. Notes name the others.
fn with_names(rows: Vec<AttributeRow>) -> Vec<AttributeRow> {
    let (mut unowned, mut nameless) = (0, BTreeMap::<String, usize>::new());
    let is_named = |row: &AttributeRow| match &row.name {
        Cell::Null => {
            unowned += 1;
            false
        }
        name => {
            let name = name.shown();
            let is_name = attribute_name(&name).is_some();
            if !is_name {
                *nameless.entry(name.into_owned()).or_default() += 1;
            }
            is_name
        }
    };
    let rows = rows.into_iter().filter(is_named).collect();
    if unowned > 0 {
        let count = counted(unowned, "row");
        note(format_args!("left out: {count} of `{PREFERENCES}` with a uuid and no username"));
    }
    if !nameless.is_empty() {
        let mut names: Vec<_> = nameless.iter().take(NAMED).map(|(name, _)| format!("`{name}`")).collect();
        if nameless.len() > NAMED {
            names.push(format!("{} more", nameless.len() - NAMED));
        }
        note(format_args!(
            "left out: {} of `{PREFERENCES}`, because no template can use the names: {}",
            counted(nameless.values().sum(), "row"),
            names.join(", ")
        ));
    }
    rows
}

/// Puts clear passwords in place of the hashes. Returns the ids of the users who have one.
fn take_clear(users: &mut [UserRow]) -> HashSet<i64> {
    let mut clear = HashSet::new();
    for user in users {
        for (name, cell) in std::mem::take(&mut user.attributes) {
            if *name == *CLEAR {
                clear.insert(user.id);
                user.password = cell;
            }
        }
    }
    clear
}

/// [`usable`], with messages that name the other program's table.
fn usable_of<T: crate::ops::transfer::Item>(
    table: &str,
    rows: Vec<T>,
    options: &Conventions,
) -> (Vec<T>, Vec<String>) {
    let (rows, left_out) = usable(rows, options);
    let renamed = left_out.into_iter().map(|row| row.replacen(T::TABLE.name(), table, 1));
    (rows, renamed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &str) -> Vec<String> {
        names.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn only_columns_that_exist_are_selected() {
        let columns = names("username ha1");
        for format in [PwdFmt::Md5, PwdFmt::Plain, PwdFmt::Ha1, PwdFmt::Ha1Sha256] {
            let query = users_query(&columns, format, false);
            for missing in ["(password", "(domain", "(ha1_sha256", ", id"] {
                assert!(!query.contains(missing), "{query}");
            }
        }
        let query = preferences_query(&names("username attribute value"));
        assert_eq!(query, "SELECT NULL, username, coalesce(attribute, ''), value FROM usr_preferences");
    }
}
