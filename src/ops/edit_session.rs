//! Reads the tables, and edits them in one transaction.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::core::history::Editor;
use crate::core::model::{Edit, Row};
use crate::source::{Boxed, Edited, Source, SourceError, Transaction, Which};

/// Batches that may wait in a channel.
const AHEAD: usize = 16;
/// Edits in a batch.
const BATCH: usize = 1000;
/// After this time without a row, the user is told why the command waits.
const SILENCE: Duration = Duration::from_secs(2);

/// Follows the work, for somebody who waits for it.
pub trait Onlooker {
    /// This many more rows were read.
    fn rows_read(&mut self, _rows: usize) {}

    /// Nothing has come for a while, perhaps because another edit is under way.
    fn is_waiting(&mut self) {}

    /// The edit was made, but the history does not have it: this account of the database may not
    /// write it.
    fn has_no_history(&mut self, _account: &str) {}
}

/// Nobody looks on.
impl Onlooker for () {}

impl Onlooker for &RefCell<&mut Box<dyn Onlooker + Send + '_>> {
    fn rows_read(&mut self, rows: usize) {
        self.borrow_mut().rows_read(rows);
    }
}

/// Calls `look` with each row. All rows are of the same moment.
///
/// # Errors
/// When they cannot be read.
pub async fn scan(
    source: &dyn Source,
    which: Which,
    onlooker: &mut impl Onlooker,
    look: impl FnMut(Row),
) -> Result<(), SourceError> {
    let (sender, batches) = mpsc::channel(AHEAD);
    let (loaded, ()) = tokio::join!(source.load(which, sender, false), show(batches, which, onlooker, look));
    loaded.map(|_| ())
}

async fn show(
    mut batches: mpsc::Receiver<Vec<Row>>,
    which: Which,
    onlooker: &mut impl Onlooker,
    mut look: impl FnMut(Row),
) {
    while let Some(batch) = batches.recv().await {
        onlooker.rows_read(batch.len());
        for row in batch {
            // A query that the operator has given always returns all rows.
            if !matches!(which, Which::One(_, id) if id != row.id()) {
                look(row);
            }
        }
    }
}

/// A transaction. The rows that it reads do not change before it edits them, because
/// other edit sessions wait. Without a commit, nothing is changed.
pub struct EditSession<'s> {
    work: Boxed<'s, Result<Edited, SourceError>>,
    which: Which,
    rows: Option<mpsc::Receiver<Vec<Row>>>,
    is_read: oneshot::Receiver<()>,
    edits: mpsc::Sender<Vec<Edit>>,
    all: oneshot::Sender<()>,
    onlooker: Box<dyn Onlooker + Send + 's>,
}

impl<'s> EditSession<'s> {
    /// Begins a transaction of `editor` that reads the rows of `which`.
    pub fn new(
        source: &'s dyn Source,
        which: Which,
        editor: Editor,
        onlooker: impl Onlooker + Send + 's,
    ) -> EditSession<'s> {
        EditSession::begin(source, which, editor, None, onlooker)
    }

    /// The same for a transaction that undoes an edit of the history.
    pub fn undoing(
        source: &'s dyn Source,
        which: Which,
        editor: Editor,
        edit: i64,
        onlooker: impl Onlooker + Send + 's,
    ) -> EditSession<'s> {
        EditSession::begin(source, which, editor, Some(edit), onlooker)
    }

    fn begin(
        source: &'s dyn Source,
        which: Which,
        editor: Editor,
        undoes: Option<i64>,
        onlooker: impl Onlooker + Send + 's,
    ) -> EditSession<'s> {
        let ((sender, rows), (edits, edits_out)) = (mpsc::channel(AHEAD), mpsc::channel(AHEAD));
        let ((read, is_read), (all, is_all)) = (oneshot::channel(), oneshot::channel());
        let transaction =
            Transaction { editor, undoes, which, rows: sender, is_read: read, edits: edits_out, is_all };
        EditSession {
            work: source.edit(transaction),
            which,
            rows: Some(rows),
            is_read,
            edits,
            all,
            onlooker: Box::new(onlooker),
        }
    }

    /// Makes all `edits`, or with `dry_run` makes and undoes them.
    ///
    /// # Errors
    /// When an edit cannot be made: then nothing is changed.
    pub async fn make(
        self,
        edits: impl IntoIterator<Item = Edit>,
        dry_run: bool,
    ) -> Result<Edited, SourceError> {
        match dry_run {
            true => self.rehearse(edits, |_| ()).await,
            false => self.commit(edits, |_| ()).await,
        }
    }

    /// Calls `look` with each row. A second call does nothing.
    ///
    /// # Errors
    /// When the rows cannot be read, or other transactions take too long.
    pub async fn read(&mut self, mut look: impl FnMut(Row)) -> Result<(), SourceError> {
        let Some(rows) = self.rows.take() else { return Ok(()) };
        let (begun, onlooker) = (Cell::new(false), RefCell::new(&mut self.onlooker));
        let look = |row| {
            begun.set(true);
            look(row);
        };
        let all_read = async {
            show(rows, self.which, &mut &onlooker, look).await;
            (&mut self.is_read).await.is_ok()
        };
        let silence = async {
            sleep(SILENCE).await;
            if !begun.get() {
                onlooker.borrow_mut().is_waiting();
            }
            pending::<()>().await;
        };
        tokio::select! {
            over = &mut self.work => {
                over?;
            }
            true = all_read => return Ok(()),
            () = silence => {}
        }
        Err(SourceError::Cancelled)
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
    ) -> Result<Edited, SourceError> {
        self.send(edits, sent, true).await?
    }

    /// Makes all `edits` and undoes them again.
    ///
    /// # Errors
    /// As [`EditSession::commit`].
    pub async fn rehearse(
        self,
        edits: impl IntoIterator<Item = Edit>,
        sent: impl FnMut(usize),
    ) -> Result<Edited, SourceError> {
        match self.send(edits, sent, false).await? {
            Err(SourceError::Cancelled) => Ok(Edited::default()),
            made => made,
        }
    }

    async fn send(
        mut self,
        edits: impl IntoIterator<Item = Edit>,
        mut sent: impl FnMut(usize),
        is_kept: bool,
    ) -> Result<Result<Edited, SourceError>, SourceError> {
        self.read(|_| ()).await?;
        let EditSession { work, edits: sender, all, mut onlooker, .. } = self;
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
        if let Ok(Edited { is_unnoted: Some(account), .. }) = &edited {
            onlooker.has_no_history(account);
        }
        Ok(edited)
    }
}
