//! The passwords of imported users: hashes clear ones, and refuses those that cannot be meant.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::{Context, anyhow, bail};
use hashbrown::HashMap;

use crate::cli::args::Content;
use crate::cli::edit_session;
use crate::cli::print::{counted, note};
use crate::cli::progress::Progress;
use crate::core::conventions::Conventions;
use crate::core::credential::{
    self, Credential, Fit, Owner, PwdFmt, Storage, UnstorablePassword, UnusableHash,
};
use crate::core::model::{Cell, Row, Table, UserRow};
use crate::ops::transfer::Item;
use crate::ops::transfer::plan::Plan;
use crate::source::{Source, Which};

/// How many passwords a thread takes at once. Some hashes take a quarter of a second.
const AT_ONCE: usize = 8;
/// This many passwords may be odd.
const FEW: usize = 3;

/// Whether the number of odd passwords shows that the whole column is not what the options say.
pub(super) fn are_too_many(odd: usize, of: usize) -> bool {
    odd > FEW && odd * 100 > of
}

fn fit(user: &UserRow, format: PwdFmt, options: &Conventions) -> Result<Fit, UnusableHash> {
    let [username, domain, password] = user.cells().map(Cell::shown);
    let realm = options.realm.as_deref().unwrap_or(&domain);
    Credential::parse(&password, format, Owner { username: &username, realm }).map(|known| known.fit())
}

/// Refuses to write passwords that can hardly be what `--pwd-fmt` says, and notes how many users
/// cannot sign in: some may be intended. Users without a password always are.
///
/// # Errors
/// When `is_strict` and more than a few of the passwords are something else.
pub(super) fn check_stored(
    plan: &Plan<UserRow>,
    is_strict: bool,
    options: &Conventions,
) -> anyhow::Result<()> {
    let (mut unusable, mut misfits, mut all) = (0, 0, 0);
    let (mut first, mut first_misfit) = (None, None);
    for (user, is_kept) in plan.wanted() {
        all += 1;
        if is_kept {
            continue;
        }
        match fit(user, options.pwd_fmt, options) {
            Ok(Fit::Misfit(_)) => misfits += 1,
            Ok(Fit::Fits | Fit::Unknown) | Err(UnusableHash::Empty) => continue,
            Err(_) => {
                unusable += 1;
                misfits += 1;
                first.get_or_insert(user);
            }
        }
        first_misfit.get_or_insert(user);
    }
    let format = Storage::Table(options.pwd_fmt).name();
    if let Some(first) = first_misfit.filter(|_| is_strict && are_too_many(misfits, all)) {
        bail!(
            "{misfits} of {} cannot be what --pwd-fmt {format} says, the first is that of {}: if the file has \
             the passwords themselves, give --hash argon2id; if it has hashes, give the --pwd-fmt of your \
             servers; empty the field of users who are not to sign in; nothing was changed",
            counted(all, "password"),
            first.label(options)
        );
    }
    if let Some(first) = first {
        note(format_args!(
            "{} cannot sign in, because the stored password is neither in the format of --pwd-fmt \
             nor a hash that names its own format: the first is {}",
            counted(unusable, "user"),
            first.label(options)
        ));
    }
    Ok(())
}

/// Hashes the clear passwords of all `users`. A user whose stored hash is one of the same
/// password keeps it, so that nothing changes. Empty passwords stay empty, and hashes that name
/// their own format stay as they are.
///
/// # Errors
/// When a password cannot be stored, when many of the passwords are hashes, or when the stored
/// ones cannot be read.
pub(super) async fn hash_all(
    users: &mut [(u64, UserRow)],
    storage: Storage,
    content: Content,
    source: &dyn Source,
    options: &Conventions,
) -> anyhow::Result<()> {
    if users.is_empty() {
        return Ok(());
    }
    refuse_hashes(users, content, options)?;
    let stored = match storage {
        Storage::Table(_) => vec![None; users.len()],
        // Two hashes of one password differ, so only verifying it can tell that it is the same.
        Storage::Argon2id | Storage::Bcrypt | Storage::Sha512Crypt => {
            stored(users, storage, source, options).await?
        }
    };
    let total = users.len();
    let work = Mutex::new(users.chunks_mut(AT_ONCE).zip(stored.chunks(AT_ONCE)));
    let take = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (done, is_done) = mpsc::channel();
    let run = |done: mpsc::Sender<Vec<(u64, UnstorablePassword)>>| {
        while let Some((users, stored)) = take() {
            let users = users.iter_mut().zip(stored);
            let refused = users.filter_map(|((line, user), stored)| {
                hash(user, stored.as_deref(), storage, options).err().map(|why| (*line, why))
            });
            // The receiver is there until all threads have ended.
            let _ = done.send(refused.collect());
        }
    };
    let mut refused: Vec<(u64, UnstorablePassword)> = Vec::new();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            let done = done.clone();
            scope.spawn(|| run(done));
        }
        drop(done);
        let mut progress = Progress::new("passwords hashed", total);
        for some in is_done {
            progress.add(AT_ONCE);
            refused.extend(some);
        }
    });
    match refused.iter().min_by_key(|(line, _)| line) {
        Some((line, why)) => {
            let refused = users.iter().find(|(number, _)| number == line);
            let place = refused.map_or_else(String::new, |(line, user)| place(*line, user, content));
            Err(anyhow!("{place}: {why}; nothing was changed"))
        }
        None => Ok(()),
    }
}

/// Where a user stands, for errors.
fn place(line: u64, user: &UserRow, content: Content) -> String {
    match content {
        Content::Kamailio => format!("subscriber id {}", user.id),
        _ => format!("line {line}"),
    }
}

/// Refuses hashes of unknown kinds, and many digests, because people do not type them as
/// passwords.
fn refuse_hashes(users: &[(u64, UserRow)], content: Content, options: &Conventions) -> anyhow::Result<()> {
    let [what, instead] = match content {
        Content::Kamailio => [
            "the column `password` is for the passwords themselves",
            "export the table as CSV, and import that with `import users`, --columns and the --pwd-fmt of your \
             servers",
        ],
        _ => {
            ["--hash is for the passwords themselves", "leave it out, and give the --pwd-fmt of your servers"]
        }
    };
    let (mut kept, mut digests) = (0, 0);
    for (line, user) in users {
        let password = user.password.shown();
        match fit(user, PwdFmt::Plain, options) {
            Ok(Fit::Misfit(_)) => digests += 1,
            Ok(Fit::Fits | Fit::Unknown) => kept += usize::from(names_its_format(&password)),
            Err(UnusableHash::Empty) => {}
            Err(_) => bail!(
                "{}: the password of {} is a hash that servers cannot verify: {what}; nothing was changed",
                place(*line, user, content),
                user.label(options)
            ),
        }
    }
    if are_too_many(digests, users.len()) {
        bail!(
            "{digests} of {} look like hashes: {what}; {instead}; nothing was changed",
            counted(users.len(), "password")
        );
    }
    if kept > 0 {
        note(format_args!(
            "{} stored as in the file, because the file has a hash that names its own format",
            if kept == 1 { "1 password is".into() } else { format!("{kept} passwords are") }
        ));
    }
    Ok(())
}

fn names_its_format(password: &str) -> bool {
    let owner = Owner { username: "", realm: "" };
    Credential::parse(password, PwdFmt::Plain, owner).is_ok_and(|known| known.slow().is_some())
}

/// For each of `users`, the stored hash if it has the form `storage`.
async fn stored(
    users: &[(u64, UserRow)],
    storage: Storage,
    source: &dyn Source,
    options: &Conventions,
) -> anyhow::Result<Vec<Option<Box<str>>>> {
    let key = |user: &UserRow| user.natural_key(options.comparison);
    let places: HashMap<_, usize> = users.iter().enumerate().map(|(at, (_, user))| (key(user), at)).collect();
    let mut stored: Vec<Option<(i64, Box<str>)>> = vec![None; users.len()];
    let look = |row| {
        let Row::User(row) = row else { return };
        let Some(at) = places.get(&key(&row)) else { return };
        let password = row.password.shown();
        let is_alike = credential::stored_as(&password, options.pwd_fmt) == storage.name();
        // Of several rows with one name, the server uses the one with the lowest id.
        let is_first = stored[*at].as_ref().is_none_or(|(id, _)| row.id < *id);
        if is_first {
            stored[*at] = Some((row.id, if is_alike { (*password).into() } else { Box::default() }));
        }
    };
    edit_session::scan(source, Which::Of(Table::UserAuth), look)
        .await
        .context("reading the stored passwords")?;
    Ok(stored.into_iter().map(|stored| stored.map(|(_, hash)| hash)).collect())
}

/// Replaces a clear password with the hash to store.
fn hash(
    user: &mut UserRow,
    stored: Option<&str>,
    storage: Storage,
    options: &Conventions,
) -> Result<(), UnstorablePassword> {
    let [username, domain, password] = user.cells().map(Cell::shown);
    if password.is_empty() || names_its_format(&password) {
        return Ok(());
    }
    let realm = options.realm.as_deref().unwrap_or(&domain);
    let owner = Owner { username: &username, realm };
    let known = stored.and_then(|stored| Credential::parse(stored, options.pwd_fmt, owner).ok());
    let is_same = known.as_ref().and_then(Credential::slow).is_some_and(|slow| slow.verify(&password));
    let text = match stored {
        Some(stored) if is_same => Cell::from(stored),
        _ => Cell::from(&*credential::hash(storage, &password, owner)?),
    };
    user.password = text;
    Ok(())
}
