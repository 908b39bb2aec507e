use super::*;
use proptest::prelude::*;

const OWNER: Owner<'_> = Owner { username: "alice", realm: "a.org" };

fn parse(stored: &str, format: PwdFmt) -> Credential {
    Credential::parse(stored, format, OWNER).expect("usable")
}

fn matches(credential: &Credential, password: &str) -> bool {
    match credential.verify(password) {
        Verdict::Right => true,
        Verdict::Wrong => false,
        Verdict::Ask(slow) => slow.verify(password),
    }
}

// Hashes of the password `pässwörd`. They were created with md5sum, sha256sum, mkpasswd, htpasswd
// and the argon2 tool, not with the crates that verify them here.
const MD5: &str = "12841e4ba5e37d2fbfc78458c6714ade";
const HA1: &str = "430dba58abba186d11f8b1619eabff65";
const HA1_SHA256: &str = "20b1843eda790e2d8f3d55d1bd25f7808378765887cd98e16d9d65c4e238cd3f";
const SLOW: [&str; 4] = [
    "$argon2id$v=19$m=256,t=1,p=1$c2FsdHNhbHQxNmJ5dGVz$LzDPvSUZ50bBdf12uF/mnj6RQiyl4MVllmZgskP05Rs",
    "$2y$04$rMMY6FBZ6XwCAgPTs2aiWOnxxS2rPs.jiZBkUilLlRk28W35op.WG",
    "$5$rounds=1000$jXQT3FSjXSH4pP8w$Fk0HF8fxKvwq8S7vWBGclLsZ2byvE96JFblHTy0d0OC",
    "$6$hKvavFGZMtuySfPj$DxjxWrlTB96hBdWJs9iC2OlKJZo03tGxT8BIMuSkQyrWVptyi03w0D98ITXfBFZZVjAHRCM0Fgg21WqVJLbe0.",
];

#[test]
fn every_stored_format_verifies_the_right_password_alone() {
    let fast = [
        (MD5, PwdFmt::Md5),
        (HA1, PwdFmt::Ha1),
        (HA1_SHA256, PwdFmt::Ha1Sha256),
        ("pässwörd", PwdFmt::Plain),
    ];
    let slow = SLOW.map(|hash| (hash, PwdFmt::Md5));
    for (stored, format) in fast.into_iter().chain(slow) {
        let credential = parse(stored, format);
        assert!(matches(&credential, "pässwörd"), "{stored}");
        for wrong in ["", "passwort", "Pässwörd", "pässwörd "] {
            assert!(!matches(&credential, wrong), "{stored} {wrong}");
        }
    }
}

#[test]
fn hexadecimal_counts_in_either_case() {
    assert!(matches(&parse(&MD5.to_uppercase(), PwdFmt::Md5), "pässwörd"));
    assert!(matches(&parse(&HA1.to_uppercase(), PwdFmt::Ha1), "pässwörd"));
}

#[test]
fn what_can_never_verify_is_told_without_showing_it() {
    for (stored, format, why) in [
        ("", PwdFmt::Plain, UnusableHash::Empty),
        ("D41D8CD98F00b204e9800998ecf8427e", PwdFmt::Md5, UnusableHash::Empty),
        ("hunter2", PwdFmt::Md5, UnusableHash::Unknown),
        (&MD5[1..], PwdFmt::Ha1, UnusableHash::Unknown),
        (MD5, PwdFmt::Ha1Sha256, UnusableHash::Unknown),
        ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o", PwdFmt::Plain, UnusableHash::Foreign),
        ("$1$abcdefgh$irWbblnpmw.5z7wgBnprh0", PwdFmt::Plain, UnusableHash::Foreign),
        ("$1$abcdefgh$irWbblnpmw.5z7wgBnprh0", PwdFmt::Md5, UnusableHash::Foreign),
        ("$argon2id$v=19$x", PwdFmt::Md5, UnusableHash::Damaged("argon2id")),
        ("$2b$12$short", PwdFmt::Plain, UnusableHash::Damaged("bcrypt")),
        ("$6$salt$short", PwdFmt::Md5, UnusableHash::Damaged("SHA-crypt")),
        ("$6$", PwdFmt::Md5, UnusableHash::Damaged("SHA-crypt")),
        (&format!("$6$salt${}", "a".repeat(86)), PwdFmt::Md5, UnusableHash::Damaged("SHA-crypt")),
        (&SLOW[2].replace("=1000", "=500"), PwdFmt::Md5, UnusableHash::Damaged("SHA-crypt")),
        (&SLOW[2].replace("=1000", "=6000000"), PwdFmt::Md5, UnusableHash::TooCostly("SHA-crypt")),
        (
            "$argon2id$v=19$m=4194304,t=3,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
            PwdFmt::Md5,
            UnusableHash::TooCostly("argon2id"),
        ),
    ] {
        let error = Credential::parse(stored, format, OWNER).expect_err(stored);
        assert_eq!(error, why, "{stored}");
        assert!(stored.is_empty() || !error.to_string().contains(stored));
    }
}

#[test]
fn no_slow_hash_is_computed_of_a_very_long_password() {
    let credential = parse(SLOW[3], PwdFmt::Md5);
    assert!(matches!(credential.verify(&"x".repeat(256)), Verdict::Ask(_)));
    assert!(matches!(credential.verify(&"x".repeat(257)), Verdict::Wrong));
}

#[test]
fn a_slow_success_is_remembered_until_the_stored_hash_changes() {
    let credential = parse(SLOW[1], PwdFmt::Md5);
    let Verdict::Ask(slow) = credential.verify("pässwörd") else {
        panic!("the first time takes a hash");
    };
    assert!(slow.verify("pässwörd"));
    slow.remember("pässwörd");
    assert!(matches!(credential.verify("pässwörd"), Verdict::Right));
    assert!(matches!(credential.verify("wrong"), Verdict::Ask(_)));

    let mut reloaded = parse(SLOW[1], PwdFmt::Md5);
    reloaded.inherit(&credential);
    assert!(matches!(reloaded.verify("pässwörd"), Verdict::Right));

    let mut changed = parse(SLOW[2], PwdFmt::Md5);
    changed.inherit(&credential);
    assert!(matches!(changed.verify("pässwörd"), Verdict::Ask(_)));
}

#[test]
fn a_decoy_costs_the_same_and_does_not_know_what_its_model_remembers() {
    let credential = parse(SLOW[0], PwdFmt::Md5);
    if let Verdict::Ask(slow) = credential.verify("x") {
        slow.remember("x");
    }
    let decoy = credential.decoy();
    assert_eq!(decoy.kind(), credential.kind());
    assert!(matches!(decoy.verify("x"), Verdict::Ask(_)));
}

#[test]
fn hashes_of_different_cost_are_of_different_kinds() {
    let kind = |stored: &str| parse(stored, PwdFmt::Md5).kind();
    let salted = |rounds| format!("$6${rounds}abcdefgh${}.", "a".repeat(85));
    assert_ne!(kind(&salted("rounds=10000$")), kind(&salted("rounds=20000$")));
    assert_ne!(kind(&salted("")), kind(&salted("rounds=20000$")));
    assert_ne!(kind(MD5), kind(SLOW[1]));
    assert_eq!(kind(MD5), kind(&"0".repeat(32)));
    // Salt and hash do not count. Otherwise, every user would have a different kind.
    let other = |hash: &str, from: &str, to: &str| kind(&hash.replace(from, to));
    assert_eq!(kind(SLOW[0]), other(SLOW[0], "c2FsdHNhbHQx", "c2FsdHNhbHQy"));
    assert_eq!(kind(SLOW[1]), other(SLOW[1], "$rMMY", "$rMMX"));
    assert_eq!(kind(SLOW[2]), other(SLOW[2], "$jXQT", "$jXQU"));
    assert_eq!(kind(SLOW[3]), other(SLOW[3], "$hKva", "$hKvb"));
}

#[test]
fn a_credential_prints_nothing_of_what_is_stored() {
    assert_eq!(format!("{:?}", parse("secret", PwdFmt::Plain)), "Credential(plain)");
}

proptest! {
    #[test]
    fn plain_and_md5_accept_exactly_the_password(password in ".{1,20}", other in ".{0,20}") {
        prop_assume!(Scheme::of(&password).is_none() && !foreign::is_hash(&password));
        let plain = parse(&password, PwdFmt::Plain);
        let md5 = parse(&format!("{:x}", md5::compute(&password)), PwdFmt::Md5);
        for credential in [plain, md5] {
            prop_assert!(matches(&credential, &password));
            prop_assert_eq!(matches(&credential, &other), password == other);
        }
    }

    #[test]
    fn no_stored_text_makes_parsing_panic(stored in r"(\$argon2id\$|\$2b\$|\$5\$|\$6\$)?.{0,80}") {
        let _ = Credential::parse(&stored, PwdFmt::Md5, OWNER);
    }
}
