//! Rows as the history keeps them: JSON objects of their columns, without secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::core::columns::ColumnSet;
use crate::core::credential::{self, Credential, Owner, PwdFmt, Storage, Verdict, stored_as};
use crate::core::model::{Cell, Row, Table};
use crate::core::secret::{NameHint, is_secret};

/// How many secrets of one edit are kept as slow hashes. A hash takes some hundredths of a second,
/// while the database is locked.
const HASHED: usize = 16;

/// A row as the history keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptRow {
    /// The row. Some of its cells may stand for secrets.
    pub row: Row,
    /// The columns whose cells stand for secrets, as in
    /// [`HistoryLine::secrets`](super::HistoryLine::secrets).
    pub secrets: ColumnSet,
}

impl KeptRow {
    /// The JSON object of its columns.
    pub fn json(&self) -> String {
        let cells = self.row.table().columns().iter().zip(self.row.cells()).zip(self.secrets.flags());
        let cells = cells.map(|((column, cell), is_secret)| {
            let value = match is_secret {
                true => json!({ SECRET: written(cell) }),
                false => written(cell),
            };
            (column.name.to_owned(), value)
        });
        Value::Object(cells.collect()).to_string()
    }

    /// The row of `table` that such an object describes. Columns that it does not have are `NULL`.
    /// `None` if it is no such object.
    pub fn from_json(table: Table, id: i64, json: &str) -> Option<KeptRow> {
        let object: Map<String, Value> = serde_json::from_str(json).ok()?;
        let (mut cells, mut secrets) = (Vec::new(), Vec::new());
        for column in table.columns() {
            let value = object.get(column.name).unwrap_or(&Value::Null);
            let secret = value.get(SECRET);
            cells.push(cell(secret.unwrap_or(value))?);
            secrets.push(secret.is_some());
        }
        Some(KeptRow { row: Row::from_cells(table, id, cells), secrets: ColumnSet::of(secrets) })
    }
}

const SECRET: &str = "secret";
const BASE64: &str = "base64";

fn written(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Int(number) => (*number).into(),
        Cell::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => json!({ BASE64: STANDARD.encode(bytes) }),
        },
    }
}

fn cell(value: &Value) -> Option<Cell> {
    Some(match value {
        Value::Null => Cell::Null,
        Value::Number(number) => Cell::Int(number.as_i64()?),
        Value::String(text) => text.as_str().into(),
        Value::Object(object) => Cell::Text(STANDARD.decode(object.get(BASE64)?.as_str()?).ok()?),
        Value::Bool(_) | Value::Array(_) => return None,
    })
}

/// Turns rows into what the history keeps of them.
pub struct Keeper {
    format: PwdFmt,
    hashed: usize,
}

impl Keeper {
    /// For one edit of a table whose passwords are stored in `format`.
    pub fn new(format: PwdFmt) -> Keeper {
        Keeper { format, hashed: 0 }
    }

    /// Whether a row has secrets, so that [`Keeper::keep`] takes long.
    pub fn has_secrets(&self, row: &Row) -> bool {
        self.secrets(row).contains(&true)
    }

    /// What to keep of a row before and after an edit.
    pub fn keep(&mut self, before: Option<&Row>, after: Option<&Row>) -> [Option<KeptRow>; 2] {
        let [before, after] = [before, after].map(|row| row.cloned().map(Row::normal));
        let [mut old, mut new] = [&before, &after].map(|row| row.as_ref().map(|row| self.secrets(row)));
        let mut same = Vec::new();
        if let (Some(before), Some(after), Some(old), Some(new)) = (&before, &after, &mut old, &mut new) {
            same = before.cells().zip(after.cells()).map(|(one, other)| one == other).collect();
            // A value may be a secret only on one side, because the key has changed.
            for at in (0..same.len()).filter(|at| same[*at]) {
                let is_secret = old[at] || new[at];
                (old[at], new[at]) = (is_secret, is_secret);
            }
        }
        let before = before.zip(old).map(|(row, secrets)| self.hidden(&row, secrets, |_| None, 0));
        let known = |at: usize| {
            let before = before.as_ref().filter(|_| same.get(at) == Some(&true))?;
            Some((before.row.cells().nth(at)?.clone(), before.secrets.flags().nth(at)?))
        };
        let after = after.zip(new).map(|(row, secrets)| self.hidden(&row, secrets, known, 1));
        [before, after]
    }

    /// The row without its secrets. `known` returns what already stands for the secret in a column,
    /// and `mark` stands for the secrets that are not hashed.
    fn hidden(
        &mut self,
        row: &Row,
        mut secrets: Vec<bool>,
        known: impl Fn(usize) -> Option<(Cell, bool)>,
        mark: i64,
    ) -> KeptRow {
        let mut cells: Vec<Cell> = row.cells().cloned().collect();
        for at in (0..cells.len()).filter(|at| secrets[*at]).collect::<Vec<_>>() {
            (cells[at], secrets[at]) = known(at).unwrap_or_else(|| match self.hash(&cells[at]) {
                // The server accepts the hash of a password in place of the password itself.
                Some(hash) => (hash.as_str().into(), row.table() != Table::UserAuth),
                None => (Cell::Int(mark), true),
            });
        }
        KeptRow { row: Row::from_cells(row.table(), row.id(), cells), secrets: ColumnSet::of(secrets) }
    }

    fn hash(&mut self, cell: &Cell) -> Option<String> {
        if self.hashed >= HASHED {
            return None;
        }
        let text = cell.text().ok()??;
        let hash = credential::hash(Storage::Argon2id, &text, NOBODY).ok()?;
        self.hashed += 1;
        Some(hash)
    }

    /// For each column, whether it holds a secret that is no hash.
    fn secrets(&self, row: &Row) -> Vec<bool> {
        let mut secrets = vec![false; row.table().columns().len()];
        // In each table, the last column holds the secret.
        if let Some(last) = secrets.last_mut() {
            *last = match row {
                Row::User(user) => user.password != Cell::Null && !self.is_hash(&user.password),
                Row::Rule(rule) => is_secret(&rule.key.shown(), &rule.value.shown()),
                Row::Attribute(attribute) => {
                    NameHint::of(&attribute.name.shown()).hides_data(&attribute.value.shown())
                }
            };
        }
        secrets
    }

    /// Whether a stored password may be kept as it is: it is a hash, or there is none.
    fn is_hash(&self, stored: &Cell) -> bool {
        use credential::UnusableHash::{Empty, Foreign, TooCostly};
        let Ok(Some(text)) = stored.text() else { return false };
        match Credential::parse(&text, self.format, NOBODY) {
            Ok(_) => stored_as(&text, self.format) != Storage::Table(PwdFmt::Plain).name(),
            Err(why) => matches!(why, Empty | Foreign | TooCostly(_)),
        }
    }
}

/// The owner of a hash that does not depend on one.
const NOBODY: Owner<'_> = Owner { username: "", realm: "" };

/// The columns in which two rows of one table differ. How a number is written makes no difference.
pub fn differing(one: &Row, other: &Row) -> ColumnSet {
    one.clone().normal().differing(&other.clone().normal())
}

/// The columns in which a row is no longer as the history has kept it. A secret that was kept
/// without a hash counts as unchanged. Each one with a hash takes some hundredths of a second.
pub fn changed_since(kept: &KeptRow, row: &Row) -> ColumnSet {
    let row = row.clone().normal();
    let pairs = kept.row.cells().zip(row.cells()).zip(kept.secrets.flags());
    ColumnSet::of(pairs.map(|((kept, cell), is_secret)| match (kept, is_secret) {
        (Cell::Text(_), true) => !verifies(kept, cell),
        (_, true) => *cell == Cell::Null,
        (_, false) if kept == cell => false,
        // A password that is stored as it is was kept as a hash.
        (Cell::Text(hash), false) => !(hash.starts_with(b"$argon2id$") && verifies(kept, cell)),
        (_, false) => true,
    }))
}

fn verifies(hash: &Cell, cell: &Cell) -> bool {
    let (Ok(Some(hash)), Ok(Some(secret))) = (hash.text(), cell.text()) else { return false };
    match Credential::parse(&hash, PwdFmt::Md5, NOBODY).map(|credential| credential.verify(&secret)) {
        Ok(Verdict::Ask(slow)) => slow.verify(&secret),
        Ok(Verdict::Right) => true,
        Ok(Verdict::Wrong) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
