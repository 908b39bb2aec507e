//! The operators' commands without their input and output: nothing here uses a terminal or files,
//! and only [`edit_session`] and [`history`] use a database.

pub mod answers;
pub mod check;
pub mod compare;
pub mod discovery;
pub mod edit_session;
pub mod edits;
pub mod explain;
pub mod history;
pub mod nodes;
pub mod transfer;
pub mod triggers;
