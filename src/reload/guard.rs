//! Holds back a snapshot that has lost too many users or rules.

use crate::snapshot::Counts;

/// How many users or rules a new snapshot may lack that the old one has (`--max-shrink`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Guard {
    /// In percent of the users or of the rules. 100 allows any loss.
    pub max_shrink: u8,
}

/// Losing fewer users or rules than this is always allowed.
const FEW: usize = 20;

/// The loss because of which a snapshot is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shrunk {
    /// `users` or `rules`
    pub what: &'static str,
    pub before: usize,
    pub after: usize,
}

impl Guard {
    /// Compares the counts of two snapshots.
    pub fn check(self, before: Counts, after: Counts) -> Result<(), Shrunk> {
        for (what, before, after) in
            [("users", before.users, after.users), ("rules", before.rules, after.rules)]
        {
            let lost = before.saturating_sub(after);
            if lost >= FEW && lost * 100 > before * usize::from(self.max_shrink) {
                return Err(Shrunk { what, before, after });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_held_back_when_it_is_large_in_number_and_in_share() {
        let counts = |users, rules| Counts { users, rules, ..Counts::default() };
        let half = Guard { max_shrink: 50 };
        for (before, after, is_allowed) in [
            (counts(1000, 10), counts(500, 10), true),
            (counts(1000, 10), counts(499, 10), false),
            (counts(19, 10), counts(0, 10), true),
            (counts(20, 10), counts(0, 10), false),
            (counts(10, 1000), counts(10, 400), false),
            (counts(10, 1000), counts(1000, 1001), true),
            (counts(0, 0), counts(0, 0), true),
        ] {
            assert_eq!(half.check(before, after).is_ok(), is_allowed, "{before:?} {after:?}");
            assert!(Guard { max_shrink: 100 }.check(before, after).is_ok());
        }
    }
}
