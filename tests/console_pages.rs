//! The console's pages of users, rules, tenants and check, on the real server.

use std::net::SocketAddr;

use jitsiprovs::core::credential::{Owner, Storage, hash};
use support::client::{Reply, encode, exchange, post, request};
use support::server::Server;
use support::sqlite::SqliteFile;
use support::wait_for;

/// Text that is in a stored password, a secret attribute and a secret rule, and on no page.
const CANARY: &str = "kanarienvogel";

/// A signed-in operator.
struct Browser {
    admin: SocketAddr,
    cookie: String,
    csrf: String,
}

impl Browser {
    fn sign_in(server: &Server, name: &str) -> Browser {
        let admin = server.admin();
        let form = encode(&[("name", name), ("password", "pw of the operator")]);
        let kind = ("content-type", "application/x-www-form-urlencoded");
        let site = ("sec-fetch-site", "same-origin");
        let headers = [kind, site];
        let reply = exchange(admin, &request("POST", "/console/sign-in", &headers, form.as_bytes()));
        assert_eq!(reply.status, 303, "{reply:?}");
        let cookie = reply.header("set-cookie").and_then(|cookie| cookie.split(';').next());
        let mut browser = Browser { admin, cookie: cookie.expect("a cookie").into(), csrf: String::new() };
        browser.csrf = field(&browser.get("/console/users"), "csrf", 0);
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        let headers = [("cookie", &*self.cookie), kind];
        let headers = if method == "POST" { &headers[..] } else { &headers[..1] };
        let reply = exchange(self.admin, &request(method, path, headers, body.as_bytes()));
        let text = String::from_utf8_lossy(&reply.body);
        assert!(!text.contains(CANARY), "{path} shows a secret");
        reply
    }

    fn get(&self, path: &str) -> String {
        let reply = self.ask("GET", path, "");
        assert_eq!(reply.status, 200, "{path}: {:?}", String::from_utf8_lossy(&reply.body));
        String::from_utf8(reply.body).expect("UTF-8")
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let csrf = ("csrf", &*self.csrf);
        self.ask("POST", path, &encode(&[&[csrf], fields].concat()))
    }

    fn sent(&self, path: &str, fields: &[(&str, &str)], status: u16) -> String {
        let reply = self.post(path, fields);
        let text = String::from_utf8(reply.body).expect("UTF-8");
        assert_eq!(reply.status, status, "{path}: {text}");
        text
    }
}

/// The value of the field of this name, of the form that comes at this place on the page.
fn field(page: &str, name: &str, at: usize) -> String {
    let begin = format!("name=\"{name}\" value=\"");
    let value = page.split(&begin).nth(at + 1).unwrap_or_else(|| panic!("no field {name} in {page}"));
    value.split('"').next().expect("a value").to_owned()
}

/// A server with two tenants, and operators of all kinds.
fn server(args: &[&str]) -> (SqliteFile, Server) {
    let file = SqliteFile::empty();
    file.user("a.org", "Alice", "pw").user("a.org", "bob", CANARY).user("b.org", "bob", "pw");
    file.rule(None, "default", 10, "all", "${osname:-none}");
    file.rule(Some("a.org"), "alice", 5, "own", "${user.extension}");
    file.rule(Some("a.org"), "osname=Linux", 5, "all", "penguin");
    file.rule(Some("b.org"), "default", 5, "x.PASSWORD", CANARY);
    file.rule(Some("b.org"), "default", 5, "bad.$.key", "v");
    for (name, value) in [("extension", "1742"), ("sip_password", CANARY)] {
        file.execute(&format!(
            "INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'alice', '{name}', '{value}')"
        ));
    }
    let owner = Owner { username: "", realm: "" };
    let hash = hash(Storage::Argon2id, "pw of the operator", owner).expect("storable");
    let accounts = file.path.with_extension("operators");
    let lines = format!("ed:{hash}:edit\nhelp:{hash}:help\nview:{hash}:view\nann:{hash}:edit:a.org\n");
    std::fs::write(&accounts, lines).expect("writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&accounts, mode).expect("ours");
    let own = ["--admin-port", "0", "--console-users", accounts.to_str().expect("UTF-8")];
    let server = Server::on_sqlite(&file.path, &[&own, args].concat());
    (file, server)
}

fn fetch(server: &Server, user: &str, password: &str) -> Reply {
    post(server.address, &[("username", user), ("password", password), ("osname", "Linux")])
}

#[test]
fn console_pages_find_users_and_explain_their_answers() {
    let (_file, server) = server(&[]);
    let browser = Browser::sign_in(&server, "view");
    let found = browser.get("/console/users?q=ALI+a.org");
    assert!(found.contains("/console/users/a.org/Alice") && !found.contains("b.org"), "{found}");
    assert!(browser.get("/console/users?q=1742").contains("extension=1742"));
    assert!(!browser.get(&format!("/console/users?q={}", &CANARY[..5])).contains("/console/users/a.org"));
    assert!(!browser.get("/console/users?q=127.0.").contains("/console/users/a.org"));
    assert_eq!(fetch(&server, "alice@a.org", "pw").status, 200);
    assert!(browser.get("/console/users?q=127.0.").contains("/console/users/a.org/alice"));
    assert!(!browser.get("/console/users?q=127.1.").contains("/console/users/a.org"));
    let page = browser.get("/console/fetches?address=127.");
    assert!(page.contains("/console/users/a.org/alice"), "{page}");
    assert!(browser.get("/console/fetches?address=10.").contains("No fetches"));
    assert_eq!(browser.ask("GET", "/console/fetches?address=a.org", "").status, 422);
    let page = browser.get("/console/users/a.org/ALICE?typed=1&p_osname=Linux");
    for text in ["1742", "penguin", "lost to rule", "own", "***"] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    assert!(!page.contains("<button>Reset") && !page.contains("name=\"row\""), "{page}");
    assert!(
        browser.get("/console/users/a.org/alice?typed=1&others=client.address%3D10.0.0.1").contains("none")
    );
    assert_eq!(browser.ask("GET", "/console/users/a.org/nobody", "").status, 404);
    assert!(browser.get("/console/tenants").contains("/console/tenants/b.org"));
    assert!(browser.get("/console/tenants/a.org").contains("2 users"));
    assert!(browser.get("/console/rules?domain=b.org").contains("x.PASSWORD"));
    assert!(browser.get("/console/rules?user=alice%40a.org").contains("1 rules"));
    let checked = browser.sent("/console/check", &[], 200);
    assert!(checked.contains("stray-dollar") && checked.contains("unused-attribute"), "{checked}");
    for path in ["/console/users/a.org/alice/password", "/console/users/a.org/alice/disable"] {
        browser.sent(path, &[("row", "")], 403);
    }
    assert_eq!(browser.ask("GET", "/console/rules/new", "").status, 403);
}

#[test]
fn console_pages_show_what_the_latest_check_has_found() {
    let (file, server) = server(&["--poll-interval", "0.1"]);
    let [browser, limited] = ["view", "ann"].map(|name| Browser::sign_in(&server, name));
    let page = browser.get("/console");
    assert!(page.contains("Nobody has checked") && !page.contains("Warnings:"), "{page}");
    let checked = browser.sent("/console/check", &[], 200);
    let count = |severity: &str| -> usize {
        let begin = format!("<span class=\"{severity}\">");
        let of_table =
            |table: &str| table.split_once(": ")?.1.split(['<', ',']).next()?.parse::<usize>().ok();
        checked.split(&begin).skip(1).filter_map(of_table).sum()
    };
    let page = browser.get("/console");
    for (severity, what) in [("error", "Errors"), ("warning", "Warnings"), ("hint", "Hints")] {
        assert!(page.contains(&format!("<li>{what}: {}</li>", count(severity))), "{what} {page} {checked}");
    }
    assert!(count("error") + count("warning") > 0 && page.contains("seconds ago"), "{page}");
    assert!(!page.contains("have changed since"), "{page}");
    let page = limited.get("/console");
    assert!(!page.contains("Findings") && !page.contains("Warnings:"), "{page}");
    // The overview makes no check, and says that the findings are older than what is served.
    file.rule(None, "default", 10, "more", "v");
    let page = wait_for("the new rule", || {
        Some(browser.get("/console")).filter(|page| page.contains("have changed since"))
    });
    assert!(page.contains(&format!("<li>Errors: {}</li>", count("error"))), "{page}");
    assert!(browser.get("/console/check").contains("have changed since"));
}

#[test]
fn console_pages_help_a_user_who_is_locked_out() {
    let (file, server) = server(&[]);
    let browser = Browser::sign_in(&server, "help");
    for number in 0..12 {
        fetch(&server, "alice@a.org", &format!("wrong {number}"));
    }
    assert_eq!(fetch(&server, "alice@a.org", "pw").status, 429);
    let page = browser.get("/console/users/a.org/alice");
    assert!(page.contains("Locked from 127.0.0.1"), "{page}");
    browser.sent("/console/users/a.org/alice/unlock", &[], 303);
    assert_eq!(fetch(&server, "alice@a.org", "pw").status, 200);
    let row = field(&page, "row", 0);
    let reset = browser.sent("/console/users/a.org/alice/password", &[("row", &row), ("password", "")], 200);
    let new = reset.split("<code class=\"password\">").nth(1).and_then(|rest| rest.split('<').next());
    let new = new.expect("the password").to_owned();
    assert_eq!(fetch(&server, "alice@a.org", &new).status, 200);
    browser.sent("/console/users/a.org/alice/password", &[("row", &row), ("password", "x")], 409);
    let page = browser.get("/console/users/a.org/alice");
    assert!(!page.contains(&new));
    browser.sent("/console/users/a.org/alice/disable", &[("row", &field(&page, "row", 0))], 303);
    let page = browser.get("/console/users/a.org/alice");
    assert!(page.contains("switched off"), "{page}");
    assert_eq!(fetch(&server, "alice@a.org", &new).body, b"");
    browser.sent("/console/users/a.org/alice/enable", &[("row", &field(&page, "row", 0))], 303);
    assert_ne!(fetch(&server, "alice@a.org", &new).body, b"");
    assert_eq!(file.ask("SELECT count(*) || '' FROM user_attribute WHERE name = 'disabled'"), "0");
    browser.sent("/console/users/a.org/alice/attributes", &[("row", ""), ("name", "x")], 403);
}

#[test]
fn console_pages_edit_attributes_and_rules_that_are_as_they_were_shown() {
    let (file, server) = server(&[]);
    let browser = Browser::sign_in(&server, "ed");
    let path = "/console/users/a.org/alice/attributes";
    let page = browser.get("/console/users/a.org/alice");
    let at = page.split("name=\"row\"").position(|part| part.contains("value=\"extension\"")).expect("there");
    let (row, id) = (field(&page, "row", at - 1), field(&page, "id", 0));
    let extension = [("row", &*row), ("id", &*id), ("name", "extension"), ("value", "1800"), ("do", "set")];
    browser.sent(path, &extension, 303);
    assert!(fetch(&server, "alice@a.org", "pw").text().contains("own=1800"));
    browser.sent(path, &extension, 409);
    let rule = [("domain", "a.org"), ("subject", "alice"), ("key", "new"), ("value", "<b>1</b>")];
    let preview = browser.sent("/console/rules/preview", &rule, 200);
    for text in ["the user alice", "<strong>1</strong>", "alice@a.org", "&lt;b&gt;1&lt;/b&gt;", "added"] {
        assert!(preview.contains(text), "{text} is not in {preview}");
    }
    assert_eq!(file.ask("SELECT count(*) || '' FROM jitsi_property WHERE property_key = 'new'"), "0");
    browser.sent("/console/rules/save", &rule, 303);
    assert!(fetch(&server, "alice@a.org", "pw").text().contains("new="));
    let id = file.ask("SELECT id || '' FROM jitsi_property WHERE property_key = 'new'");
    let page = browser.get(&format!("/console/rules/{id}"));
    let row = field(&page, "row", 0);
    let changed = [&rule[..3], &[("value", "2"), ("id", &*id), ("row", &*row)]].concat();
    assert!(browser.sent("/console/rules/preview", &changed, 200).contains("changed"));
    file.execute(&format!("UPDATE jitsi_property SET property_value = '3' WHERE id = {id}"));
    browser.sent("/console/rules/save", &changed, 409);
    let row = field(&browser.get(&format!("/console/rules/{id}")), "row", 0);
    let gone = [("id", &*id), ("row", &*row), ("remove", "yes")];
    assert!(browser.sent("/console/rules/preview", &gone, 200).contains("will be removed"));
    browser.sent("/console/rules/save", &gone, 303);
    assert_eq!(file.ask("SELECT count(*) || '' FROM jitsi_property WHERE property_key = 'new'"), "0");
    browser.sent("/console/rules/preview", &[("subject", "alice"), ("key", "a=b"), ("value", "1")], 422);
    browser.sent("/console/rules/preview", &[("subject", ""), ("key", "a"), ("value", "1")], 422);
    let secret = file.ask("SELECT id || '' FROM jitsi_property WHERE property_key = 'x.PASSWORD'");
    let page = browser.get(&format!("/console/rules/{secret}"));
    let row = field(&page, "row", 0);
    let kept =
        [("id", &*secret), ("row", &*row), ("domain", "b.org"), ("subject", "bob"), ("key", "x.PASSWORD")];
    browser.sent("/console/rules/preview", &[&kept[..], &[("value", "")]].concat(), 200);
    browser.sent("/console/rules/save", &[&kept[..], &[("value", "")]].concat(), 303);
    assert_eq!(file.ask(&format!("SELECT property_value FROM jitsi_property WHERE id = {secret}")), CANARY);
}

#[test]
fn console_pages_keep_to_the_tenants_of_an_operator() {
    let (file, server) = server(&[]);
    let browser = Browser::sign_in(&server, "ann");
    assert!(!browser.get("/console/users?q=bob").contains("b.org"));
    assert_eq!(fetch(&server, "bob@b.org", "pw").status, 200);
    assert!(!browser.get("/console/users?q=127.0.").contains("b.org"));
    assert!(!browser.get("/console/tenants").contains("b.org"));
    assert!(!browser.get("/console/rules").contains("PASSWORD"));
    let of_b = file.ask("SELECT id || '' FROM jitsi_property WHERE property_key = 'x.PASSWORD'");
    let paths = ["/console/users/b.org/bob", "/console/users/B.ORG%20/bob", "/console/tenants/b.org"];
    for path in paths.into_iter().chain([&*format!("/console/rules/{of_b}"), "/console/users?id=3"]) {
        assert_eq!(browser.ask("GET", path, "").status, 404, "{path}");
    }
    browser.sent("/console/users/b.org/bob/password", &[("row", ""), ("password", "")], 404);
    let of_all = file.ask("SELECT id || '' FROM jitsi_property WHERE subject = 'default' AND domain IS NULL");
    let page = browser.get(&format!("/console/rules/{of_all}"));
    assert!(page.contains("for all tenants") && !page.contains("/console/rules/preview"), "{page}");
    for domain in ["", "b.org"] {
        let rule = [("domain", domain), ("subject", "default"), ("key", "k"), ("value", "v")];
        browser.sent("/console/rules/preview", &rule, 403);
        browser.sent("/console/rules/save", &rule, 403);
    }
    assert_eq!(browser.post("/console/check", &[]).status, 403);
}

#[test]
fn console_pages_have_no_forms_for_an_own_query() {
    let (_file, server) = server(&["--auth-query", "SELECT username, domain, password, id FROM user_auth"]);
    let browser = Browser::sign_in(&server, "ed");
    let page = browser.get("/console/users/a.org/alice");
    assert!(!page.contains("/password\"") && !page.contains("name=\"row\" value=\"\""), "{page}");
    assert!(page.contains("A query of your own replaces this table"), "{page}");
    assert_eq!(browser.post("/console/users/a.org/alice/password", &[("row", "")]).status, 503);
}
