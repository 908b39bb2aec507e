//! The manual says what is true: its commands run, its links lead somewhere, and its reference is
//! complete. With `--nocapture`, each test says how much it has looked at.

mod links;
mod pages;
mod reference;
mod sessions;
