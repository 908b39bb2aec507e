//! The ten commonest mistakes of a first day end in a message that says what to do.
//!
//! They were found by going through the README as a newcomer, once with SQLite and once with the
//! original's database in MariaDB:
//!
//! 1. no `--setup` before the first command, or another path; `setup` and `serve` as commands
//! 2. a user without the domain, for `user` and for `explain`
//! 3. the password as an argument of `user add`
//! 4. a mistyped domain, which would be a new tenant or one without users
//! 5. a property as two arguments, or with blanks around the `=`
//! 6. `${...}` in double quotes, which the shell replaces by nothing
//! 7. the name of a system or a host as the subject, without its parameter
//! 8. a stored md5 of the password and a line break, from `echo password | md5sum`
//! 9. a request without username and password, for another path, or without TLS
//! 10. a port that is taken, or key and certificate that are swapped
//!
//! Each test asserts the words that say what to do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use support::PATIENCE;
use support::client::{exchange, post, request};
use support::database::Kind;
use support::md5_hex;
use support::server::{Server, run};
use support::sqlite::SqliteFile;
use support::tables::Tables;

/// What a command says on standard error, when it ends with this code.
fn said(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

fn holds(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

#[test]
fn without_setup_commands_and_the_server_say_how_to_create_the_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jitsiprovs.db");
    let path = ["--db-path", path.to_str().expect("UTF-8")];
    for args in [&["user", "list"][..], &["-n", "--http-port", "0"]] {
        holds(&said(&run(&[args, &path].concat()), 1), &["`jitsiprovs --setup`", "--db-path"]);
    }
    for kind in Kind::ALL {
        let own = kind.database().all();
        let args = [&["user", "list"][..], &support::texts(&own)].concat();
        holds(&said(&run(&args), 1), &["`user_auth` is missing", "--setup"]);
    }
    holds(&said(&run(&[&["setup"], &path[..]].concat()), 2), &["write `jitsiprovs --setup`"]);
    holds(&said(&run(&["serve", "-n"]), 2), &["write `jitsiprovs -n`"]);
}

#[test]
fn a_user_without_the_domain_is_answered_with_the_right_spelling() {
    let tables = Tables::sqlite();
    tables.user("alice@example.org", "pw");
    for args in [&["user", "add", "bob", "--password-stdin"][..], &["user", "show", "bob"]] {
        let words = ["\"bob\" has no domain", "such as bob@example.org", "`jitsiprovs tenant list`"];
        holds(&tables.refused(args, "pw", 1), &words);
    }
    let explained = tables.refused(&["explain", "alice"], "", 1);
    holds(&explained, &["did you mean alice@example.org?", "--default-domain", "write user@domain"]);
}

#[test]
fn a_password_as_an_argument_is_refused_and_not_repeated() {
    let tables = Tables::sqlite();
    let refused = tables.refused(&["user", "add", "alice@example.org", "hunter2"], "", 2);
    holds(&refused, &["the command asks for the password", "--password-stdin"]);
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[test]
fn a_mistyped_domain_is_noted_with_the_nearest_tenant() {
    let tables = Tables::sqlite();
    let first = tables.say(&["user", "add", "alice@example.org", "--hash", "md5", "--password-stdin"], "pw");
    assert_eq!(said(&first, 0), "");
    let add = tables.say(&["user", "add", "bob@exmaple.org", "--hash", "md5", "--password-stdin"], "pw");
    holds(&said(&add, 0), &["first user of the tenant exmaple.org", "did you mean example.org?"]);
    let rule = tables.say(&["rule", "add", "k=v", "--domain", "example.rog"], "");
    holds(&said(&rule, 0), &["the tenant example.rog has no users yet", "did you mean example.org"]);
    let neighbour =
        tables.say(&["user", "add", "eve@example.org", "--hash", "md5", "--password-stdin"], "pw");
    assert_eq!(said(&neighbour, 0), "");
}

#[test]
fn a_property_in_several_arguments_is_answered_with_the_quotes_it_needs() {
    let tables = Tables::sqlite();
    for args in [&["rule", "add", "a.b", "1"][..], &["rule", "add", "a.b", "=", "1"]] {
        holds(&tables.refused(args, "", 2), &["write 'key=value' in single quotes", "without blanks"]);
    }
    holds(&tables.refused(&["rule", "add", "a.b"], "", 1), &["write key=value"]);
    holds(&tables.refused(&["rule", "add", "a b=1"], "", 1), &["ends the key at the blank", "write `\\ `"]);
}

#[test]
fn an_empty_value_is_noted_with_what_the_shell_may_have_done() {
    let tables = Tables::sqlite();
    let added = tables.say(&["rule", "add", "acc.USER_ID="], "");
    holds(&said(&added, 0), &["the value is empty", "write the property in single quotes"]);
    let added = tables.say(&["rule", "add", "acc.USER_ID2=${username}"], "");
    assert_eq!(said(&added, 0), "");
}

#[test]
fn a_subject_that_is_no_users_name_is_noted_with_the_parameter_that_may_be_meant() {
    let tables = Tables::sqlite();
    tables.user("alice@example.org", "pw");
    let added = tables.say(&["rule", "add", "k=v", "--subject", "windows"], "");
    holds(&said(&added, 0), &["is a username", "--subject 'osname=Windows*'", "hostname=windows"]);
    let right = tables.say(&["rule", "add", "k=w", "--subject", "alice"], "");
    assert_eq!(said(&right, 0), "");
    let address = tables.refused(&["rule", "add", "k=v", "--subject", "alice@example.org"], "", 1);
    holds(&address, &["write --subject alice --domain example.org"]);
}

#[test]
fn a_stored_md5_with_a_line_break_is_recognised_by_the_right_password() {
    for tables in Tables::each() {
        let md5 = ["--pwd-fmt", "md5"];
        let csv = format!("username,domain,password\nalice,example.org,{}\n", md5_hex("pw\n"));
        tables.done_with(&[&["import", "users", "-"], &md5[..]].concat(), &csv);
        let explain = ["explain", "alice@example.org", "--password-stdin"];
        holds(
            &tables.refused(&explain, "pw\n", 1),
            &["a line break", "`printf %s`", "`jitsiprovs user passwd`"],
        );
        let wrong = tables.refused(&explain, "other\n", 1);
        assert!(wrong.contains("would answer 401") && !wrong.contains("printf"), "{wrong}");
    }
}

#[test]
fn a_request_that_lacks_something_is_answered_with_what_to_send() {
    let file = SqliteFile::empty();
    let server = Server::on_sqlite(&file.user("example.org", "alice", "pw").path, &[]);
    for form in [&[][..], &[("login-name", "alice"), ("secret", "pw")], &[("username", ""), ("password", "")]]
    {
        let reply = post(server.address, form);
        assert_eq!(reply.status, 401);
        holds(reply.text(), &["no username was sent", "send username=USER@DOMAIN and password="]);
    }
    // For users who exist and for others it is the same answer.
    let without = |name| post(server.address, &[("username", name)]).text().to_owned();
    assert_eq!(without("alice@example.org"), without("nobody@example.org"));
    let wrong = post(server.address, &[("username", "alice"), ("password", "pw")]);
    holds(wrong.text(), &["wrong username, domain or password"]);
    let elsewhere = exchange(server.address, &request("GET", "/jitsi", &[], b""));
    assert_eq!(elsewhere.status, 404);
    holds(elsewhere.text(), &["the only path is /jitsiprovs/"]);
    // Without a domain, requests are for a tenant that has no users.
    holds(&server.log().join("\n"), &["give --default-domain example.org"]);
}

/// A certificate and its key in files of this folder.
fn pair(folder: &tempfile::TempDir) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let files = [("key.pem", made.signing_key.serialize_pem()), ("chain.pem", made.cert.pem())];
    files.map(|(name, pem)| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    })
}

#[test]
fn a_client_without_tls_is_noted_once_with_the_url_to_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let [key, chain] = pair(&folder);
    let file = SqliteFile::empty();
    let server = Server::on_sqlite(&file.path, &["--ssl-keyfile", &key, "--ssl-certfile", &chain]);
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream.write_all(&request("GET", "/jitsiprovs/", &[], b"")).expect("sends");
        let _ = stream.read_to_end(&mut Vec::new());
        server.wait_for_log("write https:// in the clients' URL");
    }
    let said = server.log().iter().filter(|line| line.contains("https:// in the")).count();
    assert_eq!(said, 1);
}

#[test]
fn a_start_that_fails_names_the_option_to_change() {
    let file = SqliteFile::empty();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let path = file.path.to_str().expect("UTF-8");
    let start = |args: &[&str]| {
        let own = ["-n", "--db-path", path, "--http-ip", "127.0.0.1"];
        said(&run(&[&own, args].concat()), 1)
    };
    holds(&start(&["--http-port", &port]), &["another program has this port", "--http-port"]);
    let folder = tempfile::tempdir().expect("a folder");
    let [key, chain] = pair(&folder);
    let swapped = start(&["--http-port", "0", "--ssl-keyfile", &chain, "--ssl-certfile", &key]);
    holds(&swapped, &["holds no private key", "are not swapped"]);
    let other = tempfile::tempdir().expect("a folder");
    let [_, chain] = pair(&other);
    let strangers = start(&["--http-port", "0", "--ssl-keyfile", &key, "--ssl-certfile", &chain]);
    holds(&strangers, &["give the key that the certificate was made for", "--ssl-keyfile"]);
}
