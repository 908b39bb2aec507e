//! Makes database, account and tables, or brings them up to date.

use mysql_async::prelude::Queryable;
use tokio::time::timeout;

use super::super::{SourceError, schema};
use super::{CONNECT, DbAccount, Mysql, code};

impl Mysql {
    /// Makes the database and the account, as the administrator.
    async fn create_database(&self, admin: &DbAccount) -> Result<Vec<String>, SourceError> {
        let mut conn = self.connect(admin, None).await?;
        // Under the default mode a backslash is an escape in literals.
        self.run(&mut conn, "setting the SQL mode", "SET SESSION sql_mode = ''", admin).await?;
        let from = match &self.from {
            Some(from) => from.clone(),
            None => {
                let (what, seen) = ("asking who we are", "SELECT substring_index(user(), '@', -1)");
                let found = self.in_time(what, conn.query_first::<String, _>(seen)).await?;
                found.map_err(|error| self.error(what, &error, admin))?.unwrap_or_else(|| "localhost".into())
            }
        };
        let (name, user, from) = (&self.database, literal(&self.account.user), literal(&from));
        // In GRANT, `_` and `%` in a database's name stand for other names.
        let pattern = name.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%");
        let statements = [
            (
                "creating the database",
                format!("CREATE DATABASE IF NOT EXISTS {} CHARACTER SET utf8mb4", identifier(name)),
            ),
            (
                "creating the account",
                format!(
                    "CREATE USER IF NOT EXISTS {user}@{from} IDENTIFIED BY {}",
                    literal(self.account.password.reveal())
                ),
            ),
            ("granting access", format!("GRANT ALL ON {}.* TO {user}@{from}", identifier(&pattern))),
        ];
        for (what, sql) in &statements {
            self.run(&mut conn, what, sql, admin).await?;
        }
        let _ = timeout(CONNECT, conn.disconnect()).await;
        Ok(vec![format!("database `{name}` and account {user}@{from} are there")])
    }

    pub(super) async fn set_up(&self) -> Result<Vec<String>, SourceError> {
        let mut done = match &self.admin {
            Some(admin) => self.create_database(admin).await?,
            None => Vec::new(),
        };
        let account = &self.account;
        let mut conn = self.connect(account, Some(&self.database)).await?;
        // Nothing may be cut short to fit, whatever the server's own mode is.
        let strict = "SET SESSION sql_mode = 'STRICT_ALL_TABLES'";
        self.run(&mut conn, "setting the SQL mode", strict, account).await?;
        // Two nodes may be set up at once.
        let lock = "SELECT GET_LOCK('jitsiprovs_setup', 30)";
        if self.first(&mut conn, "waiting for another setup", lock).await? != Some(1) {
            return Err(self.statement("waiting for another setup", "it did not end in 30 s"));
        }
        self.run(&mut conn, "creating `jitsiprovs_schema`", schema::CREATE_VERSIONS, account).await?;
        for step in schema::MYSQL {
            if self.first(&mut conn, step.name, &schema::taken(step.version)).await?.is_some() {
                continue;
            }
            // Each statement commits by itself here, so a step that was cut
            // off before is taken again, and finds part of its work done.
            for statement in step.statements() {
                match conn.query_drop(statement).await {
                    Err(mysql_async::Error::Server(error))
                        if matches!(
                            error.code,
                            code::TABLE_EXISTS
                                | code::COLUMN_EXISTS
                                | code::INDEX_EXISTS
                                | code::TRIGGER_EXISTS
                        ) => {}
                    other => other.map_err(|error| self.error(step.name, &error, account))?,
                }
            }
            let noted = conn.exec_drop(schema::NOTE_VERSION, (step.version, step.name)).await;
            noted.map_err(|error| self.error(step.name, &error, account))?;
            done.push(format!("applied {}", step.name));
        }
        for (name, sql) in schema::triggers(schema::MYSQL) {
            let known = format!(
                "SELECT 1 FROM information_schema.triggers \
                 WHERE trigger_schema = DATABASE() AND trigger_name = '{name}'"
            );
            if self.first(&mut conn, name, &known).await?.is_none() {
                self.run(&mut conn, name, sql, account).await?;
                done.push(format!("made the trigger {name} again"));
            }
        }
        let (version, what) = schema::SEED;
        if self.first(&mut conn, what, &schema::taken(version)).await?.is_none() {
            self.run(&mut conn, what, "START TRANSACTION", account).await?;
            let failed = |error| self.error(what, &error, account);
            if self.first(&mut conn, what, schema::ANY_RULE).await?.is_none() {
                let properties: Vec<_> = schema::seeds().collect();
                done.push(format!("seeded {} default properties", properties.len()));
                conn.exec_batch(schema::SEED_PROPERTY, properties).await.map_err(failed)?;
            }
            conn.exec_drop(schema::NOTE_VERSION, schema::SEED).await.map_err(failed)?;
            self.run(&mut conn, what, "COMMIT", account).await?;
        }
        let _ = timeout(CONNECT, conn.disconnect()).await;
        Ok(done)
    }
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_cannot_leave_their_quotes() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
    }
}
