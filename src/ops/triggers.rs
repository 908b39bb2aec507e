//! The triggers that note changes of other programs' tables in `jitsiprovs_change`. With them, a
//! server that reads such a table with the operator's own query sees its changes at once.

mod postgres;
mod table;

use crate::core::model::Table;

pub use table::ForeignTable;

/// The kind of database that runs the triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite
    Sqlite,
    /// MySQL and MariaDB
    Mysql,
    /// PostgreSQL
    Postgres,
}

impl Dialect {
    /// What the database calls what contains tables.
    fn container(self) -> &'static str {
        match self {
            Dialect::Mysql => "database",
            Dialect::Sqlite | Dialect::Postgres => "schema",
        }
    }
}

/// Statements that create the triggers, and replace those of an earlier run.
///
/// A line of `jitsiprovs_change` for `replaced`, the table that the operator's own query replaces,
/// makes the server run that query again. `home` is the database with `jitsiprovs_change`, if the
/// tables are in another one of a MySQL server.
///
/// # Errors
/// What is wrong with a name, in one line.
pub fn statements(
    dialect: Dialect,
    replaced: Table,
    tables: &[ForeignTable],
    home: &str,
) -> Result<String, String> {
    let parts = tables.iter().enumerate().map(|(at, table)| {
        table.check(dialect)?;
        if tables[..at].iter().any(|known| known.is_same(table)) {
            return Err(format!("{table} comes twice: name all columns at once"));
        }
        Ok(match dialect {
            Dialect::Sqlite => sqlite(replaced, table),
            Dialect::Mysql => mysql(replaced, table, home),
            Dialect::Postgres => postgres::trigger(replaced, table),
        })
    });
    let parts: Vec<String> = parts.collect::<Result<_, String>>()?;
    let function = match dialect {
        Dialect::Postgres => postgres::function(replaced),
        Dialect::Sqlite | Dialect::Mysql => String::new(),
    };
    let head = format!(
        "-- Notes changes in jitsiprovs_change, which `jitsiprovs --setup` creates. Servers whose own query for\n\
         -- {} reads these tables then see the changes at once.\n{}",
        rows(replaced),
        limits(dialect)
    );
    let body = format!("{function}{}", parts.join("\n"));
    Ok(match dialect {
        Dialect::Mysql => format!("{head}\n{body}"),
        Dialect::Sqlite | Dialect::Postgres => format!("{head}\nBEGIN;\n\n{body}\nCOMMIT;\n"),
    })
}

/// What the triggers do not do, as comments.
fn limits(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "-- Each changed row adds a line, which the server removes after a day.\n",
        Dialect::Mysql => {
            "-- Each changed row adds a line, which the server removes after a day. TRUNCATE and changes by\n\
             -- foreign keys run no trigger: only the timer finds them.\n"
        }
        Dialect::Postgres => "-- Each statement adds one line, which the server removes after a day.\n",
    }
}

/// What the rows of a table are.
fn rows(table: Table) -> &'static str {
    match table {
        Table::UserAuth => "users",
        Table::JitsiProperty => "rules",
        Table::UserAttribute => "attributes",
    }
}

fn sqlite(replaced: Table, table: &ForeignTable) -> String {
    let on = table.name.quoted(Dialect::Sqlite);
    let trigger = |event: &str, when: &str| {
        let name = table.trigger_name(replaced, event);
        format!(
            "DROP TRIGGER IF EXISTS main.{name};\n\
             CREATE TRIGGER main.{name} AFTER {when} ON {on} BEGIN\n  \
               INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('{replaced}', 0);\n\
             END;\n"
        )
    };
    [
        trigger("insert", "INSERT"),
        trigger("update", &format!("UPDATE OF {}", table.column_list(Dialect::Sqlite))),
        trigger("delete", "DELETE"),
    ]
    .concat()
}

fn mysql(replaced: Table, table: &ForeignTable, home: &str) -> String {
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    // A trigger looks for tables in its own database, which is that of its table.
    let (place, change) = match &table.schema {
        Some(schema) => {
            (format!("{}.", schema.quoted(Dialect::Mysql)), format!("{}.jitsiprovs_change", quoted(home)))
        }
        None => (String::new(), "jitsiprovs_change".to_owned()),
    };
    // As bytes, because the collation of a column may take a new password for the old one.
    let same = table.columns.iter().map(|column| {
        let column = column.quoted(Dialect::Mysql);
        format!("CAST(OLD.{column} AS BINARY) <=> CAST(NEW.{column} AS BINARY)")
    });
    let differs = format!("\n  WHERE NOT ({})", same.collect::<Vec<_>>().join("\n    AND "));
    let on = table.name.quoted(Dialect::Mysql);
    let trigger = |event: &str, condition: &str| {
        let name = quoted(&table.trigger_name(replaced, event));
        format!(
            "DROP TRIGGER IF EXISTS {place}{name};\n\
             CREATE TRIGGER {place}{name} AFTER {} ON {place}{on} FOR EACH ROW\n  \
               INSERT INTO {change} (changed_table, changed_id)\n  \
               SELECT '{replaced}', 0 FROM DUAL{condition};\n",
            event.to_uppercase()
        )
    };
    [trigger("insert", ""), trigger("update", &differs), trigger("delete", "")].concat()
}

#[cfg(test)]
mod tests;
