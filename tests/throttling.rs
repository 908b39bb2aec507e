//! Clients that guess passwords are throttled, and no others; the log and the metrics report it. A
//! test may connect from every address in 127.0.0.0/8.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use support::client::{Connection, Reply, form_request, request};
use support::nginx::Nginx;
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::tables::Tables;
use support::wait_for;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A window that is long enough to forget no failure during a test.
const LONG: [&str; 2] = ["--auth-fail-window", "3600"];

/// Alice, Bob and a hundred other users, all with the password `pw`.
fn server(args: &[&str]) -> (SqliteFile, Server) {
    let file = SqliteFile::empty();
    file.execute("BEGIN");
    file.user("a.org", "alice", "pw").user("a.org", "bob", "pw");
    for number in 0..100 {
        file.user("a.org", &format!("user{number}"), "pw");
    }
    file.execute("COMMIT");
    let server = Server::on_sqlite(&file.path, &[&LONG, args].concat());
    (file, server)
}

/// Connects from 127.0.0.`last`.
fn caller(server: &Server, last: u8) -> Connection {
    Connection::open_from(Ipv4Addr::new(127, 0, 0, last), server.address)
}

fn sign_in(username: &str, password: &str) -> Vec<u8> {
    form_request(&[("username", username), ("domain", "a.org"), ("password", password)])
}

/// Sends this many wrong passwords, all different, and expects a 401 for each.
fn guess(connection: &mut Connection, username: &str, times: usize) {
    for number in 0..times {
        let reply = connection.ask(&sign_in(username, &format!("wrong {number}")));
        assert_eq!(reply.status, 401, "{username}, guess {number}");
    }
}

fn assert_let_in(connection: &mut Connection, username: &str) {
    let reply = connection.ask(&sign_in(username, "pw"));
    assert_eq!(reply.status, 200, "{username}: {reply:?}");
}

/// Checks that even the right password is refused.
fn assert_throttled(connection: &mut Connection, username: &str) {
    is_throttled(&connection.ask(&sign_in(username, "pw")));
}

/// Checks the refusal, and returns the seconds in `Retry-After`.
fn is_throttled(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 429, "{reply:?}");
    let text = reply.text();
    assert!(text.starts_with("# ") && text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
    assert_eq!(reply.header("www-authenticate"), None);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let seconds = reply.header("retry-after").and_then(|seconds| seconds.parse().ok()).expect("seconds");
    assert!(seconds >= 1, "{reply:?}");
    seconds
}

/// The value of a metric, 0 when it has none yet.
fn metric(server: &Server, name: &str) -> u64 {
    let reply = Connection::open(server.admin()).ask(&request("GET", "/metrics", &[], b""));
    let value = reply.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a number"))
}

/// The log's lines about failures, without the time, once there is one about `last`.
fn failures(server: &Server, last: &str) -> Vec<String> {
    let last = format!("username={last:?}");
    wait_for("the last failure", || {
        let log = server.log();
        let is_last = |line: &&String| is_failure(line) && line.ends_with(&last);
        log.iter().find(is_last)?;
        Some(
            log.into_iter()
                .filter(|line| is_failure(line))
                .map(|line| after_time(&line).to_owned())
                .collect(),
        )
    })
}

/// Whether fail2ban would count the line: by its beginning, not by its content.
fn is_failure(line: &str) -> bool {
    after_time(line).starts_with("WARN authentication failed ")
}

fn after_time(line: &str) -> &str {
    line.split_once(' ').map_or("", |(_, rest)| rest.trim_start())
}

/// The log lines of requests, once there are `count`.
fn requests(server: &Server, count: usize) -> Vec<String> {
    wait_for("the requests in the log", || {
        let is_request = |line: &String| after_time(line).starts_with("INFO request ");
        let found: Vec<String> = server.log().into_iter().filter(is_request).collect();
        (found.len() >= count).then_some(found)
    })
}

#[test]
fn ten_wrong_passwords_throttle_the_account_only_from_that_address() {
    let (_file, server) = server(&["--admin-port", "0"]);
    let mut here = caller(&server, 2);
    guess(&mut here, "alice", 10);
    assert_throttled(&mut here, "alice");
    is_throttled(&here.ask(&sign_in("alice", "wrong 10")));
    is_throttled(&here.ask(&sign_in("alice", "wrong 0")));
    assert_throttled(&mut caller(&server, 2), "alice");
    assert_let_in(&mut here, "bob");
    assert_let_in(&mut caller(&server, 3), "alice");
    let elsewhere = form_request(&[("username", "alice@b.org"), ("password", "pw")]);
    assert_eq!(here.ask(&elsewhere).status, 401, "alice of another tenant is another account");

    assert_eq!(metric(&server, "jitsiprovs_auth_failures_total"), 11);
    assert_eq!(metric(&server, "jitsiprovs_throttled_total{by=\"account_from_address\"}"), 4);
    assert_eq!(metric(&server, "jitsiprovs_requests_total{result=\"throttled\"}"), 4);
    assert_eq!(metric(&server, "jitsiprovs_requests_total{result=\"denied\"}"), 11);
    assert_eq!(metric(&server, "jitsiprovs_requests_total{result=\"ok\"}"), 2);
}

#[test]
fn an_old_password_that_is_repeated_all_day_counts_as_one_failure() {
    let (_file, server) = server(&["--admin-port", "0"]);
    let mut here = caller(&server, 2);
    for _ in 0..50 {
        assert_eq!(here.ask(&sign_in("alice", "stale")).status, 401);
    }
    assert_let_in(&mut here, "alice");
    guess(&mut here, "alice", 9);
    assert_throttled(&mut here, "alice");

    guess(&mut here, "last", 1);
    let log = failures(&server, "last");
    assert_eq!(log.len(), 11, "{log:#?}");
    let line = "WARN authentication failed address=127.0.0.2 domain=\"a.org\" username=\"alice\"";
    assert!(log[..10].iter().all(|logged| logged == line), "{log:#?}");
    assert_eq!(metric(&server, "jitsiprovs_auth_failures_total"), 11);
}

#[test]
fn a_hundred_failures_on_many_accounts_throttle_the_whole_address() {
    let (_file, server) = server(&["--admin-port", "0"]);
    let mut here = caller(&server, 2);
    for number in 0..99 {
        guess(&mut here, &format!("user{number}"), 1);
    }
    assert_let_in(&mut here, "alice");
    guess(&mut here, "user99", 1);
    for username in ["bob", "user0", "nobody"] {
        assert_throttled(&mut here, username);
    }
    // She signed in from there before.
    assert_let_in(&mut here, "alice");
    for username in ["alice", "user0"] {
        assert_let_in(&mut caller(&server, 3), username);
    }
    assert_eq!(metric(&server, "jitsiprovs_throttled_total{by=\"address\"}"), 3);
    let line = server.wait_for_log("WARN locked out counter=address ");
    assert!(
        line.contains(" address=127.0.0.2 seconds=3600 advice=\"") && line.contains("lock clear"),
        "{line}"
    );
}

#[test]
fn a_hundred_failures_from_many_addresses_throttle_the_account_everywhere() {
    let (_file, server) = server(&["--admin-port", "0"]);
    for last in 11..20 {
        guess(&mut caller(&server, last), "alice", 10);
    }
    guess(&mut caller(&server, 20), "alice", 9);
    assert_let_in(&mut caller(&server, 21), "alice");
    guess(&mut caller(&server, 22), "alice", 1);
    for last in [11, 20, 22, 23] {
        let mut from = caller(&server, last);
        assert_throttled(&mut from, "alice");
        assert_let_in(&mut from, "bob");
    }
    // One of the four exceeds two limits, which end at about the same time; either may be counted.
    let by_account = metric(&server, "jitsiprovs_throttled_total{by=\"account\"}");
    assert!((3..=4).contains(&by_account), "{by_account}");
    // She signed in from there before, so only her own failures from there count there.
    let mut home = caller(&server, 21);
    assert_let_in(&mut home, "alice");
    guess(&mut home, "alice", 10);
    assert_throttled(&mut home, "alice");

    let line = server.wait_for_log("WARN locked out counter=account ");
    let account = "locked out counter=account domain=\"a.org\" username=\"alice\" seconds=3600";
    assert!(line.ends_with(account), "{line}");
    let line = server.wait_for_log("counter=account_from_address address=127.0.0.21 ");
    assert!(line.ends_with(" domain=\"a.org\" username=\"alice\" seconds=3600"), "{line}");
    // One line for each lock, not for each refusal.
    let locks = server.log().iter().filter(|line| line.contains("WARN locked out ")).count();
    assert_eq!(locks, 11);
}

#[test]
fn a_new_password_in_the_database_forgets_the_failures_of_its_account_only() {
    let (file, server) = server(&[]);
    for last in 11..21 {
        guess(&mut caller(&server, last), "alice", 10);
    }
    let mut here = caller(&server, 11);
    for username in ["user1", "nobody"] {
        guess(&mut here, username, 10);
    }
    assert_throttled(&mut here, "alice");
    assert_throttled(&mut caller(&server, 30), "alice");
    let new = support::md5_hex("new");
    file.execute(&format!("UPDATE user_auth SET password = '{new}' WHERE username = 'alice'"));
    for last in [30, 11] {
        let mut from = caller(&server, last);
        let sent = sign_in("alice", "new");
        support::wait_for("the new password", || (from.ask(&sent).status == 200).then_some(()));
    }
    for username in ["user1", "nobody"] {
        assert_throttled(&mut here, username);
    }
    // The address has its failures still: 10 for each of three accounts.
    for number in 2..8 {
        guess(&mut here, &format!("user{number}"), 10);
    }
    guess(&mut here, "user8", 10);
    assert_throttled(&mut here, "bob");
}

#[test]
fn a_new_password_by_command_unlocks_the_account() {
    let (file, server) = server(&[]);
    for last in 11..21 {
        guess(&mut caller(&server, last), "alice", 10);
    }
    let mut home = caller(&server, 11);
    assert_throttled(&mut home, "alice");
    assert_throttled(&mut caller(&server, 30), "alice");
    let tables = Tables::on(vec!["--db-path".into(), file.path.to_str().expect("UTF-8").into()]);
    let passwd = ["user", "passwd", "alice@a.org", "--password-stdin", "--hash", "md5"];
    // Nothing is changed yet, so she stays locked out.
    tables.done_with(&[&passwd[..], &["--dry-run"]].concat(), "new");
    assert_throttled(&mut home, "alice");
    tables.done_with(&passwd, "new");
    let sent = sign_in("alice", "new");
    wait_for("the new password", || (home.ask(&sent).status == 200).then_some(()));
    assert_eq!(caller(&server, 30).ask(&sent).status, 200);
}

#[test]
fn a_missing_password_does_not_tell_which_locked_accounts_exist() {
    let (_file, server) = server(&[]);
    let mut here = caller(&server, 2);
    for username in ["alice", "nobody"] {
        guess(&mut here, username, 10);
        for pairs in [&[("username", username), ("domain", "a.org")][..], &[("username", username)]] {
            let expected = if pairs.len() == 2 { 429 } else { 401 };
            assert_eq!(here.ask(&form_request(pairs)).status, expected, "{pairs:?}");
        }
    }
}

#[test]
fn locks_can_be_listed_and_lifted() {
    let (_file, server) = server(&["--admin-port", "0", "--default-domain", "a.org"]);
    let node = format!("http://{}", server.admin());
    let lock = |args: &[&str]| {
        let output = run(&[&["lock"], args, &[&*node]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert_eq!(lock(&["list"]).lines().count(), 1);
    let mut here = caller(&server, 2);
    for username in ["alice", "bob", "nobody"] {
        guess(&mut here, username, 10);
    }
    for last in 11..20 {
        guess(&mut caller(&server, last), "alice", 10);
    }
    let listed = lock(&["list"]);
    assert_eq!(listed.lines().count(), 1 + 3 + 9 + 1, "{listed}");
    assert!(listed.starts_with("NODE ") && !listed.contains("wrong"), "{listed}");
    let has = |counter: &str, address: &str, username: &str| {
        let words = [counter, address, "a.org", username];
        let is_it = |line: &str| line.split_whitespace().skip(1).take(4).eq(words);
        assert!(lock(&["list"]).lines().any(is_it), "{words:?} in {}", lock(&["list"]));
    };
    has("account", "-", "alice");
    has("account_from_address", "127.0.0.2", "nobody");
    let json: serde_json::Value = serde_json::from_str(&lock(&["list", "--format", "json"])).expect("JSON");
    let first = &json.as_array().expect("a list")[1];
    assert_eq!((&first["counter"], &first["address"]), (&"account".into(), &serde_json::Value::Null));
    assert!(first["seconds"].as_u64() > Some(3000), "{first}");

    assert!(lock(&["clear", "nobody@a.org", "127.0.0.2"]).ends_with(": 1 lock lifted\n"));
    guess(&mut here, "nobody", 0);
    assert_eq!(here.ask(&sign_in("nobody", "another")).status, 401);
    assert!(lock(&["clear", "Alice"]).ends_with(": 11 locks lifted\n"));
    assert_let_in(&mut here, "alice");
    assert_let_in(&mut caller(&server, 30), "alice");
    assert_throttled(&mut here, "bob");
    assert!(lock(&["clear", "127.0.0.2"]).ends_with(": 1 lock lifted\n"));
    assert_let_in(&mut here, "bob");
    guess(&mut caller(&server, 3), "bob", 10);
    assert!(lock(&["clear", "--all"]).ends_with(": 1 lock lifted\n"));
    assert_let_in(&mut caller(&server, 3), "bob");
    assert_eq!(lock(&["list"]).lines().count(), 1);

    for (wrong, named) in [
        (&["lock", "clear", "alice@a.org"][..], "name the nodes"),
        (&["lock", "clear", &node], "or give --all"),
        (&["lock", "clear", "--all", "alice", &node], "or give --all"),
        (&["lock", "clear", "alice", "bob", &node], "one account"),
    ] {
        let output = run(wrong);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(named), "{said}");
    }
    // Reading lifts nothing, and pages of others cannot ask.
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        Connection::open(server.admin()).ask(&request(method, path, headers, b"")).status
    };
    assert_eq!(ask("GET", "/locks/clear?all", &[]), 405);
    assert_eq!(ask("POST", "/locks/clear?all", &[("origin", "http://evil.org")]), 403);
    assert_eq!(ask("POST", "/locks/clear", &[]), 400);
    assert_eq!(ask("POST", "/locks/clear?address=x", &[]), 400);
    server.wait_for_log("locks cleared cleared=\"Alice@a.org\" lifted=11");
}

#[test]
fn a_hundred_stale_telephones_behind_one_address_lock_out_only_accounts_that_never_signed_in_there() {
    let (_file, server) = server(&[]);
    let mut office = caller(&server, 2);
    assert_let_in(&mut office, "alice");
    for number in 0..100 {
        assert_eq!(office.ask(&sign_in(&format!("user{number}"), "stale")).status, 401);
    }
    assert_let_in(&mut office, "alice");
    assert_throttled(&mut office, "bob");
    server.wait_for_log("locked out counter=address address=127.0.0.2 ");
}

#[test]
fn behind_a_proxy_that_is_not_trusted_nobody_is_locked_out_and_the_log_names_it() {
    for header in ["x-forwarded-for", "x-real-ip", "forwarded"] {
        let (_file, server) = server(&["--trusted-proxy", "10.0.0.1"]);
        let mut proxy = caller(&server, 2);
        let ask = |proxy: &mut Connection, username: &str, password: &str| {
            let body = format!("username={username}&domain=a.org&password={password}");
            let headers = [FORM, (header, "for=203.0.113.5")];
            proxy.ask(&request("POST", "/jitsiprovs/", &headers, body.as_bytes())).status
        };
        for number in 0..100 {
            let user = format!("user{number}");
            assert_eq!([ask(&mut proxy, &user, "stale"), ask(&mut proxy, &user, "older")], [401, 401]);
        }
        assert_eq!(ask(&mut proxy, "alice", "pw"), 200, "{header}");
        // The other limits stay.
        for number in 0..10 {
            assert_eq!(ask(&mut proxy, "bob", &format!("wrong{number}")), 401);
        }
        assert_eq!(ask(&mut proxy, "bob", "pw"), 429);
        server
            .wait_for_log("counter=account_from_address address=127.0.0.2 domain=\"a.org\" username=\"bob\"");
        let lines = server.log();
        let is_it = |line: &&String| line.contains(" WARN ") && line.contains("--trusted-proxy");
        let named: Vec<&String> = lines.iter().filter(is_it).collect();
        assert!(named.len() == 1 && named[0].contains(" peer=127.0.0.2"), "{named:?}");
        assert!(!lines.iter().any(|line| line.contains("counter=address ")), "{lines:?}");
    }
}

#[test]
fn unknown_users_are_throttled_like_existing_ones() {
    let (_file, server) = server(&[]);
    let heard = |last, username: &str| {
        let mut from = caller(&server, last);
        let mut heard = Vec::new();
        for number in 0..13 {
            // The seconds that remain can differ between the two; their number of digits does not.
            let mut reply = from.ask(&sign_in(username, &format!("wrong {number}")));
            reply.headers.retain(|(name, _)| name != "date");
            let plain = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "0");
            for (name, value) in &mut reply.headers {
                if name == "retry-after" {
                    *value = plain(value);
                }
            }
            let text = plain(reply.text());
            heard.push((reply.status, reply.headers, text));
        }
        heard
    };
    let known = heard(2, "alice");
    assert_eq!(
        known.iter().map(|(status, ..)| *status).collect::<Vec<_>>(),
        [[401; 10].as_slice(), &[429; 3]].concat()
    );
    assert_eq!(heard(3, "nobody"), known);
    assert_eq!(heard(4, "nobody@b.org"), known);
}

#[test]
fn missing_passwords_and_throttled_requests_do_not_count_as_failures() {
    let (_file, server) = server(&["--admin-port", "0"]);
    let mut here = caller(&server, 2);
    for pairs in [
        &[("username", "alice@a.org")][..],
        &[("username", "alice@a.org"), ("password", "${password}")],
        &[("password", "wrong")],
        &[],
    ] {
        for number in 0..15 {
            assert_eq!(here.ask(&form_request(pairs)).status, 401, "{pairs:?}, request {number}");
        }
    }
    assert_eq!(metric(&server, "jitsiprovs_auth_failures_total"), 0);
    guess(&mut here, "alice", 10);
    // Far more requests than the failures that one address may have in total.
    for number in 10..150 {
        is_throttled(&here.ask(&sign_in("alice", &format!("wrong {number}"))));
    }
    assert_let_in(&mut here, "bob");
    assert_let_in(&mut caller(&server, 3), "alice");
    assert_eq!(metric(&server, "jitsiprovs_auth_failures_total"), 10);
    guess(&mut here, "last", 1);
    assert_eq!(failures(&server, "last").len(), 11);
}

#[test]
fn an_empty_password_is_a_guess_like_any_other() {
    let (_file, server) = server(&["--auth-fail-limit", "2"]);
    let mut here = caller(&server, 2);
    for _ in 0..5 {
        assert_eq!(here.ask(&sign_in("alice", "")).status, 401);
    }
    assert_let_in(&mut here, "alice");
    guess(&mut here, "alice", 1);
    assert_throttled(&mut here, "alice");
}

#[test]
fn other_spellings_of_an_account_are_the_same_account() {
    let (_file, server) = server(&[]);
    let mut here = caller(&server, 2);
    let spellings = [
        ("alice", "a.org"),
        ("Alice ", "a.org"),
        ("ALICE", "A.ORG"),
        ("alice   ", "a.org "),
        ("aLiCe@elsewhere.org", "a.org"),
    ];
    let ask = |(username, domain): (&str, &str), password: &str| {
        form_request(&[("username", username), ("domain", domain), ("password", password)])
    };
    for (number, spelling) in (0..10).zip(spellings.iter().cycle()) {
        assert_eq!(here.ask(&ask(*spelling, &format!("wrong {number}"))).status, 401, "{spelling:?}");
    }
    for spelling in spellings {
        is_throttled(&here.ask(&ask(spelling, "pw")));
    }
    is_throttled(&here.ask(&form_request(&[("username", "Alice@A.org"), ("password", "pw")])));
    assert_let_in(&mut here, "bob");
}

#[test]
fn with_case_sensitive_names_failures_are_counted_per_exact_name() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw").user("a.org", "ALICE", "pw");
    let server = Server::on_sqlite(&file.path, &[&LONG[..], &["--case-sensitive"]].concat());
    let mut here = caller(&server, 2);
    guess(&mut here, "alice", 10);
    assert_throttled(&mut here, "alice");
    assert_let_in(&mut here, "ALICE");
}

#[test]
fn without_a_limit_nobody_is_throttled() {
    let (_file, server) = server(&["--auth-fail-limit", "0"]);
    let mut here = caller(&server, 2);
    guess(&mut here, "alice", 150);
    assert_let_in(&mut here, "alice");
}

#[test]
fn a_client_that_waits_for_retry_after_is_let_in() {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "pw");
    let server = Server::on_sqlite(&file.path, &["--auth-fail-limit", "1", "--auth-fail-window", "1"]);
    let mut here = caller(&server, 2);
    let mut number = 0;
    // On a slow machine, the second request may arrive after the window.
    let reply = wait_for("a refusal", || {
        number += 1;
        let first = here.ask(&sign_in("alice", &format!("wrong {number}"))).status;
        assert!([401, 429].contains(&first), "{first}");
        let reply = here.ask(&sign_in("alice", "pw"));
        (reply.status != 200).then_some(reply)
    });
    let seconds = is_throttled(&reply);
    assert!(seconds <= 2, "{seconds}");
    std::thread::sleep(Duration::from_secs(seconds));
    assert_let_in(&mut here, "alice");
}

#[test]
fn failures_in_forms_json_queries_and_basic_credentials_count_alike() {
    let (_file, server) = server(&[]);
    let basic = |password: &str| {
        let credentials = BASE64.encode(format!("alice@a.org:{password}"));
        request("GET", "/jitsiprovs/", &[("authorization", &format!("Basic {credentials}"))], b"")
    };
    let query = |password: &str| {
        request("GET", &format!("/jitsiprovs/?username=alice@a.org&password={password}"), &[], b"")
    };
    let json = |password: &str| {
        let body = format!("{{\"username\":\"alice@a.org\",\"password\":\"{password}\"}}");
        request("POST", "/jitsiprovs/", &[JSON], body.as_bytes())
    };
    let form = |password: &str| sign_in("alice", password);
    type Way<'a> = &'a dyn Fn(&str) -> Vec<u8>;
    let ways: [Way<'_>; 4] = [&form, &json, &query, &basic];
    let mut here = caller(&server, 2);
    for (number, way) in ways.iter().cycle().take(10).enumerate() {
        let guess = format!("wrong{number}");
        assert_eq!(here.ask(&way(&guess)).status, 401, "{guess}");
        // A repeated password is recognized in every kind of request.
        let repeated = if number < 9 { 401 } else { 429 };
        assert_eq!(here.ask(&form(&guess)).status, repeated, "{guess} again");
    }
    for way in ways {
        is_throttled(&here.ask(&way("pw")));
        assert_eq!(caller(&server, 3).ask(&way("pw")).status, 200);
    }
}

#[test]
fn hostile_names_stay_inside_the_quotes_of_one_log_line() {
    let (_file, server) = server(&[]);
    let forged =
        "2026-01-01T00:00:00Z  WARN authentication failed address=6.6.6.6 domain=\"a.org\" username=\"bob\"";
    let names = [
        "\"".to_owned(),
        "\" address=6.6.6.6 username=\"".to_owned(),
        " address=6.6.6.6 ".to_owned(),
        "\\".to_owned(),
        "\\\" address=6.6.6.6 \\".to_owned(),
        format!("x\n{forged}"),
        format!("x\r\n{forged}\r\n"),
        format!("x\r{forged}"),
        format!("x\u{85}{forged}"),
        format!("x\u{2028}{forged}"),
        format!("x\u{b}{forged}\u{c}"),
        "\u{1b}[2J\u{1b}[31mred\u{1b}]0;title\u{7}".to_owned(),
        "\u{9b}31m\u{0}\u{8}\u{7f}".to_owned(),
        "\u{202e}ecila\u{2066}\u{200f}".to_owned(),
    ];
    let mut here = caller(&server, 2);
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for (number, name) in names.iter().enumerate() {
        let own = format!("username={0}&domain={0}&password=wrong", escaped(name));
        let reply = here.ask(&request("POST", "/jitsiprovs/", &[FORM], own.as_bytes()));
        assert_eq!(reply.status, 401, "{name:?}");
        assert_eq!(reply.text().lines().count(), 1);
        guess(&mut here, &format!("after {number}"), 1);
    }
    let long = format!("username={}&domain=a.org&password=wrong", "u".repeat(10 * 1024));
    assert_eq!(here.ask(&request("POST", "/jitsiprovs/", &[FORM], long.as_bytes())).status, 401);
    let long = format!("username={}&domain=a.org&password=wrong", "%C3%A4".repeat(2 * 1024));
    assert_eq!(here.ask(&request("POST", "/jitsiprovs/", &[FORM], long.as_bytes())).status, 401);
    guess(&mut here, "last", 1);

    let log = failures(&server, "last");
    assert_eq!(log.len(), 2 * names.len() + 3, "{log:#?}");
    for line in &log {
        let line = line.strip_prefix("WARN authentication failed address=127.0.0.2 domain=\"").expect(line);
        let (domain, rest) = quoted(line);
        let (username, rest) = quoted(rest.strip_prefix(" username=\"").expect(line));
        assert_eq!(rest, "", "{line}");
        assert!(domain.len() + username.len() < 2048, "{line}");
    }
    // One line each, followed by the line of the next guess.
    for (number, pair) in log.chunks(2).take(names.len()).enumerate() {
        assert!(pair[1].ends_with(&format!("username=\"after {number}\"")), "{pair:#?}");
    }
    // The lines of requests contain the names, too.
    requests(&server, 2 * names.len() + 3);
    for line in server.log() {
        let strange = |c: char| c.is_control() || "\u{2028}\u{202e}\u{2066}\u{200f}".contains(c);
        assert!(!line.contains(strange), "{line:?}");
        assert!(line.starts_with("20") && !line.starts_with("2026-01-01"), "{line:?}");
        assert!(line.len() < 4096, "{line:?}");
    }
}

/// The text before the first quote that is not escaped, and the text after it.
fn quoted(text: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = text.find(|c| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    let end = end.expect(text);
    (&text[..end], &text[end + 1..])
}

/// A request as a proxy forwards it.
fn forwarded(hops: &[&str], username: &str, password: &str) -> Vec<u8> {
    let headers: Vec<(&str, &str)> = hops.iter().map(|hop| ("x-forwarded-for", *hop)).collect();
    let body = format!("username={username}&domain=a.org&password={password}");
    request("POST", "/jitsiprovs/", &[&[FORM], &headers[..]].concat(), body.as_bytes())
}

#[test]
fn behind_a_trusted_proxy_the_client_it_names_is_throttled_and_not_the_proxy() {
    let (_file, server) = server(&["--trusted-proxy", "127.0.0.1,10.0.0.0/8"]);
    let mut proxy = caller(&server, 1);
    let many = (0..500).map(|number| format!("6.6.{}.{}", number / 250, number % 250));
    let many = many.collect::<Vec<_>>().join(", ");
    for number in 0..10 {
        let forged = format!("6.6.6.{number}, 203.0.113.5");
        let long = format!("{many},203.0.113.5 , 10.1.2.3");
        let hops: &[&str] = match number % 5 {
            0 => &["203.0.113.5"],
            1 => &[&forged],
            2 => &["6.6.6.6", "unknown", "203.0.113.5:4711, 10.1.2.3"],
            3 => &[&long],
            _ => &["127.0.0.1", "::ffff:203.0.113.5", "10.0.0.1"],
        };
        assert_eq!(proxy.ask(&forwarded(hops, "alice", &format!("wrong{number}"))).status, 401);
    }
    for hops in [&["203.0.113.5"][..], &[&format!("{many}, 203.0.113.5")], &["203.0.113.6, 203.0.113.5"]] {
        is_throttled(&proxy.ask(&forwarded(hops, "alice", "pw")));
    }
    for hops in [&["203.0.113.6"][..], &["203.0.113.5, 203.0.113.6"], &[], &["203.0.113.5, nonsense"]] {
        assert_eq!(proxy.ask(&forwarded(hops, "alice", "pw")).status, 200, "{hops:?}");
    }
    // All addresses in a network of one client count as one client.
    for number in 0..10 {
        let own = format!("2001:db8:1:2::{number}");
        assert_eq!(proxy.ask(&forwarded(&[&own], "bob", &format!("wrong{number}"))).status, 401);
    }
    is_throttled(&proxy.ask(&forwarded(&["2001:db8:1:2:ffff::1"], "bob", "pw")));
    assert_eq!(proxy.ask(&forwarded(&["2001:db8:1:3::1"], "bob", "pw")).status, 200);

    assert_eq!(proxy.ask(&forwarded(&["6.6.6.6, 198.51.100.1"], "last", "wrong")).status, 401);
    let log = failures(&server, "last");
    assert_eq!(log.len(), 21, "{log:#?}");
    let line = "WARN authentication failed address=203.0.113.5 domain=\"a.org\" username=\"alice\"";
    assert!(log[..10].iter().all(|logged| logged == line), "{log:#?}");
    assert!(log[10].contains(" address=2001:db8:1:2:: "), "{log:#?}");
    assert!(log[20].contains(" address=198.51.100.1 "), "{log:#?}");
}

#[test]
fn forwarded_headers_of_untrusted_clients_are_ignored() {
    let (_file, server) = server(&["--trusted-proxy", "127.0.0.1"]);
    let mut here = caller(&server, 2);
    for number in 0..10 {
        let (forged, guess) = (format!("6.6.6.{number}"), format!("wrong{number}"));
        assert_eq!(here.ask(&forwarded(&[&forged], "alice", &guess)).status, 401);
    }
    for hops in [&[][..], &["6.6.6.66"], &["127.0.0.1"], &["127.0.0.3, 127.0.0.1"]] {
        is_throttled(&here.ask(&forwarded(hops, "alice", "pw")));
    }
    // Nor is the client that it names throttled.
    assert_eq!(caller(&server, 1).ask(&forwarded(&["6.6.6.1"], "alice", "pw")).status, 200);
    assert_let_in(&mut caller(&server, 3), "alice");
    guess(&mut here, "last", 1);
    let log = failures(&server, "last");
    assert!(log.len() == 11 && log.iter().all(|line| line.contains(" address=127.0.0.2 ")), "{log:#?}");
}

#[test]
fn a_request_is_logged_with_the_id_from_a_trusted_proxy() {
    let (_file, server) = server(&["--trusted-proxy", "127.0.0.1"]);
    let ask = |last, id: &str| {
        let body = b"username=alice@a.org&password=pw";
        caller(&server, last).ask(&request("POST", "/jitsiprovs/", &[FORM, ("x-request-id", id)], body))
    };
    let long = "x".repeat(65);
    for (last, id) in [(1, "proxy:4f-1.x_9"), (2, "forged"), (1, "not \"plain\""), (1, &*long), (1, "")] {
        let reply = ask(last, id);
        assert_eq!((reply.status, reply.header("x-request-id")), (200, None));
    }
    let log = requests(&server, 5);
    assert!(log[0].ends_with(" request=proxy:4f-1.x_9"), "{log:#?}");
    for line in &log[1..] {
        let id = line.split(" request=").nth(1).expect(line);
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
    }
}

#[test]
fn behind_nginx_each_client_is_known_by_its_own_address() {
    let (_file, server) = server(&["--trusted-proxy", "127.0.0.1", "--admin-port", "0"]);
    let nginx = Nginx::start(server.address);
    let from = |last| Connection::open_from(Ipv4Addr::new(127, 0, 0, last), nginx.address);
    let mut here = from(2);
    for number in 0..10 {
        let forged = format!("6.6.6.{number}, 127.0.0.1");
        let hops: &[&str] = if number % 2 == 0 { &[] } else { &[&forged] };
        assert_eq!(here.ask(&forwarded(hops, "alice", &format!("wrong{number}"))).status, 401);
    }
    for hops in [&[][..], &["6.6.6.66"], &["127.0.0.3"], &["6.6.6.66", "127.0.0.3, 127.0.0.1"]] {
        is_throttled(&here.ask(&forwarded(hops, "alice", "pw")));
    }
    is_throttled(&from(2).ask(&sign_in("alice", "pw")));
    assert_let_in(&mut here, "bob");
    assert_let_in(&mut from(3), "alice");
    // nginx itself has no failures.
    assert_let_in(&mut caller(&server, 1), "alice");

    guess(&mut here, "last", 1);
    let log = failures(&server, "last");
    assert!(log.len() == 11 && log.iter().all(|line| line.contains(" address=127.0.0.2 ")), "{log:#?}");
    assert!(metric(&server, "jitsiprovs_connections") <= 8 + 1, "connections to nginx are kept");
}

#[test]
fn the_request_id_of_nginx_is_logged_only_if_nginx_is_trusted() {
    for is_trusted in [true, false] {
        let trusted = if is_trusted { "127.0.0.1" } else { "127.0.0.9" };
        let (_file, server) = server(&["--trusted-proxy", trusted]);
        let nginx = Nginx::start(server.address);
        let here: IpAddr = Ipv4Addr::new(127, 0, 0, 2).into();
        let sent = [FORM, ("x-request-id", "forged")];
        let body = b"username=alice@a.org&password=pw";
        let reply =
            Connection::open_from(here, nginx.address).ask(&request("POST", "/jitsiprovs/", &sent, body));
        assert_eq!(reply.status, 200);
        let id = reply.header("x-request-id").expect("nginx tells");
        let line = &requests(&server, 1)[0];
        assert_eq!(line.ends_with(&format!(" request={id}")), is_trusted, "{line}");
        assert_eq!(line.contains(id), is_trusted, "{line}");
        assert!(!line.contains("forged"), "{line}");
        let address = if is_trusted { " address=127.0.0.2 " } else { " address=127.0.0.1 " };
        assert!(line.contains(address), "{line}");
    }
}

/// A server whose only user's hash takes a while to compute.
fn slow_server() -> (SqliteFile, Server) {
    let file = SqliteFile::empty();
    file.stored_user("a.org", "alice", &bcrypt::hash("pw", 9).expect("a hash"));
    let server = Server::on_sqlite(&file.path, &[&LONG[..], &["--admin-port", "0"]].concat());
    (file, server)
}

#[test]
fn a_guess_counts_even_if_the_client_hangs_up() {
    let (_file, server) = slow_server();
    for number in 0..10 {
        let guess = |line: &&String| is_failure(line) && line.contains("username=\"alice\"");
        // A client that hangs up while it waits has made no guess, and a repeated guess counts
        // once. So the guess is repeated until it is counted.
        let mut patience = Duration::ZERO;
        wait_for("the guess to be counted", || {
            let mut connection = Connection::open(server.address);
            connection.send(&sign_in("alice", &format!("wrong {number}")));
            std::thread::sleep(patience);
            patience += Duration::from_millis(1);
            drop(connection);
            (server.log().iter().filter(guess).count() == number + 1).then_some(())
        });
    }
    assert_throttled(&mut Connection::open(server.address), "alice");
    wait_for("a line for each", || {
        let line = |line: &&String| line.contains("result=aborted") && line.contains("username=\"alice\"");
        let aborted = server.log().iter().filter(line).count();
        (aborted as u64 == metric(&server, "jitsiprovs_requests_total{result=\"aborted\"}") && aborted > 0)
            .then_some(())
    });
}

#[test]
fn many_guesses_at_once_exceed_the_limit_by_less_than_the_number_of_cores() {
    let (_file, server) = slow_server();
    let mut connections: Vec<_> = (0..60).map(|_| Connection::open(server.address)).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(&sign_in("alice", &format!("wrong {number}")));
    }
    let denied = connections.iter_mut().map(|one| one.receive().expect("an answer").status);
    let denied = denied.filter(|&status| status == 401).count();
    // Ten, and those that were already being checked when the tenth was counted.
    let at_once = std::thread::available_parallelism().expect("a number").get();
    assert!((10..10 + at_once).contains(&denied), "{denied} were tried");
}
