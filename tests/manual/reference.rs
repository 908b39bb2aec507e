//! The tables of options, commands and metrics in the manual are those of the program.
//!
//! With `UPDATE_DOCS=1` in the environment, the test writes them instead of comparing them.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, ArgAction, Command, CommandFactory};
use jitsiprovs::cli::Cli;
use support::client::{Connection, post, request};
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::tables::Tables;

use super::pages::{Page, root};

/// Where the manual says more about an option of the server.
const OPTION_LINKS: &[(&str, &str)] = &[
    ("config", "operate.md#settings"),
    ("ssl-keyfile", "operate.md#https"),
    ("trusted-proxy", "operate.md#behind-a-proxy"),
    ("admin-port", "#the-admin-listener"),
    ("admin-host", "security.md#the-admin-listener"),
    ("admin-tls", "security.md#the-admin-listener"),
    ("admin-secret-file", "several-nodes.md#the-secret-of-the-nodes"),
    ("admin-token-file", "security.md#the-admin-listener"),
    ("console-users", "console.md"),
    ("max-connections", "operate.md#limits"),
    ("auth-fail-limit", "security.md#wrong-passwords"),
    ("db-pwd-file", "operate.md#choose-a-database"),
    ("db-tls", "security.md#tls-to-the-database"),
    ("auth-query", "users.md#users-of-another-program"),
    ("attribute-query", "attributes.md#from-queries-of-your-own"),
    ("setup", "other-programs.md#tables-of-our-own-next-to-them"),
    ("pwd-fmt", "users.md#stored-passwords"),
    ("reload-interval", "operate.md#unchanged-tables"),
    ("max-shrink", "operate.md#when-many-rows-disappear"),
    ("keep-history", "history.md"),
    ("state-file", "operate.md#the-state-file"),
    ("remember-sign-ins", "security.md#slow-hashes"),
    ("stale-after", "operate.md#when-the-database-is-down"),
    ("user", "operate.md#in-the-background"),
    ("log-file", "operate.md#the-log"),
    ("fetches", "fetches.md"),
    ("workers", "decisions/runtimes.md"),
];

/// Where the manual says more about a command.
const COMMAND_LINKS: &[(&str, &str)] = &[
    ("user", "command-line.md#edit-users-and-rules"),
    ("tenant", "command-line.md#edit-users-and-rules"),
    ("rule", "command-line.md#edit-users-and-rules"),
    ("explain", "command-line.md#explain"),
    ("check", "command-line.md#check"),
    ("import", "import-and-export.md"),
    ("export", "import-and-export.md"),
    ("diff", "several-nodes.md#do-the-nodes-agree"),
    ("status", "several-nodes.md#do-the-nodes-agree"),
    ("confirm", "operate.md#when-many-rows-disappear"),
    ("fetch", "fetches.md"),
    ("lock", "security.md#wrong-passwords"),
    ("history", "history.md"),
    ("operator", "console.md#operators"),
    ("sql", "other-programs.md#changes-that-are-served-at-once"),
    ("config", "operate.md#settings"),
];

/// Compares the generated part of a page, or writes it.
fn keep(page: &str, part: &str, generated: &str) {
    let (start, end) = (format!("<!-- generated: {part} -->\n"), format!("<!-- end: {part} -->\n"));
    let text = Page::read(page).text;
    let inside = text.split_once(&start).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
    let (before, (old, after)) = inside.unwrap_or_else(|| panic!("{page} has no {start}{end}"));
    let new = format!("\n{}\n\n", generated.trim());
    if old == new {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "{page}: {part} is out of date: run this with UPDATE_DOCS=1"
    );
    std::fs::write(root().join(page), format!("{before}{start}{new}{end}{after}")).expect("written");
}

/// The help without what has a column of its own, and the default value.
fn help(arg: &Arg) -> (String, String) {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let (help, said) = match help.split_once(" [default") {
        Some((help, said)) => {
            (help.to_owned(), said.trim_end_matches(']').trim_start_matches(':').trim().to_owned())
        }
        None => (help, String::new()),
    };
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let default = match (said.is_empty(), values.is_empty() || is_flag) {
        (false, _) => said,
        (true, false) => values.join(", "),
        (true, true) => String::new(),
    };
    (help.replace('|', "\\|"), default)
}

/// The name of an option with its value, or of an argument.
fn name(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().join(" ");
    let kinds: Vec<_> = arg.get_possible_values().iter().map(|kind| kind.get_name().to_owned()).collect();
    let takes = arg.get_action().takes_values();
    let value = match (takes, kinds.len()) {
        (false, _) => String::new(),
        (true, 2..=6) => kinds.join("\\|"),
        (true, _) => values,
    };
    let Some(long) = arg.get_long() else { return format!("`{}`", value.trim()) };
    let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    format!("{short}`{}`", format!("--{long} {value}").trim())
}

fn table<'a>(args: impl Iterator<Item = &'a Arg>, links: &[(&str, &str)]) -> String {
    let mut table = "| option | default | |\n| --- | --- | --- |\n".to_owned();
    for arg in args {
        let (help, default) = help(arg);
        let link = links.iter().find(|(option, _)| Some(*option) == arg.get_long());
        let name = link.map_or_else(|| name(arg), |(_, link)| format!("[{}]({link})", name(arg)));
        table.push_str(&format!("| {name} | {default} | {help} |\n"));
    }
    table
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

/// The options of the server by their headings, in the order of the help.
fn server_options(command: &Command) -> Vec<(String, Vec<&Arg>)> {
    let mut groups: Vec<(String, Vec<&Arg>)> = Vec::new();
    for arg in command.get_arguments().filter(|arg| is_shown(arg)) {
        let heading = arg.get_help_heading().unwrap_or("General");
        match groups.iter_mut().find(|(known, _)| known == heading) {
            Some((_, args)) => args.push(arg),
            None => groups.push((heading.to_owned(), vec![arg])),
        }
    }
    groups
}

#[test]
fn the_reference_has_every_option_of_the_server() {
    let mut command = Cli::command();
    command.build();
    let (mut text, mut count) = (String::new(), 0);
    for (heading, args) in server_options(&command) {
        count += args.len();
        let variable = |arg: &&Arg| arg.get_env().map(|name| name.to_string_lossy().into_owned());
        for arg in &args {
            let long = arg.get_long().expect("an option");
            let expected = format!("JITSIPROVS_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(variable(arg), Some(expected), "the manual says so for all");
        }
        text.push_str(&format!("### {heading}\n\n{}\n", table(args.into_iter(), OPTION_LINKS)));
    }
    for (option, _) in OPTION_LINKS {
        assert!(text.contains(&format!("--{option}")), "there is no --{option}");
    }
    println!("{count} options of the server, and their variables");
    keep("docs/reference.md", "options", &text);
}

/// The commands that do something, each with its words.
fn leaves<'a>(command: &'a Command, words: &[&'a str], found: &mut Vec<(String, &'a Command)>) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let words = [words, &[sub.get_name()]].concat();
        if !sub.has_subcommands() || !sub.is_subcommand_required_set() {
            found.push((words.join(" "), sub));
        }
        leaves(sub, &words, found);
    }
}

#[test]
fn the_manual_has_every_command_with_its_options() {
    let mut command = Cli::command();
    command.build();
    let groups = server_options(&command);
    // Another option may have the name of one of the server's, such as `--user` of lists.
    let meaning = |arg: &Arg| Some((arg.get_long()?.to_owned(), arg.get_help()?.to_string()));
    let shared: BTreeSet<(String, String)> =
        groups.iter().flat_map(|(_, args)| args).filter_map(|arg| meaning(arg)).collect();
    let mut commands = Vec::new();
    leaves(&command, &[], &mut commands);
    let (mut text, mut count) = (String::new(), 0);
    for (words, command) in &commands {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let usage = Command::clone(command).render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").split_whitespace().collect::<Vec<_>>().join(" ");
        text.push_str(&format!("## {words}\n\n{about}.\n\nUsage: `{usage}`\n\n"));
        let first = words.split(' ').next().unwrap_or_default();
        if let Some((_, link)) = COMMAND_LINKS.iter().find(|(name, _)| *name == first) {
            text.push_str(&format!("[More about it]({link})\n\n"));
        }
        let args: Vec<&Arg> = command.get_arguments().filter(|arg| is_shown(arg)).collect();
        let has = |arg: &&&Arg| meaning(arg).is_some_and(|meaning| shared.contains(&meaning));
        let own: Vec<&Arg> = args.iter().filter(|arg| !has(arg)).copied().collect();
        count += args.len();
        if !own.is_empty() {
            text.push_str(&table(own.into_iter(), &[]));
            text.push('\n');
        }
        let taken: BTreeSet<&str> = args.iter().filter(has).filter_map(|arg| arg.get_long()).collect();
        let mut also: Vec<String> = Vec::new();
        for (heading, group) in &groups {
            let mine: Vec<&str> =
                group.iter().filter_map(|arg| arg.get_long()).filter(|long| taken.contains(long)).collect();
            if mine.len() == group.len() && mine.len() > 1 {
                also.push(format!(
                    "all of [{heading}](reference.md#{})",
                    heading.to_lowercase().replace(' ', "-")
                ));
            } else {
                also.extend(mine.into_iter().map(|long| format!("`--{long}`")));
            }
        }
        if !also.is_empty() {
            text.push_str(&format!("Options of the server that count here too: {}.\n\n", also.join(", ")));
        }
    }
    println!("{} commands with {count} options and arguments", commands.len());
    keep("docs/commands.md", "commands", &text);
}

/// What `/metrics` says: by name, the help and the labels with their values.
fn metrics() -> BTreeMap<String, (String, BTreeMap<String, BTreeSet<String>>)> {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw");
    let server = Server::on_sqlite(&file.path, &["--admin-port", "0", "--metrics-tenants"]);
    assert_eq!(post(server.address, &[("username", "alice@a.org"), ("password", "pw")]).status, 200);
    let reply = Connection::open(server.admin()).ask(&request("GET", "/metrics", &[], b""));
    let mut found: BTreeMap<String, (String, BTreeMap<String, BTreeSet<String>>)> = BTreeMap::new();
    let mut helps: Vec<(String, String)> = Vec::new();
    for line in reply.text().lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            helps.push((name.to_owned(), help.trim_end_matches('.').to_owned()));
        } else if !line.starts_with('#') {
            let (name, help) = helps.last().expect("a help text before it");
            let (sample, _) = line.rsplit_once(' ').expect("a value");
            let (full, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let is_part = full.ends_with("_bucket") || full.ends_with("_sum") || full.ends_with("_count");
            let full = if is_part { name.clone() } else { full.to_owned() };
            let (_, known) = found.entry(full).or_insert_with(|| (help.clone(), BTreeMap::new()));
            for (label, value) in
                labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='))
            {
                if label != "le" {
                    let values = known.entry(label.to_owned()).or_default();
                    values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
    }
    found
}

#[test]
fn the_reference_has_every_metric_with_its_labels() {
    let mut text = "| metric | |\n| --- | --- |\n".to_owned();
    let all = metrics();
    for (name, (help, labels)) in &all {
        let names: Vec<&str> = labels.keys().map(String::as_str).collect();
        let shown = if names.is_empty() { name.clone() } else { format!("{name}{{{}}}", names.join(",")) };
        text.push_str(&format!("| `{shown}` | {help}"));
        for (label, values) in labels.iter().filter(|(_, values)| values.len() > 1) {
            if !["worker", "tenant"].contains(&label.as_str()) && !name.contains("tenant_requests") {
                let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                text.push_str(&format!(". `{label}` is one of {}", values.join(", ")));
            }
        }
        text.push_str(" |\n");
    }
    println!("{} metrics", all.len());
    keep("docs/reference.md", "metrics", &text);
}

#[test]
fn the_manual_says_what_to_do_after_each_alert() {
    let chapter = Page::read("docs/operate.md").text;
    let alerts = Page::read("contrib/prometheus/alerts.yml").text;
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    println!("{} alerts", names.len());
    assert!(names.len() > 10);
    for name in names {
        let is_short = name
            .strip_prefix("JitsiprovsCertificate")
            .is_some_and(|rest| chapter.contains(&format!("…{rest}")));
        assert!(
            is_short || chapter.contains(&format!("{name} |")) || chapter.contains(&format!("{name},")),
            "{name}"
        );
    }
}

/// The names of all fields, apart from those of objects whose names are data.
fn fields(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                found.insert(name.clone());
                let is_data = value.is_object() && ["attributes", "parameters"].contains(&name.as_str());
                if !is_data {
                    fields(value, found);
                }
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

#[test]
fn the_reference_has_every_field_of_json() {
    let reference = Page::read("docs/reference.md").text;
    let (_, chapter) = reference.split_once("## JSON output").expect("the chapter");
    let tables = Tables::sqlite();
    tables.user("alice@example.org", "pw");
    tables.done(&["user", "set", "alice@example.org", "branch=berlin"]);
    tables.done(&["rule", "add", "a.b=${user.branch}", "--domain", "example.org"]);
    tables.done(&["rule", "add", "a.b=${hwaddr}", "--domain", "example.org", "--subject", "alice"]);
    let server = Server::start(&[&["--admin-port", "0"], &support::texts(&tables.args)[..]].concat());
    assert_eq!(post(server.address, &[("username", "alice@example.org"), ("password", "pw")]).status, 200);
    let admin = format!("http://{}", server.admin());
    let commands: &[&[&str]] = &[
        &["user", "list", "--with", "branch"],
        &["user", "show", "alice@example.org"],
        &["user", "set", "alice@example.org", "branch=munich"],
        &["tenant", "list"],
        &["tenant", "show", "example.org"],
        &["rule", "list"],
        &["rule", "show", "60"],
        &["rule", "set", "60", "--value", "2"],
        &["explain", "alice@example.org"],
        &["history"],
        &["history", "show", "1"],
        &["config"],
    ];
    let mut found = BTreeSet::new();
    for command in commands {
        fields(&tables.json(command), &mut found);
    }
    let check = tables.say(&["check", "--format", "json"], "");
    let asks = [&["status"][..], &["fetch", "list"], &["lock", "list"]];
    let asked = asks.map(|ask| run(&[ask, &[&admin, "--format", "json"]].concat()));
    for output in [check].iter().chain(&asked) {
        let said = String::from_utf8_lossy(&output.stderr);
        fields(&serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}")), &mut found);
    }
    println!("{} fields of JSON", found.len());
    let unknown: Vec<&String> = found.iter().filter(|name| !chapter.contains(&format!("`{name}`"))).collect();
    assert!(unknown.is_empty() && found.len() > 60, "not in the reference: {unknown:?}");
}
