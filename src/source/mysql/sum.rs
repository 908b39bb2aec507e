//! A sum over all cells of a table, as the state of the table.
//!
//! The server computes it without sending a row. That takes it about as long as sending them, so
//! the sum spares the network and this program. The functions are those that cost it least.
//! Each row adds a checksum of its cells, times a number that depends on its id: the checksum
//! alone is linear, so that values that two rows exchange would leave the sum as it was.

use super::super::backend::Session;
use super::super::error::Failure;
use super::super::query::Query;
use super::MysqlSession;
use crate::core::model::Cell;

/// Ids are spread by this number. An id of more than 32 bits is an error of the statement.
const SPREAD: u32 = 2_654_435_769;

/// The sum, and the columns of the table. `None` if the rows have no id, so that their order
/// counts.
pub(super) async fn state(session: &mut MysqlSession, query: &Query<'_>) -> Result<Option<String>, Failure> {
    let shape = session.shape(query).await?;
    let (count, Some(id)) = shape.id() else { return Ok(None) };
    let mut columns = Vec::new();
    if !query.is_own {
        // The sum is over stored bytes. What they mean depends on the character set.
        let sql = format!(
            "SELECT column_name, column_type, character_set_name FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name = '{}' ORDER BY ordinal_position",
            query.table
        );
        columns = session.query("reading the schema", sql).await?;
    }
    let are_texts = !columns.is_empty() && columns.iter().all(|column| !is_binary(column));
    let sums =
        session.query(&format!("adding up `{}`", query.table), sum(query, count, id, are_texts)).await?;
    let words = |rows: &[Vec<Cell>]| {
        let words: Vec<_> = rows.iter().flatten().map(|cell| cell.shown().into_owned()).collect();
        words.join(" ")
    };
    // The name of an own query's column says which attribute it is.
    Ok(Some(format!("{} {} {shape:?}", words(&sums), words(&columns))))
}

/// Whether a column may hold bytes that are no text.
fn is_binary(column: &[Cell]) -> bool {
    let kind = column.get(1).map(|kind| kind.shown().to_lowercase()).unwrap_or_default();
    ["blob", "binary", "bit"].iter().any(|binary| kind.contains(binary))
}

/// The statement for a query with `count` columns, of which the one at `id` is the id. If all
/// columns `are_texts`, it may convert them to one character set, which is faster than to treat
/// numbers as bytes.
fn sum(query: &Query<'_>, count: usize, id: usize, are_texts: bool) -> String {
    // NULL and empty text are told apart, and a value of one column from one of the next.
    let (between, null) = if are_texts { ("'\u{1f}'", "'\u{2}'") } else { ("X'1F'", "X'02'") };
    let name = |at| if at == id { "id".to_owned() } else { format!("c{at}") };
    let names: Vec<String> = (0..count).map(name).collect();
    let cells = (0..count).filter(|at| *at != id).map(|at| format!("IFNULL({}, {null})", names[at]));
    let cells: Vec<String> = cells.collect();
    format!(
        "WITH q ({}) AS ({}\n) SELECT bit_xor(crc32(concat_ws({between}, {})) * (id ^ {SPREAD})) FROM q",
        names.join(", "),
        query.sql,
        cells.join(", "),
    )
}
