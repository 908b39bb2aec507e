//! `jitsiprovs lock`: shows and lifts the locks of nodes.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use url::form_urlencoded;

use crate::cli::args::{LockClearArgs, LockCommand, LockListArgs};
use crate::cli::print::{self, Text, counted, number, text};
use crate::cli::typed_names::account;
use crate::ops::nodes::{Client, NodeUrl};
use crate::serve::http::locks::{ClearedLocks, LockListing};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A lock of a node.
#[derive(Serialize)]
struct NodeLock {
    url: String,
    #[serde(flatten)]
    lock: LockListing,
}

/// Asks every node. Nodes count wrong passwords each for itself.
///
/// # Errors
/// When an argument cannot be understood, or a node does not answer.
pub async fn lock(command: LockCommand) -> anyhow::Result<ExitCode> {
    match command {
        LockCommand::List(options) => list(options).await,
        LockCommand::Clear(options) => clear(options).await,
    }
    .map(|()| ExitCode::SUCCESS)
}

async fn list(LockListArgs { urls, access, listed }: LockListArgs) -> anyhow::Result<()> {
    let client = access.client()?;
    let mut locks = Vec::new();
    for url in urls {
        let body = client.get(&NodeUrl::parse(&url)?, "/locks").await;
        let body = body.with_context(|| format!("asking {url}"))?;
        let of_node: Vec<LockListing> = serde_json::from_slice(&body).with_context(|| not_a_node(&url))?;
        locks.extend(of_node.into_iter().map(|lock| NodeLock { url: url.clone(), lock }));
    }
    let columns =
        [text("NODE"), text("COUNTER"), text("ADDRESS"), text("DOMAIN"), text("USERNAME"), number("SECONDS")];
    print::list(listed, &locks, &columns, |NodeLock { url, lock }| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or("-".into());
        vec![
            url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            lock.counter.clone(),
            or_dash(&lock.address.map(|address| address.to_string())),
            or_dash(&lock.domain),
            or_dash(&lock.username),
            lock.seconds.to_string(),
        ]
    })
}

async fn clear(LockClearArgs { words, all, access }: LockClearArgs) -> anyhow::Result<()> {
    let client = access.client()?;
    let (urls, whats): (Vec<String>, Vec<String>) = words.into_iter().partition(|word| word.contains("://"));
    let (addresses, users): (Vec<&str>, Vec<&str>) =
        whats.iter().map(String::as_str).partition(|word| word.parse::<IpAddr>().is_ok());
    if urls.is_empty() {
        bail!("name the nodes by their admin listeners, such as http://127.0.0.1:8090");
    }
    if addresses.len() > 1 || users.len() > 1 || all == (addresses.len() + users.len() > 0) {
        bail!("name one account (USER@DOMAIN), one address, or one of each, or give --all");
    }
    if users.iter().any(|user| account(user).is_err()) {
        bail!("no tenant is called `*`: name one account (USER@DOMAIN), or give --all for all of them");
    }
    let nodes = urls.iter().map(|url| NodeUrl::parse(url)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    addresses.iter().for_each(|address| _ = query.append_pair("address", address));
    users.iter().for_each(|user| _ = query.append_pair("user", user));
    if all {
        query.append_key_only("all");
    }
    let path = format!("/locks/clear?{}", query.finish());
    // A node that does not answer must not keep the others from lifting theirs.
    let mut failed = Vec::new();
    for (url, node) in urls.iter().zip(nodes) {
        match clear_on(&client, url, &node, &path).await {
            Ok(lifted) => {
                print::write(Text::line(format_args!("{url}: {} lifted", counted(lifted, "lock"))))?;
            }
            Err(why) => failed.push(format!("{why:#}")),
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("; ")) }
}

/// Returns how many locks the node has lifted.
async fn clear_on(client: &Client, url: &str, node: &NodeUrl, path: &str) -> anyhow::Result<usize> {
    let body = client.post(node, path, PATIENCE).await;
    let body = body.with_context(|| format!("asking {url}"))?;
    let ClearedLocks { lifted } = serde_json::from_slice(&body).with_context(|| not_a_node(url))?;
    Ok(lifted)
}

fn not_a_node(url: &str) -> String {
    format!("the answer of {url} is not that of a jitsiprovs node")
}
