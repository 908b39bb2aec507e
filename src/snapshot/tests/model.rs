//! Compares answers with those of a model that goes through all rows one by one.

use std::net::IpAddr;

use proptest::sample::select;

use super::attributes::attribute_row;
use super::*;
use crate::core::request::{self, Body, ParamSettings};
use crate::core::rules::RuleOutcome;

/// Names and values that meet often.
const NAMES: &[&str] = &["alice", "Bob", "linux"];
const DOMAINS: &[&str] = &["a.org", "b.org"];
const VALUES: &[&str] = &["Linux", "linux-1", "Windows 10", "berlin", "10.1.2.3", "00:1a:2b:3c:4d:5e", "a*b"];
const SUBJECTS: &[&str] = &[
    "default",
    "alice",
    "BOB",
    "linux",
    "osname=Linux",
    "osname=linux*",
    "osname=*n*1?",
    "osname=a\\*b",
    "os=?indows*",
    "hostname=*",
    "x=lin*",
    "user.branch=berlin",
    "User.Branch=ber*",
    "user.branch=?",
    "user.disabled=yes",
    "ipaddr=10.0.0.0/8",
    "ipaddr=10.1.2.3",
    "client.address=192.0.2.0/24",
    "client.address=192.0.2.0/30",
    "hwaddr=00-1A-2B-3C-4D-5E",
    "hwaddr=001a.2b3c.4d5e",
    "hwaddr=00:1a*",
];
const TEMPLATES: &[&str] = &[
    "fixed",
    "${user.branch}",
    "${user.line2:-none}",
    "$username@$domain",
    "${osname}",
    "${x:upper}",
    "${client.address}",
    "${user.branch:lower}",
];

#[derive(Debug, Clone)]
struct World {
    users: Vec<(&'static str, &'static str)>,
    rules: Vec<(&'static str, &'static str, i64, &'static str, &'static str)>,
    attributes: Vec<(&'static str, &'static str, &'static str, &'static str)>,
    sent: Vec<(&'static str, &'static str)>,
    me: (&'static str, &'static str),
}

fn world() -> impl Strategy<Value = World> {
    let domain = || select(&["a.org", "B.org", ""][..]);
    let user = (select(DOMAINS), select(NAMES));
    let rule = (domain(), select(SUBJECTS), 0..3_i64, select(&["k", "l"][..]), select(TEMPLATES));
    let attribute = (
        domain(),
        select(&["Alice", "bob", "", ""][..]),
        select(&["branch", "line2", "Disabled"][..]),
        select(&["Berlin", "x", "no", "yes", ""][..]),
    );
    let sent = (select(&["osname", "x", "hostname", "ipaddr", "hwaddr", "user.branch"][..]), select(VALUES));
    (
        prop::collection::vec(user.clone(), 0..4),
        prop::collection::vec(rule, 0..7),
        prop::collection::vec(attribute, 0..5),
        prop::collection::vec(sent, 0..4),
        user,
    )
        .prop_map(|(mut users, rules, mut attributes, mut sent, me)| {
            users.insert(0, me);
            users.sort_unstable();
            users.dedup();
            // An attribute of a user needs the user's domain.
            attributes.retain(|(domain, username, ..)| !domain.is_empty() || username.is_empty());
            sent.sort_by_key(|(name, _)| *name);
            sent.dedup_by_key(|(name, _)| *name);
            World { users, rules, attributes, sent, me }
        })
}

fn folded(text: &str) -> String {
    text.trim_end_matches(' ').to_lowercase()
}

impl World {
    fn rows(&self) -> Vec<Row> {
        let users = (1..).zip(&self.users).map(|(id, (domain, name))| user_row(id, (domain, name, "pw")));
        let rules = (1..).zip(&self.rules).map(|(id, rule)| rule_row(id, *rule));
        let attributes = (1..).zip(&self.attributes).map(|(id, attribute)| attribute_row(id, *attribute));
        users.chain(rules).chain(attributes).collect()
    }

    /// The values of an attribute at the level that counts.
    fn attribute(&self, wanted: &str) -> Vec<&'static str> {
        let me = (folded(self.me.0), folded(self.me.1));
        let levels = [(&*me.0, &*me.1), (&*me.0, ""), ("", "")];
        let of = |(domain, user): (&str, &str)| {
            let is_it = |row: &&(&str, &str, &'static str, &'static str)| {
                (&*folded(row.0), &*folded(row.1), &*row.2.to_lowercase()) == (domain, user, wanted)
            };
            self.attributes.iter().filter(is_it).map(|row| row.3).collect::<Vec<_>>()
        };
        levels.into_iter().map(of).find(|values| !values.is_empty()).unwrap_or_default()
    }

    fn is_disabled(&self) -> bool {
        let value = self.attribute("disabled").first().map(|value| value.to_lowercase());
        value.is_some_and(|value| !["", "0", "no", "false"].contains(&&*value))
    }

    fn sent(&self, name: &str) -> Option<&'static str> {
        self.sent.iter().find(|(sent, _)| *sent == name).map(|(_, value)| *value)
    }

    fn selects(&self, (domain, subject, ..): &(&str, &str, i64, &str, &str)) -> bool {
        if !domain.is_empty() && folded(domain) != folded(self.me.0) {
            return false;
        }
        if self.is_disabled() {
            return *subject == "user.disabled=yes";
        }
        if *subject == "default" {
            return true;
        }
        let Some((name, value)) = subject.split_once('=') else {
            let is_here = |of: &str| domain.is_empty() || folded(domain) == folded(of);
            let is_user = self.users.iter().any(|(of, user)| folded(user) == folded(subject) && is_here(of));
            return match is_user {
                true => folded(subject) == folded(self.me.1),
                // Of these words, only this one is what machines send.
                false => *subject == "linux" && self.sent("osname").map(folded).as_deref() == Some("linux"),
            };
        };
        let name = name.to_lowercase();
        let values = match &*name {
            "client.address" => vec!["192.0.2.1"],
            "os" => self.sent("osname").into_iter().collect(),
            name => match name.strip_prefix("user.") {
                Some(attribute) => self.attribute(attribute),
                None => self.sent(name).into_iter().collect(),
            },
        };
        values.into_iter().any(|sent| match &*name {
            "client.address" | "ipaddr" => is_in(sent, value),
            "hwaddr" if !value.contains('*') => mac(sent).is_some() && mac(sent) == mac(value),
            _ => is_like(&folded(sent), &folded(value)),
        })
    }

    /// The text of a template. `None` if something is missing.
    fn render(&self, template: &str) -> Option<String> {
        Some(match template {
            "${user.branch}" => self.attribute("branch").first()?.to_string(),
            "${user.branch:lower}" => self.attribute("branch").first()?.to_lowercase(),
            "${user.line2:-none}" => match self.attribute("line2").first() {
                None | Some(&"") => "none".into(),
                Some(value) => value.to_string(),
            },
            "$username@$domain" => format!("{}@{}", self.me.1, self.me.0),
            "${osname}" => self.sent("osname")?.to_string(),
            "${x:upper}" => self.sent("x")?.to_uppercase(),
            "${client.address}" => "192.0.2.1".into(),
            fixed => fixed.into(),
        })
    }

    fn answer(&self) -> String {
        let mut rules: Vec<_> = (1..).zip(&self.rules).map(|(id, rule)| (rule.2, id, rule)).collect();
        rules.sort_unstable();
        let (mut taken, mut answer) = (Vec::new(), String::new());
        for (_, _, rule) in rules.into_iter().filter(|(_, _, rule)| self.selects(rule)) {
            let Some(value) = self.render(rule.4).filter(|_| !taken.contains(&rule.3)) else { continue };
            taken.push(rule.3);
            answer += &format!("{}={value}\n", rule.3);
        }
        answer
    }
}

/// Whether an address is this one, or in this network.
fn is_in(sent: &str, wanted: &str) -> bool {
    let (network, length) = wanted.split_once('/').unwrap_or((wanted, "32"));
    match (sent.parse(), network.parse()) {
        (Ok(IpAddr::V4(sent)), Ok(IpAddr::V4(network))) => {
            let shift = 32 - length.parse::<u32>().expect("a length");
            sent.to_bits() >> shift == network.to_bits() >> shift
        }
        _ => false,
    }
}

fn mac(text: &str) -> Option<String> {
    let digits: String = text.to_lowercase().chars().filter(char::is_ascii_hexdigit).collect();
    (digits.len() == 12).then_some(digits)
}

fn is_like(text: &str, pattern: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .any(|at| is_like(&text[at..], rest.as_str())),
        Some(c) => {
            let wanted = if c == '\\' { rest.next() } else { Some(c).filter(|c| *c != '?') };
            let mut text = text.chars();
            text.next().is_some_and(|c| wanted.is_none_or(|wanted| wanted == c))
                && is_like(text.as_str(), rest.as_str())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn answers_are_those_of_the_model(world in world()) {
        let (snapshot, _) = build(plain(), world.rows());
        let own = [("username", world.me.1), ("domain", world.me.0), ("password", "pw")];
        let form: Vec<String> = own
            .iter()
            .chain(&world.sent)
            .map(|(name, value)| format!("{name}={}", value.replace(' ', "+")))
            .collect();
        let form = form.join("&");
        let read = request::read("", Body::Form(form.as_bytes()), None, &ParamSettings::default());
        let (mut params, _) = read.expect("well-formed");
        params.set_address([192, 0, 2, 1].into());
        let SignIn::Granted(session) = snapshot.authenticate(&params) else { panic!("the password is right") };
        let answer = String::from_utf8(snapshot.answer(session, &params).body).expect("ASCII");
        prop_assert_eq!(&answer, &world.answer());
        // What `explain` lists as winners is what is served.
        let rows = world.rows();
        let rules = rows.iter().filter_map(|row| if let Row::Rule(rule) = row { Some(rule) } else { None });
        let (values, mut explained) = (session.values(&params), Vec::new());
        for traced in snapshot.trace(&plain(), session, &params, rules) {
            if let (Fate::Matches(RuleOutcome::Won), Some(rule)) = (traced.fate, traced.rule) {
                explained.extend(rule.render_key(&values));
                explained.push(b'=');
                explained.extend(rule.render_value(&values));
                explained.push(b'\n');
            }
        }
        prop_assert_eq!(explained, answer.into_bytes());
    }
}
