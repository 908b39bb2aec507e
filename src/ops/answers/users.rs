//! The users that two servers are asked about.

use anyhow::{Context, bail};

use crate::core::secret::Secret;

/// A user with the password to sign in with.
#[derive(Debug)]
pub struct TestUser {
    /// As it is sent, such as `alice@example.org`.
    pub name: String,
    /// The password.
    pub password: Secret,
}

/// Reads lines of the form `user:password`. Empty lines, and lines that begin with `#`, are left
/// out.
///
/// # Errors
/// When a line has another form, or there is none. The message does not show the line.
pub fn test_users(text: &[u8]) -> anyhow::Result<Vec<TestUser>> {
    let text = std::str::from_utf8(text).context("the list of users is not UTF-8")?;
    let mut users = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((name, password)) if !name.trim().is_empty() => {
                users.push(TestUser { name: name.trim().to_owned(), password: Secret::new(password) });
            }
            _ => bail!("line {number} of the list of users is not of the form user:password"),
        }
    }
    if users.is_empty() {
        bail!("the list of users is empty: write a line of the form user:password for each");
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_may_have_colons_and_spaces_and_errors_do_not_show_lines() {
        let users = test_users(b"# test\n\nalice@a.org:p:w \r\nbob: x\n").expect("good");
        let read: Vec<_> = users.iter().map(|user| (&*user.name, user.password.reveal())).collect();
        assert_eq!(read, [("alice@a.org", "p:w "), ("bob", " x")]);
        for text in [&b""[..], b"# none\n", b"a:b\nhunter2\n", b":hunter2\n", b"\xff:hunter2\n"] {
            let error = format!("{:#}", test_users(text).expect_err("bad"));
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
