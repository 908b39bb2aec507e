//! The other nodes, whose state the console shows.

use std::time::Duration;

use crate::ops::nodes::{Client, NodeUrl};
use crate::reload::NodeStatus;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a page waits for other nodes.
const PATIENCE: Duration = Duration::from_secs(2);

/// The nodes of `--peer`, and how to ask them.
#[derive(Clone, Default)]
pub struct Peers {
    client: Client,
    nodes: Vec<Peer>,
}

/// Another node.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its URL, as it was given.
    pub url: String,
    address: NodeUrl,
}

impl Peers {
    /// The nodes with these URLs.
    ///
    /// # Errors
    /// When one is not the URL of a node.
    pub fn new(urls: Vec<String>, client: Client) -> anyhow::Result<Peers> {
        let peer = |url: String| Ok(Peer { address: NodeUrl::parse(&url)?, url });
        Ok(Peers { client, nodes: urls.into_iter().map(peer).collect::<anyhow::Result<_>>()? })
    }

    /// Whether there are other nodes.
    pub(super) fn are_there(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// The state of each node, or why it is not known, in the order of the options.
    pub(super) async fn status(&self) -> Vec<(String, Result<NodeStatus, String>)> {
        self.each(|client, node| async move { client.status(&node).await }).await
    }

    /// Sends a POST to each node, and returns what each answers.
    pub(super) async fn post(&self, path: &str) -> Vec<(String, Result<String, String>)> {
        self.each(|client, node| {
            let path = path.to_owned();
            async move {
                let body = client.post(&node, &path, PATIENCE).await?;
                Ok(String::from_utf8_lossy(&body).into_owned())
            }
        })
        .await
    }

    /// Confirms the loss of the node with this URL, as it was seen.
    pub(super) async fn confirm(&self, url: &str, seen: &NodeStatus) -> Option<Result<String, String>> {
        let peer = self.nodes.iter().find(|peer| peer.url == url)?;
        let answer = self.client.confirm(&peer.address, seen).await;
        Some(answer.map(|body| String::from_utf8_lossy(&body).into_owned()).map_err(|why| format!("{why:#}")))
    }

    async fn each<T: Send + 'static, F: Future<Output = anyhow::Result<T>> + Send + 'static>(
        &self,
        ask: impl Fn(Client, NodeUrl) -> F,
    ) -> Vec<(String, Result<T, String>)> {
        let mut asked = JoinSet::new();
        for (at, peer) in self.nodes.iter().enumerate() {
            let answer = timeout(PATIENCE, ask(self.client.clone(), peer.address.clone()));
            let url = peer.url.clone();
            asked.spawn(async move {
                let answer = match answer.await {
                    Ok(answer) => answer.map_err(|why| format!("{why:#}")),
                    Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
                };
                (at, url, answer)
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(at, ..)| *at);
        answers.into_iter().map(|(_, url, answer)| (url, answer)).collect()
    }
}
