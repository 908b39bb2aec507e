//! Finds the edits that bring the tables into the state that a file describes.

#[cfg(test)]
mod tests;

use std::fmt;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use serde::Serialize;

use super::{FileError, Item};
use crate::core::columns::ColumnSet;
use crate::core::conventions::Conventions;
use crate::core::model::Edit;
use crate::core::names::Comparison;

/// The records that the server uses from `rows`, in their order, and messages about the rows that
/// it leaves out. If the server treats the names of several users as the same, the user with the
/// lowest id counts.
pub fn usable<T: Item>(rows: Vec<T>, options: &Conventions) -> (Vec<T>, Vec<String>) {
    let (mut usable, mut left_out) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let id = row.id();
        match row.canonical(options) {
            Ok(item) => usable.push((id, item)),
            Err(why) => left_out.push(format!("{} id {id}: {why}", T::TABLE)),
        }
    }
    usable.sort_by_key(|(id, item)| (item.order(), *id));
    if T::IS_UNIQUE {
        let mut first = HashMap::with_capacity(usable.len());
        usable.retain(|(id, item)| match first.entry(item.natural_key(options.comparison)) {
            Entry::Vacant(vacant) => {
                vacant.insert(*id);
                true
            }
            Entry::Occupied(first) => {
                let (table, label) = (T::TABLE, item.label(options));
                left_out.push(format!("{table} id {id}: {label} has the same name as id {}", first.get()));
                false
            }
        });
    }
    (usable.into_iter().map(|(_, item)| item).collect(), left_out)
}

/// The edit for an item of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlanStep {
    /// A row already has these values.
    Keep(i64),
    /// This row must be changed in these columns.
    Set(i64, ColumnSet),
    /// A new row must be added.
    Add,
    /// This row must be removed and added again, so that it comes after the items before it.
    Move(i64),
}

/// The edits that bring tables into the state that a file describes.
pub struct Plan<T> {
    wanted: Vec<(T, PlanStep)>,
    /// Rows that must be removed, with their items if they are usable.
    removed: Vec<(i64, Option<T>)>,
    /// The number of edits of each kind.
    pub counts: PlanCounts,
}

/// The number of items for each kind of edit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanCounts {
    /// Items that are added.
    pub added: usize,
    /// Items whose values or positions change.
    pub set: usize,
    /// Items that are removed.
    pub removed: usize,
    /// Items that stay as they are.
    pub kept: usize,
}

impl PlanCounts {
    /// The total number of edits.
    pub fn edits(self) -> usize {
        self.added + self.set + self.removed
    }
}

/// An edit of a row, as it is reported.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// `add`, `change`, `move` (to come after others of equal priority) or `remove`.
    pub what: &'static str,
    /// The id of the row; `None` for an added row.
    pub id: Option<i64>,
    /// Its name. It never contains a password or a value.
    pub row: String,
    /// The columns that change.
    pub columns: Vec<&'static str>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.row)?;
        match self.what {
            "change" => write!(f, " ({})", self.columns.join(", ")),
            "move" => f.write_str(" (place)"),
            _ => Ok(()),
        }
    }
}

impl<T: Item> Plan<T> {
    /// Compares the existing rows, with their ids, to the wanted items, with their lines. An item
    /// is `None` if the server cannot use the row. With `replace`, all other rows are removed,
    /// and items of equal place are put into the order of the file.
    ///
    /// # Errors
    /// When the file has the same item twice, but there may be only one.
    pub fn new(
        mut there: Vec<(i64, Option<T>)>,
        wanted: Vec<(u64, T)>,
        replace: bool,
        options: &Conventions,
    ) -> Result<Plan<T>, FileError> {
        // Of several items with the same key, the first one counts.
        there.sort_by_key(|(id, item)| (item.as_ref().map(T::order), *id));
        let found = matched(&there, &wanted, options)?;
        let mut is_left = vec![true; there.len()];
        let mut counts = PlanCounts::default();
        let mut steps = Vec::with_capacity(wanted.len());
        for ((_, item), found) in wanted.into_iter().zip(found) {
            let step = match found.and_then(|at| Some((at, there[at].0, there[at].1.as_ref()?))) {
                None => PlanStep::Add,
                Some((at, id, old)) => {
                    is_left[at] = false;
                    match item.differing(old) {
                        columns if columns.is_empty() => PlanStep::Keep(id),
                        columns => PlanStep::Set(id, columns),
                    }
                }
            };
            steps.push((item, step));
        }
        let mut removed: Vec<_> = match replace {
            true => {
                there.into_iter().zip(is_left).filter_map(|(row, is_left)| is_left.then_some(row)).collect()
            }
            false => Vec::new(),
        };
        removed.sort_by_key(|(id, _)| *id);
        if replace && !T::IS_UNIQUE {
            keep_order(&mut steps, options.comparison);
        }
        for (_, step) in &steps {
            match step {
                PlanStep::Keep(_) => counts.kept += 1,
                PlanStep::Set(..) | PlanStep::Move(_) => counts.set += 1,
                PlanStep::Add => counts.added += 1,
            }
        }
        counts.removed = removed.len();
        Ok(Plan { wanted: steps, removed, counts })
    }

    /// The wanted items, in the order of the file, and whether each one is stored already as it is.
    pub fn wanted(&self) -> impl Iterator<Item = (&T, bool)> {
        self.wanted.iter().map(|(item, step)| (item, matches!(step, PlanStep::Keep(_))))
    }

    /// The wanted items that are added.
    pub fn added(&self) -> impl Iterator<Item = &T> {
        self.wanted.iter().filter(|(_, step)| *step == PlanStep::Add).map(|(item, _)| item)
    }

    /// The wanted items that have a row already.
    pub fn staying(&self) -> impl Iterator<Item = &T> {
        self.wanted.iter().filter(|(_, step)| *step != PlanStep::Add).map(|(item, _)| item)
    }

    /// The items that are removed, without those that the server cannot use.
    pub fn removed(&self) -> impl Iterator<Item = &T> {
        self.removed.iter().filter_map(|(_, item)| item.as_ref())
    }

    /// The wanted items, without the numbers of their lines.
    pub fn into_wanted(self) -> Vec<(u64, T)> {
        self.wanted.into_iter().map(|(item, _)| (0, item)).collect()
    }

    /// The edit for each row, as in a diff: removed rows, then changed rows, then added rows.
    pub fn told<'p>(&'p self, options: &'p Conventions) -> impl Iterator<Item = Told> + 'p {
        self.kinds(options).into_iter().flatten()
    }

    /// The edits as lines, at most `most` for each of the three kinds.
    pub fn lines(&self, most: usize, options: &Conventions) -> Vec<String> {
        let mut lines = Vec::new();
        for (sign, mut all) in ['-', '~', '+'].into_iter().zip(self.kinds(options)) {
            lines.extend(all.by_ref().take(most).map(|told| format!("{sign} {told}")));
            match all.count() {
                0 => {}
                more => lines.push(format!("{sign} ... and {more} more")),
            }
        }
        lines
    }

    fn kinds<'p>(&'p self, options: &'p Conventions) -> [Box<dyn Iterator<Item = Told> + 'p>; 3] {
        let told = |what, id, item: &T| Told { what, id, row: item.label(options), columns: Vec::new() };
        let removed = self.removed.iter().map(move |(id, item)| match item {
            Some(item) => told("remove", Some(*id), item),
            None => {
                let row = format!("{} id {id}, which cannot be used", T::TABLE);
                Told { what: "remove", id: Some(*id), row, columns: Vec::new() }
            }
        });
        let changed = self.wanted.iter().filter_map(move |(item, step)| match step {
            PlanStep::Set(id, columns) => {
                let columns = columns.pick(T::TABLE.columns()).map(|column| column.file_name).collect();
                Some(Told { columns, ..told("change", Some(*id), item) })
            }
            PlanStep::Move(id) => Some(told("move", Some(*id), item)),
            PlanStep::Keep(_) | PlanStep::Add => None,
        });
        let added = self.wanted.iter().filter(|(_, step)| *step == PlanStep::Add);
        let added = added.map(move |(item, _)| told("add", None, item));
        [Box::new(removed), Box::new(changed), Box::new(added)]
    }

    /// The edits, in the order in which they must be made. New items get their ids in the order
    /// of the file.
    pub fn edits(self) -> impl Iterator<Item = Edit> + Send
    where
        T: Send,
    {
        let moved = self.wanted.iter().filter_map(|(_, step)| match step {
            PlanStep::Move(id) => Some(*id),
            _ => None,
        });
        let gone: Vec<i64> = self.removed.iter().map(|(id, _)| *id).chain(moved).collect();
        let (mut set, mut added) = (Vec::new(), Vec::new());
        for (item, step) in self.wanted {
            match step {
                PlanStep::Keep(_) => {}
                PlanStep::Set(id, columns) => set.push((id, columns, item)),
                PlanStep::Add | PlanStep::Move(_) => added.push(item),
            }
        }
        // Edits of the same columns come together, because they are written as one statement.
        set.sort_by_key(|(_, columns, _)| *columns);
        let gone = gone.into_iter().map(|id| Edit::Remove(T::TABLE, id));
        let set = set.into_iter().map(|(id, columns, item)| Edit::Set(item.to_row().with_id(id), columns));
        gone.chain(set).chain(added.into_iter().map(|item| Edit::Add(item.to_row())))
    }
}

/// For each of `wanted`, the index of its row in `there`, which must be in order. If several rows
/// have the same key, rows that need no edit are chosen first, so that a second import finds all
/// of its own rows. Rows of equal priority come next, and the other rows are chosen in order. If
/// there may be only one row, the first is chosen.
///
/// # Errors
/// When the file has the same item twice, but there may be only one.
fn matched<T: Item>(
    there: &[(i64, Option<T>)],
    wanted: &[(u64, T)],
    options: &Conventions,
) -> Result<Vec<Option<usize>>, FileError> {
    let (mut first, mut next) = chains(there, options.comparison);
    let mut find = |item: &T, fits: &dyn Fn(&T) -> bool| {
        let head = first.get_mut(&item.natural_key(options.comparison))?;
        take(head, &mut next, |at| there[at].1.as_ref().is_some_and(fits))
    };
    let mut found = vec![None; wanted.len()];
    if T::IS_UNIQUE {
        let mut lines = HashMap::with_capacity(wanted.len());
        for ((line, item), found) in wanted.iter().zip(&mut found) {
            if let Some(first) = lines.insert(item.natural_key(options.comparison), line) {
                let label = item.label(options);
                return Err(FileError::new(
                    *line,
                    format!("{label} is in line {first} already: leave out one of them"),
                ));
            }
            *found = find(item, &|_| true);
        }
        return Ok(found);
    }
    for ((_, item), found) in wanted.iter().zip(&mut found) {
        *found = find(item, &|old| item.differing(old).is_empty());
    }
    for ((_, item), found) in wanted.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        *found = find(item, &|old| item.order() == old.order());
    }
    let mut others: Vec<usize> = (0..wanted.len()).filter(|at| found[*at].is_none()).collect();
    others.sort_by_key(|at| wanted[*at].1.order());
    for at in others {
        found[at] = find(&wanted[at].1, &|_| true);
    }
    Ok(found)
}

/// Removes the first matching index from a chain and returns it.
fn take(head: &mut Option<usize>, next: &mut [Option<usize>], fits: impl Fn(usize) -> bool) -> Option<usize> {
    let mut before = None;
    let mut at = (*head)?;
    while !fits(at) {
        before = Some(at);
        at = next[at]?;
    }
    let after = next[at].take();
    match before {
        Some(before) => next[before] = after,
        None => *head = after,
    }
    Some(at)
}

/// Linked lists of the rows with the same key: the first index for each key, and for each index
/// the next one.
type Chains<I> = (HashMap<I, Option<usize>>, Vec<Option<usize>>);

fn chains<T: Item>(there: &[(i64, Option<T>)], comparison: Comparison) -> Chains<T::NaturalKey> {
    let mut first = HashMap::with_capacity(there.len());
    let mut next = vec![None; there.len()];
    for (at, (_, item)) in there.iter().enumerate().rev() {
        if let Some(item) = item {
            next[at] = first.insert(item.natural_key(comparison), Some(at)).flatten();
        }
    }
    (first, next)
}

/// Among items of equal place the id decides, so ids must increase in the order of the file.
fn keep_order<T: Item>(steps: &mut [(T, PlanStep)], comparison: Comparison) {
    let mut last: HashMap<_, i64> = HashMap::new();
    for (item, step) in steps {
        let last = last.entry(item.place(comparison)).or_insert(i64::MIN);
        *last = match *step {
            PlanStep::Keep(id) | PlanStep::Set(id, _) if id > *last => id,
            PlanStep::Keep(id) | PlanStep::Set(id, _) => {
                *step = PlanStep::Move(id);
                i64::MAX
            }
            PlanStep::Add | PlanStep::Move(_) => i64::MAX,
        };
    }
}
