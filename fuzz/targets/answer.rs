//! Users, rules and a request. The answer must be the one of the specification, which is written
//! here again without any index, and Java must be able to read it. A snapshot must not depend on
//! the way in which its rows arrived.
//!
//! Input: one item a line, with fields separated by `|`: `u|domain|username|password`,
//! `r|domain|subject|spriority|ppriority|key|value`; any other line is a parameter `name=value` of
//! the request. A row's id is the number of its line, or a number in front of it: `7u|…`. `\N` is
//! `NULL`. Or a zero byte, followed by bytes from which the `arbitrary` crate makes rows whose
//! names are equal more often.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use jitsiprovs::core::conventions::Conventions;
use jitsiprovs::core::credential::PwdFmt;
use jitsiprovs::core::model::{Cell, Change, Row, RuleRow, Table, UserRow};
use jitsiprovs::core::params::{Known, ParamName, Params, Values, built_in_aliases};
use jitsiprovs::core::properties::Side;
use jitsiprovs::core::template::Template;
use jitsiprovs::snapshot::{SignIn, Snapshot, Writer};

use crate::{java, patterns, text};

/// More rows would only be slower.
const MOST: usize = 50;

/// Runs the target on one input; panics at a defect.
pub fn run(data: &[u8]) {
    let Case { rows, params } = match data.split_first() {
        Some((0, rest)) => arbitrary(&mut Unstructured::new(rest)).expect("any input is valid"),
        _ => read(data),
    };
    let latest: BTreeMap<(Table, i64), Row> =
        rows.iter().map(|row| ((row.table(), row.id()), row.clone())).collect();
    let (snapshot, problems) = Writer::build(options(), latest.values().cloned());
    assert!(problems.first.len() <= problems.total);
    one_by_one_comes_to_the_same(&rows, &latest, &snapshot);

    let params: Params = params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let outcome = snapshot.authenticate(&params);
    let world = World::new(latest.values(), &params);
    if let (Some(world), false) = (&world, matches!(outcome, SignIn::Pending(_))) {
        assert_eq!(world.is_granted(), matches!(outcome, SignIn::Granted(_)));
    }
    let SignIn::Granted(session) = outcome else { return };
    let body = snapshot.answer(session, &params).body;
    assert!(body == snapshot.answer(session, &params).body);
    assert!(body.is_ascii());
    let lines = body.iter().filter(|&&byte| byte == b'\n').count();
    assert!(body.is_empty() || body.ends_with(b"\n"));
    let properties = java::load(&body).unwrap_or_else(|why| panic!("{why}"));
    let comments = body.split_inclusive(|&byte| byte == b'\n').filter(|line| client_key(line).is_none());
    assert_eq!(properties.len() + comments.count(), lines);
    let mut keys: Vec<&Vec<u16>> = properties.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), properties.len(), "a key came twice");
    if let Some(world) = world {
        let expected = world.answer();
        assert!(body == expected, "{}\nexpected:\n{}", body.escape_ascii(), expected.escape_ascii());
    }
}

fn options() -> Conventions {
    Conventions { pwd_fmt: PwdFmt::Plain, ..Conventions::default() }
}

/// `None` for a comment.
fn client_key(line: &[u8]) -> Option<Vec<u16>> {
    java::load(line).expect("no line is malformed").pop().map(|(key, _)| key)
}

fn one_by_one_comes_to_the_same(rows: &[Row], latest: &BTreeMap<(Table, i64), Row>, fresh: &Snapshot) {
    let mut writer = Writer::new(options());
    // If there are many rows, each edit adds several, which is faster and finds as many defects.
    for some in rows.chunks(1 + rows.len() / 16) {
        let mut draft = writer.draft();
        some.iter().for_each(|row| draft.apply(Change::Put(row.clone())));
        draft.commit();
    }
    assert!(*writer.current() == *fresh, "edits one by one give the same snapshot");
    assert_eq!(writer.current().counts().bytes, fresh.counts().bytes);
    let (backwards, _) = Writer::build(options(), latest.values().rev().cloned());
    assert!(*backwards == *fresh, "backwards");

    // Half of the rows are removed; then a load restores them all.
    let going: Vec<(Table, i64)> = latest.keys().step_by(2).copied().collect();
    for some in going.chunks(1 + going.len() / 8) {
        let mut draft = writer.draft();
        some.iter().for_each(|&(table, id)| draft.apply(Change::Gone(table, id)));
        draft.commit();
    }
    let (half, _) = Writer::build(options(), latest.values().skip(1).step_by(2).cloned());
    assert!(*writer.current() == *half, "removals give the same snapshot");
    writer.begin_load();
    let news: Vec<Row> = latest.values().filter(|row| writer.is_news(row)).cloned().collect();
    let mut draft = writer.draft_of_load();
    for row in &news {
        draft.put(row);
    }
    draft.sweep(|table, id| panic!("{table} {id} is swept away"));
    draft.commit();
    assert!(*writer.current() == *fresh, "a load");
    assert_eq!(writer.rows(), latest.len());
}

struct Case {
    rows: Vec<Row>,
    params: Vec<(String, String)>,
}

fn read(data: &[u8]) -> Case {
    let (mut rows, mut params) = (Vec::new(), Vec::new());
    for (line, number) in data.split(|&byte| byte == b'\n').zip(1..) {
        let mut fields = line.split(|&byte| byte == b'|');
        let kind = fields.next().unwrap_or_default();
        let id = str::from_utf8(&kind[..kind.len().saturating_sub(1)]).ok().and_then(|id| id.parse().ok());
        let id = id.unwrap_or(number);
        let mut cell = || match fields.next().unwrap_or_default() {
            b"\\N" => Cell::Null,
            field => Cell::Text(text::unescape(field)),
        };
        match kind.last() {
            _ if rows.len() >= MOST => {}
            Some(b'u') if line.len() > kind.len() => {
                let (domain, username, password) = (cell(), cell(), cell());
                rows.push(Row::User(UserRow::from_cells(id, [username, domain, password])));
            }
            Some(b'r') if line.len() > kind.len() => {
                let (domain, subject, spriority, ppriority) = (cell(), cell(), cell(), cell());
                let (key, value) = (cell(), cell());
                rows.push(Row::Rule(RuleRow::from_cells(
                    id,
                    [domain, subject, spriority, ppriority, key, value],
                )));
            }
            _ => {
                let (name, value) = text::cut(line, b'=');
                params.push((text::text(text::unescape(name)), text::text(text::unescape(value))));
            }
        }
    }
    Case { rows, params }
}

const DOMAINS: [&str; 4] = ["a.org", "A.ORG ", "b.org", ""];
const NAMES: [&str; 19] = [
    "osname=l*",
    "dept=?ob*",
    "username=*",
    "hw=00-1A-2B-3C-4D-5E",
    "hwaddr=001a*",
    "001A.2b3c.4d5e",
    "10.0.0.1",
    "alice",
    "ALICE",
    "bob",
    "Linux",
    "default",
    "osname=linux",
    "Dept=bob",
    "hw=x",
    "user=bob",
    "x",
    " ",
    "pw",
];
const PARAMS: [&str; 9] =
    ["osname", "hwaddr", "arch", "dept", "Dept", "x", "resx", "default", "username=alice"];
const TEXTS: [&str; 14] = [
    "a",
    "b",
    "a.b",
    "$osname",
    "x.${username}",
    "${arch:-a}",
    "${null}",
    "\\u0061",
    "# $x",
    "a b",
    "${x}",
    "\\",
    "2$",
    "a\\=",
];

fn arbitrary(source: &mut Unstructured<'_>) -> Result<Case> {
    fn text(source: &mut Unstructured<'_>, from: &[&str]) -> Result<String> {
        if source.ratio(1, 12)? { source.arbitrary() } else { source.choose(from).map(|&text| text.into()) }
    }
    fn cell(source: &mut Unstructured<'_>, from: &[&str]) -> Result<Cell> {
        Ok(match source.int_in_range(0..=40)? {
            0 => Cell::Null,
            1 => Cell::Int(source.arbitrary()?),
            2 => Cell::Text(source.arbitrary()?),
            _ => text(source, from)?.as_str().into(),
        })
    }
    let mut rows = vec![Row::User(UserRow::from_cells(5, ["alice".into(), "a.org".into(), "pw".into()]))];
    let mut params: Vec<(String, String)> = [("username", "Alice"), ("domain", "a.org"), ("password", "pw")]
        .map(|(n, v)| (n.into(), v.into()))
        .into();
    for _ in 0..source.int_in_range(0..=4)? {
        params.push((text(source, &PARAMS)?, text(source, &NAMES)?));
    }
    while !source.is_empty() && rows.len() < MOST {
        let id = source.int_in_range(1..=30)?;
        let (domain, name) = (cell(source, &DOMAINS)?, cell(source, &NAMES)?);
        rows.push(if source.ratio(1, 3)? {
            Row::User(UserRow::from_cells(id, [name, domain, cell(source, &["pw", "other"])?]))
        } else {
            let priorities = ["1", "2", "3", "-1"];
            let (spriority, ppriority) = (cell(source, &priorities)?, cell(source, &priorities)?);
            let (key, value) = (cell(source, &TEXTS)?, cell(source, &TEXTS)?);
            Row::Rule(RuleRow::from_cells(id, [domain, name, spriority, ppriority, key, value]))
        });
    }
    Ok(Case { rows, params })
}

/// The rows and a request as the specification understands them. Names are all ASCII, so that no
/// table for case folding is needed.
struct World<'a> {
    /// The tenant, name and password of each user, in order of id.
    users: Vec<(String, String, Option<String>)>,
    rules: Vec<Rule>,
    params: &'a Params,
    domain: String,
    username: String,
    /// Name and domain of the user as they are stored.
    stored: [String; 2],
}

struct Rule {
    domain: String,
    subject: String,
    order: (Option<i32>, Option<i32>, i64),
    key: String,
    value: String,
}

impl<'a> World<'a> {
    fn new<'r>(rows: impl Iterator<Item = &'r Row>, params: &'a Params) -> Option<World<'a>> {
        let get = |known| params.known(known).unwrap_or_default();
        let sent = Known::ALL.into_iter().map(get).chain(params.others().flat_map(|(n, v)| [n, v]));
        if !sent.into_iter().all(str::is_ascii) {
            return None;
        }
        let (mut users, mut spellings, mut rules) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            match row {
                Row::User(row) => {
                    let (Some(name), Some(domain)) = (fold(&row.username)?, fold(&row.domain)?) else {
                        continue;
                    };
                    if !name.is_empty() && !domain.is_empty() {
                        // This model does not handle passwords that look like a hash.
                        let password = text(&row.password).filter(|password| !password.is_empty());
                        if password.as_ref().is_some_and(|password| password.starts_with(['$', '{'])) {
                            return None;
                        }
                        let stored = [&row.username, &row.domain].map(|cell| text(cell).unwrap_or_default());
                        users.push((domain, name, password));
                        spellings.push(stored.map(|name| name.trim_end_matches(' ').to_owned()));
                    }
                }
                Row::Attribute(_) => return None,
                Row::Rule(row) => {
                    let domain = match &row.domain {
                        Cell::Null => String::new(),
                        domain => match fold(domain)? {
                            Some(domain) => domain,
                            None => continue,
                        },
                    };
                    let Some(subject) = fold(&row.subject)? else { continue };
                    let (Some(key), Some(value)) = (text(&row.key), text(&row.value)) else { continue };
                    let (Some(spriority), Some(ppriority)) =
                        (priority(&row.spriority), priority(&row.ppriority))
                    else {
                        continue;
                    };
                    let is_empty =
                        subject.is_empty() || typed_subject(&subject).is_some_and(|(_, v)| v.is_empty());
                    let is_long = typed_subject(&subject).is_some_and(|(_, v)| patterns::is_too_long(v));
                    if !is_empty && !is_long && key.len() <= 1024 && value.len() <= 65_535 {
                        rules.push(Rule {
                            domain,
                            subject,
                            order: (spriority, ppriority, row.id),
                            key,
                            value,
                        });
                    }
                }
            }
        }
        rules.sort_by_key(|rule| rule.order);
        let (domain, username) = (folded(get(Known::Domain)), folded(get(Known::Username)));
        let me = users.iter().position(|(of, name, _)| (of, name) == (&domain, &username));
        let stored = me.map(|me| spellings.swap_remove(me)).unwrap_or_default();
        Some(World { users, rules, params, domain, username, stored })
    }

    fn is_granted(&self) -> bool {
        let mut users = self.users.iter();
        let user = users.find(|(domain, name, _)| (domain, name) == (&self.domain, &self.username));
        let password = self.params.known(Known::Password);
        user.is_some_and(|(_, _, stored)| stored.is_some() && stored.as_deref() == password)
    }

    fn answer(&self) -> Vec<u8> {
        let (mut taken, mut body) = (Vec::new(), Vec::new());
        for rule in self.rules.iter().filter(|rule| self.selects(rule)) {
            let key = Template::parse(&rule.key, Side::Key, |_| {});
            let value = Template::parse(&rule.value, Side::Value, |_| {});
            if key.whole().missing(self).or_else(|| value.whole().missing(self)).is_some() {
                continue;
            }
            let mut line = Vec::new();
            key.whole().render(self, &mut line);
            let comment = line.clone();
            line.push(b'=');
            // Two comments are the same if their beginnings are the same.
            let seen = client_key(&line).ok_or(comment);
            if taken.contains(&seen) {
                continue;
            }
            taken.push(seen);
            value.whole().render(self, &mut line);
            line.push(b'\n');
            body.extend(line);
        }
        body
    }

    fn selects(&self, rule: &Rule) -> bool {
        let Rule { domain, subject, .. } = rule;
        if !domain.is_empty() && *domain != self.domain {
            return false;
        }
        if subject == "default" {
            return true;
        }
        let known = |known| self.params.known(known).map(folded);
        if let Some((param, value)) = typed_subject(subject) {
            let alias = built_in_aliases().into_iter().find(|(alias, _)| alias == param);
            return match alias.map(|(_, known)| known).or_else(|| Known::from_name(param)) {
                Some(param) => known(param).is_some_and(|sent| patterns::is_match(Some(param), value, &sent)),
                None if param == "client.username" => {
                    known(Known::Username).is_some_and(|sent| patterns::is_match(None, value, &sent))
                }
                None if param.starts_with("user.") || param.starts_with("client.") => false,
                None => self.params.others().any(|(name, other)| {
                    folded(name) == param && patterns::is_match(None, value, &folded(other))
                }),
            };
        }
        let is_named = |(tenant, name, _): &(String, String, _)| {
            name == subject && (domain.is_empty() || tenant == domain)
        };
        if self.users.iter().any(is_named) {
            return *subject == self.username;
        }
        machine_word(subject).is_some_and(|param| known(param).as_ref() == Some(subject))
    }
}

impl Values for World<'_> {
    fn get(&self, name: &ParamName) -> Option<&str> {
        match name {
            ParamName::Known(Known::Username) => Some(&self.stored[0]),
            ParamName::Known(Known::Domain) => Some(&self.stored[1]),
            name => self.params.get(name),
        }
    }
}

/// The parameter and the value of a typed subject.
fn typed_subject(subject: &str) -> Option<(&str, &str)> {
    let (param, value) = subject.split_once('=')?;
    let param = param.trim_end_matches(' ');
    let is_name = |(at, byte): (usize, u8)| {
        byte.is_ascii_alphabetic() || byte == b'_' || at > 0 && (byte.is_ascii_digit() || byte == b'.')
    };
    (!param.is_empty() && param.bytes().enumerate().all(is_name)).then_some((param, value))
}

/// The parameter that a bare word as a subject is compared with.
fn machine_word(word: &str) -> Option<Known> {
    let systems = ["linux", "mac os x", "freebsd", "openbsd", "netbsd", "sunos"];
    let processors = ["amd64", "x86_64", "i386", "i686", "x86", "aarch64", "arm", "ppc64le", "riscv64"];
    let hex = |text: &str, lengths: &[usize], separator: char| {
        let groups: Vec<&str> = text.split(separator).collect();
        groups.iter().map(|group| group.len()).eq(lengths.iter().copied())
            && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if systems.contains(&word) || word.starts_with("windows ") {
        Some(Known::Osname)
    } else if processors.contains(&word) {
        Some(Known::Arch)
    } else if word.parse::<std::net::IpAddr>().is_ok() {
        Some(Known::Ipaddr)
    } else if [':', '-'].into_iter().any(|separator| hex(word, &[2; 6], separator)) {
        Some(Known::Hwaddr)
    } else if hex(word, &[8, 4, 4, 4, 12], '-') {
        Some(Known::Uuid)
    } else if word.split('.').count() >= 3
        && word.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    {
        Some(Known::Build)
    } else {
        word.contains('.').then_some(Known::Domain)
    }
}

fn folded(text: &str) -> String {
    text.trim_end_matches(' ').to_ascii_lowercase()
}

fn text(cell: &Cell) -> Option<String> {
    cell.text().ok().flatten().map(|text| text.into_owned())
}

/// `None` if this model cannot decide, `Some(None)` if the name does not exist.
fn fold(cell: &Cell) -> Option<Option<String>> {
    match text(cell) {
        Some(text) if !text.is_ascii() => None,
        text => Some(text.map(|text| folded(&text))),
    }
}

fn priority(cell: &Cell) -> Option<Option<i32>> {
    match cell.int().ok()? {
        Some(number) => i32::try_from(number).ok().map(Some),
        None => Some(None),
    }
}
