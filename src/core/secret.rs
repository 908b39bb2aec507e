//! Decides which values of properties are secrets, by the names of the properties. `check` warns
//! by this rule, and lists, `explain` and imports hide values by it.
//!
//! In doubt, a value counts as a secret.

use std::fmt;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use smallvec::SmallVec;

use crate::core::properties::{Follows, client_text, write_stored};
use crate::core::template;

/// A text that must never be shown: a password, a hash, a database credential.
///
/// `Debug` and `Display` print `***`. Only [`Secret::reveal`] returns the text itself, so every
/// use can be found by its name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret that a file holds: its first line.
    pub fn first_line(text: &str) -> Self {
        Self::new(text.lines().next().unwrap_or_default())
    }

    /// The text itself. Never log what this returns.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The text that is shown in place of a secret.
pub const HIDDEN: &str = "***";

/// Names of secrets. They are found anywhere in a name, even across its words.
const PARTS: [&str; 21] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passwort",
    "pwd",
    "pincode",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "authkey",
    "encryptionkey",
    "masterkey",
    "privatekey",
    "privkey",
    "sharedkey",
    "signingkey",
    "sessionkey",
    "sshkey",
];

/// Names of secrets that are too short to be found inside other words.
const WORDS: [&str; 9] = ["pass", "pw", "pin", "puk", "psk", "otp", "totp", "jwt", "ha1"];

/// A name that ends with one of these words describes a secret, but its value is not the secret.
const ABOUT: &str = "\
    age algorithm allowed attempts count days dir disabled enabled encoding expiration expires \
    expiry field file folder format host interval kind label len length lifetime max maximum \
    min minimum mode needed path policy port prompt provider required retries saved size \
    timeout ttl type uri url version";

/// If the part of a key after its last dot has one of these words (as in `SAVE_PASSWORD`), the
/// property may be a setting about a secret and not the secret itself. Then `true`, `no` and the
/// like, and numbers of up to three digits, are no secrets; any other value is one.
const ASKS: &str = "\
    allow ask check disable enable forget has hide is max min need needs no remember require \
    requires save show skip use";

const SWITCHES: [&str; 6] = ["true", "false", "yes", "no", "on", "off"];

/// The most digits of a small number.
const SHORT: usize = 3;

/// What the name of a property suggests about its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameHint {
    /// The value is not a secret.
    Open,
    /// The value is a secret, unless it is a switch or a small number.
    Asks,
    /// The value is a secret.
    Secret,
}

impl NameHint {
    /// Classifies `key`, either as it is stored, as it is in an answer, or as the client reads
    /// it.
    pub fn of(key: &str) -> NameHint {
        if may_be_secret(key) { NameHint::of_both_texts(key) } else { NameHint::Open }
    }

    fn of_both_texts(key: &str) -> NameHint {
        let mut written = String::with_capacity(key.len());
        write_stored(key, Follows::End, &mut written, |_| ());
        // Read all of the text, even where Java would end a key: that place may be in a
        // placeholder.
        let mut read = client_text(&written);
        read.retain(|c| !matches!(c, ' ' | '\t' | '\x0c' | ':' | '=' | '#' | '!'));
        match [key, &read].map(NameHint::of_text) {
            [NameHint::Secret, _] | [_, NameHint::Secret] => NameHint::Secret,
            [NameHint::Asks, _] | [_, NameHint::Asks] => NameHint::Asks,
            _ => NameHint::Open,
        }
    }

    fn of_text(key: &str) -> NameHint {
        let words = words(key);
        let Some(end) = end_of_secret(&words) else { return NameHint::Open };
        let mut at = 0;
        let after = words.iter().filter(|word| {
            at += word.len();
            at > end
        });
        let last = after.last().map(String::as_str).unwrap_or_default();
        if is_among(ABOUT, last) {
            return NameHint::Open;
        }
        let own = self::words(key.rsplit('.').next().unwrap_or_default());
        match own.iter().any(|word| is_among(ASKS, word)) {
            true => NameHint::Asks,
            false => NameHint::Secret,
        }
    }

    /// Whether `value` is a secret. A value that consists only of placeholders is not: it does
    /// not contain what they stand for.
    pub fn hides(self, value: &str) -> bool {
        !template::is_placeholders(value.trim()) && self.hides_data(value)
    }

    /// Does the same as [`NameHint::hides`] for a value that is no template, such as that of an
    /// attribute.
    pub fn hides_data(self, value: &str) -> bool {
        let value = value.trim();
        let is_answer = || {
            let is_small = value.len() <= SHORT && value.bytes().all(|byte| byte.is_ascii_digit());
            is_small || SWITCHES.iter().any(|switch| value.eq_ignore_ascii_case(switch))
        };
        !value.is_empty()
            && match self {
                NameHint::Open => false,
                NameHint::Asks => !is_answer(),
                NameHint::Secret => true,
            }
    }
}

/// Whether the value of a property is a secret.
pub fn is_secret(key: &str, value: &str) -> bool {
    NameHint::of(key).hides(value)
}

/// Whether a key may be the name of a secret. For most keys this is all the work.
fn may_be_secret(key: &str) -> bool {
    static NAMES: LazyLock<AhoCorasick> =
        LazyLock::new(|| AhoCorasick::new(PARTS.iter().chain(&WORDS)).expect("few and short"));
    // With escapes, and with letters that fold to others, a key can be written in many ways.
    if !key.is_ascii() || key.contains('\\') {
        return true;
    }
    let letters = key.bytes().filter(u8::is_ascii_alphanumeric);
    let joined: SmallVec<[u8; 128]> = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    NAMES.is_match(&joined)
}

fn is_among(words: &str, word: &str) -> bool {
    words.split(' ').any(|known| known == word)
}

/// The words of a key in lower case. It is divided at all characters that are not letters or
/// digits, and where upper case begins or ends.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let chars: Vec<char> = key.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let begins = c.is_uppercase()
            && (before.is_some_and(|before| !before.is_uppercase())
                || chars.get(at + 1).is_some_and(|after| after.is_lowercase()));
        if begins || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            // Converts to upper case first, because more letters become equal there, such as `ſ`
            // and `s`.
            word.extend(c.to_uppercase().flat_map(char::to_lowercase));
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The number of bytes from the start of the joined words to the end of the last name of a
/// secret.
fn end_of_secret(words: &[String]) -> Option<usize> {
    let joined = words.concat();
    let parts = PARTS.iter().filter_map(|part| Some(joined.rfind(part)? + part.len()));
    let mut end = 0;
    let short = words.iter().filter_map(|word| {
        end += word.len();
        let is_it = |word: &str| WORDS.contains(&word);
        (is_it(word) || is_it(word.trim_end_matches(|c: char| c.is_ascii_digit()))).then_some(end)
    });
    parts.chain(short).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_secret_prints_only_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn names_of_secrets_are_told_from_those_about_them() {
        use NameHint::{Asks, Open, Secret};
        for (key, expected) in [
            ("acc.PASSWORD", Secret),
            ("acc.password ", Secret),
            ("acc.ENCRYPTED_PASSWORD", Secret),
            ("acc.PASSWORD_HASH", Secret),
            ("acc.PASSWORD2", Secret),
            ("acc.password.1", Secret),
            ("javax.net.ssl.keyStorePassword", Secret),
            ("acc.PASS-WORD", Secret),
            ("acc.PASS", Secret),
            ("acc.SIP_PASSWD", Secret),
            ("x.userPwd", Secret),
            ("x.DBPWD", Secret),
            ("x.API_TOKEN", Secret),
            ("x.api.key", Secret),
            ("x.apiKey", Secret),
            ("x.API-KEY", Secret),
            ("x.PRIVATE_KEY", Secret),
            ("x.clientSecret", Secret),
            ("x.secret.value", Secret),
            ("x.CREDENTIALS", Secret),
            ("x.PIN", Secret),
            ("x.voicemailPin", Secret),
            ("x.PINCode", Secret),
            ("x.pin2", Secret),
            ("x.HA1", Secret),
            ("net.java.sip.communicator.impl.credentialsstorage.MASTER", Secret),
            // Java resolves the escapes, and some letters fold to ASCII letters.
            ("acc\\u002Epass\\u0057ord", Secret),
            ("acc.\u{e9}.\\u0050ASSWORD", Secret),
            ("${branch:-a b}.\\u0050ASSWORD", Secret),
            ("${x:-PASS}WORD", Secret),
            ("acc.Pa\u{17f}\u{17f}word", Secret),
            ("acc.TO\u{212a}EN", Secret),
            ("#PASSWORD", Secret),
            // `URL` is about the password, but the name ends with another secret.
            ("x.PASSWORD_URL_TOKEN", Secret),
            ("acc.PASSWORD_MODE", Open),
            ("acc.PASSWORD_URL", Open),
            ("acc.PASSWORD_REQUIRED", Open),
            ("acc.passwordLength", Open),
            ("x.TOKEN_EXPIRY_DAYS", Open),
            ("net.java.sip.communicator.plugin.securityconfig.masterpasswordconfig.DISABLED", Open),
            ("acc.SAVE_PASSWORD", Asks),
            ("net.java.sip.communicator.impl.gui.main.login.ALLOW_SAVE_PASSWORD", Asks),
            ("x.requirePin", Asks),
            // These are parts of other words.
            ("x.MAPPING", Open),
            ("x.spinner.SHIPPING", Open),
            ("x.COMPASS.BYPASS", Open),
            ("acc.TYPING", Open),
            ("acc.SERVER_ADDRESS", Open),
            ("acc.KEYBOARD", Open),
            ("", Open),
        ] {
            assert_eq!(NameHint::of(key), expected, "{key}");
        }
    }

    #[test]
    fn a_value_is_a_secret_unless_it_stands_for_one_or_answers() {
        for (key, value, expected) in [
            ("acc.PASSWORD", "hunter2", true),
            ("acc.PASSWORD", "true", true),
            ("acc.PIN", "123", true),
            ("acc.PASSWORD", "", false),
            ("acc.PASSWORD", " ", false),
            ("acc.PASSWORD", "${password}", false),
            ("acc.PASSWORD", "$username${password}", false),
            ("acc.PASSWORD", "${null}", false),
            ("acc.PASSWORD", "${password:-hunter2}", true),
            ("acc.PASSWORD", "${password}1", true),
            ("acc.PASSWORD", "$$password", true),
            ("acc.SAVE_PASSWORD", "Yes ", false),
            ("acc.SAVE_PASSWORD", "1", false),
            ("acc.SAVE_PASSWORD", "hunter2", true),
            ("acc.USE_PIN", "4711", true),
            ("acc.PASSWORD_MODE", "md5", false),
            ("acc.SERVER", "sip.example.org", false),
        ] {
            assert_eq!(is_secret(key, value), expected, "{key}={value}");
        }
    }

    #[test]
    fn a_value_that_is_no_template_is_a_secret_even_if_it_looks_like_a_placeholder() {
        for (name, value, expected) in [
            ("sip_password", "$ecret", true),
            ("sip_password", "${password}", true),
            ("sip_password", "", false),
            ("save_password", "yes", false),
            ("extension", "$x", false),
        ] {
            assert_eq!(NameHint::of(name).hides_data(value), expected, "{name}={value}");
        }
    }

    proptest! {
        /// The result does not depend on the spelling or on the text before the name.
        #[test]
        fn a_secret_is_found_in_any_case_and_with_any_separators(
            before in "([a-z]{0,6}\\.){0,3}([A-Z]{1,6}_)?",
            part in proptest::sample::select(&PARTS[..]),
            spelling in proptest::collection::vec((any::<bool>(), "[-_. ]{0,1}"), 16),
            after in "([0-9]{1,2}|\\.[0-9]{1,2}|_OLD)?",
        ) {
            let spelled: String = part.chars().zip(spelling).map(|(c, (is_upper, separator))| {
                let c = if is_upper { c.to_ascii_uppercase() } else { c };
                format!("{c}{separator}")
            }).collect();
            let key = format!("{before}{spelled}{after}");
            prop_assert!(is_secret(&key, "hunter2"), "{}", key);
        }

        #[test]
        fn the_quick_look_misses_no_secret(
            parts in proptest::collection::vec(prop_oneof![
                3 => proptest::sample::select([&PARTS[..], &WORDS[..]].concat()).prop_map(str::to_owned),
                2 => "[a-zA-Z0-9]{0,3}",
                2 => "[ -~\t\n\r]{0,3}",
                1 => any::<char>().prop_map(String::from),
            ], 0..5),
        ) {
            let key = parts.concat();
            prop_assert!(may_be_secret(&key) || NameHint::of_both_texts(&key) == NameHint::Open, "{:?}", key);
        }
    }
}
