//! Users as CSV: `username,domain,password`, passwords as they are stored.

use super::table::{self, CsvColumn};
use super::{FileError, FileUser};
use crate::core::conventions::Conventions;
use crate::core::secret::Secret;

const COLUMNS: [CsvColumn; 3] =
    [CsvColumn(&["username"], true), CsvColumn(&["domain"], true), CsvColumn(&["password"], true)];

/// Reads the file; each user comes with the number of their line.
///
/// # Errors
/// On the first line that is not as it must be.
pub fn parse(text: &[u8], options: &Conventions) -> Result<Vec<(u64, FileUser)>, FileError> {
    table::read(text, &COLUMNS, |fields| {
        let password = Secret::new(fields.text(2));
        let user = FileUser { username: fields.text(0), domain: fields.text(1), password };
        user.check(options)?;
        Ok(user)
    })
}

/// Writes users as they come.
pub fn write<'u>(users: impl IntoIterator<Item = &'u FileUser>) -> Vec<u8> {
    let users = users.into_iter().map(|FileUser { username, domain, password }| {
        Box::new([username.clone(), domain.clone(), password.reveal().to_owned()])
    });
    table::write(["username", "domain", "password"], users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<Vec<(u64, FileUser)>, FileError> {
        parse(text, &Conventions::default())
    }

    fn error(text: &str) -> String {
        read(text.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn columns_go_by_their_heads_and_may_be_quoted() {
        let users =
            read(b"\xEF\xBB\xBFpassword,username,domain\r\n\"a,\"\"b\n\",alice,a.org\r\n").expect("CSV");
        assert_eq!(users.len(), 1);
        let FileUser { username, domain, password } = &users[0].1;
        assert_eq!((username.as_str(), domain.as_str(), password.reveal()), ("alice", "a.org", "a,\"b\n"));
        assert!(read(b"username,domain,password\n").expect("CSV").is_empty());
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_without_its_password() {
        let heads = "username,domain,password\n";
        assert!(error("").contains("line 1: there is no column `username`"));
        assert!(error("alice,a.org,hunter2\n").starts_with("line 1: column 1 has no head"));
        assert!(!error("username,hunter2\n").contains("hunter2"));
        assert!(error("username,domain,domain\n").contains("two columns"));
        assert!(error(&format!("{heads}a,a.org,x\n\"b\nb\",a.org,x\n,a.org,x\n")).starts_with("line 5: "));
        assert!(error(&format!("{heads}a,a.org\n")).contains("line 2: 2 fields"));
        for ends in ["\n", "\r\n", "\r"] {
            let text = format!("\u{feff}\n{heads}\n\na,a.org,x\n\n\n,a.org,x\n").replace('\n', ends);
            assert!(error(&text).starts_with("line 8: "), "{}: {ends:?}", error(&text));
        }
        let unclosed = error(&format!("{heads}a,a.org,\"x\r\ny\"\r\nb,a.org,\"x\r\nc,a.org,y\r\n"));
        assert!(unclosed.starts_with("line 4: a field begins with a quote"), "{unclosed}");
        assert!(
            error(&format!("{heads}a,a.org,\"x\nb,a.org,\"y\n")).starts_with("line 2: a field in quotes")
        );
        assert_eq!(read(format!("{heads}a,a.org,x\"y\n").as_bytes()).expect("CSV").len(), 1);
        let latin = [heads.as_bytes(), b"a,a.org,x\nb\xe9,a.org,x\n"].concat();
        assert_eq!(read(&latin).expect_err("refused").line, 3);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(texts in prop::collection::vec(any::<(String, String, String)>(), 0..5)) {
            let users: Vec<FileUser> = texts
                .into_iter()
                .map(|(username, domain, password)| {
                    let (username, domain) = (username + "u", domain + "d");
                    FileUser { username, domain, password: Secret::new(password) }
                })
                .collect();
            let written = write(&users);
            let again: Vec<FileUser> = read(&written).expect("CSV").into_iter().map(|(_, user)| user).collect();
            prop_assert!(again == users);
            prop_assert!(write(&again) == written);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, rest in r#"[a,"\r\n]{0,40}"#) {
            let _ = read(&bytes);
            let _ = read(&[b"username,domain,password\n".as_slice(), rest.as_bytes(), &bytes].concat());
        }
    }
}
