use super::*;
use crate::core::params::{ClientFact, ParamName, Values};
use proptest::prelude::*;

fn form(query: &str, body: &str) -> Params {
    let body = Body::Form(body.as_bytes());
    read(query, body, None, &ParamSettings::default()).expect("well-formed").0
}

fn get<'a>(params: &'a Params, name: &str) -> Option<&'a str> {
    params.get(&ParamName::new(name))
}

#[test]
fn form_wins_over_query_and_the_first_of_a_repeated_name_counts() {
    let params = form("osname=q&arch=q&x=q", "osname=one&osname=two&x=&=nameless");
    assert_eq!(get(&params, "osname"), Some("one"));
    assert_eq!(get(&params, "arch"), Some("q"));
    assert_eq!(get(&params, "x"), Some(""));
    assert_eq!(get(&params, ""), None);
}

#[test]
fn malformed_percent_text_is_literal_and_other_than_utf8_is_latin1() {
    let params = form("", "a=100%&b=%zz%4&c=%C3%A9+%E2%82%AC&d=%e9t%e9&%65=x&g=a+%2B&f");
    for (name, value) in
        [("a", "100%"), ("b", "%zz%4"), ("c", "é €"), ("d", "été"), ("e", "x"), ("f", ""), ("g", "a +")]
    {
        assert_eq!(get(&params, name), Some(value), "{name}");
    }
}

#[test]
fn the_domain_parameter_wins_over_the_part_after_the_last_at() {
    for (body, username, domain) in [
        ("username=alice", Some("alice"), "localdomain"),
        ("username=alice@a.org", Some("alice"), "a.org"),
        ("username=alice@x@a.org", Some("alice@x"), "a.org"),
        ("username=alice@a.org&domain=b.org", Some("alice"), "b.org"),
        ("username=alice@a.org&domain=", Some("alice"), "a.org"),
        ("username=alice@", Some("alice"), "localdomain"),
        ("username=@a.org", None, "localdomain"),
        ("username=", None, "localdomain"),
        ("", None, "localdomain"),
    ] {
        let params = form("", body);
        assert_eq!(params.known(Known::Username), username, "{body}");
        if username.is_some() {
            assert_eq!(params.known(Known::Domain), Some(domain), "{body}");
        }
    }
}

#[test]
fn what_the_client_could_not_fill_is_not_given() {
    let params =
        form("", "hwaddr=%24{hwaddr}&uuid=${env.X}&osname=${&arch=${a b}&hw=NA&ipaddr=NA&default=x&null=y");
    for (name, value) in [
        ("hwaddr", None),
        ("uuid", None),
        ("osname", Some("${")),
        ("arch", Some("${a b}")),
        ("ipaddr", Some("NA")),
        ("default", None),
        ("null", None),
    ] {
        assert_eq!(get(&params, name), value, "{name}");
    }
}

#[test]
fn a_password_may_look_like_any_placeholder_but_its_own() {
    for (body, password) in [
        ("password=${abc}", Some("${abc}")),
        ("password=${username}", Some("${username}")),
        ("password=${password}", None),
        ("pass=${abc}", Some("${abc}")),
        ("pass=${password}", None),
        ("password=${password}&pass=${pass}", Some("${pass}")),
    ] {
        let params = form("", body);
        assert_eq!(params.known(Known::Password), password, "{body}");
        let by_alias = get(&params, "pass");
        assert_eq!(by_alias, password.filter(|_| body.contains("pass=")), "{body}");
    }
}

#[test]
fn aliases_stand_in_where_the_canonical_name_is_missing() {
    let params = form("", "user=alice@a.org&pass=pw&os=Linux&osname=Mac&hw=00:1a");
    for (name, value) in [
        ("username", "alice"),
        ("domain", "a.org"),
        ("password", "pw"),
        ("osname", "Mac"),
        ("hwaddr", "00:1a"),
        ("os", "Linux"),
    ] {
        assert_eq!(get(&params, name), Some(value), "{name}");
    }
    let params = form("user=bob", "username=");
    assert_eq!(get(&params, "username"), Some("bob"));
}

#[test]
fn json_is_read_like_a_form() {
    let json = br#"{"username":"alice@a.org","resx":1920,"x":true,"y":null,"resx":5,"z":"\u00e9"}"#;
    let (params, _) = read("", Body::Json(json), None, &ParamSettings::default()).expect("flat");
    for (name, value) in [
        ("username", Some("alice")),
        ("resx", Some("1920")),
        ("x", Some("true")),
        ("y", None),
        ("z", Some("é")),
    ] {
        assert_eq!(get(&params, name), value, "{name}");
    }
    let latin1 = b"{\"z\":\"\xe9\"}";
    let (params, _) = read("", Body::Json(latin1), None, &ParamSettings::default()).expect("flat");
    assert_eq!(get(&params, "z"), Some("é"));
    for bad in ["", "[]", "{\"a\":{}}", "{\"a\":[1]}", "{", "\"x\""] {
        let read = read("", Body::Json(bad.as_bytes()), None, &ParamSettings::default());
        assert_eq!(read.expect_err(bad), Malformed::Json);
    }
}

#[test]
fn more_than_the_limit_of_parameters_is_refused() {
    let pairs = |count: usize| vec!["a=b"; count].join("&");
    let count = |query: &str, body: &str| {
        read(query, Body::Form(body.as_bytes()), None, &ParamSettings::default()).map(|_| ())
    };
    assert_eq!(count(&pairs(32), &pairs(32)), Ok(()));
    assert_eq!(count(&pairs(32), &pairs(33)), Err(Malformed::TooMany));
    let reserved = vec!["user.a=b"; MAX_PARAMS + 1].join("&");
    assert_eq!(count(&reserved, ""), Err(Malformed::TooMany));
}

#[test]
fn basic_credentials_count_only_without_a_username_parameter() {
    // alice@a.org:pä:w
    let header = b"basic YWxpY2VAYS5vcmc6cMOkOnc=".as_slice();
    let ask = |query: &str, header: Option<&[u8]>| {
        let (params, origin) =
            read(query, Body::Empty, header, &ParamSettings::default()).expect("well-formed");
        let known = |known| params.known(known).map(str::to_owned);
        (known(Known::Username), known(Known::Password), known(Known::Domain).expect("always"), origin)
    };
    let own = |text: &str| Some(text.to_owned());
    assert_eq!(
        ask("password=other", Some(header)),
        (own("alice"), own("pä:w"), "a.org".into(), UsernameOrigin::Header)
    );
    assert_eq!(
        ask("username=bob&password=pw", Some(header)),
        (own("bob"), own("pw"), "localdomain".into(), UsernameOrigin::Parameter)
    );
    for bad in [b"Digest x".as_slice(), b"Basic", b"Basic ???", b"Basic Og==", b"\xff"] {
        let (username, _, _, origin) = ask("", Some(bad));
        assert_eq!((username, origin), (None, UsernameOrigin::Header), "{bad:?}");
    }
}

/// A name in ways in which a client may hope that it passes.
fn spelled() -> impl Strategy<Value = String> {
    let begin = prop::sample::select(vec!["user.", "client.", "uſer.", "USER.", "Client.", "cLiEnT."]);
    let end =
        prop::sample::select(vec!["branch", "Branch", "disabled", "address", "username", "", "line2", "ö"]);
    (begin, end).prop_map(|(begin, end)| format!("{begin}{end}"))
}

/// How a client sends its parameters.
#[derive(Debug, Clone, Copy)]
enum Sent {
    Query,
    Form,
    EncodedForm,
    Json,
}

fn send(how: Sent, pairs: &[(String, String)], basic: Option<&str>, settings: &ParamSettings) -> Params {
    let join = |side: fn(&str) -> String| {
        let pairs = pairs.iter().map(|(name, value)| format!("{}={}", side(name), side(value)));
        pairs.collect::<Vec<_>>().join("&")
    };
    let form = match how {
        Sent::EncodedForm => join(|side| side.bytes().map(|byte| format!("%{byte:02x}")).collect()),
        _ => join(str::to_owned),
    };
    let members: Vec<String> = pairs.iter().map(|(name, value)| format!("{name:?}:{value:?}")).collect();
    let json = format!("{{{}}}", members.join(","));
    let (query, body) = match how {
        Sent::Query => (&*form, Body::Empty),
        Sent::Form | Sent::EncodedForm => ("", Body::Form(form.as_bytes())),
        Sent::Json => ("", Body::Json(json.as_bytes())),
    };
    let basic = basic
        .map(|pair| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)).into_bytes());
    read(query, body, basic.as_deref(), settings).expect("well-formed").0
}

#[test]
fn a_username_parameter_that_is_a_tenant_alone_is_the_tenant_of_basic() {
    let ask = |query: &str, basic: &str| {
        let header = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(basic));
        let read = read(query, Body::Empty, Some(header.as_bytes()), &ParamSettings::default());
        let (params, origin) = read.expect("well-formed");
        let known = |known| params.known(known).unwrap_or_default().to_owned();
        assert_eq!((known(Known::Password), origin), ("pw".into(), UsernameOrigin::Header));
        (known(Known::Username), known(Known::Domain))
    };
    let alice = |domain: &str| ("alice".to_owned(), domain.to_owned());
    assert_eq!(ask("username=@a.org", "alice:pw"), alice("a.org"));
    assert_eq!(ask("username=@a.org&password=x", "alice@b.org:pw"), alice("b.org"));
    assert_eq!(ask("username=@a.org&domain=c.org", "alice:pw"), alice("c.org"));
    assert_eq!(ask("username=@", "alice:pw"), alice("localdomain"));
}

#[test]
fn the_password_of_basic_counts_where_it_is_the_same_user() {
    let ask = |body: &str, basic: &str, comparison| {
        let header = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(basic));
        let settings = ParamSettings { comparison, ..ParamSettings::default() };
        let read = read("", Body::Json(body.as_bytes()), Some(header.as_bytes()), &settings);
        let (params, origin) = read.expect("well-formed");
        assert_eq!(origin, UsernameOrigin::Parameter);
        params.known(Known::Password).unwrap_or_default().to_owned()
    };
    for (json, basic, password) in [
        (r#"{"username":"alice@a.org","password":"p"}"#, "alice@a.org:p=w&x", "p=w&x"),
        (r#"{"username":"alice@a.org"}"#, "Alice:p=w", "p=w"),
        (r#"{"username":"alice","password":"p"}"#, "alice@a.org:p=w", "p=w"),
        (r#"{"username":"alice@x","domain":"a.org","password":"p"}"#, "alice@A.ORG:p=w", "p=w"),
        // Another user, another tenant, no password, and characters that Basic cannot carry.
        (r#"{"username":"alice@a.org","password":"p"}"#, "bob@a.org:p=w", "p"),
        (r#"{"username":"alice@a.org","password":"p"}"#, "alice@b.org:p=w", "p"),
        (r#"{"username":"alice@x","domain":"a.org","password":"p"}"#, "alice@x:p=w", "p"),
        (r#"{"username":"alice","password":"p"}"#, "alice:", "p"),
        (r#"{"username":"alice","password":"pä"}"#, "alice:p?", "pä"),
    ] {
        assert_eq!(ask(json, basic, Comparison::Folded), password, "{json} {basic}");
    }
    let json = r#"{"username":"alice","password":"p"}"#;
    assert_eq!(ask(json, "Alice:p=w", Comparison::Exact), "p");
    assert_eq!(ask(json, "alice:p=w", Comparison::Exact), "p=w");
}

proptest! {
    #[test]
    fn what_a_client_sends_is_never_an_attribute_nor_what_the_server_sees(
        claimed in prop::collection::vec((spelled(), "[a-z]{0,3}"), 1..6),
        others in prop::collection::vec(("x|osname|users|client", "[a-z]{1,3}"), 0..4),
        basic in prop::option::of("(user|client).[a-z]{0,3}:(user|client).x=[a-z]"),
        how in prop::sample::select(vec![Sent::Query, Sent::Form, Sent::EncodedForm, Sent::Json]),
        alias in prop::option::of((spelled(), prop::sample::select(Known::ALL.to_vec()))),
        at in any::<prop::sample::Index>(),
    ) {
        let mut settings = ParamSettings::default();
        settings.aliases.extend(alias.clone());
        let mut pairs = others.clone();
        let at = at.index(pairs.len() + 1);
        pairs.splice(at..at, claimed.iter().cloned());
        let params = send(how, &pairs, basic.as_deref(), &settings);
        // The server has seen nothing yet, so there is nothing but what was typed as the username.
        for (name, _) in &claimed {
            let expected = match ParamName::new(name) {
                ParamName::Client(ClientFact::Username) => params.known(Known::Username),
                _ => None,
            };
            prop_assert_eq!(params.get(&ParamName::new(name)), expected, "{}", name);
            prop_assert!(params.others().all(|(other, _)| !is_reserved(other)));
        }
        // All else is as if the client had not sent them.
        let honest = send(how, &others, basic.as_deref(), &settings);
        prop_assert!(params.others().eq(honest.others()));
        for known in Known::ALL {
            prop_assert_eq!(params.known(known), honest.known(known));
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        query in any::<String>(), body in prop::collection::vec(any::<u8>(), 0..200),
        header in prop::collection::vec(any::<u8>(), 0..40), json: bool,
    ) {
        let body = if json { Body::Json(&body) } else { Body::Form(&body) };
        let _ = read(&query, body, Some(&header), &ParamSettings::default());
    }

    #[test]
    fn a_value_that_was_encoded_is_read_back(value in "\\PC{0,20}") {
        prop_assume!(!is_placeholder(&value));
        let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let params = form("", &format!("x={encoded}"));
        prop_assert_eq!(get(&params, "x"), Some(value.as_str()));
    }
}
