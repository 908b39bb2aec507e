//! Hashes that this server cannot verify, recognized by their shape.

/// Kinds of hashes from crypt(5), and from programs that adopted its format. No real password
/// begins like this and continues with a salt and a hash.
const KINDS: [&str; 17] = [
    "1", "2", "2x", "3", "7", "y", "gy", "md5", "sha1", "apr1", "P", "H", "S", "argon2i", "argon2d",
    "scrypt", "pbkdf2",
];

/// The length of the shortest hash in characters: `$1$` has 16 bytes.
const SHORTEST: usize = 22;

/// Whether `stored` is the text of a hash. If such a text were stored as a plain password,
/// anybody who has read the table could sign in with it.
///
/// It is a hash if it is all printable ASCII without blanks, begins with `$kind$` (letters,
/// digits and `-`, optionally parameters after a comma) or with `{KIND}` (capital letters, digits
/// and `-`, as LDAP and Dovecot write it), and one of these conditions holds:
/// - The text after the last `$` or `}` has at least 22 characters. All of them are letters,
///   digits or one of `./+=_-`, and they are not all small letters, all capital letters or all
///   digits.
/// - The kind is one of crypt(5), and two more parts follow that are not empty: a salt and a
///   hash.
///
/// So `$ecret`, `$1$million`, `$my$correcthorsebatterystaple` and `{json}` are passwords.
pub(super) fn is_hash(stored: &str) -> bool {
    if !stored.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    if let Some((kind, rest)) = stored.strip_prefix('{').and_then(|text| text.split_once('}')) {
        let is_kind = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
        return !kind.is_empty() && kind.bytes().all(is_kind) && ends_in_digest(rest);
    }
    let Some((kind, rest)) = stored.strip_prefix('$').and_then(|text| text.split_once('$')) else {
        return false;
    };
    let kind = kind.split_once(',').map_or(kind, |(kind, _)| kind);
    if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return false;
    }
    let parts = rest.split('$').filter(|part| !part.is_empty()).count();
    ends_in_digest(rest) || KINDS.contains(&kind) && parts >= 2
}

fn ends_in_digest(text: &str) -> bool {
    let last = text.rsplit('$').next().unwrap_or(text).as_bytes();
    let is_all = |class: fn(&u8) -> bool| last.iter().all(class);
    last.len() >= SHORTEST
        && is_all(|byte| byte.is_ascii_alphanumeric() || b"./+=_-".contains(byte))
        && !is_all(u8::is_ascii_lowercase)
        && !is_all(u8::is_ascii_uppercase)
        && !is_all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_other_kinds_are_known_by_their_shape() {
        for hash in [
            "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
            "$gy$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
            "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0",
            "$1$salt$hash",
            "$y$j9T$salt$hash",
            "$apr1$abcdefgh$irWbblnpmw.5z7wgBnprh0",
            "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
            "$sha1$40000$jtNX3nZ2$hBNaIXkt4wBI2o5rsi8KejSjNqIq",
            "$md5,rounds=5000$GUBv0xjJ$$mSwgIswdjlTY0YxV7HBVm0",
            "$3$$8846f7eaee8fb117ad06bdd830b7586c",
            "$P$B12345678mQXr0dgVqKQmXrcx8Qpu1.",
            "$S$D6JFqDfcgIYVlJFBZOYvVYVDrgBbGkDFKrCGRnUxmUvNrVNZRjRx",
            "$argon2i$v=19$m=256,t=1,p=1$c2FsdA$LzDPvSUZ50bBdf12uF/mnj6RQiyl4MVllmZgskP05Rs",
            "$pbkdf2-sha256$29000$N2YMIWQsBWBMae09x1jrPQ$1t8iyB2A.WF/Z5JZv.lfCIhXXN33N23OSgQYThBYRfk",
            "{SSHA}DkMTwBl+a/3DfY+MTDTOyQQRgoh1CjJq",
            "{SHA512-CRYPT}$6$abcdefgh$irWbblnpmw.5z7wgBnprh0",
        ] {
            assert!(is_hash(hash), "{hash}");
        }
    }

    #[test]
    fn passwords_that_merely_begin_so_are_none() {
        for password in [
            "",
            "$",
            "$$",
            "$$$",
            "$ecret",
            "$ecret$money",
            "$1$million",
            "$1$",
            "$y$",
            "$y$$",
            "$100 and $200 and a few more dollars",
            "$my$correcthorsebatterystaple",
            "$a$b$c",
            "$my$ Correct horse battery 4",
            "$mÿ$irWbblnpmw.5z7wgBnprh0",
            "{json}",
            "{json}irWbblnpmw.5z7wgBnprh0",
            "{A}{B}",
            "{}irWbblnpmw.5z7wgBnprh0",
            "irWbblnpmw.5z7wgBnprh0",
            "${password}irWbblnpmw.5z7wgBnprh0",
        ] {
            assert!(!is_hash(password), "{password}");
        }
    }
}
