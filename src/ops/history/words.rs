//! Puts edits into words.

use super::PastEdit;
use crate::core::columns::ColumnSet;
use crate::core::history::{HistoryLine, RowAction, Tool, differing};
use crate::core::model::{Row, Table};
use crate::core::secret::is_secret;

/// So many rows are named; of more, only the number is said.
const NAMED: usize = 3;

/// What an edit did, such as `changed the password of alice@example.org`.
pub fn words(edit: &PastEdit) -> String {
    let did = match edit.is_cut {
        true => {
            let verb = if edit.tool == Some(Tool::Import) { "imported" } else { "edited" };
            let such_as = edit.lines.first().map_or_else(String::new, row_name);
            format!("{verb} more than {} rows, such as {such_as}", edit.lines.len())
        }
        false => of_lines(&edit.lines),
    };
    match edit.undoes {
        Some(undone) => format!("undid edit {undone}: {did}"),
        None => did,
    }
}

/// What people call the row of a line: `alice@example.org`, `rule 17 (key)`, `zip of
/// alice@example.org`.
pub fn row_name(line: &HistoryLine) -> String {
    match line.table {
        Table::UserAuth => line.name.clone(),
        Table::JitsiProperty => format!("rule {} ({})", line.row_id, line.name),
        Table::UserAttribute => format!("{} of {}", line.name, holder(line)),
    }
}

/// Whether the cell of a column of a row of `line` must not be shown: a password, or a secret of a
/// rule or an attribute. `at` is the position of the column.
pub fn is_hidden(line: &HistoryLine, row: Option<&Row>, at: usize) -> bool {
    let is_kept_secret = line.secrets.iter().any(|secrets| secrets.flags().nth(at) == Some(true));
    let is_last = at + 1 == line.table.columns().len();
    is_kept_secret
        || is_last
            && match row {
                Some(Row::User(_)) => true,
                Some(Row::Rule(rule)) => is_secret(&rule.key.shown(), &rule.value.shown()),
                Some(Row::Attribute(_)) | None => false,
            }
}

/// Whose attribute it is.
fn holder(line: &HistoryLine) -> String {
    match (line.username.is_empty(), line.domain.is_empty()) {
        (false, _) => format!("{}@{}", line.username, line.domain),
        (true, false) => format!("the tenant {}", line.domain),
        (true, true) => "everyone".into(),
    }
}

fn of_lines(lines: &[HistoryLine]) -> String {
    let of = |table, actions: &[RowAction]| -> Vec<&HistoryLine> {
        lines.iter().filter(|line| line.table == table && actions.contains(&line.action)).collect()
    };
    let mut parts = Vec::new();
    for action in [RowAction::Add, RowAction::Set, RowAction::Remove] {
        let (users, rules) = (of(Table::UserAuth, &[action]), of(Table::JitsiProperty, &[action]));
        // An attribute is set, whether it was there or not.
        let attributes = match action {
            RowAction::Add if users.is_empty() => Vec::new(),
            RowAction::Set if of(Table::UserAuth, &[RowAction::Add]).is_empty() => {
                of(Table::UserAttribute, &[RowAction::Add, RowAction::Set])
            }
            action => of(Table::UserAttribute, &[action]),
        };
        let verb = match action {
            RowAction::Add => "added",
            RowAction::Set => "changed",
            RowAction::Remove => "removed",
        };
        match (users.len(), action) {
            // What goes with a user is said in one breath.
            (1, RowAction::Add | RowAction::Remove) => {
                let with: Vec<String> = [
                    (!attributes.is_empty()).then(|| counted(attributes.len(), "attribute")),
                    (!rules.is_empty()).then(|| ids(&rules)),
                ]
                .into_iter()
                .flatten()
                .collect();
                let with =
                    if with.is_empty() { String::new() } else { format!(", with {}", with.join(" and ")) };
                parts.push(format!("{verb} {}{with}", users[0].name));
            }
            _ => {
                parts.extend(
                    (!users.is_empty()).then(|| format!("{verb} {}{}", changed(&users), names(&users))),
                );
                parts.extend(
                    (!rules.is_empty()).then(|| format!("{verb} {}{}", changed(&rules), rules_of(&rules))),
                );
                let verb = if action == RowAction::Remove { "unset" } else { "set" };
                parts.extend(
                    (!attributes.is_empty()).then(|| format!("{verb} {}", attributes_of(&attributes))),
                );
            }
        }
    }
    parts.join("; ")
}

/// `the password of `, if these lines changed only some columns.
fn changed(lines: &[&HistoryLine]) -> String {
    let mut all = Vec::new();
    for line in lines {
        let (Some(before), Some(after)) = (&line.before, &line.after) else { return String::new() };
        let columns = differing(before, after);
        for column in columns.pick(line.table.columns()) {
            if !all.contains(&column.file_name) {
                all.push(column.file_name);
            }
        }
    }
    match all.len() {
        0 => String::new(),
        _ => format!("the {} of ", all.join(", ")),
    }
}

fn names(lines: &[&HistoryLine]) -> String {
    match lines.len() {
        ..=NAMED => joined(lines.iter().map(|line| line.name.clone())),
        many => counted(many, "user"),
    }
}

fn rules_of(lines: &[&HistoryLine]) -> String {
    match lines {
        [line] => row_name(line),
        _ => ids(lines),
    }
}

/// `rule 3`, `rules 3, 4`, `12 rules`.
fn ids(lines: &[&HistoryLine]) -> String {
    match lines.len() {
        1 => format!("rule {}", lines[0].row_id),
        2..=NAMED => format!("rules {}", joined(lines.iter().map(|line| line.row_id.to_string()))),
        many => counted(many, "rule"),
    }
}

fn attributes_of(lines: &[&HistoryLine]) -> String {
    let whose = holder(lines[0]);
    match lines.len() {
        ..=NAMED if lines.iter().all(|line| holder(line) == whose) => {
            format!("{} of {whose}", joined(lines.iter().map(|line| line.name.clone())))
        }
        many if lines.iter().all(|line| holder(line) == whose) => {
            format!("{} of {whose}", counted(many, "attribute"))
        }
        many => counted(many, "attribute"),
    }
}

fn joined(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The columns that a line changed, with what stands for secrets.
pub(super) fn changed_columns(line: &HistoryLine) -> ColumnSet {
    match (&line.before, &line.after) {
        (Some(before), Some(after)) => differing(before, after),
        _ => ColumnSet::ALL,
    }
}
