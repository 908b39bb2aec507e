//! Attributes as they are typed and listed.

use anyhow::{Context, bail};
use serde::Serialize;

use crate::cli::edit_report::{EditMode, EditReport};
use crate::cli::error::usage;
use crate::cli::password;
use crate::cli::print::{self, number};
use crate::core::attributes::AttributeRef;
use crate::core::secret::{HIDDEN, NameHint};
use crate::ops::edits::{Action, Assignment, AttributeEdits, EditedAttribute, check_name};
use crate::snapshot::Level;

/// A warning about users who are switched off.
pub const NO_RULES_FOR_DISABLED: &str = "no rule has the subject user.disabled=yes, so the client gets an empty \
     answer and keeps its accounts: `jitsiprovs --setup` adds such rules";

impl Assignment {
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
