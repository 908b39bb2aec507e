//! What is known of users, from commands to clients.

use support::client::post;
use support::java::Java;
use support::server::Server;
use support::tables::Tables;
use support::wait_for;

const SIP: &str = "net.java.sip.communicator.impl.protocol.sip.";

/// The rules for everyone that docs/attributes.md shows. A rule whose attribute is missing is
/// left out, and the next one of its key takes its place.
const RULES: [(&str, &str, &str); 12] = [
    ("acc1", "acc1", "7"),
    ("acc1.ACCOUNT_UID", "SIP\\:${user.sip_user}@${domain}", "7"),
    ("acc1.USER_ID", "${user.sip_user}@${domain}", "7"),
    ("acc1.AUTHORIZATION_NAME", "${user.auth_name}", "7"),
    ("acc1.AUTHORIZATION_NAME", "${username}", "8"),
    ("acc1.PASSWORD", "${user.sip_password}", "7"),
    ("acc1.DISPLAY_NAME", "${user.display_name}", "7"),
    ("acc1.DISPLAY_NAME", "${username}", "8"),
    ("acc1.PROXY_ADDRESS", "${user.proxy}", "7"),
    ("acc2", "acc2", "7"),
    ("acc2.USER_ID", "${user.line2}@${domain}", "7"),
    ("acc3.USER_ID", "${user.line3}@${domain}", "7"),
];

fn answer(java: &mut Java, server: &Server, username: &str) -> Vec<(String, String)> {
    let reply = post(server.address, &[("username", username), ("password", "web")]);
    assert_eq!(reply.status, 200);
    java.load(&reply.body).expect("Java reads it")
}

#[test]
fn one_set_of_default_rules_serves_users_with_different_lines_and_passwords() {
    let mut java = Java::start();
    for tables in Tables::each() {
        for (key, value, spriority) in RULES {
            tables.done(&["rule", "add", &format!("{SIP}{key}={value}"), "--spriority", spriority, "--also"]);
        }
        tables.done(&["tenant", "set", "example.org", "proxy=sip.example.org"]);
        let munich = format!("{SIP}acc1.PROXY_ADDRESS=munich.example.org");
        tables.done(&["rule", "add", &munich, "--subject", "user.branch=mun*"]);
        for (user, sip_user, password, more) in [
            ("alice", "17", "a\\b$c", &["display_name=Alice Á", "line2=18", "line3=19"][..]),
            ("bob", "20", " leading", &["auth_name=bob-auth", "branch=Munich"]),
            ("carol", "21", "c", &["proxy=own.example.org", "line2=22"]),
            ("dave", "23", "d", &[]),
        ] {
            let name = format!("{user}@example.org");
            tables.user(&name, "web");
            let set =
                ["user", "set", &name, &format!("sip_user={sip_user}"), "--value-stdin", "sip_password"];
            tables.done_with(&[&set[..], more].concat(), password);
        }
        let server = tables.serve();
        let mut of = |user: &str| {
            let all = answer(&mut java, &server, &format!("{}@EXAMPLE.org", user.to_uppercase()));
            move |key: &str| {
                let found = all.iter().find(|(known, _)| known.strip_prefix(SIP) == Some(key));
                found.map(|(_, value)| value.clone())
            }
        };
        let value = |text: &str| Some(text.to_owned());
        let (alice, bob, carol, dave) = (of("alice"), of("bob"), of("carol"), of("dave"));
        assert_eq!(alice("acc1.ACCOUNT_UID"), value("SIP:17@example.org"));
        assert_eq!(alice("acc1.PASSWORD"), value("a\\b$c"));
        assert_eq!(alice("acc1.DISPLAY_NAME"), value("Alice Á"));
        assert_eq!(
            (alice("acc2.USER_ID"), alice("acc3.USER_ID")),
            (value("18@example.org"), value("19@example.org"))
        );
        assert_eq!(alice("acc1.PROXY_ADDRESS"), value("sip.example.org"));
        assert_eq!(bob("acc1.PASSWORD"), value(" leading"));
        assert_eq!(bob("acc1.AUTHORIZATION_NAME"), value("bob-auth"));
        assert_eq!(bob("acc1.PROXY_ADDRESS"), value("munich.example.org"));
        assert_eq!((bob("acc2.USER_ID"), bob("acc3.USER_ID")), (None, None));
        assert_eq!(carol("acc1.PROXY_ADDRESS"), value("own.example.org"));
        assert_eq!((carol("acc2.USER_ID"), carol("acc3.USER_ID")), (value("22@example.org"), None));
        assert_eq!(dave("acc1.USER_ID"), value("23@example.org"));
        assert_eq!(
            (dave("acc1.DISPLAY_NAME"), dave("acc1.AUTHORIZATION_NAME")),
            (value("dave"), value("dave"))
        );

        // Whoever is switched off gets none of these.
        tables.done(&["user", "disable", "dave@example.org"]);
        wait_for("dave to be switched off", || {
            answer(&mut java, &server, "dave@example.org").is_empty().then_some(())
        });
    }
}
