//! `jitsiprovs operator`: edits the file of `--console-users`.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::cli::args::{OperatorAddArgs, OperatorCommand, OperatorListArgs, OperatorRemoveArgs};
use crate::cli::password;
use crate::cli::print::{self, Text, text};
use crate::core::credential::{self, Owner, Storage};
use crate::core::names::Comparison;
use crate::process::files;
use crate::serve::http::console::accounts::{Account, check_name, parse};

/// Runs the command.
///
/// # Errors
/// When the file cannot be read, has a mistake or cannot be written, or when there is no such
/// operator.
pub fn operator(command: OperatorCommand) -> anyhow::Result<ExitCode> {
    match command {
        OperatorCommand::Add(options) => add(&options),
        OperatorCommand::List(options) => list(&options),
        OperatorCommand::Remove(options) => remove(&options),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn add(options: &OperatorAddArgs) -> anyhow::Result<()> {
    let OperatorAddArgs { name, role, tenant, password_stdin, file } = options;
    let path = &file.console_users;
    check_name(name).map_err(anyhow::Error::msg)?;
    let mut text = match files::read(path) {
        Err(why) if why.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|why| unreadable(path, &why))?,
    };
    if accounts(path, &text)?.iter().any(|account| account.operator.name == *name) {
        bail!("there is an operator {name:?} already: remove it first, with `jitsiprovs operator remove`");
    }
    let typed = password::ask(name, *password_stdin)?;
    let hash = credential::hash(Storage::Argon2id, typed.reveal(), Owner { username: "", realm: "" })?;
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    let tenants = if tenant.is_empty() { String::new() } else { format!(":{}", tenant.join(",")) };
    text.extend_from_slice(format!("{name}:{hash}:{}{tenants}\n", role.name()).as_bytes());
    accounts(path, &text)?;
    write(path, &text)?;
    print::write(Text::line(format_args!("operator {name:?} added to {}", path.display())))
}

fn list(options: &OperatorListArgs) -> anyhow::Result<()> {
    /// An operator as listed.
    #[derive(Serialize)]
    struct Listing {
        name: String,
        role: &'static str,
        tenants: Option<Vec<String>>,
    }
    let path = &options.file.console_users;
    let text_of_file = files::read(path).map_err(|why| unreadable(path, &why))?;
    let listing = |account: Account| Listing {
        name: account.operator.name,
        role: account.operator.role.name(),
        tenants: account.operator.tenants.map(|_| account.tenants),
    };
    let rows: Vec<Listing> = accounts(path, &text_of_file)?.into_iter().map(listing).collect();
    print::list(options.listed, &rows, &[text("NAME"), text("ROLE"), text("TENANTS")], |row| {
        let tenants = row.tenants.as_ref().map_or_else(|| "all".into(), |own| own.join(", "));
        vec![row.name.clone(), row.role.into(), tenants]
    })
}

fn remove(options: &OperatorRemoveArgs) -> anyhow::Result<()> {
    let (name, path) = (&options.name, &options.file.console_users);
    let text = files::read(path).map_err(|why| unreadable(path, &why))?;
    if !accounts(path, &text)?.iter().any(|account| account.operator.name == *name) {
        bail!("there is no operator {name:?} in {}", path.display());
    }
    let is_own = |line: &[u8]| {
        let field = line.split(|byte| *byte == b':').next().unwrap_or_default();
        line.contains(&b':') && field.trim_ascii() == name.as_bytes()
    };
    let kept: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_own(line)).collect();
    write(path, &kept.concat())?;
    print::write(Text::line(format_args!("operator {name:?} removed from {}", path.display())))
}

fn accounts(path: &Path, text: &[u8]) -> anyhow::Result<Vec<Account>> {
    parse(text, Comparison::Folded).with_context(|| path.display().to_string())
}

fn write(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    files::replace_kept(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn unreadable(path: &Path, why: &io::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "cannot read {} ({why}): check --console-users and the file's permissions",
        path.display()
    )
}
