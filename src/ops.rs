//! What the operators' commands compute, without a terminal and without files.

pub mod check;
pub mod compare;
pub mod explain;
pub mod nodes;
pub mod transfer;
