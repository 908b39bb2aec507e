//! The fuzz targets: each is a function of bytes that panics at a defect. The test suite uses this
//! crate too, and runs the seeds through it.

#![allow(clippy::disallowed_methods, reason = "tests may wait for files and for each other")]

pub mod answer;
pub mod java;
mod patterns;
pub mod request;
pub mod state_file;
pub mod template;
mod text;
