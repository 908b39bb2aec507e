//! `jitsiprovs compare` shows in what the answers of two servers differ, and no secret.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Output, Stdio};
use std::time::Duration;

use support::server::{Server, jitsiprovs};
use support::sqlite::SqliteFile;

/// An old server that gives these answers, one a connection, and what it was asked.
fn old(answers: Vec<String>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            let is_whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_ascii_lowercase();
                text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                    length.and_then(|length| length.parse().ok()) == Some(body.len())
                })
            };
            while !is_whole(&request) {
                let read = stream.read(&mut buffer).expect("the request");
                assert!(read > 0, "the request is whole");
                request.extend_from_slice(&buffer[..read]);
            }
            asked.push(String::from_utf8(request).expect("UTF-8"));
            stream.write_all(answer.as_bytes()).expect("sent");
        }
        asked
    });
    (address, asked)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.0 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn compare(args: &[&str], list: &str) -> Output {
    let mut command = jitsiprovs(&[&["compare"], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().expect("a pipe").write_all(list.as_bytes());
    child.wait_with_output().expect("ends")
}

fn served() -> (SqliteFile, Server) {
    let file = SqliteFile::empty();
    file.user("a.org", "alice", "hunter2").user("a.org", "bob", "pw");
    file.rule(None, "default", 1, "p", "${null}")
        .rule(None, "default", 2, "p.user", "${username}")
        .rule(None, "default", 3, "sip.PASSWORD", "${password}")
        .rule(None, "osname=Linux", 4, "os", "${osname}");
    let server = Server::on_sqlite(&file.path, &[]);
    (file, server)
}

#[test]
fn differences_are_listed_by_user_and_secrets_are_hidden() {
    let (_file, server) = served();
    let new = format!("http://{}", server.address);
    let same = "os=Linux\r\np : ${null}\np.user=alice\nsip.PASSWORD=hunter2\n";
    let other = "p.user=bob\np=${null}\nsip.PASSWORD=other\nold=1\n";
    let (address, asked) = old(vec![answer("200 OK", same), answer("200 OK", other), answer("500 Oh", "")]);
    let list = "# test accounts\nalice@a.org:hunter2\n\nbob@a.org:pw\nnobody@a.org:pw\n";
    let url = format!("http://{address}/jitsiprovs/");
    let output = compare(&[&url, "--with", &new, "osname=Linux", "--format", "json"], list);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let expected = serde_json::json!([
        {"user": "bob@a.org", "what": "order", "key": "p.user", "old": "removed again by p", "new": "used"},
        {"user": "bob@a.org", "what": "changed", "key": "sip.PASSWORD", "old": "***", "new": "***"},
        {"user": "bob@a.org", "what": "removed", "key": "old", "old": "1", "new": null},
        {"user": "bob@a.org", "what": "added", "key": "os", "old": null, "new": "Linux"},
        {"user": "nobody@a.org", "what": "status", "key": null, "old": "500", "new": "401"},
    ]);
    assert_eq!(found, expected, "{text}");
    let asked = asked.join().expect("no panic");
    assert!(asked[0].starts_with("POST /jitsiprovs/ HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].ends_with("username=alice%40a.org&password=hunter2&osname=Linux"), "{asked:?}");
}

#[test]
fn servers_that_agree_are_a_success_and_servers_that_do_not_answer_a_failure() {
    let (_file, server) = served();
    let url = format!("http://{}", server.address);
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("users");
    std::fs::write(&list, "alice@a.org:hunter2\nbob@a.org:wrong\n").expect("written");
    let list = list.to_str().expect("UTF-8");
    let output = compare(&[&url, "--with", &url, "--users", list], "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        (output.status.code(), text.ends_with("0 of 2 users differ\n")),
        (Some(0), true),
        "{output:?}"
    );
    let note = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(note.contains("1 of 2 users were refused by both servers"), "{note}");

    // Nothing listens there once the listener is gone.
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let gone = format!("http://{gone}");
    let many = "a:hunter2\nb:hunter2\nc:hunter2\nd:hunter2\n";
    let output = compare(&[&gone, "--with", &url], many);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("3 users in a row got no answer") && error.contains("cannot connect"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");

    for (args, list, expected, code) in [
        (&[&*url, "--with", &url, "password=hunter2"][..], "a:b", "comes from the list of users", 2),
        (&[&url, "--with", "http://u:hunter2@h"], "a:b", "leave out what is before `@`", 1),
        (&[&url, "--with", &url], "hunter2\n", "line 1 of the list", 1),
        (&[&url, "--with", &url], "", "the list of users is empty", 1),
    ] {
        let output = compare(args, list);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
}
