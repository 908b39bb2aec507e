//! MaX UC gets answers in its own form. Requests are made as its `HttpUtils` and
//! `ProvisioningServiceImpl` make them: known values are encoded twice, names and passwords once.

use std::net::SocketAddr;

use support::client::{Reply, encode, exchange, post, request};
use support::server::Server;
use support::sqlite::SqliteFile;
use support::wait_for;

/// What every version of MaX UC sends, in every brand.
const AGENT: (&str, &str) = ("user-agent", "Accession Communicator/3.26.10");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const KEY: &str = "net.java.sip.communicator.impl.protocol.sip.acc";
/// One account with the digits of its number, and what the client says of its machine.
const ANSWER: &str = "\
net.java.sip.communicator.impl.protocol.sip.acc5551234=acc5551234
x.os=Windows 10
x.hw=00:1a:2b:3c:4d:5e
x.host=b\\u00FCro
";
/// How MaX UC of earlier and later versions asks.
const METHODS: [&str; 2] = ["GET", "POST"];

fn file() -> SqliteFile {
    let file = SqliteFile::empty();
    file.user("localdomain", "5551234", "p%41+w").user("localdomain", "5559999", "pw");
    let key = format!("{KEY}${{username}}");
    file.rule(None, "default", 1, &key, "acc${username}")
        .rule(None, "default", 2, "x.os", "${osname}")
        .rule(None, "hwaddr=00:1a:2b:3c:4d:5e", 3, "x.hw", "${hwaddr}")
        .rule(None, "default", 4, "x.host", "${hostname}");
    file
}

/// The parameters of MaX UC for this user: typed values are encoded once, known ones twice.
fn sent(number: &str, password: &str) -> String {
    let typed = encode(&[("DirectoryNumber", number), ("Password", password)]);
    format!("{typed}&osname=Windows%2B10&hwaddr=00%253A1a%253A2b%253A3c%253A4d%253A5e&hostname=b%25C3%25BCro")
}

fn ask(address: SocketAddr, method: &str, sent: &[u8], agent: (&str, &str)) -> Reply {
    if method == "POST" {
        return exchange(address, &request("POST", "/jitsiprovs/", &[agent, FORM], sent));
    }
    let target = format!("/jitsiprovs/?{}", std::str::from_utf8(sent).expect("ASCII"));
    exchange(address, &request("GET", &target, &[agent], b""))
}

fn text(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.text())
}

#[test]
fn max_uc_gets_its_account_and_errors_that_it_knows_and_the_truth_is_counted() {
    let file = file();
    let server = Server::on_sqlite(&file.path, &["--admin-port", "0", "--auth-fail-limit", "2"]);
    for method in METHODS {
        let right = ask(server.address, method, sent("5551234", "p%41+w").as_bytes(), AGENT);
        assert_eq!(text(&right), (200, ANSWER), "{method}");
        let wrong = ask(server.address, method, sent("5551234", method).as_bytes(), AGENT);
        assert_eq!(text(&wrong), (200, "Error=AuthFailed\n"), "{method}");
        assert_eq!(wrong.header("www-authenticate"), None);
        let nobody = ask(server.address, method, b"osname=Linux", AGENT);
        assert_eq!(text(&nobody), (200, "Error=AuthFailed\n"), "{method}");
        assert_eq!(nobody.header("www-authenticate"), None);
    }
    for method in METHODS {
        let throttled = ask(server.address, method, sent("5551234", "p%41+w").as_bytes(), AGENT);
        assert_eq!(text(&throttled), (200, "Error=RetryExceeded\n"), "{method}");
        assert!(throttled.header("retry-after").is_some());
    }
    let json = [AGENT, ("content-type", "text/xml")];
    let kind = exchange(server.address, &request("POST", "/jitsiprovs/", &json, b"x"));
    assert_eq!(text(&kind), (200, "Error=InternalError\n"));
    assert_eq!(exchange(server.address, &request("GET", "/other", &[AGENT], b"")).status, 404);

    let metrics = exchange(server.admin(), &request("GET", "/metrics", &[], b"")).text().to_owned();
    for (result, count) in [("ok", 2), ("denied", 4), ("throttled", 2), ("content_type", 1)] {
        let line = format!("jitsiprovs_requests_total{{result=\"{result}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let log = wait_for("all lines", || {
        let log = server.log();
        (log.iter().filter(|line| line.contains("result=throttled")).count() == 2).then_some(log)
    });
    let count = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!((count("authentication failed"), count("result=denied")), (2, 4), "{log:#?}");
    let fetches = exchange(server.admin(), &request("GET", "/fetches", &[], b"")).text().to_owned();
    for known in ["Windows 10", "00:1a:2b:3c:4d:5e", "\"5551234\"", "locked", AGENT.1] {
        assert!(fetches.contains(known), "{known}: {fetches}");
    }
    assert!(!fetches.contains("p%41+w"), "{fetches}");
}

#[test]
fn max_uc_may_post_latin1_and_its_answers_always_have_the_mark_that_it_looks_for() {
    let file = SqliteFile::empty();
    file.user("localdomain", "j\u{fc}rg", "p\u{e4}").rule(None, "default", 1, "x.branch", "${branch}");
    let server = Server::on_sqlite(&file.path, &[]);
    let reply = ask(server.address, "POST", b"DirectoryNumber=j%FCrg&Password=p\xe4&branch=K%25F6ln", AGENT);
    assert_eq!(text(&reply), (200, "# net.java.sip.communicator\nx.branch=K\\u00F6ln\n"));
    let empty = ask(server.address, "POST", b"DirectoryNumber=j%FCrg&Password=p%E4", AGENT);
    assert_eq!(text(&empty), (200, "# net.java.sip.communicator\n"));
}

#[test]
fn other_clients_and_max_uc_without_dialects_are_answered_as_ever() {
    let file = file();
    let own = [("username", "5551234"), ("password", "p%41+w"), ("osname", "Windows+10")];
    let server = Server::on_sqlite(&file.path, &[]);
    let off = Server::on_sqlite(&file.path, &["--client-dialects", "off"]);
    let jitsi = ("user-agent", "Jitsi/2.11 Accession Communicator/3");
    for (address, agent) in [(server.address, jitsi), (off.address, AGENT)] {
        for method in METHODS {
            let right = ask(address, method, encode(&own).as_bytes(), agent);
            let lines = format!("{KEY}5551234=acc5551234\nx.os=Windows+10\n");
            assert_eq!(text(&right), (200, &*lines), "{method}");
            let wrong = ask(address, method, b"username=5551234&password=no", agent);
            assert_eq!((wrong.status, wrong.header("www-authenticate")), (401, None), "{method}");
            let nameless = ask(address, method, sent("5551234", "p%41+w").as_bytes(), agent);
            assert_eq!(nameless.status, 401, "{method}");
            assert!(nameless.header("www-authenticate").is_some(), "{method}");
        }
    }
}

#[test]
fn trouble_is_named_to_max_uc_but_a_proxy_sees_the_status_and_asks_another_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    std::fs::write(&state, "not a state file").expect("written");
    let state = state.to_str().expect("UTF-8").to_owned();
    let nowhere = folder.path().join("nowhere.db");
    let args = ["--state-file", &*state, "--trusted-proxy", "127.0.0.1"];
    let proxied = Server::on_sqlite(&nowhere, &args);
    let server = Server::on_sqlite(&nowhere, &args[..2]);
    for method in METHODS {
        let reply = ask(server.address, method, sent("5551234", "pw").as_bytes(), AGENT);
        assert_eq!(text(&reply), (200, "Error=InternalError\n"), "{method}");
        assert_eq!(reply.header("retry-after"), Some("5"));
        let reply = ask(proxied.address, method, sent("5551234", "pw").as_bytes(), AGENT);
        assert_eq!(reply.status, 503, "{method}");
    }
    assert_eq!(post(server.address, &[("username", "5551234"), ("password", "pw")]).status, 503);
}
