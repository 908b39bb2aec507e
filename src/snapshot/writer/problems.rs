//! What is wrong with rows that were looked at.

use crate::core::model::Table;
use crate::core::problem::{Code, Problem};

/// The problems of the rows that were looked at.
#[derive(Debug, Default)]
pub struct Problems {
    /// The first of them.
    pub first: Vec<Problem>,
    /// How many there are in all.
    pub total: usize,
    pub(super) keeps_all: bool,
}

impl Problems {
    /// How many are kept at most; the log shows fewer.
    const KEPT: usize = 1000;

    pub(super) fn add(&mut self, code: Code, table: Table, id: i64, what: impl Into<String>) {
        self.total += 1;
        if self.first.len() < Self::KEPT || self.keeps_all {
            self.first.push(Problem { code, table, id, what: what.into() });
        }
    }
}
