//! Starts jitsiprovs.
fn main() {}
