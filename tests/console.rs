//! The console: sign-in, sessions, roles, and what keeps other pages and other tenants out.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::tls::Authority;
use support::browser::{Browser, PASSWORD, add_operator, add_operators, between, console};
use support::client::{Reply, encode, exchange, form_request, request};
use support::database::Kind;
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::{md5_hex, texts, wait_for};

support::on_each_server!(pages_have_no_forms_if_the_account_may_only_read,);

fn tables() -> SqliteFile {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").user("b.org", "bob", "pw");
    file.rule(Some("b.org"), "bob", 1, "of-b", "of-b").rule(None, "default", 1, "k", "v");
    file.execute(
        "INSERT INTO user_attribute (domain, username, name, value) VALUES ('b.org', 'bob', 'of-b', 'of-b')",
    );
    file
}

fn lock_out(server: &Server, username: &str) {
    for attempt in 0..12 {
        let password = format!("wrong {attempt}");
        exchange(server.address, &form_request(&[("username", username), ("password", &password)]));
    }
}

/// The status of the answer to a client with the right password.
fn sign_in(server: &Server, username: &str) -> u16 {
    exchange(server.address, &form_request(&[("username", username), ("password", "pw")])).status
}

/// A page or a form: the pattern in the router, an address of the tenant `b.org`, and the role that
/// its form needs; empty if it has no form.
struct Route(&'static str, &'static str, &'static str);

const ROUTES: [Route; 15] = [
    Route("[]", "/console", ""),
    Route("[\"loss\"]", "/console/loss", "edit"),
    Route("[\"locks\"]", "/console/locks", "help"),
    Route("[\"fetches\"]", "/console/fetches?domain=b.org", ""),
    Route("[\"history\"]", "/console/history", ""),
    Route("[\"history\", id]", "/console/history/1", ""),
    Route("[\"history\", id, \"undo\"]", "/console/history/1/undo", "edit"),
    Route("[\"users\"]", "/console/users?id=2", ""),
    Route("[\"users\", domain, username]", "/console/users/b.org/bob", ""),
    Route("[\"users\", domain, username, action]", "/console/users/b.org/bob/unlock", "help"),
    Route("[\"rules\"]", "/console/rules?domain=b.org", ""),
    Route("[\"rules\", what]", "/console/rules/save", "edit"),
    Route("[\"tenants\"]", "/console/tenants", ""),
    Route("[\"tenants\", domain]", "/console/tenants/b.org", ""),
    Route("[\"check\"]", "/console/check", ""),
];

#[test]
fn the_table_of_routes_is_that_of_the_router() {
    let source = include_str!("../src/serve/http/console.rs");
    let router = source.split_once("async fn route(").expect("the router").1;
    let router = router.split_once("_ => Err").expect("its end").0;
    let patterns =
        router.lines().filter_map(|line| line.trim().split_once(" => ")).map(|(pattern, _)| pattern);
    let patterns: Vec<&str> = patterns.filter(|pattern| pattern.starts_with('[')).collect();
    assert_eq!(patterns, ROUTES.map(|Route(pattern, ..)| pattern));
}

#[test]
fn without_a_session_there_is_only_the_sign_in() {
    let file = tables();
    let server = console(&file.path, &[]);
    let mut browser = Browser::open(&server);
    for Route(_, path, _) in ROUTES {
        let reply = browser.get(path);
        let location = reply.header("location").expect("a location").to_owned();
        assert!(reply.status == 303 && location.starts_with("/console/sign-in"), "{path} {location}");
        assert_eq!(browser.post(path, &[]).status, 401, "{path}");
    }
    let reply = browser.get("/console/sign-in?to=%2Fconsole%2Flocks");
    assert!(reply.text().contains("value=\"/console/locks\""), "{}", reply.text());
    for (name, password, to, status, location) in [
        ("edit", "wrong", "/console/locks", 401, None),
        ("nobody", PASSWORD, "", 401, None),
        ("edit", PASSWORD, "/console/locks", 303, Some("/console/locks")),
        ("edit", PASSWORD, "//evil.org/", 303, Some("/console")),
    ] {
        let reply = browser.post("/console/sign-in", &[("name", name), ("password", password), ("to", to)]);
        assert_eq!((reply.status, reply.header("location")), (status, location), "{name} {password}");
    }
    let log = server.log().join("\n");
    assert!(log.contains("signed in") && log.contains("wrong name or password"), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("argon2id$"), "{log}");
}

#[test]
fn without_the_file_there_is_no_console() {
    let file = tables();
    let server = Server::on_sqlite(&file.path, &["--admin-port", "0"]);
    assert_eq!(Browser::open(&server).get("/console").status, 404);
    assert_eq!(Browser::open(&server).get("/console/sign-in").status, 404);
}

#[test]
fn answers_are_not_kept_framed_or_mixed_with_other_pages() {
    let file = tables();
    let server = console(&file.path, &[]);
    let mut browser = Browser::sign_in(&server, "edit");
    for path in ["/console", "/console/locks", "/console/none", "/console/style.css", "/console/sign-in"] {
        let reply = browser.get(path);
        let policy = reply.header("content-security-policy").expect("a policy").to_owned();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{path}");
        }
        assert!(reply.header("set-cookie").is_none(), "{path}");
    }
}

#[test]
fn the_cookie_is_new_at_each_sign_in_and_worthless_after_the_end() {
    let file = tables();
    let server = console(&file.path, &[]);
    let mut browser = Browser::open(&server);
    // Somebody else has set a cookie.
    let fixed = "jitsiprovs_console=0123456789abcdef";
    browser.cookie = Some(fixed.into());
    let form = [("name", "edit"), ("password", PASSWORD)];
    let reply = browser.post("/console/sign-in", &form);
    let set = reply.header("set-cookie").expect("a cookie").to_owned();
    for flag in ["HttpOnly", "SameSite=Strict", "Path=/console"] {
        assert!(set.contains(flag), "{set}");
    }
    assert!(!set.contains("Secure") && !set.contains(fixed), "{set}");
    let first = browser.clone();
    browser.post("/console/sign-in", &form);
    assert_ne!(first.cookie, browser.cookie);
    assert_eq!(first.clone().get("/console").status, 303, "the session of before goes on");
    assert_eq!(browser.get("/console").status, 200);
    let mut old = browser.clone();
    assert_eq!(browser.post("/console/sign-out", &[]).status, 303);
    assert_eq!((browser.cookie.clone(), old.get("/console").status), (None, 303));
}

#[test]
fn forms_need_the_token_of_their_own_session() {
    let file = tables();
    let server = console(&file.path, &[]);
    let (one, other) = (Browser::sign_in(&server, "edit"), Browser::sign_in(&server, "help"));
    for token in ["", "wrong", &other.csrf] {
        let mut browser = Browser { csrf: token.to_owned(), ..one.clone() };
        for Route(_, path, _) in ROUTES {
            assert_eq!(browser.post(path, &[("all", "1")]).status, 403, "{path} {token}");
        }
        let mut browser = Browser { csrf: token.to_owned(), ..one.clone() };
        assert_eq!(browser.post("/console/sign-out", &[]).status, 403, "{token}");
    }
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let body = encode(&[("csrf", &one.csrf), ("all", "1")]);
    for origin in ["http://evil.org", "null", "https://127.0.0.1"] {
        let reply = one.clone().ask("POST", "/console/locks", &[kind, ("origin", origin)], body.as_bytes());
        assert_eq!(reply.status, 403, "{origin}");
    }
    let sign_in = encode(&[("name", "edit"), ("password", PASSWORD)]);
    for headers in
        [&[kind][..], &[kind, ("sec-fetch-site", "cross-site")], &[kind, ("origin", "http://evil.org")]]
    {
        let mut browser = Browser::open(&server);
        assert_eq!(browser.ask("POST", "/console/sign-in", headers, sign_in.as_bytes()).status, 403);
    }
    let rebound = request("GET", "/console", &[("cookie", one.cookie.as_deref().expect("a cookie"))], b"");
    let rebound = String::from_utf8(rebound).expect("UTF-8").replacen("host: localhost", "host: evil.org", 1);
    assert_eq!(exchange(server.admin(), rebound.as_bytes()).status, 403);
    assert_eq!(one.clone().post("/console/locks", &[("all", "1")]).status, 303);
}

#[test]
fn roles_and_tenants_limit_what_an_operator_may_do() {
    let file = tables();
    let server = console(&file.path, &[]);
    for (name, rank) in [("view", 0), ("help", 1), ("edit", 2)] {
        let browser = Browser::sign_in(&server, name);
        for Route(_, path, needed) in ROUTES {
            let needed = ["", "help", "edit"].iter().position(|role| *role == needed).expect("a role");
            let status = browser.clone().post(path, &[("user", "bob@b.org")]).status;
            assert!((status == 403) == (rank < needed), "{name} {path}: {status}");
        }
    }
    for action in ["password", "enable", "disable", "attributes"] {
        let path = format!("/console/users/b.org/bob/{action}");
        assert_eq!(Browser::sign_in(&server, "view").post(&path, &[]).status, 403, "{action}");
    }
    lock_out(&server, "alice@a.org");
    lock_out(&server, "bob@b.org");
    let mut limited = Browser::sign_in(&server, "limited");
    let shown = limited.get("/console/locks");
    assert!(shown.text().contains("alice@a.org") && !shown.text().contains("bob"), "{}", shown.text());
    for (path, fields, status) in [
        ("/console/locks", &[("user", "bob@b.org")][..], 404),
        ("/console/locks", &[("user", "bob@B.org ")], 404),
        ("/console/locks", &[("all", "1")], 403),
        ("/console/locks", &[("address", "127.0.0.1")], 403),
        ("/console/loss", &[("do", "confirm"), ("seen", "0,0,0")], 403),
        ("/console/history/1/undo", &[], 404),
        ("/console/locks", &[("user", "alice@a.org")], 303),
    ] {
        assert_eq!(limited.post(path, fields).status, status, "{path} {fields:?}");
    }
    assert_eq!(limited.get("/console/fetches?user=bob@b.org").status, 404);
    let rules = ["/console/rules/60", "/console/rules/preview?id=60"];
    for path in ROUTES.map(|Route(_, path, _)| path).into_iter().chain(rules) {
        let browser = limited.clone();
        for (method, reply) in [("GET", browser.clone().get(path)), ("POST", browser.clone().post(path, &[]))]
        {
            let text = String::from_utf8_lossy(&reply.body);
            let is_shown = text.contains("bob") || text.contains("of-b") || text.contains(">b.org<");
            assert!(!is_shown, "{method} {path}: {text}");
            assert_ne!(reply.status, 500, "{method} {path}");
        }
    }
}

#[test]
fn too_many_wrong_passwords_are_refused_and_the_right_one_too() {
    let file = tables();
    let server = console(&file.path, &["--auth-fail-limit", "3"]);
    let mut browser = Browser::open(&server);
    let mut attempt =
        |password: &str| browser.post("/console/sign-in", &[("name", "view"), ("password", password)]);
    for number in 0..3 {
        assert_eq!(attempt(&number.to_string()).status, 401);
    }
    let reply = attempt(PASSWORD);
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").is_some() && reply.text().contains("try again in"));
    assert_eq!(Browser::sign_in(&server, "help").get("/console").status, 200);
}

#[test]
fn a_user_is_unlocked_on_all_nodes_from_the_page_of_one() {
    let file = tables();
    let other = console(&file.path, &[]);
    let other_url = format!("http://{}", other.admin());
    let silent = "http://127.0.0.1:1";
    let one = console(&file.path, &["--peer", &other_url, "--peer", silent]);
    for node in [&one, &other] {
        lock_out(node, "alice@a.org");
        assert_eq!(sign_in(node, "alice@a.org"), 429);
    }
    let mut browser = Browser::sign_in(&one, "help");
    let page = browser.get("/console/users/a.org/alice");
    assert!(page.text().contains("Only locks of this node are shown"), "{}", page.text());
    let row = between(page.text(), "name=\"row\" value=\"", "\"").expect("a row").to_owned();
    assert_eq!(browser.post("/console/users/a.org/alice/unlock", &[]).status, 303);
    let said = |lifted: &str| format!("on {other_url}: {lifted}; on {silent}: failed (cannot connect");
    let page = browser.get("/console/users/a.org/alice");
    let unlocked = format!("Locks lifted on this node: 1; {}", said("1"));
    assert!(page.text().contains(&unlocked), "{}", page.text());
    for node in [&one, &other] {
        assert_eq!(sign_in(node, "alice@a.org"), 200);
    }
    let page = browser.post("/console/users/a.org/alice/password", &[("row", &row), ("password", "new")]);
    assert!(page.text().contains(&said("0")), "{}", page.text());

    // Without other nodes, there is nothing to tell apart.
    lock_out(&other, "bob@b.org");
    let mut browser = Browser::sign_in(&other, "help");
    for said in ["The user is unlocked<", "The user was not locked<"] {
        assert_eq!(browser.post("/console/users/b.org/bob/unlock", &[]).status, 303);
        let page = browser.get("/console/users/b.org/bob");
        assert!(page.text().contains(said) && !page.text().contains("this node"), "{}", page.text());
    }
}

/// The sentence of pages whose rows cannot be changed.
const READ_ONLY: &str = "may only read this table";

/// What pages of users and rules offer to operators who may edit.
const FORMS: [(&str, &str); 6] = [
    ("/console/users/a.org/alice", "/alice/password\""),
    ("/console/users/a.org/alice", "/alice/disable\""),
    ("/console/users/a.org/alice", "/alice/attributes\""),
    ("/console/rules", "/console/rules/new"),
    ("/console/rules/new", "/console/rules/preview"),
    ("/console/rules/60", "/console/rules/preview"),
];

/// Whether pages have these forms, and otherwise say why not.
fn has_forms(browser: &mut Browser, are_there: impl Fn(&str) -> bool) {
    for (path, form) in FORMS {
        let (page, is_there) = (browser.get(path), are_there(form));
        assert_eq!(page.text().contains(form), is_there, "{path} {form}: {}", page.text());
        assert!(is_there || page.text().contains(READ_ONLY), "{path}: {}", page.text());
    }
}

fn pages_have_no_forms_if_the_account_may_only_read(kind: Kind) {
    let database = kind.database();
    assert!(run(&[&["--setup"], &texts(&database.all())[..]].concat()).status.success());
    database.script(&format!(
        "DELETE FROM jitsi_property;
         INSERT INTO user_auth (username, domain, password) VALUES ('alice', 'a.org', '{}');
         INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'alice', 'x', 'y');
         INSERT INTO jitsi_property (id, subject, spriority, ppriority, property_key, property_value)
             VALUES (60, 'default', 1, 1, 'k', 'v')",
        md5_hex("pw")
    ));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("operators");
    add_operators(&file);
    let own = ["--admin-port", "0", "--console-users", file.to_str().expect("UTF-8")];
    let server = Server::start(&[&texts(&database.read())[..], &own].concat());
    let mut browser = Browser::sign_in(&server, "edit");
    has_forms(&mut browser, |_| false);
    assert!(browser.get("/console/users/a.org/alice").text().contains("/alice/unlock\""));
    let page = browser.get("/console/rules").text().to_owned();
    assert!(page.contains("/console/rules/60"), "{page}");
    let mut other = Browser::sign_in(&server, "view");
    let page = other.get("/console/rules");
    assert!(!page.text().contains(READ_ONLY), "{}", page.text());

    let rule = [("domain", "a.org"), ("subject", "alice"), ("key", "new"), ("value", "1")];
    let reply = browser.post("/console/rules/save", &rule);
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("grant that right to"), "{}", reply.text());
    // After an edit that was refused, the database is asked again.
    database.let_write("jitsi_property");
    has_forms(&mut browser, |form| form.contains("rules"));
    assert_eq!(browser.post("/console/rules/save", &rule).status, 303);
    let id = database.script("SELECT id FROM jitsi_property WHERE property_key = 'new'");
    assert!(browser.get(&format!("/console/rules/{}", id.trim())).text().contains("value=\"new\""));
    let changes = "SELECT count(*) FROM jitsiprovs_change WHERE changed_table = 'user_auth'";
    assert_eq!(database.script(changes).trim(), "1", "asking has changed something");
}

#[test]
fn a_page_says_that_an_edit_is_not_served_yet() {
    let database = Kind::MariaDb.database();
    assert!(run(&[&["--setup"], &texts(&database.all())[..]].concat()).status.success());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("operators");
    add_operators(&file);
    let own = ["--admin-port", "0", "--console-users", file.to_str().expect("UTF-8")];
    let never = ["--poll-interval", "0", "--reload-interval", "0"];
    let server = Server::start(&[&texts(&database.all())[..], &own, &never].concat());
    let mut browser = Browser::sign_in(&server, "edit");
    let rule = [("domain", "a.org"), ("subject", "alice"), ("key", "new"), ("value", "1")];
    assert_eq!(browser.post("/console/rules/save", &rule).status, 303);
    let page = browser.get("/console/rules");
    assert!(page.text().contains("The rule is stored; it is not served yet"), "{}", page.text());
    assert!(!browser.get("/console/rules").text().contains("not served yet"));
}

#[test]
fn pages_have_no_forms_if_the_file_may_only_be_read() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let file = tables();
    file.user("a.org", "root", "pw");
    let path = file.path.to_str().expect("UTF-8");
    assert!(run(&["user", "disable", "bob@b.org", "--db-path", path]).status.success());
    let edit = file.ask("SELECT max(id) || '' FROM jitsiprovs_history");
    // In write-ahead mode, a file cannot even be read where the log cannot be created.
    file.ask("PRAGMA journal_mode = DELETE");
    let operators = file.path.with_extension("operators");
    add_operators(&operators);
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours")
    };
    mode(&file.path, 0o444);
    let mut more: &[&str] = &[];
    if operators.metadata().expect("a file").uid() == 0 {
        // Root writes every file.
        mode(file.folder.path(), 0o755);
        chown(&operators, Some(65534), Some(65534)).expect("given away");
        more = &["--user", "65534", "--group", "65534"];
    }
    let server = console(&file.path, more);
    let mut browser = Browser::sign_in(&server, "edit");
    has_forms(&mut browser, |_| false);
    let page = browser.get(&format!("/console/history/{edit}"));
    assert!(page.text().contains(READ_ONLY) && !page.text().contains("/undo"), "{}", page.text());
    let rule = [("domain", "a.org"), ("subject", "alice"), ("key", "new"), ("value", "1")];
    let reply = browser.post("/console/rules/save", &rule);
    assert!(reply.status == 503 && reply.text().contains("readonly database"), "{}", reply.text());
    assert_eq!(sign_in(&server, "alice@a.org"), 200);
}

#[test]
fn a_session_ends_when_the_file_changes_and_a_broken_file_changes_nothing() {
    let file = tables();
    let server = console(&file.path, &[]);
    let operators = file.path.with_extension("operators");
    let path = operators.to_str().expect("UTF-8");
    let (mut view, mut help) = (Browser::sign_in(&server, "view"), Browser::sign_in(&server, "help"));
    let good = std::fs::read_to_string(&operators).expect("readable");
    std::fs::write(&operators, format!("{good}broken\n")).expect("written");
    server.wait_for_log("signed in");
    wait_for("the mistake in the log", || {
        assert_eq!(view.get("/console").status, 200);
        server.log().iter().any(|line| line.contains("line 5: write name:hash:role")).then_some(())
    });
    std::fs::write(&operators, good).expect("written");
    assert!(run(&["operator", "remove", "view", "--console-users", path]).status.success());
    wait_for("the end of the session", || {
        std::thread::sleep(Duration::from_millis(100));
        (view.get("/console").status == 303).then_some(())
    });
    assert_eq!(help.get("/console").status, 200);
    let listed = run(&["operator", "list", "--console-users", path]);
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    assert!(!listed.contains("view") && listed.contains("limited") && !listed.contains("argon2"), "{listed}");
    add_operator(&operators, "view", "view", &[]);
    assert_eq!(Browser::sign_in(&server, "view").get("/console").status, 200);
}

/// What would be a part of the page if it were not escaped.
const PAYLOADS: [&str; 8] = [
    "<script>xss()</script>",
    "\"><img src=x onerror=xss()>",
    "' onmouseover='xss()",
    "\" autofocus onfocus=\"xss()",
    "</title></textarea></table><svg onload=xss()>",
    "javascript:xss()",
    "{csrf}{page.title | unescaped}<b>",
    "&lt;iframe srcdoc=xss><!--",
];

/// Names of tags and of attributes, and the addresses of links, of a text in HTML.
fn parsed(html: &str) -> (BTreeSet<String>, BTreeSet<String>, BTreeSet<String>) {
    let (mut tags, mut attributes, mut links) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for part in html.split('<').skip(1) {
        let name: String = part.chars().take_while(|c| !c.is_whitespace() && *c != '>').collect();
        let mut rest = &part[name.len()..];
        tags.insert(name.trim_start_matches('/').trim_end_matches('/').to_ascii_lowercase());
        while let Some(begin) =
            rest.find(|c: char| !c.is_whitespace() && c != '/').filter(|at| !rest[*at..].starts_with('>'))
        {
            rest = &rest[begin..];
            let name: String =
                rest.chars().take_while(|c| !c.is_whitespace() && !"=>/".contains(*c)).collect();
            rest = &rest[name.len().max(1)..];
            let mut value = "";
            if let Some(after) = rest.strip_prefix("=\"") {
                let (inside, after) = after.split_once('"').expect("a value ends");
                (value, rest) = (inside, after);
            }
            if matches!(&*name, "href" | "action" | "src") {
                links.insert(value.replace("&amp;", "&"));
            }
            attributes.insert(name);
        }
    }
    (tags, attributes, links)
}

/// Tags and attributes of the templates.
fn of_templates() -> (BTreeSet<String>, BTreeSet<String>) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/http/console/pages");
    let (mut tags, mut attributes) = (BTreeSet::new(), BTreeSet::new());
    for file in std::fs::read_dir(folder).expect("a folder") {
        let mut text = std::fs::read_to_string(file.expect("an entry").path()).expect("readable");
        // Without instructions, which may stand inside of tags.
        while let Some((before, after)) = text.split_once("{{") {
            text = format!("{before} {}", after.split_once("}}").expect("an end").1);
        }
        let (of_tags, of_attributes, _) = parsed(&text);
        tags.extend(of_tags);
        attributes.extend(of_attributes);
    }
    (tags, attributes)
}

/// Puts each payload wherever clients, operators and other tools can put text.
fn plant(file: &SqliteFile, server: &Server) {
    for (at, payload) in PAYLOADS.into_iter().enumerate() {
        let plain = format!("user{at}");
        file.user("x.org", payload, "pw").user(payload, &plain, "pw").user("x.org", &plain, "pw");
        file.rule(Some("x.org"), &plain, 5, payload, payload).rule(Some(payload), payload, 5, "k", payload);
        let insert = "INSERT INTO user_attribute (domain, username, name, value) VALUES (?, ?, ?, ?)";
        for row in
            [("x.org", &*plain, payload, payload), (payload, "", "name", payload), ("", "", payload, "v")]
        {
            file.connection.execute(insert, row).expect("inserts");
        }
    }
    wait_for("the users", || {
        let reply =
            exchange(server.address, &form_request(&[("username", "user7@x.org"), ("password", "pw")]));
        (reply.status == 200).then_some(())
    });
    for (at, payload) in PAYLOADS.into_iter().enumerate() {
        let plain = format!("user{at}@x.org");
        let encoded = format!("{payload}@x.org");
        for (username, password) in [(&plain, "pw"), (&encoded, "wrong"), (&encoded, "pw"), (&plain, payload)]
        {
            let mut pairs = vec![("username", &**username), ("password", password)];
            let names =
                ["uuid", "hwaddr", "osname", "arch", "build", "locale", "hostname", "ipaddr", "resx", "more"];
            pairs.extend(names.map(|name| (name, payload)));
            pairs.push((payload, payload));
            let kind = ("content-type", "application/x-www-form-urlencoded");
            let headers = [kind, ("user-agent", payload)];
            exchange(server.address, &request("POST", "/jitsiprovs/", &headers, encode(&pairs).as_bytes()));
        }
        lock_out(server, &encoded);
    }
}

#[test]
fn no_text_of_others_becomes_a_part_of_a_page() {
    let file = tables();
    let operators = file.path.with_extension("operators");
    for (at, payload) in PAYLOADS.into_iter().enumerate().filter(|(_, payload)| !payload.contains(':')) {
        add_operator(&operators, &format!("{payload}{at}"), "edit", &[]);
    }
    for role in ["view", "help", "edit"] {
        add_operator(&operators, role, role, &[]);
    }
    let server = console(&file.path, &["--poll-interval", "0.1"]);
    plant(&file, &server);
    file.execute("DELETE FROM user_auth WHERE username LIKE '%<%'; DELETE FROM jitsi_property WHERE property_key LIKE '%<%'");
    let mut browser = Browser::sign_in(&server, &format!("{}0", PAYLOADS[0]));
    // Each page has the text, so that there is something to escape.
    server.wait_for_log("a loss is withheld");
    for page in ["", "/fetches", "/locks", "/history", "/rules", "/tenants", "/users?q=user"] {
        let path = format!("/console{page}");
        wait_for(&path, || browser.get(&path).text().contains("&lt;script&gt;xss()").then_some(()));
    }
    let (tags, attributes) = of_templates();
    let check = |reply: &Reply, path: &str| -> BTreeSet<String> {
        let html = String::from_utf8_lossy(&reply.body).into_owned();
        let (of_tags, of_attributes, links) = parsed(html.strip_prefix("<!doctype html>").unwrap_or(&html));
        let foreign: Vec<&String> =
            of_tags.difference(&tags).chain(of_attributes.difference(&attributes)).collect();
        assert!(foreign.is_empty(), "{path}: {foreign:?} in {html}");
        let is_own = |link: &&String| !link.starts_with("/console") && !link.starts_with('#');
        assert!(!links.iter().any(|link| is_own(&link)), "{path}: {links:?}");
        assert!(!html.contains("argon2id$"), "{path}");
        links
    };
    for payload in PAYLOADS {
        let typed = encode(&[
            ("q", payload),
            ("domain", payload),
            ("user", payload),
            ("name", payload),
            ("hours", payload),
            ("to", payload),
        ]);
        for page in
            ["", "/users", "/rules", "/tenants", "/fetches", "/history", "/check", "/locks", "/sign-in"]
        {
            check(&browser.get(&format!("/console{page}?{typed}")), page);
        }
        let reply = Browser::open(&server).post("/console/sign-in", &[("name", payload), ("to", payload)]);
        check(&reply, "sign-in");
        check(&browser.post("/console/locks", &[("user", payload), ("address", payload)]), "locks");
    }
    let (mut seen, mut left) =
        (BTreeSet::new(), vec!["/console".to_owned(), "/console/users?q=x.org".to_owned()]);
    while let Some(path) = left.pop().filter(|_| seen.len() < 150) {
        if seen.insert(path.clone()) {
            left.extend(
                check(&browser.get(&path), &path).into_iter().filter(|link| link.starts_with("/console")),
            );
        }
    }
    let has = |part: &str| seen.iter().any(|path| path.contains(part));
    assert!(has("/users/") && has("/rules/") && has("/tenants/") && seen.len() > 30, "{seen:?}");
}

#[test]
fn an_operator_confirms_or_rejects_a_loss_as_it_was_shown() {
    let file = SqliteFile::empty();
    for number in 0..20 {
        file.user("a.org", &format!("user{number}"), "pw");
    }
    let server = console(&file.path, &["--poll-interval", "0.1"]);
    let mut browser = Browser::sign_in(&server, "edit");
    file.execute("DELETE FROM user_auth WHERE username <> 'user0'");
    server.wait_for_log("a loss is withheld");
    let page = browser.get("/console");
    assert!(page.text().contains("value=\"19,0,0\"") && page.text().contains(">user1<"), "{}", page.text());
    assert_eq!(browser.post("/console/loss", &[("do", "reject"), ("seen", "19,0,0")]).status, 303);
    assert!(browser.get("/console").text().contains("Rejected by edit,"));
    assert_eq!(browser.post("/console/loss", &[("do", "confirm"), ("seen", "18,0,0")]).status, 409);
    assert_eq!(browser.post("/console/loss", &[("do", "confirm"), ("seen", "19,0,0")]).status, 303);
    assert!(browser.get("/console").text().contains("The loss is confirmed"));
    assert!(!browser.get("/console").text().contains("19,0,0"));
    let log = server.log().join("\n");
    assert!(log.contains("the loss is rejected") && log.contains("the loss is confirmed"), "{log}");
}

#[test]
fn the_admin_listener_speaks_https_to_commands_and_to_other_nodes() {
    let file = tables();
    let authority = Authority::new();
    crate::tls::write(file.folder.path(), &authority.pair());
    let in_folder = |name: &str| file.folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let [key, chain, ca, token] = ["key", "chain", "ca", "token"].map(in_folder);
    std::fs::write(&ca, authority.root_pem()).expect("written");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef").expect("written");
    let pair = ["--admin-ssl-keyfile", &*key, "--admin-ssl-certfile", &chain, "--admin-token-file", &token];
    let one = Server::on_sqlite(&file.path, &[&pair[..], &["--admin-port", "0"]].concat());
    let line = one.wait_for_log("for operators https://");
    let url = between(&line, "for operators ", "/metrics").expect("an address").to_owned();
    let asked = |args: &[&str]| {
        let output = run(args);
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    let trusted = ["--admin-token-file", &*token, "--admin-ca", &ca];
    let (is_ok, text) = asked(&[&["status", &*url], &trusted[..]].concat());
    assert!(is_ok, "{text}");
    let (is_ok, text) = asked(&[&["lock", "clear", "--all", &*url], &trusted[..]].concat());
    assert!(is_ok, "{text}");
    let (is_ok, text) = asked(&["status", &url, "--admin-token-file", &token]);
    assert!(!is_ok && text.contains("its certificate is not trusted"), "{text}");
    let (is_ok, _) = asked(&["status", &url.replacen("https", "http", 1), "--admin-token-file", &token]);
    assert!(!is_ok);
    let peers = ["--peer", &*url, "--peer", "http://127.0.0.1:1", "--trusted-proxy", "127.0.0.1"];
    let other = console(&file.path, &[&peers[..], &trusted].concat());
    let mut browser = Browser::sign_in(&other, "edit");
    let page = browser.get("/console");
    let text = page.text();
    assert!(text.contains(&url) && text.contains("no answer") && text.contains("cannot connect"), "{text}");
    assert_eq!(text.matches(">ready<").count(), 2, "{text}");
    assert_eq!(browser.post("/console/locks", &[("all", "1")]).status, 303);
    let said =
        format!("Locks lifted on this node: 0; on {url}: 0; on http://127.0.0.1:1: failed (cannot connect");
    let page = browser.get("/console/locks");
    assert!(page.text().contains(&said), "{}", page.text());
    // Behind a proxy with TLS.
    let origin = format!("https://{}", other.admin());
    let form = encode(&[("name", "edit"), ("password", PASSWORD)]);
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let headers =
        [kind, ("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.1"), ("origin", &*origin)];
    let reply = Browser::open(&other).ask("POST", "/console/sign-in", &headers, form.as_bytes());
    assert!(reply.header("set-cookie").is_some_and(|cookie| cookie.contains("; Secure")), "{reply:?}");
    other.wait_for_log("192.0.2.1");
}
