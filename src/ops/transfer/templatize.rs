//! Replaces the values of one account by placeholders, so that its properties fit every user.

use std::ops::Range;

use hashbrown::HashMap;

use super::properties_file::{FileProperty, literal};
use crate::core::properties::{self, Unit};

/// Properties of an account whose value may be just the user's name. In other properties, a value
/// such as `5060` or `sip` could be mistaken for a name.
const NAMES: [&str; 6] = [
    "USER_ID",
    "ACCOUNT_UID",
    "AUTHORIZATION_NAME",
    "DISPLAY_NAME",
    "ACCOUNT_DISPLAY_NAME",
    "OPT_CLIST_USER",
];

/// Properties of an account that contain its domain.
const PLACES: [&str; 3] = ["ACCOUNT_UID", "USER_ID", SERVER];
const SERVER: &str = "SERVER_ADDRESS";
const AT: u16 = b'@' as u16;

/// The properties in which Jitsi stores an account's password: encrypted or, in old versions, in
/// base64. Provisioning sets `PASSWORD` as plain text, and Jitsi then stores it in its own form.
const PASSWORDS: [&str; 2] = ["ENCRYPTED_PASSWORD", "PASSWORD"];

/// The text as Java reads it; `None` if Java refuses it.
fn units(text: &str) -> Option<Vec<Unit>> {
    properties::units(text).collect::<Result<_, _>>().ok()
}

/// The account whose values are replaced.
pub struct LiteralAccount {
    user: Vec<u16>,
    domain: Vec<u16>,
}

/// Facts that show to whom an account belongs.
#[derive(Default)]
struct AccountHints {
    names_user: bool,
    /// Whether the user's full address occurs.
    has_address: bool,
    address_is_elsewhere: bool,
    server_is_elsewhere: bool,
}

impl AccountHints {
    /// Whether the account belongs to the user, so that the password is the user's too.
    fn is_own(&self) -> bool {
        self.names_user && !self.is_elsewhere()
    }

    /// Whether the account belongs to somebody at another domain, perhaps with the same name. The
    /// server of that domain must never receive this user's password. A domain may have its
    /// server elsewhere, but then the user's full address occurs.
    fn is_elsewhere(&self) -> bool {
        self.address_is_elsewhere || self.server_is_elsewhere && !self.has_address
    }
}

/// Properties that were converted to templates.
pub struct Templatized {
    /// The line, key and value of each property.
    pub templates: Vec<(u64, String, String)>,
    /// The number of placeholders.
    pub placeholders: usize,
    /// The new keys of passwords that became placeholders.
    pub passwords: Vec<String>,
}

impl LiteralAccount {
    /// Creates the account `user@domain`.
    pub fn new(user: &str, domain: &str) -> LiteralAccount {
        let units = |text: &str| text.encode_utf16().collect();
        LiteralAccount { user: units(user), domain: units(domain) }
    }

    /// Replaces the account's own values by `${username}`, `${domain}` and `${password}`, and
    /// doubles every other `$`.
    ///
    /// - `user@domain` and the domain are replaced if they are whole tokens, without characters
    ///   of a name next to them. So `sip.example.org` stays if the domain is `example.org`.
    /// - The user's name alone is replaced only in properties that contain a user's name.
    /// - A stored password of an account of this user becomes `PASSWORD` with the value
    ///   `${password}`, because the stored form cannot be rendered.
    pub fn templatize(&self, properties: Vec<FileProperty>) -> Templatized {
        let accounts = self.accounts(&properties);
        let mut templatized = Templatized { templates: Vec::new(), placeholders: 0, passwords: Vec::new() };
        for FileProperty { line, key, value } in properties {
            let is_own = |account: &&str| accounts.get(*account).is_some_and(AccountHints::is_own);
            if let Some(account) = account(&key, &PASSWORDS).filter(is_own) {
                let (key, count) = self.replace(&format!("{account}PASSWORD"), false);
                // An account may have a password of each kind.
                if !templatized.passwords.contains(&key) {
                    templatized.placeholders += count + 1;
                    templatized.passwords.push(key.clone());
                    templatized.templates.push((line, key, "${password}".into()));
                }
                continue;
            }
            let is_elsewhere = |account: &str| accounts.get(account).is_some_and(AccountHints::is_elsewhere);
            let is_name = account(&key, &NAMES).is_some_and(|account| !is_elsewhere(account));
            let ((key, in_key), (value, in_value)) =
                (self.replace(&key, false), self.replace(&value, is_name));
            templatized.placeholders += in_key + in_value;
            templatized.templates.push((line, key, value));
        }
        templatized
    }

    /// The facts about each account, by its prefix.
    fn accounts(&self, properties: &[FileProperty]) -> HashMap<String, AccountHints> {
        let mut accounts = HashMap::<String, AccountHints>::new();
        for property in properties {
            let (Some(account), Some(all)) = (account(&property.key, &PLACES), units(&property.value)) else {
                continue;
            };
            let found = accounts.entry_ref(account).or_default();
            let is_elsewhere = self.is_elsewhere(&all);
            if property.key.ends_with(SERVER) {
                found.server_is_elsewhere |= is_elsewhere;
                continue;
            }
            let tokens = self.tokens(&all, true);
            found.names_user |= tokens.iter().any(|(_, placeholder)| placeholder.contains("username"));
            found.has_address |= tokens.iter().any(|(_, placeholder)| placeholder.contains('@'));
            found.address_is_elsewhere |= all.iter().any(|unit| unit.read == AT) && is_elsewhere;
        }
        accounts
    }

    /// Whether an address or a server name belongs to another domain. Hosts below the domain
    /// belong to the domain.
    fn is_elsewhere(&self, all: &[Unit]) -> bool {
        let read: Vec<u16> = all.iter().map(|unit| unit.read).collect();
        let host = read.iter().rposition(|unit| *unit == AT).map_or(&*read, |at| &read[at + 1..]);
        let host = String::from_utf16_lossy(host).trim().to_lowercase();
        // A port or a resource may follow.
        let host = host.split([':', '/', ';']).next().unwrap_or_default();
        let own = String::from_utf16_lossy(&self.domain).to_lowercase();
        !host.is_empty() && host != own && !host.ends_with(&format!(".{own}"))
    }

    /// A template that renders as `text` for this account, and the number of its placeholders.
    fn replace(&self, text: &str, with_name: bool) -> (String, usize) {
        let Some(all) = units(text) else { return (literal(text), 0) };
        let (mut template, mut count, mut done) = (String::new(), 0, 0);
        for (place, placeholder) in self.tokens(&all, with_name) {
            template.push_str(&literal(&text[done..all[place.start].written.start]));
            template.push_str(placeholder);
            count += placeholder.matches('$').count();
            done = all[place.end - 1].written.end;
        }
        template.push_str(&literal(&text[done..]));
        (template, count)
    }

    /// The positions of the account's values, with their placeholders.
    fn tokens(&self, all: &[Unit], with_name: bool) -> Vec<(Range<usize>, &'static str)> {
        let (mut tokens, mut at) = (Vec::new(), 0);
        while at < all.len() {
            match self.token(all, at, with_name) {
                Some((length, placeholder)) => {
                    tokens.push((at..at + length, placeholder));
                    at += length;
                }
                None => at += 1,
            }
        }
        tokens
    }

    /// The longest value of the account that begins at `at`.
    fn token(&self, all: &[Unit], at: usize, with_name: bool) -> Option<(usize, &'static str)> {
        let before = at.checked_sub(1).map(|before| all[before].read);
        if before.is_some_and(continues) {
            return None;
        }
        let after = |length: usize| all.get(at + length).map(|unit| unit.read);
        let is_here = |start: usize, wanted: &[u16]| {
            all.get(start..start + wanted.len())
                .is_some_and(|found| found.iter().map(|unit| unit.read).eq(wanted.iter().copied()))
        };
        let ends = |length: usize| !after(length).is_some_and(continues);
        let (user, domain) = (self.user.len(), self.domain.len());
        if is_here(at, &self.user) && before != Some(AT) && after(user) == Some(AT) {
            let whole = user + 1 + domain;
            let is_own = is_here(at + user + 1, &self.domain) && ends(whole);
            // With another domain, the address is that of another user.
            return is_own.then_some((whole, "${username}@${domain}"));
        }
        // A domain without a dot could be any word.
        let is_address = self.domain.contains(&u16::from(b'.')) || before == Some(AT);
        if is_address && is_here(at, &self.domain) && ends(domain) {
            return Some((domain, "${domain}"));
        }
        let is_name = with_name && is_here(at, &self.user) && ends(user) && before != Some(AT);
        is_name.then_some((user, "${username}"))
    }
}

/// Whether a name may continue with this character.
fn continues(unit: u16) -> bool {
    char::from_u32(unit.into())
        .is_none_or(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '%'))
}

/// The prefix of a key up to and including the last dot, if the part after it is one of `names`.
fn account<'k>(key: &'k str, names: &[&str]) -> Option<&'k str> {
    let (account, name) = key.split_at(key.rfind('.')? + 1);
    names.contains(&name).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::super::properties_file::parse;
    use super::*;
    use proptest::prelude::*;

    fn templatize(user: &str, domain: &str, text: &str) -> Vec<String> {
        let (properties, _) = parse(text).expect("properties");
        let templatized = LiteralAccount::new(user, domain).templatize(properties).templates;
        templatized.into_iter().map(|(_, key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn whole_tokens_become_placeholders_and_nothing_else() {
        for (from, to) in [
            ("a=Jabber\\:alice@example.org", "a=Jabber\\:${username}@${domain}"),
            ("a=Jabber\\:alice@example.org@example.org", "a=Jabber\\:${username}@${domain}@${domain}"),
            ("a=alice\\u0040example.org", "a=${username}@${domain}"),
            ("a=malice@example.org", "a=malice@${domain}"),
            ("a=alice@example.org.uk", "a=alice@example.org.uk"),
            ("a=alice@example.net", "a=alice@example.net"),
            ("x.ACCOUNT_UID=SIP\\:alice@example.net", "x.ACCOUNT_UID=SIP\\:alice@example.net"),
            ("a=sip.example.org", "a=sip.example.org"),
            ("a=example.org,$x", "a=${domain},$$x"),
            ("a=alice", "a=alice"),
            ("x.USER_ID=alice", "x.USER_ID=${username}"),
            ("x.USER_ID=alice2", "x.USER_ID=alice2"),
            ("rooms.alice@example.org\\ x=1", "rooms.alice@${domain}\\ x=1"),
            ("rooms/alice@example.org\\ x=1", "rooms/${username}@${domain}\\ x=1"),
        ] {
            assert_eq!(templatize("alice", "example.org", from), [to]);
        }
        assert_eq!(
            templatize("5060", "sip", "x.SERVER_PORT=5060\nx.P=sip\n"),
            ["x.SERVER_PORT=5060", "x.P=sip"]
        );
        assert_eq!(templatize("5060", "sip", "x.USER_ID=5060@sip"), ["x.USER_ID=${username}@${domain}"]);
        // An escape is not the letter in it: `
        // ` is not an `n`.
        assert_eq!(templatize("nick", "example.org", "x.USER_ID=\\nick"), ["x.USER_ID=\\nick"]);
    }

    #[test]
    fn an_account_at_another_domain_gets_nothing_of_the_user() {
        let account = |uid: &str, user: &str, server: &str| {
            format!(
                "a.ACCOUNT_UID={uid}\na.USER_ID={user}\na.SERVER_ADDRESS={server}\na.ENCRYPTED_PASSWORD=x"
            )
        };
        for (uid, user, server, is_own) in [
            ("SIP\\:alice@other.net", "alice", "other.net", false),
            ("SIP\\:alice@other.net", "alice", "example.org", false),
            ("alice", "alice", "other.net", false),
            ("alice", "alice@other.net", "example.org", false),
            ("SIP\\:alice@example.org", "alice", "example.org", true),
            ("SIP\\:alice@sip.example.org\\:5060", "alice", "sip.example.org", true),
            ("Jabber\\:alice@example.org", "alice@example.org", "xmpp.hoster.net", true),
            ("alice", "alice", "Example.org", true),
        ] {
            let templatized = templatize("alice", "example.org", &account(uid, user, server));
            let is_templatized = templatized.iter().any(|line| line == "a.PASSWORD=${password}");
            assert_eq!(is_templatized, is_own, "{templatized:?}");
            let has_name = templatized.iter().any(|line| line.starts_with("a.USER_ID=${username}"));
            assert_eq!(has_name, is_own, "{templatized:?}");
        }
    }

    #[test]
    fn stored_passwords_of_the_users_own_accounts_become_the_password() {
        let text = "p.acc1.USER_ID=alice@example.org\np.acc1.ENCRYPTED_PASSWORD=c2VjcmV0\n\
                    p.acc1.PASSWORD=c2VjcmV0\np.acc2.USER_ID=bob\np.acc2.ENCRYPTED_PASSWORD=x\n";
        let templatized = templatize("alice", "example.org", text);
        let expected = [
            "p.acc1.USER_ID=${username}@${domain}",
            "p.acc1.PASSWORD=${password}",
            "p.acc2.USER_ID=bob",
            "p.acc2.ENCRYPTED_PASSWORD=x",
        ];
        assert_eq!(templatized, expected);
    }

    proptest! {
        #[test]
        fn a_templatized_file_renders_what_it_was_for_this_account(
            text in r"(x\.USER_ID|a|rooms/al@b\.c)=(al|b\.c|@|\\:|\\u0040|\$|[a.\\ é]){0,6}",
        ) {
            use crate::core::params::Params;
            use crate::core::properties::Side;
            use crate::core::template::Template;
            let Ok((properties, _)) = parse(&text) else { return Ok(()) };
            let read = |text: &str| -> Vec<u16> { units(text).expect("read").iter().map(|unit| unit.read).collect() };
            let before: Vec<_> = properties.iter().map(|property| (read(&property.key), read(&property.value))).collect();
            let params: Params = [("username", "al"), ("domain", "b.c")].into_iter().collect();
            let render = |text: &str, place| {
                let mut out = Vec::new();
                Template::parse(text, place, drop).whole().render(&params, &mut out);
                read(std::str::from_utf8(&out).expect("ASCII"))
            };
            let templatized = LiteralAccount::new("al", "b.c").templatize(properties).templates;
            let after: Vec<_> = templatized
                .iter()
                .map(|(_, key, value)| (render(key, Side::Key), render(value, Side::Value)))
                .collect();
            prop_assert_eq!(after, before);
        }
    }
}
