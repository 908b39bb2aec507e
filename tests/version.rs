//! What the program says about its version, and where `build.rs` has the commit from.

use std::path::Path;
use std::process::Command;

use support::server::{Server, run};
use support::sqlite::SqliteFile;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn said(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_version_is_short_or_has_commit_and_features_and_is_the_same_everywhere() {
    assert_eq!(said(&["-V"]), format!("jitsiprovs {VERSION}\n"));
    let long = said(&["--version"]);
    let mut lines = long.lines();
    assert_eq!(lines.next(), Some(&*format!("jitsiprovs {VERSION}")));
    let mut line = |label: &str| {
        let line = lines.next().unwrap_or_default();
        line.strip_prefix(label).unwrap_or_else(|| panic!("{label}: {long}")).to_owned()
    };
    let commit = line("commit: ");
    assert!(line("system: ").contains("linux"), "{long}");
    let features = line("features: ");
    let features: Vec<&str> = features.split(", ").collect();
    assert_eq!(lines.next(), None, "{long}");
    assert!(features[0].starts_with("sqlite 3."), "{long}");
    for kind in ["mysql", "postgres", "tls1.3", "http/2"] {
        assert!(features.contains(&kind), "{kind}: {long}");
    }

    let file = SqliteFile::empty();
    let server = Server::on_sqlite(&file.path, &["--admin-port", "0"]);
    server.wait_for_log(&format!("commit=\"{commit}\""));
    let url = format!("http://{}", server.admin());
    let status: serde_json::Value =
        serde_json::from_str(&said(&["status", &url, "--format", "json"])).expect("JSON");
    assert_eq!(
        (&status["nodes"][0]["program"], &status["nodes"][0]["commit"]),
        (&VERSION.into(), &commit.into())
    );
}

/// Runs `build.rs` as cargo does, and returns what it says is the commit.
fn commit_in(folder: &Path, profile: &str, given: Option<&str>) -> String {
    let mut command = Command::new(folder.join("build-script"));
    command.current_dir(folder).env_clear();
    let path = std::env::var("PATH").expect("a path");
    command.envs([("PATH", &*path), ("PROFILE", profile), ("TARGET", "x86_64-unknown-linux-gnu")]);
    command.env("CARGO_MANIFEST_DIR", folder).envs(given.map(|commit| ("SOURCE_COMMIT", commit)));
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("cargo::rustc-env=BUILD_TARGET=x86_64-unknown-linux-gnu\n"), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=BUILD_COMMIT="));
    line.unwrap_or_else(|| panic!("no commit: {text}")).to_owned()
}

#[test]
fn a_build_finds_its_commit_in_git_in_a_crate_or_in_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/build.rs");
    let rustc = ["--edition", "2024", "-o"];
    let program = folder.join("build-script");
    let built = Command::new("rustc").args(rustc).arg(&program).arg(script).output().expect("rustc");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");

    assert_eq!(commit_in(folder, "release", None), "unknown");
    assert_eq!(commit_in(folder, "debug", Some("0123abcd")), "0123abcd");
    let packaged = "9339ca99a43c550b5ee36e2afe524d1c90413461";
    write(".cargo_vcs_info.json", &format!("{{\n  \"git\": {{\n    \"sha1\": \"{packaged}\"\n  }}\n}}\n"));
    assert_eq!(commit_in(folder, "release", None), packaged);

    let git = |args: &[&str]| {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let output = Command::new("git").arg("-C").arg(folder).args(who).args(args).output().expect("git");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    };
    write("Cargo.toml", "");
    write("Cargo.lock", "");
    git(&["init", "--quiet"]);
    git(&["add", "Cargo.toml"]);
    git(&["commit", "--quiet", "--message", "One"]);
    let commit = git(&["rev-parse", "HEAD"]);
    assert_eq!(commit_in(folder, "release", None), format!("{commit} with changes"), "a new file");
    git(&["add", "Cargo.lock"]);
    git(&["commit", "--quiet", "--message", "Two"]);
    let commit = git(&["rev-parse", "HEAD"]);
    write("README.md", "It is not in the program.");
    assert_eq!(commit_in(folder, "release", None), commit);
    write("Cargo.toml", "# A change.");
    assert_eq!(commit_in(folder, "release", None), format!("{commit} with changes"));
    assert_eq!(commit_in(folder, "debug", None), "unknown", "each commit would cause a build");
    assert_eq!(commit_in(folder, "release", Some("0123abcd")), "0123abcd");

    // Sources within another project's checkout.
    let inner = folder.join("vendor");
    std::fs::create_dir(&inner).expect("a folder");
    std::fs::copy(&program, inner.join("build-script")).expect("copied");
    assert_eq!(commit_in(&inner, "release", None), "unknown");
}
