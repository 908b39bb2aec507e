//! `jitsiprovs diff`: what a node serves against what the database says.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

use super::print::{self, number, text};
use super::tables::shown;
use super::{node, tables};
use crate::cli::{self, ListFormat};
use crate::config::Tables;
use crate::http::node::{Node, ROWS};
use crate::model::{Row, Table};
use crate::snapshot::content;

/// How often a node is asked again that changed while it was asked.
const TRIES: usize = 5;

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

/// Compares row by row. The code is 1 if they differ.
///
/// # Errors
/// When the database or the node cannot be read.
pub async fn diff(options: cli::Diff) -> anyhow::Result<ExitCode> {
    let cli::Diff { url, listed, tables } = options;
    let authority = node::authority(&url)?;
    let source = Tables::new(tables)?.source;
    let (users, rules) = tables::read(&*source).await?;
    let read: BTreeMap<(Table, i64), Row> = users
        .into_iter()
        .map(Row::User)
        .chain(rules.into_iter().map(Row::Rule))
        .map(|row| ((row.table(), row.id()), row))
        .collect();
    let served = served(&authority).await.with_context(|| format!("asking {authority}"))?;

    let mut differences = Vec::new();
    for (key, row) in &read {
        match served.get(key) {
            Some(known) if *known == content(row) => {}
            Some(_) => differences.push(difference(*key, "other", Some(row))),
            None => differences.push(difference(*key, "not served", Some(row))),
        }
    }
    let gone = served.keys().filter(|key| !read.contains_key(key));
    differences.extend(gone.map(|key| difference(*key, "gone", None)));

    let columns = [text("TABLE"), number("ID"), text("WHAT"), text("ROW")];
    print::list(listed.format, &differences, &columns, |one| {
        let row = one.row.clone().unwrap_or_default();
        vec![one.table.clone(), one.id.to_string(), one.what.into(), row]
    })?;
    if listed.format == ListFormat::Table {
        let (count, rows) = (differences.len(), read.len());
        print::write(format!("{count} of {rows} rows differ\n"))?;
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn difference((table, id): (Table, i64), what: &'static str, row: Option<&Row>) -> Difference {
    let row = row.map(|row| match row {
        Row::User(row) => format!("{}@{}", shown(&row.username), shown(&row.domain)),
        Row::Rule(row) => format!("{} {}", shown(&row.subject), shown(&row.key)),
    });
    Difference { table: table.to_string(), id, what, row }
}

/// What the node has read of each row, all as of one of its snapshots.
async fn served(authority: &str) -> anyhow::Result<BTreeMap<(Table, i64), u64>> {
    for _ in 0..TRIES {
        let before = version(authority).await?;
        let mut all = BTreeMap::new();
        for table in [Table::UserAuth, Table::JitsiProperty] {
            let mut last = i64::MIN;
            loop {
                let page = node::get(authority, &format!("/rows?{table}={last}")).await?;
                let rows: Vec<(i64, u64)> = str::from_utf8(&page)?
                    .lines()
                    .map(|line| {
                        let (id, content) = line.split_once(' ').context("its answer is not a node's")?;
                        Ok((id.parse()?, u64::from_str_radix(content, 16)?))
                    })
                    .collect::<anyhow::Result<_>>()?;
                let is_last = rows.len() < ROWS;
                last = rows.last().map_or(last, |(id, _)| *id);
                all.extend(rows.into_iter().map(|(id, content)| ((table, id), content)));
                if is_last {
                    break;
                }
            }
        }
        if version(authority).await? == before {
            return Ok(all);
        }
    }
    anyhow::bail!("it changes all the time; try again when fewer rows are edited")
}

async fn version(authority: &str) -> anyhow::Result<u64> {
    let body = node::get(authority, "/status").await?;
    let node: Node = serde_json::from_slice(&body).context("its answer is not a node's")?;
    Ok(node.version)
}
