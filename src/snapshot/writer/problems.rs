//! The problems of rows.

use crate::core::model::Table;
use crate::core::problem::{Code, Problem};

/// The problems of the rows of a draft.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// The first problems.
    pub first: Vec<Problem>,
    /// How many problems there are in total.
    pub total: usize,
    pub(super) keeps_all: bool,
}

impl Problems {
    /// How many problems are kept at most. The log shows fewer.
    const KEPT: usize = 1000;

    /// Adds the problems of later rows.
    pub fn append(&mut self, later: Problems) {
        let room = Self::KEPT.saturating_sub(self.first.len());
        self.total += later.total;
        self.first.extend(later.first.into_iter().take(room));
    }

    /// Removes the problems of rows that are other rows now.
    pub fn forget(&mut self, changed: &[(Table, i64)]) {
        let known = self.first.len();
        self.first.retain(|problem| !changed.contains(&(problem.table, problem.id)));
        self.total -= known - self.first.len();
    }

    pub(super) fn add(&mut self, code: Code, table: Table, id: i64, what: impl Into<String>) {
        self.total += 1;
        if self.first.len() < Self::KEPT || self.keeps_all {
            self.first.push(Problem { code, table, id, what: what.into() });
        }
    }
}
