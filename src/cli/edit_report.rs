//! How an edit is made, and what it reports to people and to programs.

use std::fmt::Display;

use serde::Serialize;

use crate::cli::args::{EditArgs, ListFormat};
use crate::cli::config::TableAccess;
use crate::cli::error::{ConfigError, usage};
use crate::cli::listing::RuleListing;
use crate::cli::print::{self, Text};
use crate::core::model::{Edit, Table};
use crate::ops::edits::{Action, EditedAttribute};

/// Whether an edit is only tried, and how its result is printed.
#[derive(Clone, Copy)]
pub struct EditMode {
    /// Whether everything is checked and nothing is changed.
    pub dry_run: bool,
    /// The form of the result.
    pub format: ListFormat,
}

impl EditMode {
    /// Opens the tables to edit.
    ///
    /// # Errors
    /// When the options cannot be used.
    pub fn open(typed: EditArgs) -> Result<(EditMode, TableAccess), ConfigError> {
        let mode = EditMode { dry_run: typed.dry_run, format: typed.listed.format };
        Ok((mode, TableAccess::new(typed.tables)?))
    }

    /// Whether somebody must be asked before rows are removed: not after `--yes`, and not if
    /// nothing will be changed.
    ///
    /// # Errors
    /// When the result is for a program, because a question is not part of it.
    pub fn must_ask(self, yes: bool) -> Result<bool, ConfigError> {
        let must = !yes && !self.dry_run;
        match self.format {
            ListFormat::Json if must => {
                usage("--format json asks nobody: give --yes, or --dry-run to look first")
            }
            _ => Ok(must),
        }
    }

    /// `added rule 3`, or in a dry run `rule 3 would be added`.
    pub fn did(self, done: impl Display, what: impl Display) -> String {
        match self.dry_run {
            false => format!("{done} {what}"),
            true => format!("{what} would be {done}"),
        }
    }

    /// Prints a note about how things are after the edit.
    pub fn note(self, what: impl Display) {
        print::note(format_args!("{}{what}", self.afterwards()));
    }

    /// Prints a warning about how things are after the edit.
    pub fn warn(self, what: impl Display) {
        print::warn(format_args!("{}{what}", self.afterwards()));
    }

    fn afterwards(self) -> &'static str {
        if self.dry_run { "afterwards: " } else { "" }
    }

    /// Prints what was done: `text` for people, or `report` for programs.
    ///
    /// # Errors
    /// In a dry run, when standard output cannot be written. After an edit this is only noted.
    pub fn report(self, text: Text, mut report: EditReport) -> anyhow::Result<()> {
        report.dry_run = self.dry_run;
        let text = match self.format {
            ListFormat::Table => text,
            ListFormat::Json => Text::json(&report)?,
        };
        match self.dry_run {
            true => print::write(text),
            false => {
                print::done(text);
                Ok(())
            }
        }
    }
}

/// An edit for programs. All edits have the same fields. Those that do not concern an edit are
/// null or empty.
#[derive(Serialize)]
pub struct EditReport {
    /// What is done to the user, the tenant or the rules.
    pub action: Action,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The user, as user@domain.
    pub user: Option<String>,
    /// The tenant; null also for all tenants.
    pub tenant: Option<String>,
    /// The format of the new password.
    pub stored_as: Option<&'static str>,
    /// The rule, as it is afterwards. Its id is null in a dry run that adds it.
    pub rule: Option<RuleListing>,
    /// The rule, as it was.
    pub before: Option<RuleListing>,
    /// Who the rule is for, in words.
    pub audience: Option<String>,
    /// The attributes that were named.
    pub attributes: Vec<EditedAttribute>,
    /// The rows that are changed or removed.
    pub ids: EditedIds,
}

/// The ids of rows, by table.
#[derive(Default, Serialize)]
pub struct EditedIds {
    /// Those of `user_auth`.
    pub users: Vec<i64>,
    /// Those of `jitsi_property`.
    pub rules: Vec<i64>,
    /// Those of `user_attribute`.
    pub attributes: Vec<i64>,
}

impl EditReport {
    /// The report of these edits.
    pub fn new(action: Action, edits: &[Edit]) -> EditReport {
        let mut ids = EditedIds::default();
        for edit in edits {
            let of_table = match edit.table() {
                Table::UserAuth => &mut ids.users,
                Table::JitsiProperty => &mut ids.rules,
                Table::UserAttribute => &mut ids.attributes,
            };
            of_table.extend(edit.id());
        }
        EditReport {
            action,
            dry_run: false,
            user: None,
            tenant: None,
            stored_as: None,
            rule: None,
            before: None,
            audience: None,
            attributes: Vec::new(),
            ids,
        }
    }
}
