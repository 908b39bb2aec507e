//! Moves the original's rules that remove subtrees to the front.
//!
//! The original seeded them with the priorities 10 and 10. So the client removed what operators
//! had set in these subtrees with smaller priorities.

use super::{SourceError, count, note, schema};
use crate::core::client::REMOVED;
use crate::core::model::Cell;
use crate::source::backend::Session;
use crate::source::schema::{ORIGINAL_PRIORITY, REMOVAL_PRIORITY};

/// A rule for the key of a removal.
struct Known {
    id: i64,
    subject: String,
    spriority: Option<i64>,
    ppriority: Option<i64>,
    key: String,
    value: String,
    is_of_all: bool,
}

impl Known {
    fn read(cells: &[Cell]) -> Option<Known> {
        let [id, domain, subject, spriority, ppriority, key, value] = cells else { return None };
        let text = |cell: &Cell| cell.text().ok().flatten().unwrap_or_default().into_owned();
        let number = |cell: &Cell| cell.int().ok().flatten();
        Some(Known {
            id: number(id)?,
            subject: text(subject),
            spriority: number(spriority),
            ppriority: number(ppriority),
            key: text(key),
            value: text(value),
            is_of_all: text(domain).is_empty(),
        })
    }

    /// Whether it removes one of the subtrees for clients of users who are not switched off.
    fn is_removal(&self) -> bool {
        // Databases compare case and trailing blanks differently.
        let is_same = schema::removals().any(|key| key == self.key);
        is_same && self.value == REMOVED && self.subject != schema::DISABLED_SUBJECT
    }

    fn is_unchanged(&self) -> bool {
        let is_original = [self.spriority, self.ppriority] == [Some(ORIGINAL_PRIORITY); 2];
        self.is_of_all && self.subject == "default" && is_original
    }

    fn is_in_front(&self) -> bool {
        // NULL sorts before every number.
        self.spriority.is_none_or(|spriority| spriority <= REMOVAL_PRIORITY)
    }
}

/// Moves the removals that are as the original seeded them, once. Returns what was done.
pub(super) async fn move_to_front(session: &mut impl Session) -> Result<Vec<String>, SourceError> {
    let (version, what) = schema::MOVE_REMOVALS;
    if count(session, what, &schema::count_taken(version)).await? > 0 {
        return Ok(Vec::new());
    }
    let rows = session.query(what, schema::rules_of_removals()).await?;
    let known: Vec<Known> = rows.iter().filter_map(|cells| Known::read(cells)).collect();
    let (mut moved, mut done) = (Vec::new(), Vec::new());
    for rule in known.iter().filter(|rule| rule.is_removal() && !rule.is_in_front()) {
        // In front, it would win over such a rule.
        let rival = known.iter().find(|other| other.key == rule.key && other.value != REMOVED);
        let why = match rival {
            _ if !rule.is_unchanged() => "it was changed".to_owned(),
            Some(rival) => format!("rule {} sets the same key", rival.id),
            None => {
                let cells = vec![Cell::Int(REMOVAL_PRIORITY), Cell::Int(rule.id)];
                session.execute(what, schema::MOVE_RULE.into(), cells).await?;
                moved.push(rule.id.to_string());
                continue;
            }
        };
        done.push(format!(
            "left rule {} as it is, because {why}: clients remove again what rules with smaller priorities \
             set below {}",
            rule.id, rule.key
        ));
    }
    note(session, schema::MOVE_REMOVALS).await?;
    if !moved.is_empty() {
        let counted =
            if moved.len() == 1 { "1 seeded rule" } else { &format!("{} seeded rules", moved.len()) };
        done.insert(
            0,
            format!(
                "moved {counted} (id {}) from spriority {ORIGINAL_PRIORITY} to {REMOVAL_PRIORITY}: clients \
                 no longer remove again what rules with smaller priorities set",
                moved.join(", ")
            ),
        );
        done.insert(1, consequence());
    }
    Ok(done)
}

/// What the seeded removals do in clients.
pub(super) fn consequence() -> String {
    let keys: Vec<String> = schema::removals().map(|key| format!("{key}={REMOVED}")).collect();
    format!(
        "at each start, clients remove their users' own accounts, chat rooms and last status, because of the \
         rules {}: the manual shows rules that remove less",
        keys.join(" and ")
    )
}
