//! `jitsiprovs explain`: what a client would get, and why.

use std::process::ExitCode;

use anyhow::{anyhow, bail};

use crate::cli::args::{self, ListFormat, Listed};
use crate::cli::config::TableAccess;
use crate::cli::error::{ConfigError, usage};
use crate::cli::listing::ALL_TENANTS;
use crate::cli::print::{self, Text, key, number, text};
use crate::cli::{edit_session, password};
use crate::core::conventions::Conventions;
use crate::core::fetch::{FetchFilter, FetchListing};
use crate::core::params::{ClientFact, Known};
use crate::core::request::ParamSettings;
use crate::ops::explain::{
    self, ClientRequest, ExplainRefusal, ExplainReport, Hypothesis, Listing, RuleReport,
};
use crate::snapshot::DISABLED;
use crate::source::Source;

/// Prints the report or, with `--properties`, the answer itself.
///
/// # Errors
/// When there is no such user, or the password is wrong.
pub async fn explain(options: args::ExplainArgs) -> anyhow::Result<ExitCode> {
    let args::ExplainArgs { user, params, last, password_stdin, properties, all, key, listed, tables } =
        options;
    let TableAccess { source, snapshot: rows, params: settings } = TableAccess::new(tables)?;
    let mut sent = params.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    if last {
        add_last(&user, &mut sent, &*source, &rows, &settings).await?;
    }
    let tried = Hypothesis::take(&mut sent).map_err(with_option)?;
    let password = password_stdin.then(password::read).transpose()?;
    let mut request = ClientRequest::read(&user, &sent, password.as_ref(), &settings).map_err(with_option)?;
    let mut read = edit_session::read(&*source).await?;
    tried.apply(&mut request, &mut read, &rows)?;
    let snapshot = explain::snapshot(rows.clone(), &read);
    let session = request.sign_in(&snapshot, &read.users).map_err(|refusal| {
        let is_default = !user.contains('@') && refusal.is_unknown();
        let error = with_option(refusal);
        match is_default {
            true => {
                anyhow!("{error}; without a domain, the one of --default-domain counts: write user@domain")
            }
            false => error,
        }
    })?;
    let listing = Listing { all, key };
    let report = ExplainReport::new(&snapshot, &rows, session, &request, &read.rules, &listing);
    if !session.can_sign_in() {
        print::note(format_args!(
            "nobody can sign in as {}: no usable password is stored; `jitsiprovs user passwd` sets one",
            request.name().escape_debug()
        ));
    }
    if session.is_disabled() {
        print::note(format_args!(
            "{} is switched off by the attribute `{DISABLED}`: only rules for the subject user.{DISABLED}=yes apply",
            request.name().escape_debug()
        ));
    }
    if let ids @ [_, ..] = &*report.without_password {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        print::note(format_args!(
            "the password is not known, so it is left empty in the rules that use it or have it as their subject \
             ({}): give it with --password-stdin",
            ids.join(", ")
        ));
    }
    match listed.format {
        _ if properties => print::exact(&snapshot.answer(session, request.params()).body)?,
        ListFormat::Json => print::write(Text::json(&report)?)?,
        ListFormat::Table => print::write(table(&report, listed))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds what the user's own client sent last, but for what was typed.
async fn add_last(
    user: &str,
    sent: &mut Vec<(String, String)>,
    source: &dyn Source,
    rows: &Conventions,
    settings: &ParamSettings,
) -> anyhow::Result<()> {
    let request = ClientRequest::read(user, &[], None, settings).map_err(with_option)?;
    let [domain, username] = [Known::Domain, Known::Username].map(|known| {
        let name = request.params().known(known).unwrap_or_default();
        Some(rows.comparison.fold_text(name))
    });
    let wanted = FetchFilter { domain, username, most: 1000, ..FetchFilter::default() };
    let mut fetches = source.fetches(wanted).await?;
    // What succeeded is of more use than what a stranger may have sent.
    let at = fetches.iter().position(|fetch| fetch.is_ok).unwrap_or_default();
    if fetches.is_empty() {
        bail!(
            "no request of {} is known: nodes write requests to the database after some seconds, unless they run \
             with --no-fetches; leave out --last, and write PARAM=VALUE",
            request.name()
        );
    }
    let FetchListing { time, address, agent, parameters, .. } = fetches.swap_remove(at).into();
    print::note(format_args!("as the client at {address} ({agent}) asked at {time}"));
    let canonical = |name: &str| {
        let alias = settings.aliases.iter().find(|(alias, _)| alias == name);
        alias.map_or(name.to_owned(), |(_, known)| known.name().to_owned())
    };
    let typed: Vec<String> = sent.iter().map(|(name, _)| canonical(name)).collect();
    let of_client = [(ClientFact::Address.name().to_owned(), address.to_string())];
    let known = parameters.into_iter().chain(of_client);
    sent.extend(known.filter(|(name, _)| !typed.contains(name)));
    Ok(())
}

/// Adds to the refusal the option that helps.
fn with_option(refusal: ExplainRefusal) -> anyhow::Error {
    match refusal {
        ExplainRefusal::Argument(_) => anyhow!("{refusal}: use --password-stdin"),
        ExplainRefusal::SecretAttribute(ref name) => {
            anyhow!("{refusal}: store it with `jitsiprovs user set USER@DOMAIN --value-stdin {name}`")
        }
        ExplainRefusal::WrongPassword(_) => {
            anyhow!("{refusal}; leave out --password-stdin to see the rules")
        }
        _ => refusal.into(),
    }
}

/// Splits `param=value`.
pub(super) fn pair(typed: String) -> Result<(String, String), ConfigError> {
    match typed.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => usage(format!("{typed:?}: write param=value, such as osname=Linux")),
    }
}

fn table(report: &ExplainReport, listed: Listed) -> Text {
    let columns = [
        key("KEY"),
        text("VALUE"),
        number("ID"),
        text("DOMAIN"),
        text("SUBJECT"),
        number("SPRIORITY"),
        number("PPRIORITY"),
        text("WHY"),
    ];
    let mut rows = Vec::new();
    for key in &report.keys {
        let is_won = key.value.is_some();
        if !is_won {
            let mut row = vec![key.key.clone()];
            row.resize(columns.len() - 1, String::new());
            row.push("not in the answer".into());
            rows.push(row);
        }
        let indented = |at| at > 0 || !is_won;
        rows.extend(key.rules.iter().enumerate().map(|(at, rule)| line(rule, indented(at))));
    }
    let mut text = Text::listed(&columns, rows, listed);
    match report.left_out {
        0 => {}
        1 => text.push("1 more that does not match this client: --all lists it"),
        more => text.push(format_args!("{more} more that do not match this client: --all lists them")),
    }
    text
}

fn line(rule: &RuleReport, is_indented: bool) -> Vec<String> {
    let priority = |priority: Option<i64>| priority.map_or("NULL".into(), |number| number.to_string());
    vec![
        format!("{}{}", if is_indented { "  " } else { "" }, rule.key),
        rule.value.clone(),
        rule.id.to_string(),
        rule.domain.clone().unwrap_or_else(|| ALL_TENANTS.into()),
        rule.subject.clone(),
        priority(rule.spriority),
        priority(rule.ppriority),
        rule.why.clone(),
    ]
}
