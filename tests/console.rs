//! The console: sign-in, sessions, roles, and what keeps other pages and other tenants out.

use std::time::Duration;

use support::browser::{Browser, PASSWORD, add_operator, console};
use support::client::{encode, exchange, form_request, request};
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::wait_for;

fn tables() -> SqliteFile {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").user("b.org", "bob", "pw").rule(None, "default", 1, "k", "v");
    file
}

fn lock_out(server: &Server, username: &str) {
    for attempt in 0..12 {
        let password = format!("wrong {attempt}");
        exchange(server.address, &form_request(&[("username", username), ("password", &password)]));
    }
}

/// Every page and every form, and the role that a form needs.
const ROUTES: [(&str, &str); 21] = [
    ("/console", ""),
    ("/console/locks", "help"),
    ("/console/loss", "edit"),
    ("/console/fetches", ""),
    ("/console/history", ""),
    ("/console/history/1/undo", "edit"),
    ("/console/users", ""),
    ("/console/users/a.org/alice", ""),
    ("/console/users/a.org/alice/unlock", "help"),
    ("/console/users/a.org/alice/password", "help"),
    ("/console/users/a.org/alice/disable", "help"),
    ("/console/users/a.org/alice/enable", "help"),
    ("/console/users/a.org/alice/attributes", "edit"),
    ("/console/rules", ""),
    ("/console/rules/60", ""),
    ("/console/rules/new", "edit"),
    ("/console/rules/preview", "edit"),
    ("/console/rules/save", "edit"),
    ("/console/tenants", ""),
    ("/console/tenants/a.org", ""),
    ("/console/check", ""),
];

#[test]
fn without_a_session_there_is_only_the_sign_in() {
    let file = tables();
    let server = console(&file.path, &[]);
    let mut browser = Browser::open(&server);
    for (path, _) in ROUTES {
        let reply = browser.get(path);
        assert_eq!(reply.status, 303, "{path}");
        let wanted = encode(&[("to", path)]);
        let location = reply.header("location").expect("a location").to_owned();
        let sign_in = if path == "/console" { "/console/sign-in".to_owned() } else { location.clone() };
        assert!(location == sign_in && location.starts_with("/console/sign-in"), "{location} {wanted}");
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
        for (path, _) in ROUTES {
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
        for (path, needed) in ROUTES {
            let needed = ["", "help", "edit"].iter().position(|role| *role == needed).expect("a role");
            let status = Browser::sign_in(&server, name).post(path, &[("user", "alice@a.org")]).status;
            assert!((status == 403) == (rank < needed), "{name} {path}: {status}");
        }
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
    assert_eq!(limited.get("/console/fetches?domain=b.org").status, 404);
    assert_eq!(limited.get("/console/fetches?user=bob@b.org").status, 404);
    assert_eq!(limited.get("/console/fetches").status, 200);
    for path in ["/console/users/b.org/bob", "/console/users/B.org%20/bob", "/console/tenants/b.org"] {
        assert_eq!(limited.get(path).status, 404, "{path}");
    }
    for action in ["unlock", "password", "disable", "enable", "attributes"] {
        let path = format!("/console/users/b.org/bob/{action}");
        assert_eq!(
            limited.post(&path, &[("name", "x"), ("value", "y"), ("do", "set")]).status,
            404,
            "{path}"
        );
    }
    let found = limited.get("/console/users?q=b");
    assert!(!found.text().contains("b.org"), "{}", found.text());
}

/// Texts that would become tags, attributes or scripts if a page took them for HTML.
const PAYLOADS: [&str; 8] = [
    "<script>x1()</script>",
    "\"><img src=x onerror=x2()>",
    "' onmouseover='x3()",
    "</textarea><svg onload=x4()>",
    "</title><script>x5()</script>",
    "javascript:x6()",
    "{t.layout.product}{{ if x7 }}<b>",
    "&lt;script&gt;x8()&lt;/script&gt;<!--",
];

#[test]
fn no_stored_text_becomes_a_part_of_a_page() {
    let file = tables();
    let quoted = |text: &str| text.replace('\'', "''");
    for (number, text) in PAYLOADS.into_iter().enumerate() {
        let user = format!("u{number}{text}");
        file.user("a.org", &user, "pw").user(&format!("d{number}{text}"), "eve", "pw");
        file.execute(&format!(
            "INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'alice', 'n{number}', '{0}');
             INSERT INTO user_attribute (domain, username, name, value) VALUES ('a.org', 'alice', '{0}', 'v');
             INSERT INTO jitsi_property (domain, subject, spriority, ppriority, property_key, property_value)
             VALUES ('a.org', 'alice', 1, 1, 'k{number}.{0}', '{0}'), ('a.org', '{0}', 1, 1, 'k', 'v'),
                    ('{0}', 'default', 1, 1, 'k', 'v')",
            quoted(text)
        ));
    }
    let server = console(&file.path, &[]);
    for text in PAYLOADS {
        let fields =
            [("username", "alice@a.org"), ("password", "pw"), ("osname", text), ("uuid", text), ("x", text)];
        let body = encode(&fields);
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("user-agent", text)];
        let reply = exchange(server.address, &request("POST", "/jitsiprovs/", &headers, body.as_bytes()));
        assert_eq!(reply.status, 200);
        exchange(
            server.address,
            &form_request(&[("username", text), ("password", text), ("hostname", text)]),
        );
        lock_out(&server, text);
    }
    let mut browser = Browser::sign_in(&server, "edit");
    let mut pages = vec![
        "/console".to_owned(),
        "/console/locks".into(),
        "/console/fetches".into(),
        "/console/history".into(),
        "/console/users/a.org/alice".into(),
        "/console/tenants".into(),
        "/console/tenants/a.org".into(),
        "/console/rules".into(),
        "/console/check".into(),
    ];
    pages.extend((60..90).map(|id| format!("/console/rules/{id}")));
    pages.extend((1..40).map(|id| format!("/console/history/{id}")));
    for text in PAYLOADS {
        for path in
            ["/console/users?q", "/console/rules?key", "/console/history?name", "/console/fetches?user"]
        {
            pages.push(format!("{path}={}", &encode(&[("", text)])[1..]));
        }
        pages.push(format!("/console/sign-in?{}", encode(&[("to", text)])));
        pages.push(format!("/console/users/a.org/{}", &encode(&[("", text)])[1..]));
    }
    let mut seen = 0;
    for path in pages {
        let reply = browser.get(&path);
        let html = String::from_utf8_lossy(&reply.body).into_owned();
        seen += html.matches("x1()").count();
        is_plain(&path, &html);
    }
    let form = [("domain", "a.org"), ("subject", "alice"), ("key", PAYLOADS[1]), ("value", PAYLOADS[3])];
    is_plain("preview", browser.post("/console/rules/preview", &form).text());
    let reply = Browser::open(&server).post("/console/sign-in", &[("name", PAYLOADS[1]), ("password", "x")]);
    is_plain("sign-in", reply.text());
    assert!(seen > 10, "the pages show the texts: {seen}");
}

/// Checks that each tag of a page is one that the templates have, with attributes that they have.
fn is_plain(path: &str, html: &str) {
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().expect("a tag");
        let name: String = tag.chars().take_while(|&char| !char.is_whitespace()).collect();
        assert!(
            !["script", "img", "svg", "b", "!--"].contains(&&*name) || tag.contains("role=\"img\""),
            "{path}: <{tag}>"
        );
        // Outside of quotes there are only names of attributes.
        let outside: String = tag.split('"').step_by(2).collect();
        assert!(!outside.contains("on") || !outside.contains('('), "{path}: <{tag}>");
        assert!(!outside.contains('\''), "{path}: <{tag}>");
        assert!(!tag.contains("href=\"javascript:"), "{path}: <{tag}>");
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
