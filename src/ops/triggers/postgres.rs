//! PostgreSQL: one function, and a trigger for each table.

use super::{Dialect, ForeignTable, rows};
use crate::core::model::Table;

/// Creates the function that the triggers run. It runs with the rights of its owner, because the
/// other program need not be allowed to write our tables. So it names the schema of our table, and
/// no session can put another table in its place.
pub(super) fn function(replaced: Table) -> String {
    let name = function_name(replaced);
    format!(
        "DO $do$\n\
         DECLARE\n  \
           home name;\n\
         BEGIN\n  \
           SELECT nspname INTO home FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace\n    \
             WHERE pg_class.oid = 'jitsiprovs_change'::regclass;\n  \
           EXECUTE format($format$\n    \
             CREATE OR REPLACE FUNCTION %1$I.{name}() RETURNS trigger LANGUAGE plpgsql\n    \
             SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$\n    \
             BEGIN\n      \
               INSERT INTO %1$I.jitsiprovs_change (changed_table, changed_id) VALUES ('{replaced}', 0);\n      \
               PERFORM pg_notify('jitsiprovs', '');\n      \
               RETURN NULL;\n    \
             END\n    \
             $body$\n  \
           $format$, home);\n\
         END\n\
         $do$;\n\n"
    )
}

/// Creates the trigger of a table. One statement runs it once, however many rows it changes.
pub(super) fn trigger(replaced: Table, table: &ForeignTable) -> String {
    let on = match &table.schema {
        Some(schema) => {
            format!("{}.{}", schema.quoted(Dialect::Postgres), table.name.quoted(Dialect::Postgres))
        }
        None => table.name.quoted(Dialect::Postgres),
    };
    let (columns, function) = (table.column_list(Dialect::Postgres), function_name(replaced));
    format!(
        "DROP TRIGGER IF EXISTS {function} ON {on};\n\
         CREATE TRIGGER {function} AFTER INSERT OR UPDATE OF {columns} OR DELETE OR TRUNCATE\n  \
           ON {on} FOR EACH STATEMENT EXECUTE FUNCTION {function}();\n"
    )
}

/// The function, and the triggers of all tables, whose names are those of their tables alone.
fn function_name(replaced: Table) -> String {
    format!("jitsiprovs_note_{}", rows(replaced))
}
