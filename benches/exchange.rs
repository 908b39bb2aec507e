//! The real binary imports and exports a million users, on SQLite and on a real MariaDB. The export
//! must equal the import, byte for byte.
//!
//! `cargo bench --bench exchange`, or with another number of users `cargo bench --bench exchange --
//! 100000`.

#![allow(clippy::disallowed_methods, reason = "benches may wait for files and for each other")]

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use support::mariadb::mariadb;
use support::server::{jitsiprovs, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts};

fn main() {
    let count = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let [file, changed, others] = ["users", "changed", "others"].map(|name| folder.path().join(name));
    std::fs::write(&file, users(count, "secret")).expect("writes");
    // Every hundredth user has another password.
    let (one, other) = (users(count, "secret"), users(count, "other"));
    std::fs::write(&others, users(count, "a third")).expect("writes");
    let mixed = one.lines().zip(other.lines()).enumerate();
    let mixed = mixed.map(|(at, (one, other))| if at % 100 == 1 { other } else { one });
    std::fs::write(&changed, mixed.map(|line| format!("{line}\n")).collect::<String>()).expect("writes");

    let sqlite = SqliteFile::empty();
    let sqlite = vec!["--db-path".to_owned(), sqlite.path.to_str().expect("UTF-8").to_owned()];
    let mariadb = mariadb().database().all();
    for (name, options) in [("SQLite", sqlite), ("MariaDB", mariadb)] {
        assert!(run(&[&["--setup"], &texts(&options)[..]].concat()).status.success());
        println!("{name}, {count} users:");
        let back = folder.path().join("back.csv");
        for (what, from) in [
            ("all are new", &file),
            ("none differs", &file),
            ("one in a hundred differs", &changed),
            ("all differ", &others),
        ] {
            let path = from.to_str().expect("UTF-8");
            let took = timed(
                &[&["import", "users", path, "--replace"], &texts(&options)[..]].concat(),
                Path::new("/dev/null"),
            );
            println!("  import, {what:<26} {:6.1} s", took.as_secs_f64());
            let took = timed(&[&["export", "users"], &texts(&options)[..]].concat(), &back);
            println!("  export, {:<26} {:6.1} s", "", took.as_secs_f64());
            let is_same = std::fs::read(from).expect("a file") == std::fs::read(&back).expect("a file");
            assert!(is_same, "the export differs from the import");
        }
    }
}

fn users(count: usize, password: &str) -> String {
    let mut text = String::from("username,domain,password\n");
    let hash = md5_hex(password);
    for at in 0..count {
        text.push_str(&format!("user{at:07},tenant{:03}.example.org,{hash}\n", at * 200 / count));
    }
    text
}

fn timed(args: &[&str], stdout: &Path) -> Duration {
    let begun = Instant::now();
    let status = jitsiprovs(args).stdout(File::create(stdout).expect("a file")).status().expect("it starts");
    assert!(status.success(), "{args:?}");
    begun.elapsed()
}
