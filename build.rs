//! Finds out which commit is built and for which system, for `process::build`.
//!
//! The same sources give the same result on every machine and day.

#![allow(clippy::disallowed_methods, reason = "a build may wait for files")]

use std::path::Path;
use std::process::Command;

/// What the program is made of: changes elsewhere do not make it another program.
const SOURCES: [&str; 5] = ["src", "sql", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_COMMIT");
    let variable = |name| std::env::var(name).unwrap_or_default();
    let folder = variable("CARGO_MANIFEST_DIR");
    let given = Some(variable("SOURCE_COMMIT")).filter(|commit| !commit.is_empty());
    // In the profile for development, each commit would cause one more build of everything.
    let is_release = variable("PROFILE") == "release";
    let commit =
        given.or_else(|| if is_release { checkout(&folder).or_else(|| packaged(&folder)) } else { None });
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=BUILD_TARGET={}", variable("TARGET"));
}

/// The commit of the checkout in this folder, and whether files differ from it. `None` if the
/// folder is not a checkout, but perhaps a part of another one, or if there is no git.
fn checkout(folder: &str) -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(["-C", folder]).args(args).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim_end().to_owned())
    };
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(folder).canonicalize().ok()? {
        return None;
    }
    // Where git notes each commit and each checkout.
    for file in ["HEAD", "logs/HEAD"] {
        println!(
            "cargo::rerun-if-changed={}",
            git(&["rev-parse", "--path-format=absolute", "--git-path", file])?
        );
    }
    SOURCES.iter().for_each(|source| println!("cargo::rerun-if-changed={source}"));
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes = git(&[&["status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    Some(if changes.is_empty() { commit } else { format!("{commit} with changes") })
}

/// The commit that `cargo package` notes in a crate.
fn packaged(folder: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(folder).join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    let commit = rest.split('"').nth(1)?;
    let is_hash = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| commit.to_owned())
}
