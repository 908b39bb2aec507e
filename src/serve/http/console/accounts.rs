//! The accounts of operators: the file of `--console-users`, which is read again while the server
//! runs.
//!
//! One account a line: `name:argon2id-hash:role`, and after another colon the tenants that the
//! operator is limited to, with commas between them. Lines that begin with `#` are comments.

use std::fmt;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use super::operator::{Operator, Role};
use crate::core::credential::{self, Credential, Owner, PwdFmt, SlowHash, Storage};
use crate::core::names::{Comparison, is_asterisk};
use crate::process::files::{self, Aside};

/// The longest name, in bytes.
pub const LONGEST_NAME: usize = 64;
/// How long to wait for the file, which may be on a network file system.
const PATIENCE: Duration = Duration::from_secs(1);
/// How old the knowledge of the file may be while a session is open.
const FRESH: Duration = Duration::from_secs(2);

/// One line of the file.
#[derive(Clone)]
pub struct Account {
    /// Who it is, and what they may do.
    pub operator: Operator,
    /// The tenants as they are written in the file.
    pub tenants: Vec<String>,
    hash: Arc<SlowHash>,
}

impl PartialEq for Account {
    fn eq(&self, other: &Account) -> bool {
        self.operator == other.operator && self.hash == other.hash
    }
}

impl Account {
    /// Whether this is the operator's password. It takes as long as the hash wants: only for
    /// threads that may be busy.
    pub(super) fn has_password(&self, password: &str) -> bool {
        self.hash.verify(password)
    }

    /// A number that changes when the password changes.
    pub(super) fn stamp(&self) -> u64 {
        KEY.hash_one(&*self.hash)
    }
}

/// Known to this process only.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {why}")]
pub struct BadLine {
    /// The number of the line, from 1.
    pub number: usize,
    /// What is wrong with it, and what is right. It shows no hash.
    pub why: String,
}

/// Reads the text of the file.
///
/// # Errors
/// At the first line that cannot be used.
pub fn parse(text: &[u8], comparison: Comparison) -> Result<Vec<Account>, BadLine> {
    let mut accounts: Vec<Account> = Vec::new();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let bad = |why: String| BadLine { number: at + 1, why };
        let line = str::from_utf8(line).map_err(|_| bad("it is not UTF-8".into()))?.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let account = account(line, comparison).map_err(bad)?;
        let name = &account.operator.name;
        if accounts.iter().any(|known| known.operator.name == *name) {
            return Err(bad(format!("there is an operator {name:?} already: leave out one of the two")));
        }
        accounts.push(account);
    }
    Ok(accounts)
}

fn account(line: &str, comparison: Comparison) -> Result<Account, String> {
    let fields: Vec<&str> = line.split(':').map(str::trim).collect();
    let (name, hash, role, tenants) = match fields[..] {
        [name, hash, role] => (name, hash, role, None),
        [name, hash, role, tenants] => (name, hash, role, Some(tenants)),
        _ => return Err("write name:hash:role or name:hash:role:tenant,tenant".into()),
    };
    check_name(name)?;
    let role = Role::from_name(role)
        .ok_or_else(|| format!("there is no role {role:?}: use {}", Role::ALL.map(Role::name).join(", ")))?;
    let hash = slow_hash(hash).ok_or(
        "the second field is no usable argon2id hash: `jitsiprovs operator add` writes lines with one",
    )?;
    let tenants: Vec<&str> = tenants.into_iter().flat_map(|list| list.split(',')).map(str::trim).collect();
    if tenants.iter().any(|tenant| tenant.is_empty() || is_asterisk(tenant)) {
        return Err("after the role come domains with commas between them; for all tenants, leave out the \
                    colon after the role"
            .into());
    }
    let folded = |tenant: &&str| comparison.fold_text(tenant);
    let own = (!tenants.is_empty()).then(|| tenants.iter().map(folded).collect());
    Ok(Account {
        operator: Operator { name: name.into(), role, tenants: own },
        tenants: tenants.into_iter().map(str::to_owned).collect(),
        hash,
    })
}

/// Whether an operator can have this name.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_bad = |c: char| c == ':' || c.is_control();
    if name.is_empty() || name.len() > LONGEST_NAME || name.contains(is_bad) || name.starts_with('#') {
        return Err(format!(
            "a name has 1 to {LONGEST_NAME} bytes, no colon and no control character, and does not begin \
             with #"
        ));
    }
    match name.trim() == name {
        true => Ok(()),
        false => Err("a name has no blanks at its ends".into()),
    }
}

fn slow_hash(stored: &str) -> Option<Arc<SlowHash>> {
    let owner = Owner { username: "", realm: "" };
    let credential = Credential::parse(stored, PwdFmt::Md5, owner).ok()?;
    credential.slow().filter(|_| stored.starts_with("$argon2id$")).cloned()
}

/// The accounts as the file has them now.
pub struct Accounts {
    path: PathBuf,
    comparison: Comparison,
    known: Mutex<Known>,
    reading: Aside,
}

struct Known {
    accounts: Arc<Vec<Account>>,
    /// What the file held when it was last read, good or not.
    text: Vec<u8>,
    /// When it was last read.
    read: Instant,
    is_readable: bool,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accounts({})", self.path.display())
    }
}

impl Accounts {
    /// The accounts in `text`, which is what the file at `path` holds now.
    ///
    /// # Errors
    /// At the first line that cannot be used.
    pub fn new(path: PathBuf, text: Vec<u8>, comparison: Comparison) -> Result<Accounts, BadLine> {
        let accounts = Arc::new(parse(&text, comparison)?);
        let known = Known { accounts, text, read: Instant::now(), is_readable: true };
        Ok(Accounts { path, comparison, known: Mutex::new(known), reading: Aside::new() })
    }

    /// The account of this name, as the file has it now.
    pub(super) async fn find(&self, name: &str) -> Option<Account> {
        self.read().await;
        self.known().accounts.iter().find(|account| account.operator.name == name).cloned()
    }

    /// Whether the account is still in the file as it is here. What the file held a moment ago may
    /// decide.
    pub(super) async fn has(&self, account: &Account) -> bool {
        // Whoever is first reads the file; the others go on with what is known.
        let is_old = {
            let mut known = self.known();
            let is_old = known.read.elapsed() >= FRESH;
            if is_old {
                known.read = Instant::now();
            }
            is_old
        };
        if is_old {
            self.read().await;
        }
        self.known().accounts.contains(account)
    }

    /// An account whose password takes as long to compare as that of others, for a name that does
    /// not exist. The same name always gets the same one.
    pub(super) fn decoy(&self, name: &str) -> Account {
        static ALONE: LazyLock<Account> = LazyLock::new(|| {
            let owner = Owner { username: "", realm: "" };
            let hash = credential::hash(Storage::Argon2id, "decoy", owner).expect("it can be stored");
            let operator = Operator { name: String::new(), role: Role::View, tenants: None };
            Account { operator, tenants: Vec::new(), hash: slow_hash(&hash).expect("just made") }
        });
        let accounts = self.known().accounts.clone();
        let at = (KEY.hash_one(name) as usize).checked_rem(accounts.len());
        at.map_or_else(|| ALONE.clone(), |at| accounts[at].clone())
    }

    /// Reads the file. If it cannot be used, the accounts of before stay.
    async fn read(&self) {
        let path = self.path.clone();
        let read = self.reading.run_for(PATIENCE, move || files::read(&path)).await.flatten();
        let (path, mut known) = (self.path.display(), self.known());
        known.read = Instant::now();
        let text = match read {
            Ok(text) => text,
            Err(why) => {
                if std::mem::take(&mut known.is_readable) {
                    tracing::error!(
                        "cannot read {path} ({why}): check --console-users and the file's permissions; the \
                         operators of before stay"
                    );
                }
                return;
            }
        };
        known.is_readable = true;
        if text == known.text {
            return;
        }
        match parse(&text, self.comparison) {
            Ok(accounts) => {
                tracing::info!("{path} has changed: {} operators", accounts.len());
                known.accounts = Arc::new(accounts);
            }
            Err(why) => tracing::error!("{path}: {why}; the operators of before stay (--console-users)"),
        }
        known.text = text;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                        4cCSFHEkVxE6Yx9vXOmGkzSmXSVJJbLZnhXHkgfzQJA";

    /// An account that may edit everything.
    pub fn account(name: &str, comparison: Comparison) -> Account {
        super::account(&format!("{name}:{HASH}:edit"), comparison).expect("good")
    }

    fn parsed(text: &str) -> Result<Vec<Account>, BadLine> {
        parse(text.as_bytes(), Comparison::Folded)
    }

    #[test]
    fn a_line_has_a_name_a_hash_a_role_and_perhaps_tenants() {
        let text = format!("# operators\n\nroot:{HASH}:edit\r\nhelp desk: {HASH} :help: A.org , b.org\n");
        let accounts = parsed(&text).expect("good");
        let operators: Vec<Operator> = accounts.iter().map(|account| account.operator.clone()).collect();
        let own = Some(vec!["a.org".to_owned(), "b.org".to_owned()]);
        assert_eq!(
            operators,
            [
                Operator { name: "root".into(), role: Role::Edit, tenants: None },
                Operator { name: "help desk".into(), role: Role::Help, tenants: own },
            ]
        );
        assert_eq!(accounts[1].tenants, ["A.org", "b.org"]);
        assert!(parsed("").expect("good").is_empty());
    }

    #[test]
    fn a_mistake_names_its_line_and_no_hash() {
        for line in [
            "root".to_owned(),
            format!("root:{HASH}"),
            format!("root:{HASH}:edit:a.org:b.org"),
            format!(":{HASH}:edit"),
            format!("{}:{HASH}:edit", "x".repeat(65)),
            format!("root:{HASH}:boss"),
            format!("root:{HASH}:edit:"),
            format!("root:{HASH}:edit:a.org,,b.org"),
            format!("root:{HASH}:edit:*"),
            "root:5ebe2294ecd0e0f08eab7690d2a6ee69:edit".to_owned(),
            "root:$argon2id$v=19$m=19456:edit".to_owned(),
            format!("other:{HASH}:edit"),
        ] {
            let error = parsed(&format!("other:{HASH}:view\n{line}\n")).err().expect(&line);
            assert_eq!(error.number, 2, "{line}");
            assert!(!error.to_string().contains("argon2id$"), "{error}");
        }
    }

    #[test]
    fn the_file_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("operators");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        let one = format!("one:{HASH}:edit\n");
        write(&one);
        let accounts = Accounts::new(path.clone(), one.into(), Comparison::Folded).expect("good");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let first = accounts.find("one").await.expect("there");
            assert!(accounts.has(&first).await);
            write(&format!("one:{HASH}:view\ntwo:{HASH}:view\n"));
            assert!(accounts.find("two").await.is_some());
            assert!(!accounts.has(&first).await, "the role is another one");
            for text in ["two", ""] {
                write(text);
                assert_eq!(accounts.find("two").await.is_some(), text == "two");
            }
            std::fs::remove_file(&path).expect("removed");
            assert!(accounts.find("one").await.is_none());
        });
        assert!(accounts.decoy("x") == accounts.decoy("x"));
    }
}
