//! Attributes as they are typed, stored and listed.

use anyhow::{Context, bail};
use serde::Serialize;

use crate::cli::edit_report::{Action, EditMode, EditReport, EditedAttribute};
use crate::cli::error::usage;
use crate::cli::listing;
use crate::cli::password;
use crate::cli::print::{self, number};
use crate::core::attributes::AttributeRef;
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Cell, Edit, Row, Table};
use crate::core::secret::{HIDDEN, NameHint, Secret};
use crate::core::subject::Subject;
use crate::ops::explain::near;
use crate::snapshot::{self, DISABLED, Level};

/// A warning about users who are switched off.
pub const NO_RULES_FOR_DISABLED: &str = "no rule has the subject user.disabled=yes, so the client gets an empty \
     answer and keeps its accounts: `jitsiprovs --setup` adds such rules";

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

    /// Reads arguments of the form `NAME=VALUE`, and the value of `from_stdin` from standard
    /// input.
    ///
    /// # Errors
    /// When an argument has another form, when its value is a secret, or when there is no
    /// argument at all.
    pub fn read(typed: &[String], from_stdin: Option<&str>) -> anyhow::Result<Vec<Assignment>> {
        if typed.is_empty() && from_stdin.is_none() {
            usage("nothing to set: write NAME=VALUE, or --value-stdin NAME")?;
        }
        let mut all = typed.iter().map(|typed| Assignment::typed(typed)).collect::<Result<Vec<_>, _>>()?;
        if let Some(name) = from_stdin {
            check_name(name)?;
            all.push(Assignment { name: name.to_owned(), value: password::value(name)? });
        }
        Ok(all)
    }

    fn typed(typed: &str) -> anyhow::Result<Assignment> {
        let Some((name, value)) = typed.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Ok(usage(format!("{typed:?}: write NAME=VALUE, such as extension=17"))?);
        };
        check_name(name)?;
        if NameHint::of(name).hides_data(value) {
            bail!("`{name}` is a secret, which is never an argument: use --value-stdin {name}");
        }
        Ok(Assignment::new(name, value))
    }
}

/// Refuses the name as templates and subjects write it, which would be stored as another name.
///
/// # Errors
/// When `name` begins with `user.`
pub fn check_name(name: &str) -> anyhow::Result<()> {
    let begin = name.get(..PREFIX.len()).filter(|begin| begin.eq_ignore_ascii_case(PREFIX));
    match begin {
        Some(_) => bail!(
            "{name:?}: write the name as `{}`; only templates and subjects write `{PREFIX}` before it",
            &name[PREFIX.len()..]
        ),
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

impl AttributeEdits {
    /// What is done, as a part of a sentence.
    pub fn summary(&self, mode: EditMode) -> String {
        let would = if mode.dry_run { "would be" } else { "was" };
        let done = self.done.iter().map(|EditedAttribute { name, action, is_missing }| match action {
            _ if *is_missing => format!("no attribute {name}, so nothing {would} changed"),
            Action::Added => mode.did("added", name),
            Action::Changed => mode.did("changed", name),
            Action::Unchanged => mode.did("left unchanged", name),
            Action::Removed => mode.did("removed", name),
        });
        done.collect::<Vec<_>>().join(", ")
    }

    /// What is done to the holder of the attributes, for programs.
    pub fn report(&mut self) -> EditReport {
        let action = if self.edits.is_empty() { Action::Unchanged } else { Action::Changed };
        let attributes = std::mem::take(&mut self.done);
        EditReport { attributes, ..EditReport::new(action, &self.edits) }
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
    ) -> anyhow::Result<AttributeEdits> {
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
                    bail!(
                        "{whose} has no attribute {name:?}{}: nothing was changed",
                        near.unwrap_or_default()
                    );
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
) -> anyhow::Result<()> {
    let name = &wanted[0].name;
    if known.len() > 1 && wanted.len() == 1 && !name.eq_ignore_ascii_case(DISABLED) {
        bail!(
            "{whose} has {} values of {name} ({}), and one would take the place of all: give all values \
             that are to stay, or remove them with `unset` first; nothing was changed",
            known.len(),
            listing::ids(&known.iter().map(|row| row.id).collect::<Vec<_>>())
        );
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
            bail!("{name:?} cannot be an attribute: {why}");
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

/// An attribute as lists show it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct AttributeListing {
    /// The id of its row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Who it is stored for.
    pub level: Level,
    /// Its value; `None` if it is hidden.
    pub value: Option<String>,
    /// Whether the value is a secret that is not shown.
    pub hidden: bool,
}

impl AttributeListing {
    /// Hides secrets unless `show_secrets` is set.
    pub fn new(known: AttributeRef<'_>, level: Level, show_secrets: bool) -> AttributeListing {
        let AttributeRef { id, name, value } = known;
        let hidden = !show_secrets && NameHint::of(name).hides_data(value);
        let value = (!hidden).then(|| value.to_owned());
        AttributeListing { id, name: name.to_owned(), level, value, hidden }
    }

    /// The value for a table, which hides it if it must be hidden.
    pub fn shown(&self) -> &str {
        self.value.as_deref().unwrap_or(HIDDEN)
    }

    /// The cells of its line in a table for people.
    pub fn cells(&self) -> Vec<String> {
        vec![self.id.to_string(), self.level.name().to_owned(), self.name.clone(), self.shown().to_owned()]
    }

    /// The column heads for [`AttributeListing::cells`].
    pub fn columns() -> [print::ListColumn; 4] {
        [number("ID"), print::text("OF"), print::text("ATTRIBUTE"), print::text("VALUE")]
    }
}

/// Names of attributes, in lower case.
///
/// # Errors
/// When one of them is empty or written as in a template.
pub fn names(typed: &[String]) -> anyhow::Result<Vec<String>> {
    if typed.is_empty() {
        usage("no attribute is named: write its name")?;
    }
    for name in typed {
        check_name(name)?;
    }
    let names: Vec<String> = typed.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    names.iter().all(|name| !name.is_empty()).then_some(()).context("the name of an attribute is empty")?;
    Ok(names)
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

    #[test]
    fn a_secret_is_no_argument() {
        for (typed, expected) in [
            ("extension=17", Ok(("extension", "17"))),
            ("empty=", Ok(("empty", ""))),
            ("a=b=c", Ok(("a", "b=c"))),
            ("sip_password=", Ok(("sip_password", ""))),
            ("save_password=yes", Ok(("save_password", "yes"))),
            ("sip_password=$x", Err("--value-stdin sip_password")),
            ("PIN=1234", Err("--value-stdin PIN")),
            ("User.branch=x", Err("write the name as `branch`")),
            ("extension", Err("NAME=VALUE")),
            ("=x", Err("NAME=VALUE")),
        ] {
            match (Assignment::typed(typed), expected) {
                (Ok(made), Ok((name, value))) => {
                    assert_eq!((&*made.name, made.value.reveal()), (name, value));
                }
                (Err(why), Err(expected)) => assert!(why.to_string().contains(expected), "{why}"),
                (made, _) => panic!("{typed}: {:?}", made.map(|made| made.name)),
            }
        }
    }
}
