//! Rows on their way from a database: batches that are bounded in rows and in bytes, and a
//! budget for all rows of a load.

use super::SourceError;
use super::query::{Query, Shape};
use crate::core::model::{Cell, Row};

/// How many rows a source sends in one batch at most. Each batch costs a switch between threads.
const BATCH: usize = 1024;
/// The first batch is smaller, because a start waits for it to know that rows arrive.
const FIRST_BATCH: usize = 64;
/// A batch of this many bytes is sent before it has [`BATCH`] rows, because several batches
/// may wait for the reader.
const BATCH_BYTES: u64 = 256 << 10;
/// What a row counts besides its text: about what the server keeps for it in memory.
const ROW: u64 = 128;
/// Longer cells are cut off.
const LONG_CELL: usize = 1 << 20;
/// The length to which long cells are cut off. No column of a row that is used may be as long.
const CUT: usize = 1 << 16;

/// How many bytes of rows a load may read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    most: Option<u64>,
    read: u64,
}

impl Budget {
    /// A budget of `most` bytes. Without one, rows are not bounded, and no cell is cut off.
    pub fn new(most: Option<u64>) -> Budget {
        Budget { most, read: 0 }
    }

    /// What was read so far.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Counts the rows of a table that are known and not read again.
    pub fn add(&mut self, bytes: u64) {
        self.read += bytes;
    }

    /// Counts the cells of a row. Cuts off those that are so long that the row cannot be used.
    ///
    /// # Errors
    /// [`SourceError::TooMuch`]
    pub fn count(&mut self, query: &Query<'_>, cells: &mut [Cell]) -> Result<(), SourceError> {
        let Some(most) = self.most else { return Ok(()) };
        for cell in cells {
            if let Cell::Text(bytes) = cell {
                if bytes.len() > LONG_CELL {
                    bytes.truncate(CUT);
                    bytes.shrink_to_fit();
                }
                self.read += bytes.len() as u64;
            }
        }
        self.read += ROW;
        match self.read > most {
            true => Err(SourceError::TooMuch { what: query.reading(), mib: most >> 20 }),
            false => Ok(()),
        }
    }
}

/// The rows of a table that were sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// What is left of it goes to the next table.
    pub budget: Budget,
    /// How many they are.
    pub rows: u64,
    /// Whether the order of the rows counts, because one has its place in it as its id.
    pub are_ordered: bool,
}

/// The rows of a query, put into batches.
pub(super) struct Batches<'q> {
    query: &'q Query<'q>,
    shape: Shape,
    sent: Sent,
    batch: Vec<Row>,
    /// How many rows the batch has at most.
    most: usize,
    /// What had been read when the batch began.
    begun: u64,
}

impl<'q> Batches<'q> {
    /// Begins without rows.
    pub fn new(query: &'q Query<'q>, shape: Shape, budget: Budget) -> Batches<'q> {
        let sent = Sent { budget, rows: 0, are_ordered: false };
        Batches { query, shape, sent, batch: Vec::new(), most: FIRST_BATCH, begun: budget.read }
    }

    /// Adds a row. Returns whether the batch is full.
    ///
    /// # Errors
    /// [`SourceError::TooMuch`]
    pub fn push(&mut self, mut cells: Vec<Cell>) -> Result<bool, SourceError> {
        let Sent { budget, rows, are_ordered } = &mut self.sent;
        budget.count(self.query, &mut cells)?;
        *rows += 1;
        let (row, has_id) = self.shape.row(cells, *rows as i64);
        *are_ordered |= !has_id;
        self.batch.push(row);
        Ok(self.batch.len() == self.most || budget.read - self.begun >= BATCH_BYTES)
    }

    /// What was pushed so far.
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Takes the batch, and begins the next one.
    pub fn take(&mut self) -> Vec<Row> {
        self.begun = self.sent.budget.read;
        self.most = BATCH;
        std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::columns::ColumnSet;
    use crate::core::model::Table;
    use crate::source::Queries;

    #[test]
    fn batches_and_loads_are_bounded_in_bytes() {
        let queries = Queries::default();
        let query = queries.of(Table::UserAuth, ColumnSet::ALL);
        let row = |length: usize| vec![Cell::Null, Cell::Null, Cell::Text(vec![b'x'; length]), Cell::Int(7)];
        let shape = || query.shape(&[]).expect("the table's columns");
        let mut batches = Batches::new(&query, shape(), Budget::new(Some(1 << 20)));
        for most in [FIRST_BATCH, BATCH] {
            for _ in 1..most {
                assert!(matches!(batches.push(row(9)), Ok(false)));
            }
            assert!(matches!(batches.push(row(9)), Ok(true)));
            assert_eq!(batches.take().len(), most);
        }
        // Few long cells fill a batch. Longer ones are cut off.
        let full = (1..).find(|_| matches!(batches.push(row(15 << 20)), Ok(true)));
        assert_eq!(full, Some(4));
        let long = batches.take().pop().expect("a row");
        assert!(matches!(long, Row::User(row) if row.password == Cell::Text(vec![b'x'; CUT])));
        let error = (0..).find_map(|_| batches.push(row(0)).err()).expect("an end").to_string();
        assert!(error.contains("reading `user_auth`") && error.contains(" 1 MiB"), "{error}");
        assert!(Batches::new(&query, shape(), Budget::new(None)).push(row(15 << 20)).is_ok());
    }
}
