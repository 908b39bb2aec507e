//! `jitsiprovs demo` and the help.

use support::client::{exchange, request};
use support::java::Java;
use support::server::{Server, jitsiprovs, run};
use support::wait_for;

#[test]
fn the_curl_commands_that_the_demo_prints_get_the_answers_it_announces() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = folder.path().join("stdout");
    let mut command = jitsiprovs(&["demo", "--http-port", "0"]);
    command.stdout(std::fs::File::create(&said).expect("a file"));
    let demo = Server::spawn(command);
    let printed = wait_for("the demo to explain itself", || {
        std::fs::read_to_string(&said).ok().filter(|text| text.contains("kill -HUP"))
    });
    let printed: Vec<&str> =
        printed.lines().filter(|line| line.trim_start().starts_with("curl -d")).collect();
    let mut java = Java::start();
    let mut answers = printed.iter().map(|line| {
        let mut quoted = line.split('\'');
        let (form, url) = (quoted.nth(1).expect("a form"), quoted.next().expect("a URL").trim());
        let address =
            url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).expect("an address");
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        exchange(
            address.parse().expect("an address"),
            &request("POST", "/jitsiprovs/", &kind, form.as_bytes()),
        )
    });
    let sip = "net.java.sip.communicator.impl.protocol.sip";
    let mut transports = Vec::new();
    for reply in answers.by_ref().take(4) {
        assert_eq!(reply.status, 200);
        let properties = java.load(&reply.body).expect("Java reads it");
        // A rule that removes a subtree must come before the keys in the subtree.
        assert_eq!(properties[0], (sip.into(), "${null}".into()));
        let find = |name: &str| {
            let key = format!("{sip}.accsip.{name}");
            let found = properties.iter().find(|(known, _)| *known == key);
            found.map(|(_, value)| value.clone()).expect("a property")
        };
        transports.push((find("USER_ID"), find("PREFERRED_TRANSPORT"), find("SERVER_ADDRESS")));
    }
    let expected = [
        ("alice@example.org", "TLS", "sip.example.org"),
        ("alice@example.org", "UDP", "sip.example.org"),
        ("bob@example.org", "TCP", "sip.example.org"),
        ("carol@example.net", "TLS", "voip.example.net"),
    ];
    assert_eq!(
        transports,
        expected.map(|(user, transport, server)| (user.into(), transport.into(), server.into()))
    );
    let refused = answers.next().expect("a fifth request");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, None));
    drop(answers);

    demo.signal("INT");
    assert!(demo.wait().success());
}

#[test]
fn the_help_groups_the_options_and_names_their_variables() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout);
    for heading in ["Listening:", "Database:", "Setup:", "Users and rules:", "Requests:", "Process:"] {
        assert!(help.contains(heading), "{heading}\n{help}");
    }
    let options = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
    let mut options: Vec<&str> = options.map(|word| word.trim_end_matches([',', ')', ':', ';'])).collect();
    options.sort_unstable();
    options.dedup();
    assert!(options.len() > 25, "{options:?}");
    for option in options.iter().filter(|option| !["--help", "--version"].contains(option)) {
        let variable = format!("JITSIPROVS_{}", option[2..].replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "{variable}\n{help}");
    }
}
