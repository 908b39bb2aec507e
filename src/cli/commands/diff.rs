//! `jitsiprovs diff`: what a node serves against what the database says.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cli::args::{self, ListFormat};
use crate::cli::config::{self, TableAccess};
use crate::cli::edit_session;
use crate::cli::edit_session::shown;
use crate::cli::print::{self, Text, number, text};
use crate::core::conventions::Conventions;
use crate::core::model::{Row, Table};
use crate::ops::nodes;
use crate::serve::http::admin_key::AdminKey;
use crate::serve::http::node::ROWS;
use crate::snapshot::content;
use crate::source::Which;

/// How long to wait at least before rows that differ are looked at again.
const AGAIN: Duration = Duration::from_millis(250);

/// A row that is not the same on both sides.
#[derive(Debug, Serialize)]
struct Difference {
    table: String,
    id: i64,
    /// `not served`, `gone` from the database, or `other`.
    what: &'static str,
    /// The user, or subject and key; none of what is gone.
    row: Option<String>,
}

/// Compares row by row. Edits go on meanwhile, and a node is a moment behind: so
/// what differs is looked at again until nothing does or `--max-lag` is over, and
/// only where the node did not follow in that time the two differ. The code is 1
/// if they do.
///
/// # Errors
/// When the database or the node cannot be read.
pub async fn diff(options: args::DiffArgs) -> anyhow::Result<ExitCode> {
    let args::DiffArgs { url, admin_secret_file, max_lag, listed, tables } = options;
    let node =
        ComparedNode { authority: nodes::authority(&url)?, key: config::admin_key(&admin_secret_file)? };
    let tables = TableAccess::new(tables)?;
    let max_lag = Duration::from_secs(max_lag);

    let mut is_last = max_lag.is_zero();
    let mut begun = Instant::now();
    let mut look = FirstPass::new(&tables, &node, None, is_last).await?;
    // The last look begins so long after the first has ended, however long they
    // take; and the database has as much rest as work.
    let first_ended = Instant::now();
    while !look.differing.is_empty() && !is_last {
        let left = max_lag.saturating_sub(first_ended.elapsed());
        sleep(begun.elapsed().max(AGAIN).min(left)).await;
        is_last = first_ended.elapsed() >= max_lag;
        begun = Instant::now();
        look = FirstPass::new(&tables, &node, Some(&look.differing), is_last).await?;
    }

    let mut differences: Vec<Difference> = look.differing.into_iter().map(Difference::new).collect();
    // What is gone comes last.
    differences.sort_by_key(|one| one.row.is_none());
    let columns = [text("TABLE"), number("ID"), text("WHAT"), text("ROW")];
    print::list(listed.format, &differences, &columns, |one| {
        let row = one.row.clone().unwrap_or_default();
        vec![one.table.clone(), one.id.to_string(), one.what.into(), row]
    })?;
    if listed.format == ListFormat::Table {
        let (count, rows) = (differences.len(), look.rows);
        print::write(Text::line(format_args!("{count} of {rows} rows differ")))?;
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Difference {
    fn new((key, Differing { now, name, .. }): (RowKey, Differing)) -> Difference {
        let what = match now {
            Sides { database: None, .. } => "gone",
            Sides { node: None, .. } => "not served",
            _ => "other",
        };
        Difference { table: key.0.to_string(), id: key.1, what, row: name }
    }
}

/// Where a row is.
type RowKey = (Table, i64);

/// What each side says of a row, as a hash; none if it has no such row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sides {
    database: Option<u64>,
    node: Option<u64>,
}

impl Sides {
    /// Whether the node has not followed since `first`. It has if both sides
    /// moved on, even where it is a moment behind once more.
    fn is_stuck_since(self, first: Sides) -> bool {
        let is_same = self.database == self.node;
        !is_same && (self.database == first.database || self.node == first.node)
    }
}

/// A row that the sides do not agree about.
#[derive(Debug)]
struct Differing {
    first: Sides,
    now: Sides,
    /// Only in the last look, and of what is in the database.
    name: Option<String>,
}

/// What reading both sides once has shown.
struct FirstPass {
    /// How many rows the database has.
    rows: usize,
    differing: BTreeMap<RowKey, Differing>,
}

impl FirstPass {
    /// Reads both sides. After the first look only what differed `before` counts:
    /// what was edited since then need not be there yet.
    async fn new(
        tables: &TableAccess,
        node: &ComparedNode,
        before: Option<&BTreeMap<RowKey, Differing>>,
        is_last: bool,
    ) -> anyhow::Result<FirstPass> {
        let asking = || format!("asking {}", node.authority);
        let mut served = node.served().await.with_context(asking)?;
        let (mut rows, mut differing) = (0, BTreeMap::new());
        let mut compare = |key: RowKey, now: Sides, row: Option<&Row>| {
            let first = before.map_or(Some(now), |before| Some(before.get(&key)?.first));
            if let Some(first) = first.filter(|first| now.is_stuck_since(*first)) {
                let name = row.filter(|_| is_last).map(|row| name(row, &tables.snapshot));
                differing.entry(key).or_insert(Differing { first, now, name });
            }
        };
        edit_session::scan(&*tables.source, Which::All, |row| {
            let key = (row.table(), row.id());
            let database = Some(node.key.row(key.0, key.1, content(&row)));
            match served.get_mut(&key.0).and_then(|served| served.take(key.1)) {
                // Of several rows with one id the first counts, as on the node.
                Some(Taken { is_again: true, .. }) => return,
                taken => compare(key, Sides { database, node: taken.map(|taken| taken.content) }, Some(&row)),
            }
            rows += 1;
        })
        .await?;
        for (table, served) in served {
            for (id, content) in served.left() {
                compare((table, id), Sides { database: None, node: Some(content) }, None);
            }
        }
        Ok(FirstPass { rows, differing })
    }
}

fn name(row: &Row, options: &Conventions) -> String {
    match row {
        Row::User(row) => format!("{}@{}", shown(&row.username), shown(&row.domain)),
        Row::Rule(row) => format!("{} {}", options.shown_subject(&shown(&row.subject)), shown(&row.key)),
    }
}

/// What a node has read of one table: all that is kept of rows that do not
/// differ, since there may be millions.
#[derive(Default)]
struct NodeRows {
    /// By id.
    rows: Vec<(i64, u64)>,
    is_taken: Vec<bool>,
}

/// A row of [`NodeRows`].
struct Taken {
    content: u64,
    is_again: bool,
}

impl NodeRows {
    fn take(&mut self, id: i64) -> Option<Taken> {
        let at = self.rows.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let is_again = std::mem::replace(&mut self.is_taken[at], true);
        Some(Taken { content: self.rows[at].1, is_again })
    }

    /// What was not taken.
    fn left(self) -> impl Iterator<Item = (i64, u64)> {
        self.rows.into_iter().zip(self.is_taken).filter(|(_, is_taken)| !is_taken).map(|(row, _)| row)
    }
}

/// A node, and what it tells of rows by.
struct ComparedNode {
    authority: String,
    key: AdminKey,
}

impl ComparedNode {
    /// What it has read of each row. It may go on to another snapshot meanwhile:
    /// that is an edit like any.
    async fn served(&self) -> anyhow::Result<BTreeMap<Table, NodeRows>> {
        let mut tables = BTreeMap::new();
        for table in [Table::UserAuth, Table::JitsiProperty] {
            let mut rows: Vec<(i64, u64)> = Vec::new();
            loop {
                let last = rows.last().map_or(i64::MIN, |(id, _)| *id);
                let target = format!("/rows?{table}={last}");
                let page = nodes::get(&self.authority, &target, Some(&self.key.proof(&target))).await?;
                let before = rows.len();
                for line in str::from_utf8(&page)?.lines() {
                    let (id, content) = line.split_once(' ').context("its answer is not a node's")?;
                    rows.push((id.parse()?, u64::from_str_radix(content, 16)?));
                }
                if rows.len() - before < ROWS {
                    break;
                }
            }
            tables.insert(table, NodeRows { is_taken: vec![false; rows.len()], rows });
        }
        Ok(tables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_stuck_unless_it_agrees_or_both_moved_on() {
        let sides = |database, node| Sides { database, node };
        let first = sides(Some(2), Some(1));
        for (now, expected) in [
            (first, true),
            (sides(Some(2), Some(2)), false),
            // Edited again, and still as it was; edited once, and elsewhere.
            (sides(Some(3), Some(1)), true),
            (sides(None, Some(1)), true),
            (sides(Some(2), None), true),
            // A moment behind the next edit.
            (sides(Some(3), Some(2)), false),
            (sides(None, Some(2)), false),
            // Edited back.
            (sides(Some(1), Some(1)), false),
            (sides(None, None), false),
        ] {
            assert_eq!(now.is_stuck_since(first), expected, "{now:?}");
        }
    }

    #[test]
    fn rows_are_taken_once_and_the_others_are_left() {
        let rows = vec![(-1, 10), (3, 30), (7, 70)];
        let mut served = NodeRows { is_taken: vec![false; rows.len()], rows };
        assert!(served.take(3).is_some_and(|taken| taken.content == 30 && !taken.is_again));
        assert!(served.take(3).is_some_and(|taken| taken.is_again));
        assert!(served.take(4).is_none());
        assert_eq!(served.left().collect::<Vec<_>>(), [(-1, 10), (7, 70)]);
    }
}
