//! How commands read and edit the tables: with a progress bar, and with the user's name.

use anyhow::bail;

use super::print;
use super::progress::Progress;
use crate::core::history::{Editor, Tool};
use crate::core::model::{Row, TableRows};
use crate::ops::edit_session::{self, EditSession, Onlooker};
use crate::ops::history::{self, CannotUndo, PastEdit, Undone};
use crate::process;
use crate::source::{Source, Which};

/// Shows progress on standard error.
struct Terminal(Progress);

impl Terminal {
    fn new() -> Terminal {
        Terminal(Progress::new("rows read", 0))
    }
}

impl Onlooker for Terminal {
    fn rows_read(&mut self, rows: usize) {
        self.0.add(rows);
    }

    fn is_waiting(&mut self) {
        print::note("waiting for the database, which somebody else may be editing");
    }

    fn has_no_history(&mut self, account: &str) {
        print::note(format_args!(
            "the history does not say who made this edit: the database's account `{account}` may not read and \
             write jitsiprovs_history"
        ));
    }
}

/// Calls `look` with each row. All rows are of the same moment.
///
/// # Errors
/// When they cannot be read.
pub async fn scan(source: &dyn Source, which: Which, look: impl FnMut(Row)) -> anyhow::Result<()> {
    Ok(edit_session::scan(source, which, &mut Terminal::new(), look).await?)
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

/// Begins a transaction that reads the rows of `which`.
pub fn begin(source: &dyn Source, which: Which, tool: Tool) -> EditSession<'_> {
    EditSession::new(source, which, editor(tool), Terminal::new())
}

/// Undoes an edit of the history, or with `dry_run` only tries to.
///
/// # Errors
/// As [`history::take_back`].
pub async fn take_back(source: &dyn Source, edit: PastEdit, dry_run: bool) -> Result<Undone, CannotUndo> {
    history::take_back(source, edit, editor(Tool::Command), dry_run, Terminal::new()).await
}

fn editor(tool: Tool) -> Editor {
    Editor { name: process::user_name(), tool }
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
