//! How commands read and edit the tables.

use std::cell::OnceCell;
use std::future::pending;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::print;
use super::progress::Progress;
use crate::core::model::{Edit, Row, TableRows};
use crate::source::{self, Boxed, Source, Transaction, Which};

/// Batches that may wait in a channel.
const AHEAD: usize = 16;
/// Edits in a batch.
const BATCH: usize = 1000;
/// After this time without a row, the user is told why the command waits.
const SILENCE: Duration = Duration::from_secs(2);

/// Calls `look` with each row. All rows are of the same moment.
///
/// # Errors
/// When they cannot be read.
pub async fn scan(source: &dyn Source, which: Which, look: impl FnMut(Row)) -> anyhow::Result<()> {
    let (sender, batches) = mpsc::channel(AHEAD);
    let (loaded, ()) = tokio::join!(source.load(which, sender, false), show(batches, which, look));
    loaded?;
    Ok(())
}

async fn show(mut batches: mpsc::Receiver<Vec<Row>>, which: Which, mut look: impl FnMut(Row)) {
    let mut progress = Progress::new("rows read", 0);
    while let Some(batch) = batches.recv().await {
        progress.add(batch.len());
        for row in batch {
            // A query that the operator has given always returns all rows.
            if !matches!(which, Which::One(_, id) if id != row.id()) {
                look(row);
            }
        }
    }
}

/// All rows, in the order of their ids.
///
/// # Errors
/// When they cannot be read.
pub async fn read(source: &dyn Source) -> anyhow::Result<TableRows> {
    let mut rows = TableRows::default();
    scan(source, Which::All, |row| rows.push(row)).await?;
    rows.sort();
    Ok(rows)
}

/// A transaction. The rows that it reads do not change before it edits them, because
/// other edit sessions wait. Without a commit, nothing is changed.
pub struct EditSession<'s> {
    work: Boxed<'s, Result<(), source::SourceError>>,
    which: Which,
    rows: Option<mpsc::Receiver<Vec<Row>>>,
    is_read: oneshot::Receiver<()>,
    edits: mpsc::Sender<Vec<Edit>>,
    all: oneshot::Sender<()>,
}

impl<'s> EditSession<'s> {
    /// Begins a transaction that reads the rows of `which`.
    pub fn new(source: &'s dyn Source, which: Which) -> EditSession<'s> {
        let ((sender, rows), (edits, edits_out)) = (mpsc::channel(AHEAD), mpsc::channel(AHEAD));
        let ((read, is_read), (all, is_all)) = (oneshot::channel(), oneshot::channel());
        let transaction = Transaction { which, rows: sender, is_read: read, edits: edits_out, is_all };
        EditSession { work: source.edit(transaction), which, rows: Some(rows), is_read, edits, all }
    }

    /// Makes all `edits`, or with `dry_run` makes and undoes them.
    ///
    /// # Errors
    /// When an edit cannot be made: then nothing is changed.
    pub async fn make(self, edits: impl IntoIterator<Item = Edit>, dry_run: bool) -> anyhow::Result<()> {
        match dry_run {
            true => self.rehearse(edits, |_| ()).await,
            false => self.commit(edits, |_| ()).await,
        }
    }

    /// Calls `look` with each row. A second call does nothing.
    ///
    /// # Errors
    /// When the rows cannot be read, or other transactions take too long.
    pub async fn read(&mut self, mut look: impl FnMut(Row)) -> anyhow::Result<()> {
        let Some(rows) = self.rows.take() else { return Ok(()) };
        let begun = OnceCell::new();
        let look = |row| {
            let _ = begun.set(());
            look(row);
        };
        let all_read = async {
            show(rows, self.which, look).await;
            (&mut self.is_read).await.is_ok()
        };
        let silence = async {
            sleep(SILENCE).await;
            if begun.get().is_none() {
                print::note("waiting for the database, which somebody else may be editing");
            }
            pending::<()>().await;
        };
        tokio::select! {
            over = &mut self.work => over?,
            true = all_read => return Ok(()),
            () = silence => {}
        }
        Err(source::SourceError::Cancelled.into())
    }

    /// Makes all `edits` or none of them. After each batch, `sent` is called with the
    /// number of edits in it.
    ///
    /// # Errors
    /// When an edit cannot be made: then nothing is changed.
    pub async fn commit(
        self,
        edits: impl IntoIterator<Item = Edit>,
        sent: impl FnMut(usize),
    ) -> anyhow::Result<()> {
        Ok(self.send(edits, sent, true).await??)
    }

    /// Makes all `edits` and undoes them again.
    ///
    /// # Errors
    /// As [`EditSession::commit`].
    pub async fn rehearse(
        self,
        edits: impl IntoIterator<Item = Edit>,
        sent: impl FnMut(usize),
    ) -> anyhow::Result<()> {
        match self.send(edits, sent, false).await? {
            Err(source::SourceError::Cancelled) => Ok(()),
            made => Ok(made?),
        }
    }

    async fn send(
        mut self,
        edits: impl IntoIterator<Item = Edit>,
        mut sent: impl FnMut(usize),
        is_kept: bool,
    ) -> anyhow::Result<Result<(), source::SourceError>> {
        self.read(|_| ()).await?;
        let EditSession { work, edits: sender, all, .. } = self;
        let send = async move {
            let mut edits = edits.into_iter();
            loop {
                let batch: Vec<Edit> = edits.by_ref().take(BATCH).collect();
                let count = batch.len();
                // If the transaction takes no more edits, it has failed; its result says why.
                if count == 0 || sender.send(batch).await.is_err() {
                    break;
                }
                sent(count);
            }
            drop(sender);
            if is_kept {
                let _ = all.send(());
            }
        };
        let (edited, ()) = tokio::join!(work, send);
        Ok(edited)
    }
}

/// `user@domain`, split at the last `@`.
///
/// # Errors
/// When one of them is missing.
pub fn name(user: &str) -> anyhow::Result<(&str, &str)> {
    let (name, domain) = user.rsplit_once('@').unwrap_or((user, ""));
    match (name.is_empty(), domain.is_empty()) {
        (true, _) => bail!("{user:?} has no username: write user@domain, such as alice@example.org"),
        (false, true) => bail!(
            "{user:?} has no domain: write user@domain, such as {name}@example.org; `jitsiprovs tenant list` lists \
             the domains"
        ),
        (false, false) => {}
    }
    Ok((name, domain))
}
