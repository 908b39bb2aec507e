//! Asks several nodes for their state, and checks whether they serve the same rows.

mod client;

use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::core::model::Behind;
use crate::reload::NodeStatus;

pub(in crate::ops) use client::exchange;
pub use client::{Client, NodeUrl};

/// The interval between requests to nodes that differ.
const AGAIN: Duration = Duration::from_millis(250);

/// The answer of a node.
#[derive(Debug, Serialize)]
pub struct NodeAnswer {
    /// The URL as it was given.
    pub url: String,
    /// The state of the node; `None` if it did not answer.
    #[serde(flatten, serialize_with = "or_nulls")]
    pub node: Option<NodeStatus>,
    /// The number of changes by which it is behind the most recent node.
    pub lag: Option<i64>,
    /// By how much it is behind the database, if the database was asked.
    pub behind: Option<Behind>,
    /// The reason why it did not answer.
    pub error: Option<String>,
}

/// Writes the same fields for a silent node as for others, so that no program has to handle
/// missing fields.
fn or_nulls<S: Serializer>(node: &Option<NodeStatus>, serializer: S) -> Result<S::Ok, S::Error> {
    match node {
        Some(node) => node.serialize(serializer),
        None => {
            let fields = serde_json::to_value(NodeStatus::default()).map_err(serde::ser::Error::custom)?;
            let names = fields.as_object().into_iter().flat_map(serde_json::Map::keys);
            serializer.collect_map(names.map(|name| (name, ())))
        }
    }
}

/// The answers of all nodes.
#[derive(Debug, Serialize)]
pub struct ClusterReport {
    /// Whether all nodes answered and none is behind.
    pub agree: bool,
    /// The answers, in the order of the URLs.
    pub nodes: Vec<NodeAnswer>,
}

/// A node that is asked.
struct Target {
    url: String,
    address: NodeUrl,
}

/// Asks every node until all have the changes that the first answers had, or until `max_lag` has
/// passed. Reports the last answers.
///
/// # Errors
/// When a URL is not the URL of a node.
pub async fn compare(urls: Vec<String>, max_lag: Duration, client: &Client) -> anyhow::Result<ClusterReport> {
    let target = |url: String| Ok(Target { address: NodeUrl::parse(&url)?, url });
    let targets: Vec<Target> = urls.into_iter().map(target).collect::<anyhow::Result<_>>()?;
    let begun = Instant::now();
    let mut answers = ask(&targets, client).await;
    // New edits may come during this time; they are not waited for.
    let mut goal = answers.iter().filter_map(snapshot).max();
    let mut has_answered: Vec<bool> = answers.iter().map(|answer| answer.node.is_some()).collect();
    while !agree(&answers, goal) && begun.elapsed() < max_lag {
        sleep(AGAIN).await;
        answers = ask(&targets, client).await;
        // The first answer of a node counts, even if it comes late.
        for (answer, has_answered) in answers.iter().zip(&mut has_answered) {
            if answer.node.is_some() && !std::mem::replace(has_answered, true) {
                goal = goal.max(snapshot(answer));
            }
        }
    }
    let agree = agree(&answers, goal);
    let highest = answers.iter().filter_map(snapshot).max();
    for answer in &mut answers {
        answer.lag = highest.zip(snapshot(answer)).map(|(highest, own)| highest - own);
    }
    Ok(ClusterReport { agree, nodes: answers })
}

fn snapshot(answer: &NodeAnswer) -> Option<i64> {
    answer.node.as_ref()?.snapshot
}

/// Whether every node has reached `goal`, and nodes with equal progress have the same rows.
/// Without a table of changes, all nodes count as equal, so only the rows are compared. Without
/// digests, only the number of rows is compared.
fn agree(answers: &[NodeAnswer], goal: Option<i64>) -> bool {
    let nodes: Option<Vec<&NodeStatus>> = answers.iter().map(|answer| answer.node.as_ref()).collect();
    let Some(nodes) = nodes.filter(|nodes| nodes.iter().all(|node| node.version > 0)) else { return false };
    nodes.iter().enumerate().all(|(at, node)| {
        let same_rows =
            |other: &NodeStatus| match [&node.digest, &other.digest].iter().any(|one| one.is_empty()) {
                true => rows(node) == rows(other),
                false => node.digest == other.digest,
            };
        let is_same = |other: &&NodeStatus| node.snapshot != other.snapshot || same_rows(other);
        node.snapshot >= goal && nodes[..at].iter().all(is_same)
    })
}

fn rows(node: &NodeStatus) -> usize {
    node.users + node.rules + node.left_out
}

async fn ask(targets: &[Target], client: &Client) -> Vec<NodeAnswer> {
    let mut asked = JoinSet::new();
    for (at, target) in targets.iter().enumerate() {
        let (address, client) = (target.address.clone(), client.clone());
        asked.spawn(async move { (at, client.status(&address).await) });
    }
    let mut answers: Vec<_> = asked.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    let answers = answers.into_iter().zip(targets).map(|((_, answer), target)| {
        let (node, error) = match answer {
            Ok(node) => (Some(node), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        NodeAnswer { url: target.url.clone(), node, lag: None, behind: None, error }
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reload::NodeState;

    fn seen(snapshot: Option<i64>, digest: &str) -> NodeAnswer {
        let node = NodeStatus {
            program: "0.1.0".into(),
            commit: String::new(),
            database: String::new(),
            state: NodeState::Ready,
            snapshot,
            digest: digest.into(),
            version: 1,
            age: 0.25,
            is_from_state_file: false,
            tenants: 1,
            users: 2,
            rules: 3,
            left_out: 0,
            is_held_back: false,
            doubt: None,
            withheld_users: 0,
            attributes: 0,
            withheld_rules: 0,
            withheld_attributes: 0,
            withheld_tenants: Vec::new(),
            failing: None,
            is_state_file_failing: false,
            cold_sign_ins: None,
        };
        NodeAnswer {
            url: "http://10.0.0.1:9090".into(),
            node: Some(node),
            lag: None,
            behind: None,
            error: None,
        }
    }

    #[test]
    fn nodes_agree_when_all_are_as_far_as_the_first_and_equals_have_equal_rows() {
        for (nodes, goal, expected) in [
            (vec![seen(Some(7), "a"), seen(Some(7), "a")], Some(7), true),
            (vec![seen(Some(7), "a"), seen(Some(6), "b")], Some(7), false),
            // More edits were made: both nodes have the changes from the beginning.
            (vec![seen(Some(9), "c"), seen(Some(8), "b")], Some(7), true),
            // Both are at the same change, but in different databases.
            (vec![seen(Some(7), "a"), seen(Some(7), "b")], Some(7), false),
            (vec![seen(None, "a"), seen(None, "a")], None, true),
            (vec![seen(None, "a"), seen(None, "b")], None, false),
            (vec![seen(Some(7), "a"), seen(None, "a")], Some(7), false),
            (vec![seen(Some(7), "a"), NodeAnswer { node: None, ..seen(None, "") }], Some(7), false),
        ] {
            assert_eq!(agree(&nodes, goal), expected, "{nodes:?}");
        }
    }

    #[test]
    fn a_silent_node_has_the_fields_of_others_and_nulls_in_them() {
        let value = |seen: &NodeAnswer| serde_json::to_value(seen).expect("plain data");
        let silent = NodeAnswer { node: None, error: Some("cannot connect".into()), ..seen(None, "") };
        let (known, silent) = (value(&seen(Some(7), "a")), value(&silent));
        let names = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        assert_eq!(names(&known), names(&silent));
        assert!(names(&known).len() > 10 && known["users"] == 2, "{known}");
        for (name, field) in silent.as_object().expect("an object") {
            assert_eq!(field.is_null(), !["url", "error"].contains(&&**name), "{name}: {field}");
        }
    }
}
