//! `jitsiprovs confirm`: shows the losses that nodes withhold, and confirms them.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::args;
use crate::cli::consent::is_intended;
use crate::cli::print::{self, Text, number, text};
use crate::ops::nodes::NodeUrl;
use crate::reload::NodeStatus;

const QUESTION: &str = "These users can no longer sign in once you confirm.";

/// Shows what would be lost, by node and tenant, asks whether that is intended, and tells
/// the nodes. The exit code is 1 if the answer is no.
///
/// # Errors
/// When a node does not answer, when its loss has changed meanwhile, or when there is nobody
/// to ask.
pub async fn confirm(options: args::ConfirmArgs) -> anyhow::Result<ExitCode> {
    let args::ConfirmArgs { urls, yes, access } = options;
    let client = access.client()?;
    let mut losses = Vec::new();
    for url in &urls {
        let address = NodeUrl::parse(url)?;
        let node = client.status(&address).await.with_context(|| url.clone())?;
        if node.is_held_back || node.doubt.is_some() {
            losses.push((url, address, node));
        }
    }
    if losses.is_empty() {
        print::write(Text::lines(["nothing to confirm: no loss is withheld"]))?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = [text("NODE"), text("TENANT"), number("USERS"), number("RULES"), number("ATTRIBUTES")];
    let rows: Vec<_> = losses.iter().flat_map(|(url, _, node)| rows(url, node)).collect();
    print::write(Text::table(&columns, rows))?;
    let doubts = losses.iter().filter_map(|(url, _, node)| Some(format!("{url}: {}", node.doubt.as_ref()?)));
    print::write(Text::lines(doubts))?;
    if !yes && !is_intended(QUESTION, "confirm this loss")? {
        print::write(Text::lines(["nothing is confirmed"]))?;
        return Ok(ExitCode::FAILURE);
    }
    for (url, address, node) in losses {
        let answer = client.confirm(&address, &node).await;
        let answer = answer.with_context(|| format!("confirming at {url}"))?;
        print::write(Text::lines([format!("{url}: {}", String::from_utf8_lossy(&answer).trim_end())]))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(url: &str, node: &NodeStatus) -> Vec<Vec<String>> {
    let row = |tenant: &str, numbers: [usize; 3]| {
        let numbers = numbers.map(|number| number.to_string());
        [url.to_owned(), tenant.to_owned()].into_iter().chain(numbers).collect()
    };
    let tenants = node.withheld_tenants.iter().map(|loss| {
        let tenant = if loss.domain.is_empty() { "all" } else { &*loss.domain };
        row(tenant, [loss.users, loss.rules, loss.attributes])
    });
    let total = [node.withheld_users, node.withheld_rules, node.withheld_attributes];
    tenants.chain([row("total", total)]).collect()
}
