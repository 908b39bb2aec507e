//! `jitsiprovs diff`: compares what a node serves with what is in the database.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

use crate::cli::args::{self, ListFormat};
use crate::cli::config::{self, TableAccess};
use crate::cli::edit_session;
use crate::cli::print::{self, Text, number, text};
use crate::core::conventions::Conventions;
use crate::core::model::{Row, Table};
use crate::ops::compare::{Comparison, Look, ServedRows};
use crate::ops::nodes::{Client, NodeUrl};
use crate::serve::http::admin_key::AdminKey;
use crate::serve::http::node::ROWS;
use crate::snapshot::content;
use crate::source::Which;

/// The shortest time before rows that differ are compared again.
const AGAIN: Duration = Duration::from_millis(250);

/// Compares until both sides agree or `--max-lag` is over. The exit code is 1 if they
/// still differ.
///
/// # Errors
/// When the database or the node cannot be read.
pub async fn diff(options: args::DiffArgs) -> anyhow::Result<ExitCode> {
    let args::DiffArgs { url, admin_secret_file, max_lag, trust, listed, tables } = options;
    let key = config::admin_key(&admin_secret_file)?;
    let node = ComparedNode { address: NodeUrl::parse(&url)?, client: trust.client()?, key };
    let tables = TableAccess::new(tables)?;
    let max_lag = Duration::from_secs(max_lag);

    let mut is_last = max_lag.is_zero();
    let mut begun = Instant::now();
    let mut seen = look(&tables, &node, None, is_last).await?;
    // The last comparison starts `max_lag` after the end of the first, even if comparisons
    // are slow. Each pause is as long as the comparison before it, to spare the database.
    let first_ended = Instant::now();
    while !seen.agrees() && !is_last {
        let left = max_lag.saturating_sub(first_ended.elapsed());
        sleep(begun.elapsed().max(AGAIN).min(left)).await;
        is_last = first_ended.elapsed() >= max_lag;
        begun = Instant::now();
        seen = look(&tables, &node, Some(&seen), is_last).await?;
    }

    let rows = seen.rows;
    let differences = seen.differences();
    let columns = [text("TABLE"), number("ID"), text("WHAT"), text("ROW")];
    print::list(listed, &differences, &columns, |one| {
        let row = one.row.clone().unwrap_or_default();
        vec![one.table.clone(), one.id.to_string(), one.what.into(), row]
    })?;
    if listed.format == ListFormat::Table {
        print::write(Text::line(format_args!("{} of {rows} rows differ", differences.len())))?;
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads both sides. Only the last comparison needs the names of rows.
async fn look(
    tables: &TableAccess,
    node: &ComparedNode,
    before: Option<&Look>,
    is_last: bool,
) -> anyhow::Result<Look> {
    let served = node.served().await.with_context(|| format!("asking {}", node.address))?;
    let mut comparison = Comparison::new(served, before);
    edit_session::scan(&*tables.source, Which::All, |row| {
        let (table, id) = (row.table(), row.id());
        let hash = node.key.row(table, id, content(&row));
        comparison.row((table, id), hash, || is_last.then(|| name(&row, &tables.snapshot)));
    })
    .await?;
    Ok(comparison.finish())
}

fn name(row: &Row, options: &Conventions) -> String {
    match row {
        Row::User(row) => {
            format!("{}@{}", row.username.shown(), row.domain.shown())
        }
        Row::Rule(row) => {
            format!("{} {}", options.shown_subject(&row.subject.shown()), row.key.shown().into_owned())
        }
        Row::Attribute(row) => {
            format!("{}@{} {}", row.username.shown(), row.domain.shown(), row.name.shown())
        }
    }
}

/// A node, and the key with which it hashes rows.
struct ComparedNode {
    address: NodeUrl,
    client: Client,
    key: AdminKey,
}

impl ComparedNode {
    /// Reads what the node serves. If the node swaps its snapshot meanwhile, that looks
    /// like an edit.
    async fn served(&self) -> anyhow::Result<ServedRows> {
        let mut served = ServedRows::default();
        for table in Table::ALL {
            loop {
                let target = format!("/rows?{table}={}", served.last(table).unwrap_or(i64::MIN));
                let client = self.client.clone().with(Some(self.key.proof(&target)));
                let page = client.get(&self.address, &target).await?;
                if served.add_page(table, str::from_utf8(&page)?)? < ROWS {
                    break;
                }
            }
        }
        Ok(served)
    }
}
