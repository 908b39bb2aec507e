//! `jitsiprovs fetch`: lists who fetched what, and why not.

use std::process::ExitCode;

use anyhow::Context;
use url::form_urlencoded;

use crate::cli::args::{FetchCommand, FetchListArgs};
use crate::cli::config::TableAccess;
use crate::cli::error::usage;
use crate::cli::print::{self, ListColumn, number, text};
use crate::core::fetch::{FetchFilter, FetchListing};
use crate::ops::nodes::{Client, NodeUrl};

/// Runs the subcommand.
///
/// # Errors
/// When the database or a node cannot be asked.
pub async fn fetch(command: FetchCommand) -> anyhow::Result<ExitCode> {
    let FetchCommand::List(options) = command;
    list(*options).await.map(|()| ExitCode::SUCCESS)
}

async fn list(options: FetchListArgs) -> anyhow::Result<()> {
    let FetchListArgs { urls, domain, who, address, since, failed, most, access, listed, tables } = options;
    let (username, domain) = match (who.as_deref().map(split), domain) {
        (Some((_, Some(_))), Some(_)) => {
            usage("--user names a domain already: leave out --domain, or write only the name")?
        }
        (Some((username, of_user)), domain) => (Some(username), of_user.map(str::to_owned).or(domain)),
        (None, domain) => (None, domain),
    };
    let most = most as usize;
    let wanted = FetchFilter { domain, username: username.map(str::to_owned), address, since, failed, most };
    let fetches = match urls.is_empty() {
        true => stored(wanted, &TableAccess::new(tables)?).await?,
        false => seen(&urls, wanted, &access.client()?).await?,
    };
    print::list(listed, &fetches, &columns(), cells)
}

/// Divides user@domain at the last `@`.
fn split(user: &str) -> (&str, Option<&str>) {
    match user.rsplit_once('@') {
        Some((username, domain)) if !domain.is_empty() => (username, Some(domain)),
        _ => (user, None),
    }
}

async fn stored(wanted: FetchFilter, tables: &TableAccess) -> anyhow::Result<Vec<FetchListing>> {
    let fold = |name: String| tables.snapshot.comparison.fold_text(&name);
    let FetchFilter { domain, username, .. } = wanted.clone();
    let wanted = FetchFilter { domain: domain.map(fold), username: username.map(fold), ..wanted };
    Ok(tables.source.fetches(wanted).await?.into_iter().map(FetchListing::from).collect())
}

/// Asks every node.
async fn seen(urls: &[String], wanted: FetchFilter, client: &Client) -> anyhow::Result<Vec<FetchListing>> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let FetchFilter { domain, username, address, since, failed, most } = wanted;
    domain.iter().for_each(|domain| _ = query.append_pair("domain", domain));
    username.iter().for_each(|username| _ = query.append_pair("username", username));
    address.iter().for_each(|address| _ = query.append_pair("address", address));
    since.iter().for_each(|since| _ = query.append_pair("since", &since.to_string()));
    if failed {
        query.append_key_only("failed");
    }
    let path = format!("/fetches?{}", query.append_pair("most", &most.to_string()).finish());
    let mut fetches: Vec<FetchListing> = Vec::new();
    for url in urls {
        let body = client.get(&NodeUrl::parse(url)?, &path).await;
        let body = body.with_context(|| format!("asking {url}"))?;
        let of_node: Vec<FetchListing> = serde_json::from_slice(&body)
            .with_context(|| format!("the answer of {url} is not that of a jitsiprovs node"))?;
        fetches.extend(of_node);
    }
    fetches.sort_by(|one, other| other.time.cmp(&one.time));
    fetches.truncate(most);
    Ok(fetches)
}

/// The columns of a list of fetches.
pub(super) fn columns() -> [ListColumn; 8] {
    [
        text("TIME"),
        text("DOMAIN"),
        text("USER"),
        text("RESULT"),
        text("DEVICE"),
        text("ADDRESS"),
        text("AGENT"),
        number("PROPERTIES"),
    ]
}

/// The cells of a fetch in these columns.
pub(super) fn cells(fetch: &FetchListing) -> Vec<String> {
    vec![
        fetch.time.clone(),
        fetch.domain.clone(),
        fetch.username.clone(),
        fetch.reason.clone().unwrap_or_else(|| "ok".into()),
        fetch.device.clone(),
        fetch.address.to_string(),
        fetch.agent.clone(),
        fetch.properties.to_string(),
    ]
}
