//! The operators' commands without their input and output: nothing here uses a terminal or files.

pub mod check;
pub mod compare;
pub mod explain;
pub mod nodes;
pub mod transfer;
