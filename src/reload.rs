//! When rows are read again, and who swaps the snapshot.
//!
//! One [`task`] decides. A load reads everything: at the start, by the timer, on
//! SIGHUP, when an operator asks, and when nothing else can tell what has changed.
//! What is asked for during a load is one more load after it. A poll reads what has
//! changed, and goes on during a load. Both give what they read to the [`publisher`],
//! which builds the next snapshot and swaps it in.

mod cause;
mod guard;
mod handle;
mod load;
mod poll;
mod publisher;
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
pub use status::{NodeState, NodeStatus, SourceFailure};
pub use task::Reloader;
