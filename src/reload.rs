//! Reads rows again when they may have changed, and replaces the snapshot.
//!
//! One [`task`] decides when. A load reads all rows: at the start, by the timer, on
//! SIGHUP, when an operator asks, and when a poll cannot say what has changed. Requests
//! during a load lead to one more load after it. A poll reads only the changed rows, and
//! may run during a load. Both pass their rows to the [`publisher`], which builds the next
//! snapshot and puts it into use.

mod cause;
mod fitness;
mod handle;
mod known;
mod load;
mod poll;
mod publisher;
mod pushes;
mod reader;
mod report;
mod schedule;
mod settings;
pub mod state_file;
mod status;
mod task;
pub mod watch;

pub use handle::{Handle, ReloadOutcome};
pub use load::LoadError;
pub use settings::ReloadSettings;
pub use status::{NodeState, NodeStatus, SourceFailure, TenantLoss};
pub use task::Reloader;
