//! Text from the database that would control a terminal or would be invisible.

use std::process::Command;

use serde_json::Value;

use support::server::{jitsiprovs, run, run_command};
use support::sqlite::SqliteFile;
use support::terminal::{run_at_terminal, run_at_terminal_of};

/// Reverses the order of text, clears the screen, rings the bell, begins a line, is invisible.
const NASTY: &str = "x\u{202e}\x1b[2J\x07\r\n\u{200b}\u{2028}\u{9b}\u{e000}\u{ad}\u{fe0f}y";
/// The same text as it is shown to people.
const SHOWN: &str = "x\\u{202e}\\u{1b}[2J\\u{7}\\r\\n\\u{200b}\\u{2028}\\u{9b}\\u{e000}\\u{ad}\\u{fe0f}y";

/// A user, a tenant and a rule with such names.
fn nasty() -> SqliteFile {
    let file = SqliteFile::empty();
    file.user(NASTY, NASTY, "pw");
    file.rule(Some(NASTY), NASTY, 1, &format!("k{NASTY}"), NASTY);
    file
}

fn command(file: &SqliteFile, args: &[&str]) -> Command {
    let mut command = jitsiprovs(args);
    command.args(["--db-path", file.path.to_str().expect("UTF-8")]).env("NO_COLOR", "1");
    command
}

fn is_plain(text: &str) -> bool {
    // A terminal receives a carriage return with each line break.
    let acts = |c: char| c.is_control() && c != '\n' && c != '\r';
    !text.contains(|c| acts(c) || (NASTY.contains(c) && !c.is_ascii()))
}

#[test]
fn names_cannot_control_the_terminal_in_output_for_people() {
    let file = nasty();
    let user = format!("{NASTY}@{NASTY}");
    let id = file.connection.last_insert_rowid().to_string();
    let csv = file.folder.path().join("rules.csv");
    std::fs::write(&csv, format!("domain,subject,key,value\n\"{NASTY}\",\"{NASTY}\",k,v\n"))
        .expect("written");
    let csv = csv.to_str().expect("UTF-8");
    let explained = ["explain", &user, NASTY];
    for (args, code, shown) in [
        (&["user", "list"][..], 0, true),
        (&["user", "show", &user], 0, true),
        (&["tenant", "list"], 0, true),
        (&["rule", "list"], 0, true),
        (&["rule", "show", &id], 0, true),
        (&explained[..2], 0, true),
        (&["check", "--verbose"], 1, false),
        (&["import", "rules", csv, "--dry-run"], 0, true),
        (&["rule", "add", "k=v", "--subject", NASTY, "--domain", NASTY, "--also"], 0, true),
        // Errors and warnings.
        (&explained, 2, false),
        (&["user", "show", &format!("z{user}")], 1, true),
        (&["import", "rules", NASTY], 1, true),
    ] {
        let (status, at_terminal) = run_at_terminal(command(&file, args));
        let piped = run_command(command(&file, args));
        assert_eq!((status.code(), piped.status.code()), (Some(code), Some(code)), "{args:?}");
        let piped = [piped.stdout, piped.stderr].concat();
        for said in [at_terminal, piped] {
            let said = String::from_utf8(said).expect("UTF-8");
            assert!(is_plain(&said) && (!shown || said.contains(SHOWN)), "{args:?}: {said:?}");
            // No name begins a line of its own.
            assert!(said.lines().all(|line| !line.starts_with('y')), "{args:?}: {said:?}");
        }
    }
}

#[test]
fn output_for_programs_is_exact_unless_it_goes_to_a_terminal() {
    let file = nasty();
    let user = format!("{NASTY}@{NASTY}");
    for args in [
        &["export", "users"][..],
        &["export", "rules"],
        &["export", "rules-json"],
        &["export", "properties", "--domain", NASTY, "--subject", NASTY],
        &["explain", &user, "--properties"],
    ] {
        let piped = run_command(command(&file, args));
        assert!(piped.status.success(), "{args:?}: {}", String::from_utf8_lossy(&piped.stderr));
        let piped = String::from_utf8(piped.stdout).expect("UTF-8");
        let (status, at_terminal) = run_at_terminal(command(&file, args));
        let at_terminal = String::from_utf8(at_terminal).expect("UTF-8");
        assert!(status.success() && is_plain(&at_terminal), "{args:?}: {at_terminal:?}");
        assert!(at_terminal.to_ascii_lowercase().contains("\\u202e"), "{args:?}: {at_terminal:?}");
        match args[1] {
            "users" | "rules" => assert!(piped.contains(NASTY), "{args:?}: {piped:?}"),
            "rules-json" => {
                let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
                assert_eq!(json(&piped)[0]["subject"], NASTY);
                assert_eq!(json(&at_terminal), json(&piped));
                assert!(piped.contains('\u{202e}'), "{piped:?}");
            }
            // Properties are ASCII, but may have controls.
            _ => assert!(piped.is_ascii() && piped.contains('\x1b'), "{args:?}: {piped:?}"),
        }
    }
}

#[test]
fn json_is_the_same_everywhere_and_cannot_control_the_terminal() {
    let file = nasty();
    for args in [&["user", "list"][..], &["tenant", "list"], &["rule", "list"]] {
        let args = [args, &["--format", "json"]].concat();
        let piped = run_command(command(&file, &args)).stdout;
        let (_, at_terminal) = run_at_terminal(command(&file, &args));
        for said in [piped, at_terminal] {
            let said = String::from_utf8(said).expect("UTF-8");
            assert!(is_plain(&said), "{args:?}: {said:?}");
            let rows: Value = serde_json::from_str(&said).expect("JSON");
            assert_eq!(rows[0]["domain"], NASTY, "{args:?}");
        }
    }
}

#[test]
fn the_log_has_one_line_for_each_event_with_any_content() {
    let file = SqliteFile::empty();
    // The database's own message about a missing table.
    let query = "SELECT * FROM \"x\u{202e}\nFAKE\x1b[2J\"";
    let path = file.path.to_str().expect("UTF-8");
    for format in ["human", "json"] {
        let args =
            ["-n", "--http-port", "0", "--db-path", path, "--auth-query", query, "--log-format", format];
        let (status, at_terminal) = run_at_terminal({
            let mut command = jitsiprovs(&args);
            command.env("NO_COLOR", "1");
            command
        });
        let piped = run(&args);
        assert_eq!((status.code(), piped.status.code()), (Some(1), Some(1)));
        for said in [at_terminal, piped.stderr] {
            let said = String::from_utf8(said).expect("UTF-8");
            assert!(is_plain(&said) && said.contains("FAKE"), "{said:?}");
            let lines: Vec<&str> = said.lines().collect();
            assert!(lines.iter().all(|line| !line.starts_with("FAKE")), "{said:?}");
            // The last line is the error, for people.
            let (_, logged) = lines.split_last().expect("lines");
            for line in logged.iter().filter(|_| format == "json") {
                serde_json::from_str::<Value>(line).expect("JSON");
            }
        }
    }
}

#[test]
fn tables_are_fitted_to_the_terminal_unless_they_are_wide() {
    let file = SqliteFile::seeded();
    file.user("example.org", "alice", "pw");
    let key = "net.java.sip.communicator.impl.protocol.jabber.accxmpp.AUTO_DISCOVER_JINGLE_NODES";
    for list in [&["rule", "list"][..], &["explain", "alice@example.org"]] {
        let wide = [list, &["--wide"]].concat();
        let at_terminal = |args: &[&str], columns| {
            let (status, shown) = run_at_terminal_of(command(&file, args), columns);
            assert!(status.success(), "{args:?}");
            let shown = String::from_utf8(shown).expect("UTF-8").replace('\r', "");
            // Notes on standard error are not fitted.
            let lines = shown.lines().filter(|line| !line.starts_with("note: "));
            lines.map(|line| format!("{line}\n")).collect::<String>()
        };
        let whole = String::from_utf8(run_command(command(&file, list)).stdout).expect("UTF-8");
        assert!(whole.contains(key), "{whole}");
        for columns in [80, 132] {
            let fitted = at_terminal(list, columns);
            let widest = fitted.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(columns.into()) && !fitted.contains(key), "{fitted}");
            // The end of a key tells more than its beginning.
            assert!(fitted.contains("_NODES "), "{fitted}");
            assert_eq!(fitted.lines().count(), whole.lines().count());
            assert!(at_terminal(&wide, columns).contains(key));
        }
        // A terminal that does not know its width.
        assert!(at_terminal(list, 0).contains(key));
    }
}
