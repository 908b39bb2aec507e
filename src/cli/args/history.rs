//! Arguments of `history`.

use clap::{Args, Subcommand};
use time::{Date, Month};

use super::shared::{EditArgs, Listed, TableArgs};
use crate::cli::typed_names::account;

/// `history`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[expect(missing_docs, reason = "the help texts")]
pub struct HistoryArgs {
    #[command(subcommand)]
    pub command: Option<HistoryCommand>,
    #[command(flatten)]
    pub list: HistoryListArgs,
}

/// A subcommand of `history`.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "the help texts")]
pub enum HistoryCommand {
    /// Show the rows of an edit, before and after it
    Show {
        /// The id of the edit
        id: i64,
        #[command(flatten)]
        listed: Listed,
        #[command(flatten)]
        tables: Box<TableArgs>,
    },
    /// Undo an edit, unless its rows have changed since
    Undo {
        /// The id of the edit
        id: i64,
        /// Undo it without asking
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        edit: Box<EditArgs>,
    },
}

/// Options of `history` without a subcommand.
#[derive(Debug, Args)]
#[expect(missing_docs, reason = "the help texts")]
pub struct HistoryListArgs {
    /// Only edits of this user, of the user's attributes, and of rules for the username in this tenant
    #[arg(long, value_name = "USER@DOMAIN", value_parser = account)]
    pub user: Option<String>,
    /// Only edits of the rule with this id
    #[arg(long, value_name = "ID", conflicts_with = "user")]
    pub rule: Option<i64>,
    /// Only edits since then: 30m, 2h or 3d ago, or a day in UTC such as 2026-11-27
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<Since>,
    /// How many edits to list at most
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub most: u32,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub tables: Box<TableArgs>,
}

/// A moment in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So many seconds ago.
    Ago(i64),
    /// In seconds since 1970 in UTC.
    At(i64),
}

/// Reads `2h`, `3d`, or a day.
fn since(typed: &str) -> Result<Since, String> {
    let wrong = || "write 30m, 2h or 3d, or a day such as 2026-11-27".to_owned();
    let unit = match typed.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        Some(b'd') => 24 * 3600,
        _ => return day(typed).map(Since::At).ok_or_else(wrong),
    };
    let count: u32 = typed[..typed.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Since::Ago(i64::from(count) * unit))
}

fn day(typed: &str) -> Option<i64> {
    let mut parts = typed.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    parts.next().is_none().then(|| date.midnight().assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spans_or_days() {
        for (typed, expected) in [
            ("30m", Some(Since::Ago(1800))),
            ("2h", Some(Since::Ago(7200))),
            ("3d", Some(Since::Ago(259_200))),
            ("1970-01-02", Some(Since::At(86_400))),
            ("2026-11-27", Some(Since::At(1_795_737_600))),
            ("", None),
            ("h", None),
            ("-2h", None),
            ("2026-13-01", None),
            ("2026-02-30", None),
            ("2026-11", None),
            ("yesterday", None),
            ("2ä", None),
        ] {
            assert_eq!(since(typed).ok(), expected, "{typed}");
        }
    }
}
