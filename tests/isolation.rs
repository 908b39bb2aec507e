//! No client gets data of another user or tenant.
//!
//! Random databases and requests, with many oddly spelled names, go through the real code:
//! parameters, sign-in, answer. A model that shares no code with it says which rules each answer
//! must contain, and a second, simpler check says which it must not contain. Users are added and
//! removed between requests.
//!
//! `JITSIPROVS_ISOLATION_REQUESTS` sets a larger number of requests than the suite has time for.

use std::fmt::Write as _;

use fastrand::Rng;
use jitsiprovs::core::conventions::Conventions;
use jitsiprovs::core::credential::PwdFmt;
use jitsiprovs::core::model::{Cell, Change, Row, RuleRow, Table, UserRow};
use jitsiprovs::core::names::Comparison;
use jitsiprovs::core::params::{Aliases, Known, built_in_aliases};
use jitsiprovs::core::request::{self, Body};
use jitsiprovs::snapshot::{SignIn, Snapshot, Writer};

const REQUESTS: usize = 200_000;
const THREADS: u64 = 2;

const DOMAINS: [&str; 6] = ["a.org", "A.ORG", "a.org ", "b.org", "bob", "sk"];
/// Names that have another meaning somewhere, or differ only slightly from each other.
const NAMES: [&str; 22] = [
    "bob",
    "sk",
    "a",
    "é",
    "e\u{301}",
    "ß",
    "ss",
    "ﬁ",
    "fi",
    "İ",
    "i",
    "a\0",
    "a\u{a0}",
    "a\t",
    "a\u{3000}",
    "ａ",
    "linux",
    "10.0.0.1",
    "default",
    "username=bob",
    "hwaddr=bob",
    "a=b",
];
const TYPED: [&str; 20] = [
    "username",
    "Username",
    "uſername",
    "username ",
    "user",
    "Login",
    "login",
    "LOGIN",
    "my-login",
    "domain",
    "hwaddr",
    "HW",
    "osname",
    "os",
    "hostname",
    "dept",
    "Dept",
    "pass",
    "null",
    "u sername",
];
const SENT: [&str; 17] = [
    "hwaddr",
    "hw",
    "osname",
    "os",
    "hostname",
    "arch",
    "locale",
    "ipaddr",
    "dept",
    "Dept",
    "Username",
    "uſername",
    "login",
    "Login",
    "user",
    "my-login",
    "default",
];

/// A spelling that equals `name` under Unicode's simple case folding: other case, or trailing
/// spaces.
fn respelled(name: &str, rng: &mut Rng) -> String {
    let mut out = String::new();
    for c in name.chars() {
        let others: &[char] = match c {
            'a' => &['A'],
            'b' => &['B'],
            'e' => &['E'],
            's' => &['S', 'ſ'],
            'k' => &['K', '\u{212a}'],
            'é' => &['É'],
            'ß' => &['ẞ'],
            'ａ' => &['Ａ'],
            _ => &[],
        };
        out.push(if others.is_empty() || rng.bool() { c } else { *rng.choice(others).expect("some") });
    }
    out.extend(std::iter::repeat_n(' ', if rng.u8(..4) == 0 { rng.usize(1..3) } else { 0 }));
    out
}

/// The form in which names are compared, with the model's own folding table.
fn folded(text: &str, is_exact: bool) -> String {
    if is_exact {
        return text.to_owned();
    }
    let fold = |c| match c {
        'A'..='Z' => c.to_ascii_lowercase(),
        'ſ' => 's',
        '\u{212a}' => 'k',
        'É' => 'é',
        'ẞ' => 'ß',
        'Ａ' => 'ａ',
        other => other,
    };
    text.trim_end_matches(' ').chars().map(fold).collect()
}

#[derive(Debug, Clone)]
struct ModelUser {
    id: i64,
    domain: String,
    name: String,
    /// Whether the row can be read.
    is_whole: bool,
}

#[derive(Debug, Clone)]
struct ModelRule {
    id: i64,
    domain: String,
    subject: String,
    priority: i64,
    meant: Meant,
}

/// The parsed form of a rule.
#[derive(Debug, Clone)]
struct Meant {
    domain: String,
    subject: String,
    /// The parameter and the value, if the subject names a parameter.
    typed: Option<(String, String)>,
}

#[derive(Debug)]
struct World {
    is_exact: bool,
    aliases: Vec<(&'static str, &'static str)>,
    users: Vec<ModelUser>,
    rules: Vec<ModelRule>,
    /// All names that users have had so far, with their domains.
    ever: Vec<(String, String)>,
}

fn name(rng: &mut Rng) -> String {
    let name = rng.choice(NAMES).expect("names");
    respelled(name, rng)
}

fn domain(rng: &mut Rng) -> String {
    (*rng.choice(DOMAINS).expect("domains")).to_owned()
}

impl World {
    fn new(rng: &mut Rng) -> World {
        let is_exact = rng.bool();
        let mut aliases =
            vec![("user", "username"), ("pass", "password"), ("os", "osname"), ("hw", "hwaddr")];
        if rng.bool() {
            aliases.extend([("Login", "username"), ("my-login", "username"), ("DEPT", "hostname")]);
        }
        let users = (1..=rng.i64(1..6)).map(|id| ModelUser {
            id,
            domain: domain(rng),
            name: name(rng),
            is_whole: rng.u8(..8) > 0,
        });
        let users: Vec<ModelUser> = users.collect();
        let subject = |rng: &mut Rng| match rng.u8(..10) {
            0 => "default".to_owned(),
            1..5 => name(rng),
            _ => format!("{}={}", rng.choice(TYPED).expect("some"), name(rng)),
        };
        let rules = (1..=rng.i64(1..12)).map(|id| ModelRule {
            id,
            domain: if rng.u8(..3) == 0 { String::new() } else { domain(rng) },
            subject: subject(rng),
            priority: rng.i64(0..3),
            meant: Meant { domain: String::new(), subject: String::new(), typed: None },
        });
        let rules: Vec<ModelRule> = rules.collect();
        let mut world = World { is_exact, aliases, users, rules: Vec::new(), ever: Vec::new() };
        world.rules = rules.into_iter().map(|rule| ModelRule { meant: world.meant(&rule), ..rule }).collect();
        world.remember();
        world
    }

    fn remember(&mut self) {
        let fold = |text: &str| folded(text, self.is_exact);
        let new: Vec<_> = self.users.iter().map(|user| (fold(&user.name), fold(&user.domain))).collect();
        self.ever.extend(new);
    }

    fn options(&self) -> Conventions {
        let known = |name| Known::from_name(name).expect("known");
        let mut aliases: Aliases = built_in_aliases();
        for (alias, name) in &self.aliases[aliases.len()..] {
            aliases.push(((*alias).to_owned(), known(name)));
        }
        let comparison = if self.is_exact { Comparison::Exact } else { Comparison::Folded };
        Conventions { comparison, pwd_fmt: PwdFmt::Plain, aliases, ..Conventions::default() }
    }

    /// The canonical name of a parameter in a subject.
    fn param(&self, written: &str) -> Option<String> {
        let name = folded(written, false);
        let alias = self.aliases.iter().find(|(alias, _)| folded(alias, false) == name);
        let canonical = ["username", "domain", "hwaddr", "osname", "hostname", "password"];
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
        match alias {
            Some((_, known)) => Some((*known).to_owned()),
            None if canonical.contains(&&*name) => Some(name),
            None if is_plain && name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                Some(if self.is_exact { written.to_owned() } else { name })
            }
            None => None,
        }
    }

    fn meant(&self, rule: &ModelRule) -> Meant {
        let fold = |text: &str| folded(text, self.is_exact);
        let typed = rule.subject.split_once('=');
        let typed = typed.and_then(|(param, value)| Some((self.param(param)?, fold(value))));
        Meant { domain: fold(&rule.domain), subject: fold(&rule.subject), typed }
    }

    fn is_user(&self, word: &str, domain: &str) -> bool {
        let fold = |text: &str| folded(text, self.is_exact);
        let is_it = |user: &&ModelUser| {
            fold(&user.name) == word && (domain.is_empty() || fold(&user.domain) == domain)
        };
        self.users.iter().filter(|user| user.is_whole).any(|user| is_it(&user))
    }

    fn matches(&self, rule: &ModelRule, sent: &Sent) -> bool {
        let fold = |text: &str| folded(text, self.is_exact);
        let Meant { domain, subject, typed } = &rule.meant;
        if !domain.is_empty() && *domain != fold(&sent.domain) {
            return false;
        }
        if subject == "default" {
            return true;
        }
        let value_of = |param: &str| sent.known(param).map(fold);
        if let Some((param, value)) = typed {
            let canonical = ["username", "domain", "hwaddr", "osname", "hostname", "password"];
            if canonical.contains(&&**param) {
                return !value.is_empty() && value_of(param).as_ref() == Some(value);
            }
            let is_sent = |(name, sent): &(String, String)| {
                fold(name) == *param && fold(sent) == *value && !["default", "null"].contains(&&**name)
            };
            return !value.is_empty() && sent.others.iter().any(is_sent);
        }
        let machine = match &**subject {
            "linux" => Some("osname"),
            "10.0.0.1" => Some("ipaddr"),
            _ => None,
        };
        match machine {
            Some(param) if !self.is_user(subject, domain) => value_of(param).as_ref() == Some(subject),
            _ => value_of("username").as_ref() == Some(subject),
        }
    }

    /// Whether a rule must not reach the client, in the simplest terms: it belongs to another
    /// tenant, or was written for another user.
    fn is_anothers(&self, rule: &ModelRule, sent: &Sent) -> bool {
        let fold = |text: &str| folded(text, self.is_exact);
        let own = (fold(sent.known("username").expect("signed in")), fold(&sent.domain));
        let Meant { domain, subject, typed } = &rule.meant;
        if !domain.is_empty() && *domain != own.1 {
            return true;
        }
        let machine_words = ["linux", "10.0.0.1", "default"];
        let by_word = !machine_words.contains(&&**subject)
            && *subject != own.0
            && !subject.contains('=')
            && self.ever.iter().any(|(name, _)| name == subject);
        let by_type = typed.as_ref().is_some_and(|(param, value)| param == "username" && *value != own.0);
        by_word || by_type
    }
}

/// A request, with the meaning that the protocol gives it.
#[derive(Debug)]
struct Sent {
    form: Vec<(String, String)>,
    domain: String,
    known: Vec<(String, String)>,
    others: Vec<(String, String)>,
}

impl Sent {
    fn new(world: &World, asker: &ModelUser, rng: &mut Rng) -> Sent {
        let spelled = |text: &str, rng: &mut Rng| {
            if world.is_exact { text.to_owned() } else { respelled(text, rng) }
        };
        let username = spelled(&asker.name, rng);
        let mut form = vec![("password".to_owned(), "pw".to_owned())];
        match rng.u8(..2) {
            0 => form.push(("username".into(), format!("{username}@{}", asker.domain))),
            _ => {
                form.extend([("username".into(), username.clone()), ("domain".into(), asker.domain.clone())])
            }
        }
        for _ in 0..rng.usize(..4) {
            let sent = (*rng.choice(SENT).expect("some")).to_owned();
            let value = match rng.u8(..3) {
                0 => format!("{}={}", rng.choice(TYPED).expect("some"), name(rng)),
                _ => name(rng),
            };
            form.push((sent, value));
        }
        rng.shuffle(&mut form);
        let domain = asker.domain.clone();
        let mut sent = Sent { form, domain: domain.clone(), known: Vec::new(), others: Vec::new() };
        let canonical =
            ["username", "domain", "hwaddr", "osname", "hostname", "arch", "locale", "ipaddr", "password"];
        for (name, value) in &sent.form {
            let known = canonical.contains(&&**name);
            let list = if known { &mut sent.known } else { &mut sent.others };
            if !list.iter().any(|(other, _)| other == name) {
                list.push((name.clone(), value.clone()));
            }
        }
        for (name, value) in &sent.form {
            let Some((_, known)) = world.aliases.iter().find(|(alias, _)| alias == name) else { continue };
            if !sent.known.iter().any(|(other, _)| other == known) {
                sent.known.push(((*known).to_owned(), value.clone()));
            }
        }
        sent.known.retain(|(name, _)| name != "username" && name != "domain");
        sent.known.extend([("username".into(), username), ("domain".into(), domain)]);
        sent
    }

    fn known(&self, name: &str) -> Option<&str> {
        self.known.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    fn encoded(&self) -> String {
        let encode = |text: &str| {
            text.bytes().fold(String::new(), |mut out, byte| {
                let _ = write!(out, "%{byte:02X}");
                out
            })
        };
        let pairs = self.form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

fn user_row(user: &ModelUser) -> Row {
    let domain = if user.is_whole { user.domain.as_str().into() } else { Cell::Null };
    Row::User(UserRow::from_cells(user.id, [user.name.as_str().into(), domain, "pw".into()]))
}

fn rule_row(rule: &ModelRule) -> Row {
    Row::Rule(RuleRow::from_cells(
        rule.id,
        [
            rule.domain.as_str().into(),
            rule.subject.as_str().into(),
            rule.priority.into(),
            1.into(),
            format!("m{}", rule.id).as_str().into(),
            "v".into(),
        ],
    ))
}

/// The rules in the answer, or `None` if the sign-in was refused.
fn answered(snapshot: &Snapshot, sent: &Sent, options: &Conventions) -> Option<Vec<i64>> {
    let settings = request::ParamSettings {
        default_domain: "none".into(),
        aliases: options.aliases.clone(),
        comparison: options.comparison,
        values_are_encoded_twice: false,
    };
    let form = sent.encoded();
    let (params, _) = request::read("", Body::Form(form.as_bytes()), None, &settings).expect("well-formed");
    let SignIn::Granted(session) = snapshot.authenticate(&params) else { return None };
    let body = String::from_utf8(snapshot.answer(session, &params).body).expect("ASCII");
    let id = |line: &str| line.strip_prefix('m').and_then(|rest| rest.strip_suffix("=v")?.parse().ok());
    Some(body.lines().map(|line| id(line).expect("a marker")).collect())
}

fn ask(world: &World, snapshot: &Snapshot, options: &Conventions, rng: &mut Rng, seed: u64) {
    let Some(asker) = rng.choice(&world.users).filter(|user| user.is_whole) else { return };
    let sent = Sent::new(world, asker, rng);
    let empty = |text: &str| folded(text, world.is_exact).is_empty();
    if empty(&asker.name) || asker.name.contains('@') {
        return;
    }
    let answer = answered(snapshot, &sent, options);
    let tell = || format!("seed {seed}\n{world:#?}\n{sent:#?}\nanswer {answer:?}");
    let answer = answer.as_deref().unwrap_or_else(|| panic!("refused\n{}", tell()));
    let mut expected: Vec<&ModelRule> =
        world.rules.iter().filter(|rule| world.matches(rule, &sent)).collect();
    expected.sort_by_key(|rule| (rule.priority, rule.id));
    let expected: Vec<i64> = expected.iter().map(|rule| rule.id).collect();
    assert!(answer == expected, "expected {expected:?}\n{}", tell());
    let leaked = world.rules.iter().find(|rule| answer.contains(&rule.id) && world.is_anothers(rule, &sent));
    assert!(leaked.is_none(), "leaked {leaked:?}\n{}", tell());
}

/// Runs one database through several states, with requests to each state.
fn run(seed: u64) -> usize {
    const STATES: usize = 4;
    const OF_STATE: usize = 50;
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new(&mut rng);
    let options = world.options();
    let mut writer = Writer::new(options.clone());
    let mut changes: Vec<Change> = world.users.iter().map(user_row).map(Change::Put).collect();
    changes.extend(world.rules.iter().map(rule_row).map(Change::Put));
    rng.shuffle(&mut changes);
    for _ in 0..STATES {
        let mut draft = writer.draft();
        changes.drain(..).for_each(|change| draft.apply(change));
        let (snapshot, _) = draft.commit();
        for _ in 0..OF_STATE {
            ask(&world, &snapshot, &options, &mut rng, seed);
        }
        // A user is removed, renamed, made unreadable, or added.
        let at = rng.usize(..world.users.len());
        match rng.u8(..4) {
            0 if world.users.len() > 1 => {
                let gone = world.users.remove(at);
                changes.push(Change::Gone(Table::UserAuth, gone.id));
            }
            1 => world.users[at].name = name(&mut rng),
            2 => world.users[at].is_whole ^= true,
            _ => {
                let id = rng.i64(100..200);
                world.users.retain(|user| user.id != id);
                world.users.push(ModelUser {
                    id,
                    domain: domain(&mut rng),
                    name: name(&mut rng),
                    is_whole: true,
                });
            }
        }
        changes.extend(world.users.iter().map(user_row).map(Change::Put));
        world.remember();
    }
    STATES * OF_STATE
}

#[test]
fn no_answer_contains_data_of_another_user_or_tenant() {
    let wanted = std::env::var("JITSIPROVS_ISOLATION_REQUESTS").ok();
    let wanted = wanted.map_or(REQUESTS, |count| count.parse().expect("a number"));
    let share = wanted / THREADS as usize;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut asked = 0;
                let mut seed = thread;
                while asked < share {
                    asked += run(seed);
                    seed += THREADS;
                }
            });
        }
    });
}
