//! The console in a real browser: what an operator does, with and without scripts, and what
//! axe-core says about each page.

use std::path::{Path, PathBuf};

use support::browser::{PASSWORD, console};
use support::chromium::{Chromium, Look};
use support::client::{exchange, form_request};
use support::server::Server;
use support::sqlite::SqliteFile;
use support::wait_for;

/// The file that `tests/run` fetches.
const AXE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/axe.min.js");
const KEY: &str = "net.java.sip.communicator.plugin.line";

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

fn tables() -> SqliteFile {
    let file = SqliteFile::seeded();
    file.user("example.org", "alice", "forgotten").user("example.org", "bob", "pw");
    for number in 0..6 {
        file.user("gone.org", &format!("user{number}"), "pw");
    }
    file
}

/// What a client gets.
fn fetch(server: &Server, username: &str, password: &str) -> (u16, String) {
    let fields = [("username", username), ("password", password), ("osname", "Linux"), ("uuid", "1-2-3")];
    let reply = exchange(server.address, &form_request(&fields));
    (reply.status, String::from_utf8_lossy(&reply.body).into_owned())
}

fn lock_out(server: &Server, username: &str) {
    for attempt in 0..12 {
        fetch(server, username, &format!("wrong {attempt}"));
    }
    assert_eq!(fetch(server, username, "forgotten").0, 429);
}

/// With this variable, pictures of the pages go to the folder that it names.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("CONSOLE_PICTURES").map(PathBuf::from)
}

async fn sign_in(browser: &Chromium, server: &Server, password: &str) {
    browser.open(&format!("http://{}/console", server.admin())).await;
    browser.fill("Name", "edit").await;
    browser.fill("Password", password).await;
    browser.press("Sign in").await;
}

async fn is_accessible(browser: &Chromium) {
    let found = browser.violations(Path::new(AXE)).await;
    let address = browser.client.current_url().await.expect("an address");
    assert!(found.is_empty(), "{address}: {found:#?}");
}

#[test]
fn an_operator_helps_a_user_and_edits_rules_and_confirms_a_loss() {
    let file = tables();
    let server = console(&file.path, &["--poll-interval", "0.1", "--settle", "0"]);
    assert_eq!(fetch(&server, "bob@example.org", "pw").0, 200);
    lock_out(&server, "alice@example.org");
    block_on(async {
        let browser = Chromium::start(Look::default()).await;
        sign_in(&browser, &server, "not this").await;
        assert!(browser.text().await.contains("The name or the password is wrong"));
        is_accessible(&browser).await;
        sign_in(&browser, &server, PASSWORD).await;
        browser.find("nav a[aria-current]").await;
        is_accessible(&browser).await;
        help_alice(&browser, &server).await;
        add_a_rule_and_undo_it(&browser, &server).await;
        confirm_a_loss(&browser, &server, &file).await;
        for page in ["users?q=alice", "tenants", "fetches", "locks", "history", "check", "rules"] {
            browser.open(&format!("http://{}/console/{page}", server.admin())).await;
            is_accessible(&browser).await;
        }
        browser.press("Sign out").await;
        browser.field("Password").await;
        browser.open(&format!("http://{}/console/users", server.admin())).await;
        browser.field("Password").await;
        browser.close().await;
    });
}

async fn help_alice(browser: &Chromium, server: &Server) {
    browser.follow("Users").await;
    browser.fill("Search for users", "ali").await;
    browser.press("Search").await;
    browser.follow("alice").await;
    let page = browser.text().await;
    assert!(page.contains("Locked"), "{page}");
    is_accessible(browser).await;
    browser.fill("New password", "remembered").await;
    browser.press("Reset the password").await;
    browser.follow("alice@example.org").await;
    browser.press("Unlock").await;
    browser.find(".notice").await;
    let answer = wait_for("alice to sign in", || {
        let (status, answer) = fetch(server, "alice@example.org", "remembered");
        (status == 200).then_some(answer)
    });
    assert!(answer.contains("acc"), "{answer}");
}

async fn add_a_rule_and_undo_it(browser: &Chromium, server: &Server) {
    browser.follow("Rules").await;
    browser.follow("Add a rule").await;
    browser.fill("Tenant", "example.org").await;
    browser.fill("Subject", "bob").await;
    browser.fill("Key", KEY).await;
    browser.fill("Value", "line of ${username}").await;
    is_accessible(browser).await;
    browser.press("Preview").await;
    let page = browser.text().await;
    assert!(page.contains("bob@example.org") && page.contains("line of bob"), "{page}");
    is_accessible(browser).await;
    assert!(!fetch(server, "bob@example.org", "pw").1.contains(KEY));
    browser.press("Save").await;
    browser.find(".notice").await;
    wait_for("the rule", || fetch(server, "bob@example.org", "pw").1.contains("line of bob").then_some(()));
    browser.follow("History").await;
    browser.find("main tbody tr:first-child a").await.click().await.expect("the latest edit");
    is_accessible(browser).await;
    browser.press("Undo this edit").await;
    browser.find(".notice").await;
    wait_for("no rule", || (!fetch(server, "bob@example.org", "pw").1.contains(KEY)).then_some(()));
}

async fn confirm_a_loss(browser: &Chromium, server: &Server, file: &SqliteFile) {
    file.execute("DELETE FROM user_auth WHERE domain = 'gone.org' AND username <> 'user0'");
    server.wait_for_log("a loss is withheld");
    assert_eq!(fetch(server, "user1@gone.org", "pw").0, 200);
    browser.follow("Overview").await;
    let page = browser.text().await;
    assert!(page.contains("gone.org") && page.contains("user1"), "{page}");
    is_accessible(browser).await;
    browser.press("Confirm the loss").await;
    browser.find(".notice").await;
    wait_for("the loss", || (fetch(server, "user1@gone.org", "pw").0 == 401).then_some(()));
}

#[test]
fn pages_are_read_without_scripts_in_the_dark_and_on_a_narrow_screen() {
    let file = tables();
    let server = console(&file.path, &[]);
    assert_eq!(fetch(&server, "bob@example.org", "pw").0, 200);
    let pages =
        [("overview", ""), ("user", "/users/example.org/bob"), ("rules", "/rules"), ("check", "/check")];
    block_on(async {
        let plain = Chromium::start(Look { has_scripts: false, ..Look::default() }).await;
        sign_in(&plain, &server, PASSWORD).await;
        for (name, path) in pages {
            plain.open(&format!("http://{}/console{path}", server.admin())).await;
            assert!(plain.text().await.contains("Sign out"), "{name}");
        }
        plain.close().await;
        let dark = Chromium::start(Look { is_dark: true, ..Look::default() }).await;
        sign_in(&dark, &server, PASSWORD).await;
        dark.client.set_window_size(360, 800).await.expect("resized");
        for (name, path) in pages {
            dark.open(&format!("http://{}/console{path}", server.admin())).await;
            is_accessible(&dark).await;
            let script = "return [document.documentElement.scrollWidth, window.innerWidth]";
            let widths = dark.client.execute(script, Vec::new()).await.expect("numbers");
            assert!(widths[0].as_u64() <= widths[1].as_u64(), "{name} scrolls sideways: {widths}");
        }
        dark.close().await;
        if let Some(folder) = pictures() {
            for (look, is_dark, width) in
                [("light", false, 1100), ("dark", true, 1100), ("narrow", false, 500)]
            {
                let browser = Chromium::start(Look { is_dark, ..Look::default() }).await;
                sign_in(&browser, &server, PASSWORD).await;
                for (name, path) in pages {
                    browser.open(&format!("http://{}/console{path}", server.admin())).await;
                    browser.picture(width, &folder.join(format!("{name}-{look}.png"))).await;
                }
                browser.close().await;
            }
        }
    });
}
