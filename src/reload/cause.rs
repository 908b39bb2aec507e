//! The causes of loads, polls and new snapshots.

use crate::source::UnknownChanges;

/// What made the server read the source or the state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The first load of a process.
    Start,
    /// `--reload-interval` has passed.
    Timer,
    /// SIGHUP.
    Hangup,
    /// An operator has confirmed that the reported loss is intended.
    ConfirmedLoss,
    /// An operator asked over HTTP.
    Admin,
    /// `--poll-interval` has passed.
    Poll,
    /// The source has reported a change.
    Push,
    /// A file of the source has changed.
    File,
    /// The previous load has failed.
    Retry,
    /// A poll cannot say what has changed, for this reason.
    Unknown(UnknownChanges),
    /// A poll had to connect again, perhaps to another server.
    NewConnection,
    /// A poll could read the source again after a failure.
    DatabaseBack,
    /// During a load, the position in the table of changes was lost.
    PlaceLost,
    /// Rows were missing, and may have come back.
    Settled,
    /// A poll found other users under known ids.
    Renamed,
    /// A defect of this program stopped the code that writes snapshots.
    Defect,
    /// The server started from the state file, because it could not read the source.
    StateFile,
}

impl Cause {
    /// Every label that [`Cause::label`] returns.
    pub const LABELS: [&'static str; 9] =
        ["start", "timer", "SIGHUP", "poll", "push", "file", "retry", "admin", "other"];

    /// The name for the log.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Start => "start",
            Cause::Timer => "timer",
            Cause::Hangup => "SIGHUP",
            Cause::ConfirmedLoss => "confirmed loss",
            Cause::Admin => "admin",
            Cause::Poll => "poll",
            Cause::Push => "push",
            Cause::File => "file",
            Cause::Retry => "retry",
            Cause::Unknown(why) => why.name(),
            Cause::NewConnection => "new connection",
            Cause::DatabaseBack => "database back",
            Cause::PlaceLost => "place in the changes",
            Cause::Settled => "missing rows",
            Cause::Renamed => "renamed users",
            Cause::Defect => "defect",
            Cause::StateFile => "state file",
        }
    }

    /// The label for metrics. Rare causes share one label.
    pub fn label(self) -> &'static str {
        match self {
            Cause::Start
            | Cause::Timer
            | Cause::Poll
            | Cause::Push
            | Cause::File
            | Cause::Retry
            | Cause::Admin => self.name(),
            Cause::Hangup | Cause::ConfirmedLoss => Cause::Hangup.name(),
            Cause::Unknown(_)
            | Cause::NewConnection
            | Cause::DatabaseBack
            | Cause::PlaceLost
            | Cause::Settled
            | Cause::Renamed
            | Cause::Defect
            | Cause::StateFile => "other",
        }
    }

    /// Whether another database, or another state of it, seems to have taken the place of
    /// the one that was read before.
    pub fn is_other_database(self) -> bool {
        matches!(self, Cause::Unknown(UnknownChanges::Other | UnknownChanges::OtherFile))
    }

    /// Whether the load must read every row, because it is doubtful which rows are in use, or
    /// whether the same database answers.
    pub fn reads_all(self) -> bool {
        !matches!(
            self,
            Cause::Timer | Cause::Hangup | Cause::Admin | Cause::File | Cause::Settled | Cause::Renamed
        )
    }

    /// Whether somebody has asked for the load, who may have changed files that it needs.
    pub fn is_asked(self) -> bool {
        self.is_signal() || matches!(self, Cause::Admin)
    }

    /// Whether SIGHUP was the cause.
    pub fn is_signal(self) -> bool {
        matches!(self, Cause::Hangup | Cause::ConfirmedLoss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_label_of_the_list() {
        for (cause, label) in [
            (Cause::Start, "start"),
            (Cause::Timer, "timer"),
            (Cause::Hangup, "SIGHUP"),
            (Cause::ConfirmedLoss, "SIGHUP"),
            (Cause::Admin, "admin"),
            (Cause::Push, "push"),
            (Cause::Poll, "poll"),
            (Cause::File, "file"),
            (Cause::Retry, "retry"),
            (Cause::Unknown(UnknownChanges::Many), "other"),
            (Cause::PlaceLost, "other"),
        ] {
            assert_eq!(cause.label(), label);
            assert!(Cause::LABELS.contains(&label));
        }
    }
}
