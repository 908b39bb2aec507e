//! `jitsiprovs compare`: shows in what the answers of two provisioning servers differ.

use std::io::{self, Read};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use super::explain::pair;
use crate::cli::args::{CompareArgs, ListFormat};
use crate::cli::error::usage;
use crate::cli::option_files;
use crate::cli::print::{self, Text, key, text};
use crate::ops::answers::{Asker, Difference, ServerUrl, differences, test_users};

/// The longest list of users, in bytes.
const LONGEST: u64 = 16 << 20;
/// Parameters that the list has, by all their names.
const LISTED: [&str; 4] = ["username", "user", "password", "pass"];
/// After this many users without an answer in a row, nothing more is asked.
const MOST_FAILURES: usize = 3;

/// A difference in the answers to one user.
#[derive(Serialize)]
struct Found {
    user: String,
    #[serde(flatten)]
    difference: Difference,
}

/// Asks both servers for each user in turn. The exit code is 1 if something differs.
///
/// # Errors
/// When the list cannot be read, or a server does not answer.
pub async fn compare(options: CompareArgs) -> anyhow::Result<ExitCode> {
    let CompareArgs { old_url, with, users, params, timeout, trust, listed } = options;
    let params = params.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    if let Some((name, _)) = params.iter().find(|(name, _)| LISTED.contains(&&**name)) {
        usage(format!("`{name}` comes from the list of users: leave it out"))?;
    }
    let list = match users {
        Some(path) => option_files::read(&path, "--users")?.into_bytes(),
        None => from_stdin()?,
    };
    let users = test_users(&list)?;
    let asker = |url: &str, which: &str| {
        let url = ServerUrl::parse(url).with_context(|| which.to_owned())?;
        anyhow::Ok(Asker::new(url, trust.client()?, Duration::from_secs(timeout)))
    };
    let (old, new) = (asker(&old_url, "the old server")?, asker(&with, "--with")?);

    let (mut found, mut failures, mut unanswered, mut refused) = (Vec::new(), 0, 0, 0);
    for user in &users {
        // One user after the other, because JitsiProvS shares parameters between requests that
        // overlap.
        let (one, other) = tokio::join!(old.ask(user, &params), new.ask(user, &params));
        let (one, other) = match (one, other) {
            (Ok(one), Ok(other)) => (one, other),
            (Err(why), _) | (_, Err(why)) => {
                (failures, unanswered) = (failures + 1, unanswered + 1);
                print::warn(format_args!("{}: {why:#}", user.name.escape_debug()));
                if failures == MOST_FAILURES {
                    bail!("{MOST_FAILURES} users in a row got no answer, so the others were not asked for");
                }
                continue;
            }
        };
        failures = 0;
        refused += usize::from(one.status != 200 && other.status != 200);
        let of_user = differences(&one, &other, user.password.reveal());
        found.extend(of_user.into_iter().map(|difference| Found { user: user.name.clone(), difference }));
    }
    let columns = [text("USER"), text("WHAT"), key("KEY"), text("OLD"), text("NEW")];
    print::list(listed, &found, &columns, |one| {
        let Difference { what, key, old, new } = &one.difference;
        let cell = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![one.user.clone(), (*what).into(), cell(key), cell(old), cell(new)]
    })?;
    if refused > 0 {
        print::warn(format_args!(
            "{refused} of {} users were refused by both servers, so nothing was compared: are their passwords \
             in the list right?",
            users.len()
        ));
    }
    if unanswered > 0 {
        bail!("{unanswered} of {} users got no answer", users.len());
    }
    if listed.format == ListFormat::Table {
        let mut differing: Vec<&str> = found.iter().map(|one| &*one.user).collect();
        differing.dedup();
        print::write(Text::line(format_args!("{} of {} users differ", differing.len(), users.len())))?;
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn from_stdin() -> anyhow::Result<Vec<u8>> {
    let mut list = Vec::new();
    io::stdin().lock().take(LONGEST + 1).read_to_end(&mut list).context("cannot read standard input")?;
    if list.len() as u64 > LONGEST {
        bail!("the list of users on standard input is over {} MiB", LONGEST >> 20);
    }
    Ok(list)
}
