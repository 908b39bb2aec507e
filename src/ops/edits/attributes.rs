//! Edits of the attributes of a user, of a tenant, or of everyone.

use serde::Serialize;

use super::{Action, Refused, refuse};
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Cell, Edit, Row, Table, UserRow};
use crate::core::secret::Secret;
use crate::core::subject::Subject;
use crate::ops::explain::near;
use crate::snapshot::{self, DISABLED, Level};

/// What names of attributes begin with in templates and subjects, but not in the table.
const PREFIX: &str = "user.";

/// A name with the value that it is to have.
pub struct Assignment {
    /// The name as it was typed.
    pub name: String,
    /// The value, which may be a password.
    pub value: Secret,
}

impl Assignment {
    /// A value that is no secret.
    pub fn new(name: &str, value: &str) -> Assignment {
        Assignment { name: name.to_owned(), value: Secret::new(value) }
    }
}

/// Refuses the name as templates and subjects write it, which would be stored as another name.
///
/// # Errors
/// When `name` begins with `user.`
pub fn check_name(name: &str) -> Result<(), Refused> {
    let begin = name.get(..PREFIX.len()).filter(|begin| begin.eq_ignore_ascii_case(PREFIX));
    match begin {
        Some(_) => refuse(format!(
            "{name:?}: write the name as `{}`; only templates and subjects write `{PREFIX}` before it",
            &name[PREFIX.len()..]
        )),
        None => Ok(()),
    }
}

/// A change of the attributes of one user, of a tenant, or of everyone.
pub enum AttributeChange {
    /// The attributes have exactly these values afterwards.
    Set(Vec<Assignment>),
    /// These names have no values afterwards.
    Unset {
        /// The names.
        names: Vec<String>,
        /// Whether a name that has no value is no mistake.
        may_lack: bool,
    },
}

/// The edits of a change, and what they do.
#[derive(Default)]
pub struct AttributeEdits {
    /// In the order in which the database must make them.
    pub edits: Vec<Edit>,
    /// What is done to each name.
    pub done: Vec<EditedAttribute>,
}

/// What an edit does to an attribute.
#[derive(Debug, Serialize)]
pub struct EditedAttribute {
    /// Its name, as it was typed.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// Whether it is unchanged because there is none.
    #[serde(skip)]
    pub is_missing: bool,
}

impl EditedAttribute {
    /// An attribute that is there, or was.
    pub fn new(name: &str, action: Action) -> EditedAttribute {
        EditedAttribute { name: name.to_owned(), action, is_missing: false }
    }
}

impl AttributeChange {
    /// Whether it is about `name`.
    pub fn concerns(&self, name: &str) -> bool {
        match self {
            AttributeChange::Set(all) => all.iter().any(|one| one.name.eq_ignore_ascii_case(name)),
            AttributeChange::Unset { names, .. } => names.iter().any(|one| one.eq_ignore_ascii_case(name)),
        }
    }

    /// The edits for a holder who has the attributes `known`. `holder` is an attribute of the
    /// same holder, without name and value; `whose` names the holder.
    ///
    /// # Errors
    /// When the server would not use the attribute, when a name is not there, or when a single
    /// value would take the place of several.
    pub fn edits(
        &self,
        known: &[AttributeRow],
        holder: &AttributeRow,
        whose: &str,
        options: &Conventions,
    ) -> Result<AttributeEdits, Refused> {
        let mut all = AttributeEdits::default();
        let mut names: Vec<String> = Vec::new();
        let typed: Vec<&str> = match self {
            AttributeChange::Set(all) => all.iter().map(|one| one.name.as_str()).collect(),
            AttributeChange::Unset { names, .. } => names.iter().map(String::as_str).collect(),
        };
        for name in typed {
            let folded = name.to_ascii_lowercase();
            if names.contains(&folded) {
                continue;
            }
            let mut named: Vec<&AttributeRow> = known.iter().filter(|row| name_of(row) == folded).collect();
            named.sort_by_key(|row| row.id);
            match self {
                AttributeChange::Set(wanted) => {
                    let wanted: Vec<&Assignment> =
                        wanted.iter().filter(|one| one.name.eq_ignore_ascii_case(name)).collect();
                    set(&named, &wanted, holder, whose, options, &mut all)?;
                }
                AttributeChange::Unset { may_lack: true, .. } if named.is_empty() => {
                    let unchanged = EditedAttribute::new(name, Action::Unchanged);
                    all.done.push(EditedAttribute { is_missing: true, ..unchanged });
                }
                AttributeChange::Unset { .. } if named.is_empty() => {
                    let names: Vec<String> = known.iter().map(name_of).collect();
                    let near = near(&folded, names.iter().map(String::as_str));
                    let near = near.first().map(|near| format!(" (did you mean {near:?}?)"));
                    return refuse(format!(
                        "{whose} has no attribute {name:?}{}: nothing was changed",
                        near.unwrap_or_default()
                    ));
                }
                AttributeChange::Unset { .. } => {
                    all.edits.extend(named.iter().map(|row| Edit::Remove(Table::UserAttribute, row.id)));
                    all.done.push(EditedAttribute::new(name, Action::Removed));
                }
            }
            names.push(folded);
        }
        Ok(all)
    }
}

/// Gives one name exactly the values `wanted`. The first of them gets the lowest id, so it is
/// the one that templates take.
fn set(
    known: &[&AttributeRow],
    wanted: &[&Assignment],
    holder: &AttributeRow,
    whose: &str,
    options: &Conventions,
    all: &mut AttributeEdits,
) -> Result<(), Refused> {
    let name = &wanted[0].name;
    if known.len() > 1 && wanted.len() == 1 && !name.eq_ignore_ascii_case(DISABLED) {
        return refuse(format!(
            "{whose} has {} values of {name} ({}), and one would take the place of all: give all values \
             that are to stay, or remove them with `unset` first; nothing was changed",
            known.len(),
            super::ids(&known.iter().map(|row| row.id).collect::<Vec<_>>())
        ));
    }
    let before = all.edits.len();
    for (at, Assignment { name, value }) in wanted.iter().enumerate() {
        let value = Cell::from(value.reveal());
        let row = match known.get(at) {
            Some(known) => AttributeRow { value, ..(*known).clone() },
            None => AttributeRow { name: name.as_str().into(), value, ..holder.clone() },
        };
        let row = Row::Attribute(row);
        if let Some(why) = options.unusable(&row) {
            return refuse(format!("{name:?} cannot be an attribute: {why}"));
        }
        match known.get(at) {
            None => all.edits.push(Edit::Add(row)),
            Some(known) => {
                let columns = Row::Attribute((*known).clone()).differing(&row);
                if !columns.is_empty() {
                    all.edits.push(Edit::Set(row, columns));
                }
            }
        }
    }
    let surplus = known.iter().skip(wanted.len());
    all.edits.extend(surplus.map(|row| Edit::Remove(Table::UserAttribute, row.id)));
    let action = match (all.edits.len() - before, known.len()) {
        (0, _) => Action::Unchanged,
        (_, 0) => Action::Added,
        _ => Action::Changed,
    };
    all.done.push(EditedAttribute::new(name, action));
    Ok(())
}

/// The name of an attribute in lower case.
fn name_of(row: &AttributeRow) -> String {
    row.name.shown().to_ascii_lowercase()
}

/// An attribute of the user, without name and value.
pub fn holder(user: &UserRow) -> AttributeRow {
    let empty = || Cell::from("");
    AttributeRow::from_cells(0, [user.domain.clone(), user.username.clone(), empty(), empty()])
}

/// Whether rules with this subject are for users who are switched off.
pub fn is_for_disabled(subject: &Subject) -> bool {
    matches!(subject, Subject::Param(typed, value) if snapshot::is_for_disabled(typed, value))
}

/// Who an attribute is stored for. `None` if that cannot be read.
pub fn level(row: &AttributeRow, options: &Conventions) -> Option<Level> {
    let is_empty = |cell: &Cell| -> Option<bool> {
        Some(options.comparison.fold(&cell.text().ok()?.unwrap_or_default()).is_empty())
    };
    match (is_empty(&row.domain)?, is_empty(&row.username)?) {
        (true, true) => Some(Level::Everyone),
        (false, true) => Some(Level::Tenant),
        (false, false) => Some(Level::User),
        // The server does not use it.
        (true, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, name: &str, value: &str) -> AttributeRow {
        AttributeRow::from_cells(id, ["a.org".into(), "alice".into(), name.into(), value.into()])
    }

    /// Each edit as text: `+name=value`, `id=value` or `-id`.
    fn edits(known: &[AttributeRow], change: &AttributeChange) -> Result<Vec<String>, String> {
        let holder = row(0, "", "");
        let made = change.edits(known, &holder, "alice", &Conventions::default());
        let shown = |edit: Edit| match edit {
            Edit::Add(Row::Attribute(row)) => format!("+{}={}", row.name.shown(), row.value.shown()),
            Edit::Set(Row::Attribute(row), _) => format!("{}={}", row.id, row.value.shown()),
            Edit::Remove(_, id) => format!("-{id}"),
            _ => unreachable!("only attributes are edited"),
        };
        made.map(|made| made.edits.into_iter().map(shown).collect()).map_err(|why| why.to_string())
    }

    fn set(pairs: &[(&str, &str)]) -> AttributeChange {
        AttributeChange::Set(pairs.iter().map(|(name, value)| Assignment::new(name, value)).collect())
    }

    fn unset(names: &[&str], may_lack: bool) -> AttributeChange {
        AttributeChange::Unset { names: names.iter().map(|name| (*name).to_owned()).collect(), may_lack }
    }

    #[test]
    fn a_name_has_exactly_the_values_that_were_given() {
        let known =
            [row(7, "group", "b"), row(3, "Group", "a"), row(4, "ext", "17"), row(5, "disabled", "no")];
        for (change, expected) in [
            (set(&[("EXT", "18"), ("new", "x")]), Ok(vec!["4=18", "+new=x"])),
            (set(&[("ext", "17")]), Ok(vec![])),
            (set(&[("group", "a"), ("group", "c"), ("group", "d")]), Ok(vec!["7=c", "+group=d"])),
            (set(&[("ext", "1"), ("ext", "2")]), Ok(vec!["4=1", "+ext=2"])),
            (set(&[("group", "x")]), Err("2 values of group (ids 3, 7)")),
            (set(&[("1x", "y")]), Err("cannot be an attribute")),
            (unset(&["group", "GROUP"], false), Ok(vec!["-3", "-7"])),
            (unset(&["ext", "gruop"], false), Err("did you mean \"group\"")),
            (unset(&["other"], true), Ok(vec![])),
        ] {
            match (edits(&known, &change), expected) {
                (Ok(made), Ok(expected)) => assert_eq!(made, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
                (made, expected) => panic!("{made:?}, but expected {expected:?}"),
            }
        }
        let twice = [row(1, "disabled", "no"), row(2, "disabled", "no")];
        assert_eq!(edits(&twice, &set(&[("disabled", "yes")])), Ok(vec!["1=yes".into(), "-2".into()]));
    }
}
