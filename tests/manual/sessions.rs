//! The commands in README and manual run, and print what the page shows.
//!
//! A block of code is a session if its first line begins with `$ `, with `jitsiprovs`, with the
//! name of another program in [`PROGRAMS`], or with an assignment such as `key=...`. The commands of
//! a page run one after the other in one shell, in a folder of their own. Without `$ `, every line of
//! the block is a command. With it, the lines below are what the command prints; `...` stands for
//! any text in a line and, alone, for any lines.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use support::server::{jitsiprovs, run_command};

use super::pages::{Block, Page};

/// Programs with which a session begins, apart from ours.
const PROGRAMS: [&str; 15] = [
    "cargo",
    "cp",
    "curl",
    "env",
    "export",
    "install",
    "mdbook",
    "openssl",
    "printf",
    "psql",
    "sh",
    "sqlite3",
    "systemctl",
    "unset",
    "contrib/package",
];

/// Commands that do not run here: the page, how the command begins, and why. Each entry is needed.
const NOT_RUN: &[(&str, &str, &str)] = &[
    ("README.md", "cargo", "it builds this program; the suite has built it"),
    ("docs/operate.md", "cargo", "it builds this program; the suite has built it"),
    ("docs/operate.md", "systemctl", "it needs systemd; contrib/debian/try runs it"),
    ("docs/several-nodes.md", "install", "it needs root"),
    ("docs/several-nodes.md", "systemctl", "it needs systemd"),
    ("docs/several-nodes.md", "jitsiprovs status --db-ip", "MySQL: tests/nodes.rs"),
    ("docs/import-and-export.md", "jitsiprovs export rules |", "MySQL: tests/exchange.rs"),
    ("docs/import-and-export.md", "jitsiprovs import kamailio", "MySQL: tests/kamailio.rs"),
    ("docs/command-line.md", "jitsiprovs explain alice@example.org --last", "docs/fetches.md has it too"),
    ("docs/several-nodes.md", "jitsiprovs status http", "a node has lost its database: tests/nodes.rs"),
    ("docs/import-and-export.md", "psql", "another program's database: tests/examples.rs"),
    ("docs/discovery.md", "jitsiprovs discovery", "it needs the interface: tests/discovery.rs"),
    ("docs/move.md", "jitsiprovs check", "MySQL: tests/original.rs"),
    ("docs/move.md", "jitsiprovs compare", "it needs an old server: tests/compare.rs"),
    ("docs/security.md", "openssl req", "the certificates of tests/db_tls.rs are made in the same way"),
    ("docs/security.md", "openssl x509", "the certificates of tests/db_tls.rs are made in the same way"),
];

/// What a page takes for granted, as lines for the shell. Other pages begin with `users`.
const BEFORE: &[(&str, &str)] = &[
    ("README.md", ":"),
    (
        "docs/operate.md",
        "jitsiprovs --setup; export JITSIPROVS_HTTP_IP=127.0.0.1 JITSIPROVS_HTTP_PORT=0; serve",
    ),
    ("docs/command-line.md", "jitsiprovs --setup; add eve@example.net"),
    (
        "docs/fetches.md",
        "users; serve; curl -sd 'username=alice@example.org&password=secret' $public/jitsiprovs/
        until jitsiprovs explain alice@example.org --last; do sleep 0.2; done",
    ),
    (
        "docs/history.md",
        "users
        jitsiprovs user set alice@example.org branch=berlin extension=17
        jitsiprovs rule add acc.SERVER=old --domain example.org --subject alice
        sqlite3 jitsiprovs.db \"DELETE FROM user_auth WHERE username = 'bob'\"
        jitsiprovs user remove alice@example.org; jitsiprovs rule add acc.SERVER=one
        jitsiprovs rule set acc.SERVER=two",
    ),
    ("docs/import-and-export.md", "users; cp jitsiprovs.db backup/"),
    (
        "docs/other-programs.md",
        "jitsiprovs --setup --db-path ./kamailio.db
        sqlite3 kamailio.db 'CREATE TABLE subscriber (id INTEGER PRIMARY KEY, username, domain, ha1)'",
    ),
    ("docs/help-desk.md", "users; serve"),
    ("docs/security.md", "users; serve"),
    ("docs/several-nodes.md", "users; serve; export JITSIPROVS_ADMIN_SECRET_FILE=./etc/admin-secret"),
];

/// Pages on which each section of level two begins with a database of its own. `check` finds no
/// errors in what a section has made.
const FRESH: [&str; 1] = ["docs/recipes.md"];

/// What the shell of each page knows. The server ends with the shell, and by itself after a minute.
const SHELL: &str = r#"
    export PATH="$PWD/bin:$PATH"
    export JITSIPROVS_DB_PATH=./jitsiprovs.db
    password=secret sip=secret
    add() { jitsiprovs user add "$1" --hash md5 --password-stdin <secret; }
    users() {
        jitsiprovs --setup && add alice@example.org && add bob@example.org && add dave@example.org
    }
    serve() {
        timeout 60 jitsiprovs -n --http-ip 127.0.0.1 --http-port 0 --admin-port 0 --log-file server.log \
            --admin-secret-file etc/admin-secret "$@" &
        server=$!
        tries=0
        until grep -q 'serving http' server.log 2>/dev/null; do
            tries=$((tries + 1)); [ $tries -lt 400 ] || exit 9
            sleep 0.05
        done
        public=$(sed -n 's/.*serving \(http:..[0-9.:]*\).*/\1/p' server.log)
        admin=$(sed -n 's/.*for operators \(http:..[0-9.:]*\).*/\1/p' server.log)
        echo "$admin" >admin
    }
    trap '[ -z "${server-}" ] || kill "$server"' EXIT
"#;

/// The settings of a Jitsi, as its database writes them.
const JITSI: &str = "CREATE MEMORY TABLE PUBLIC.PROPS(K VARCHAR(16777216),V VARCHAR(16777216),UNIQUE(K))
INSERT INTO PROPS VALUES('net.java.sip.communicator.impl.protocol.sip.acc1','acc1')
INSERT INTO PROPS VALUES('net.java.sip.communicator.impl.protocol.sip.acc1.USER_ID','alice@example.org')
";

/// A command of a page.
struct Step {
    line: usize,
    /// The heading above.
    section: String,
    /// As the page has it.
    typed: String,
    /// What the page shows below, if it is a session with `$ `.
    printed: Option<Vec<String>>,
}

/// What becomes of a command.
enum Way {
    /// It runs, as these lines for the shell.
    Run(String),
    /// It would start a server or set up a database that is not here: `config` reads its options.
    Read(String),
    /// It is in [`NOT_RUN`].
    No,
}

fn is_session(block: &Block) -> bool {
    let first = block.lines[0].trim_start();
    let word = first.split_whitespace().next().unwrap_or_default();
    let is_assignment = word
        .split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()));
    first.starts_with("$ ") || word == "jitsiprovs" || PROGRAMS.contains(&word) || is_assignment
}

/// Whether the shell needs another line to complete this one.
fn is_open(command: &str) -> bool {
    let text = command.trim_end();
    text.ends_with('\\') || text.ends_with('|') || text.matches('\'').count() % 2 == 1
}

fn steps(block: &Block) -> Vec<Step> {
    let has_prompt = block.lines[0].starts_with("$ ");
    let mut steps: Vec<Step> = Vec::new();
    let mut is_continued = false;
    for (number, line) in block.lines.iter().enumerate() {
        let command = if has_prompt { line.strip_prefix("$ ") } else { Some(&line[..]) };
        match (command, steps.last_mut()) {
            (_, Some(step)) if is_continued => {
                step.typed.push('\n');
                step.typed.push_str(line);
            }
            (None, Some(step)) => {
                step.printed.get_or_insert_default().push(line.clone());
                continue;
            }
            (Some(""), _) | (None, None) => continue,
            (Some(command), _) => {
                steps.push(Step {
                    line: block.line + number,
                    section: block.section.clone(),
                    typed: command.to_owned(),
                    printed: has_prompt.then(Vec::new),
                });
            }
        }
        is_continued = steps.last().is_some_and(|step| is_open(&step.typed));
    }
    for printed in steps.iter_mut().filter_map(|step| step.printed.as_mut()) {
        while printed.last().is_some_and(String::is_empty) {
            printed.pop();
        }
    }
    steps
}

/// How a command runs here: questions are answered, and servers and files are those of the test.
fn way(page: &str, typed: &str) -> Way {
    if NOT_RUN.iter().any(|(of, start, _)| *of == page && typed.starts_with(start)) {
        return Way::No;
    }
    let mut text = typed.split("  #").next().unwrap_or_default().trim_end().to_owned();
    let has = |part: &str| typed.contains(part);
    let is_server = text.starts_with("jitsiprovs -") || text == "jitsiprovs";
    if text == "jitsiprovs -n &" {
        return Way::Run("serve".into());
    }
    let is_help = typed.split(' ').any(|word| word == "-h");
    if is_server && !has("--version") && !is_help && (!has("--setup") || has("--db-ip") || has("--user")) {
        return Way::Read(text.replacen("jitsiprovs", "jitsiprovs config", 1));
    }
    let asks = ["user add", "user passwd", "operator add"].iter().any(|command| has(command));
    if asks && !has("--password-stdin") {
        text.push_str(" --password-stdin");
    }
    if (asks || has("--value-stdin")) && !has("|") && !has("< ") {
        text.push_str(" <secret");
    }
    let confirms = ["tenant remove", "rule remove", "history undo", "jitsiprovs confirm"];
    if confirms.iter().any(|command| has(command)) && !has("--yes") && !has("--dry-run") {
        text.push_str(" --yes");
    }
    for (from, to) in [
        ("http://10.0.0.11:8090", "$admin"),
        ("http://10.0.0.12:8090", "$admin"),
        ("http://10.0.0.13:8090", "$admin"),
        ("http://127.0.0.1:8090", "$admin"),
        ("http://127.0.0.1:8080", "$public"),
        ("password=...", "password=secret"),
        ("/etc/jitsiprovs/", "etc/"),
        ("/backup/", "backup/"),
        // The clients of servers that are not here.
        (" | mysql kamailio", ""),
        (" | psql kamailio", ""),
        ("~/", "home/"),
    ] {
        text = text.replace(from, to);
    }
    Way::Run(text)
}

/// A folder with the files that pages name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        std::fs::write(path, text).expect("written");
    };
    let program = jitsiprovs(&[]).get_program().to_string_lossy().into_owned();
    write("bin/jitsiprovs", &format!("#!/bin/sh\nexec '{program}' \"$@\"\n"));
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path().join("bin/jitsiprovs"), executable).expect("executable");
    write("secret", "secret\n");
    write("password.txt", "secret\n");
    write("etc/admin-secret", &"s".repeat(32));
    write("etc/password", "secret\n");
    write("users.csv", "username,domain,password\ncarol,example.org,0123456789abcdef0123456789abcdef\n");
    write("kamailio.csv", "username,domain,ha1\ncarol,example.org,0123456789abcdef0123456789abcdef\n");
    write("subscribers.csv", "extension,secret\n21,one\n22,two\n");
    write("home/.jitsi/props.hsql.script", JITSI);
    write("kamailio.conf", &Page::read("contrib/databases/kamailio.conf").text);
    std::fs::create_dir(folder.path().join("backup")).expect("created");
    folder
}

/// Text without what differs from run to run: times, durations, digests and the width of columns.
fn comparable(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let shown = words.iter().enumerate().map(|(at, word)| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let is_time = digits > 3
            && word.matches(['-', ':']).count() > 1
            && word.bytes().all(|byte| byte.is_ascii_digit() || b"-:.".contains(&byte));
        let is_digest = word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_duration = words.get(at + 1) == Some(&"s") && digits > 0;
        if is_time {
            "TIME"
        } else if is_digest {
            "DIGEST"
        } else if is_duration {
            "SECONDS"
        } else {
            word
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Whether a line is what the page shows, where `...` stands for any text.
fn fits(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (comparable(shown), comparable(printed));
    let parts: Vec<&str> = shown.split("...").collect();
    let [first, middle @ .., last] = &parts[..] else { return shown == printed };
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether the output is what the page shows, where a line `...` stands for any lines.
fn shows(shown: &[String], printed: &[&str]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((line, rest)), _) if line.trim() == "..." => {
            (0..=printed.len()).any(|skipped| shows(rest, &printed[skipped..]))
        }
        (Some((line, shown)), Some((first, printed))) => fits(line, first) && shows(shown, printed),
        _ => false,
    }
}

/// What a run has counted: commands that ran, whose options were read, and that do not run.
#[derive(Default)]
struct Counts {
    run: usize,
    read: usize,
    not_run: usize,
    compared: usize,
}

impl Counts {
    fn add(&mut self, more: &Counts) {
        self.run += more.run;
        self.read += more.read;
        self.not_run += more.not_run;
        self.compared += more.compared;
    }
}

/// Runs the commands of a page, and returns what is wrong.
fn try_page(page: &Page, steps: &[Step]) -> (Vec<String>, Counts) {
    let mut counts = Counts::default();
    let folder = folder();
    let before = BEFORE.iter().find(|(name, _)| *name == page.name).map_or("users", |(_, before)| before);
    let mut script = format!("{SHELL}\n{{ {before}\n}} >before 2>&1 || exit 8\n");
    for (at, step) in steps.iter().enumerate() {
        let is_next = at > 0 && step.section != steps[at - 1].section;
        if is_next {
            // What a section exports is not for the next one.
            script.push_str("unset JITSIPROVS_DB_TYPE JITSIPROVS_DB_PWD JITSIPROVS_DB_APWD\n");
            script.push_str("export JITSIPROVS_DB_PATH=./jitsiprovs.db\n");
        }
        let text = match way(&page.name, &step.typed) {
            Way::Run(text) => {
                counts.run += 1;
                text
            }
            Way::Read(text) => {
                counts.read += 1;
                text
            }
            Way::No => {
                counts.not_run += 1;
                continue;
            }
        };
        script.push_str(&format!("{{ {text}\n}} >out.{at} 2>said.{at} </dev/null\necho $? >code.{at}\n"));
    }
    if FRESH.contains(&&page.name[..]) {
        script.push_str("jitsiprovs check | grep '^error:\\|^warning: \\[unknown' >check\n");
    }
    script.push_str("true\n");
    let mut shell = Command::new("timeout");
    shell.args(["60", "sh", "-c", &script]).current_dir(folder.path()).stdin(Stdio::null());
    shell.env_clear().env("PATH", std::env::var_os("PATH").expect("a path")).env("JITSIPROVS_CONFIG", "");
    let output = run_command(shell);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said =
            format!("{}: {}: {said}{}{}", page.name, output.status, read("before"), read("server.log"));
        return (vec![said], counts);
    }
    let mut wrong: Vec<String> = Some(read("check")).filter(|found| !found.is_empty()).into_iter().collect();
    for (at, step) in
        steps.iter().enumerate().filter(|(_, step)| !matches!(way(&page.name, &step.typed), Way::No))
    {
        let code = read(&format!("code.{at}"));
        let [printed, said] =
            ["out", "said"].map(|file| as_shown(&read(&format!("{file}.{at}")), folder.path()));
        let place = format!("{}:{}: {}", page.name, step.line, step.typed);
        // These also end with 1 if they have found something.
        let finds = ["check", "status", "diff"].iter().any(|name| step.typed.contains(name));
        let is_finding = finds && code.trim() == "1" && !said.contains("error: ");
        if code.trim() != "0" && !is_finding {
            wrong.push(format!("{place}\nended with {code}{said}"));
        }
        if let Some(shown) = &step.printed {
            counts.compared += 1;
            // A page shows what is printed, and notes too if it shows one of them.
            let all = format!("{said}{printed}");
            if ![&printed, &all].iter().any(|text| shows(shown, &text.lines().collect::<Vec<_>>())) {
                wrong.push(format!("{place}\nprints\n{all}and not\n{}", shown.join("\n")));
            }
        }
    }
    (wrong, counts)
}

/// The output with the names that the manual uses for this machine.
fn as_shown(printed: &str, folder: &Path) -> String {
    let user = Command::new("id").arg("-un").output().expect("id").stdout;
    let user = String::from_utf8(user).expect("UTF-8");
    let admin = std::fs::read_to_string(folder.join("admin")).unwrap_or_default();
    let mut printed = printed.replace(folder.to_str().expect("UTF-8"), "");
    if let Some(admin) = admin.trim().strip_prefix("http://") {
        printed = printed.replace(admin, "10.0.0.11:8090");
    }
    let words = printed.split_inclusive([' ', '\n']);
    words
        .map(
            |word| {
                if word.trim_end() == user.trim() { word.replace(user.trim(), "jane") } else { word.into() }
            },
        )
        .collect()
}

#[test]
fn commands_of_the_manual_run_and_print_what_it_shows() {
    let mut counts = Counts::default();
    let (mut wrong, mut sessions) = (Vec::new(), Vec::new());
    let mut unused: Vec<&(&str, &str, &str)> = NOT_RUN.iter().collect();
    for page in Page::manual() {
        let blocks = page.blocks();
        for block in blocks.iter().filter(|block| !is_session(block)) {
            let is_command = |line: &&String| line.starts_with("jitsiprovs ") || line.starts_with("$ ");
            if let Some(line) = block.lines.iter().find(is_command) {
                wrong.push(format!("{}:{}: a session begins with a command: {line}", page.name, block.line));
            }
        }
        let steps: Vec<Step> = blocks.iter().filter(|block| is_session(block)).flat_map(steps).collect();
        unused.retain(|(of, start, _)| {
            *of != page.name || !steps.iter().any(|step| step.typed.starts_with(start))
        });
        if !steps.is_empty() {
            let is_fresh = FRESH.contains(&&page.name[..]);
            let mut steps = steps.into_iter().peekable();
            while let Some(first) = steps.next() {
                let section = first.section.clone();
                let mut session = vec![first];
                while let Some(step) = steps.next_if(|step| !is_fresh || step.section == section) {
                    session.push(step);
                }
                sessions.push((page.clone(), session));
            }
        }
    }
    std::thread::scope(|scope| {
        let tries = sessions.iter().map(|(page, steps)| scope.spawn(move || try_page(page, steps)));
        for (said, more) in tries.collect::<Vec<_>>().into_iter().map(|page| page.join().expect("a page")) {
            wrong.extend(said);
            counts.add(&more);
        }
    });
    let Counts { run, read, not_run, compared } = counts;
    println!("{run} commands run, the output of {compared} compared; {read} read; {not_run} not run");
    wrong.extend(unused.iter().map(|entry| format!("NOT_RUN is not needed: {entry:?}")));
    assert!(wrong.is_empty() && run > 50, "{} are wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}
