use super::*;

fn typed(parameters: &[&str]) -> Result<Vec<Parameter>, String> {
    parameters.iter().map(|one| one.parse()).collect()
}

fn url(parameters: &[&str]) -> Result<ProvisioningUrl, String> {
    ProvisioningUrl::new(Scheme::Https, "prov.example.org", 443, typed(parameters)?)
}

#[track_caller]
fn refused(parameters: &[&str], words: &str) {
    let why = url(parameters).expect_err("refused");
    assert!(why.contains(words), "{words:?} is not in {why:?}");
}

#[track_caller]
fn doubted(parameters: &[&str], words: &str) {
    let doubts = url(parameters).expect("a URL").doubts();
    assert!(matches!(&*doubts, [doubt] if doubt.contains(words)), "{words:?} is not in {doubts:?}");
}

#[test]
fn typed_parameters_replace_the_usual_ones_or_follow_them() {
    let usual = "username=${username}&password=${password}&osname=${osname}&hwaddr=${hwaddr}&uuid=${uuid}";
    let all = url(&[]).expect("a URL");
    assert_eq!(all.to_string(), format!("https://prov.example.org/jitsiprovs/?{usual}"));
    assert_eq!(all.doubts(), Vec::<String>::new());
    let some = url(&["hwaddr=", "branch=berlin", "osname=${osname}-${arch}"]).expect("a URL");
    assert_eq!(
        some.to_string(),
        "https://prov.example.org/jitsiprovs/?username=${username}&password=${password}\
         &osname=${osname}-${arch}&uuid=${uuid}&branch=berlin"
    );
    assert_eq!(some.doubts(), Vec::<String>::new());
}

#[test]
fn hosts_and_ports_are_written_as_urls_have_them() {
    let base = |scheme, host, port| {
        ProvisioningUrl::new(scheme, host, port, Vec::new()).map(|url| url.base()).map_err(drop)
    };
    assert_eq!(base(Scheme::Http, "192.0.2.1", 8080), Ok("http://192.0.2.1:8080/jitsiprovs/".into()));
    assert_eq!(base(Scheme::Https, "2001:db8::1", 443), Ok("https://[2001:db8::1]/jitsiprovs/".into()));
    for host in ["", "a b", "https://a.org", "a.org:80", "a.org/x", "ä.org", "1.2.3"] {
        assert_eq!(base(Scheme::Https, host, 443), Err(()), "{host}");
    }
    assert_eq!(base(Scheme::Https, "a.org", 0), Err(()));
}

#[test]
fn placeholders_that_jitsi_does_not_fill_are_refused_with_what_it_sends() {
    refused(&["username=", "u=x-${username}"], "sends `u=x-` and does not ask the user");
    refused(&["password=p${password}"], "sends `password=p`");
    refused(&["username=${username}${password}", "password="], "sends `username=${password}`");
    refused(&["user=${username}"], "`username=${username}` and `user=${username}`");
    refused(&["a=b&c"], "'&'");
    refused(&["a=b c"], "' '");
    refused(&["a=ä"], "'ä'");
    refused(&["a"], "NAME=VALUE");
    refused(&["${osname}=1"], "cannot be a name");
}

#[test]
fn what_works_in_another_way_than_it_seems_to_is_a_doubt() {
    doubted(
        &["username=${username}@x.org"],
        "sends only `username=@x.org`, and users sign in with HTTP Basic",
    );
    doubted(
        &["username=", "password="],
        "without ${username} and ${password}, users sign in with HTTP Basic",
    );
    doubted(&["password="], "without ${password}");
    doubted(&["h=${hostname}"], "10 s");
    doubted(&["h=${host}"], "does not know ${host}");
    doubted(&["h=a%20b"], "decodes no %-escapes");
    let known = url(&["h=${env.HOME}${system.user.name}", "r=${resx}x${resy}"]).expect("a URL");
    assert_eq!(known.doubts(), Vec::<String>::new());
    let plain = ProvisioningUrl::new(Scheme::Http, "a.org", 80, Vec::new()).expect("a URL");
    assert!(plain.doubts()[0].contains("plain text"));
}

#[test]
fn a_url_of_255_bytes_fits_into_a_dhcp_option_and_a_longer_one_does_not() {
    let free = MOST_BYTES - url(&["a=b"]).expect("a URL").to_string().len();
    let with = |more| url(&[&format!("a=b{}", "c".repeat(more))]).expect("a URL");
    assert_eq!(with(free).for_dhcp().map(|url| url.len()), Ok(MOST_BYTES));
    let why = with(free + 1).for_dhcp().expect_err("too long");
    assert!(why.starts_with("the URL has 256 bytes"), "{why}");
    // A TXT record has one string for each parameter.
    assert!(announcement::avahi(&with(free + 1)).is_ok());
    let why = announcement::avahi(&with(300)).expect_err("too long");
    assert!(why.contains("has 303 bytes"), "{why}");
}
