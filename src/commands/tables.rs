//! What commands read and write of the two tables.

use anyhow::{Context, bail};
use tokio::sync::{mpsc, oneshot};

use super::progress::Progress;
use crate::model::{Cell, Row, RuleRow, UserRow};
use crate::source::{Edit, Source};

/// Batches on their way.
const AHEAD: usize = 16;
/// Edits in a batch.
const BATCH: usize = 1000;

/// Shows `look` every row of the tables, as of one moment.
///
/// # Errors
/// When they cannot be read.
pub async fn scan(source: &dyn Source, mut look: impl FnMut(Row)) -> anyhow::Result<()> {
    let (sender, mut batches) = mpsc::channel::<Vec<Row>>(AHEAD);
    let mut progress = Progress::new("rows read", 0);
    let collect = async {
        while let Some(batch) = batches.recv().await {
            progress.add(batch.len());
            batch.into_iter().for_each(&mut look);
        }
    };
    let (loaded, ()) = tokio::join!(source.load(sender, false), collect);
    loaded?;
    Ok(())
}

/// Everything that is in the tables, in the order of ids.
///
/// # Errors
/// When they cannot be read.
pub async fn read(source: &dyn Source) -> anyhow::Result<(Vec<UserRow>, Vec<RuleRow>)> {
    let (mut users, mut rules) = (Vec::new(), Vec::new());
    let sort = |row| match row {
        Row::User(row) => users.push(row),
        Row::Rule(row) => rules.push(row),
    };
    scan(source, sort).await?;
    users.sort_by_key(|row| row.id);
    rules.sort_by_key(|row| row.id);
    Ok((users, rules))
}

/// Makes all `edits` or none of them. `made` is told how many are on their way.
///
/// # Errors
/// When one cannot be made: then none is.
pub async fn edit(
    source: &dyn Source,
    edits: impl IntoIterator<Item = Edit>,
    mut made: impl FnMut(usize),
) -> anyhow::Result<()> {
    let (sender, batches) = mpsc::channel(AHEAD);
    let (all, is_all) = oneshot::channel();
    let send = async move {
        let mut edits = edits.into_iter();
        loop {
            let batch: Vec<Edit> = edits.by_ref().take(BATCH).collect();
            let count = batch.len();
            // Nobody takes them any more: the database says why.
            if count == 0 || sender.send(batch).await.is_err() {
                break;
            }
            made(count);
        }
        drop(sender);
        let _ = all.send(());
    };
    let (edited, ()) = tokio::join!(source.edit(batches, is_all), send);
    Ok(edited?)
}

/// `user@domain`, split at the last `@`.
///
/// # Errors
/// When one of them is missing.
pub fn name(user: &str) -> anyhow::Result<(&str, &str)> {
    let (name, domain) = user.rsplit_once('@').with_context(|| format!("{user:?}: write user@domain"))?;
    if name.is_empty() || domain.is_empty() {
        bail!("{user:?}: write user@domain");
    }
    Ok((name, domain))
}

/// A cell as it is shown; what is not UTF-8, as far as it can be read.
pub fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Int(number) => number.to_string(),
        Cell::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}
