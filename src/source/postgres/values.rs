//! Cells as the server's values, and back.

use std::error::Error;
use std::fmt::{self, Write};

use bytes::BytesMut;
use tokio_postgres::SimpleQueryRow;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type};

use crate::core::model::Cell;

/// What stands for a value that is not UTF-8, so that the row is left out and reported.
const NOT_UTF8: &[u8] = &[0xff];

/// The statement with `$1`, `$2` and so on in place of the `?`.
pub(super) fn numbered(sql: &str) -> String {
    let mut numbered = String::with_capacity(sql.len() + sql.len() / 4);
    for (number, part) in sql.split('?').enumerate() {
        if number > 0 {
            // Writing to a string cannot fail.
            let _ = write!(numbered, "${number}");
        }
        numbered.push_str(part);
    }
    numbered
}

/// A cell as a parameter. It goes as text, so that the server brings it into the type of the column.
pub(super) struct Param<'a>(pub &'a Cell);

/// The parameters with their types. The server finds out the type of a text by itself.
pub(super) fn typed<'p>(params: &'p [Param<'_>]) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
    let kind = |param: &Param<'_>| match param.0 {
        Cell::Int(_) => Type::INT8,
        Cell::Null | Cell::Text(_) => Type::UNKNOWN,
    };
    params.iter().map(|param| (param as &(dyn ToSql + Sync), kind(param))).collect()
}

/// It may be a password, so it is not shown. The library asks for this.
impl fmt::Debug for Param<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Param(***)")
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Cell::Null => return Ok(IsNull::Yes),
            Cell::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Cell::Text(bytes) => out.extend_from_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

/// The cells of a row that came as text.
pub(super) fn cells(row: &SimpleQueryRow) -> Vec<Cell> {
    let cell = |at| match row.try_get(at) {
        Ok(Some(text)) => Cell::Text(text.as_bytes().to_vec()),
        Ok(None) => Cell::Null,
        Err(_) => Cell::Text(NOT_UTF8.to_vec()),
    };
    (0..row.len()).map(cell).collect()
}

/// The cells of a row whose values are in the server's own formats.
pub(super) fn of_row(row: &tokio_postgres::Row) -> Result<Vec<Cell>, tokio_postgres::Error> {
    let cell = |at| Ok(row.try_get::<usize, Read>(at)?.0);
    (0..row.len()).map(cell).collect()
}

/// A cell that was read.
struct Read(Cell);

impl<'a> FromSql<'a> for Read {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Read, Box<dyn Error + Sync + Send>> {
        Ok(Read(match *kind {
            Type::INT2 => Cell::Int(i16::from_sql(kind, raw)?.into()),
            Type::INT4 => Cell::Int(i32::from_sql(kind, raw)?.into()),
            Type::INT8 => Cell::Int(i64::from_sql(kind, raw)?),
            _ => Cell::Text(raw.to_vec()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Read, Box<dyn Error + Sync + Send>> {
        Ok(Read(Cell::Null))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT2 | Type::INT4 | Type::INT8 | Type::TEXT | Type::VARCHAR | Type::BPCHAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_in_their_order() {
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
        assert_eq!(numbered("a = ? AND b IN (?, ?)"), "a = $1 AND b IN ($2, $3)");
    }
}
