//! Lifts locks on this node and on the others.

use url::form_urlencoded;

use super::page::{said, text};
use super::reply::Refusal;
use super::visit::Visit;
use crate::serve::http::locks::{self, ClearedLocks};

/// What to lift: the locks of an account, of an address, of an account from an address, or all.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    /// `USER@DOMAIN`
    pub user: Option<&'a str>,
    pub address: Option<&'a str>,
    pub is_all: bool,
}

/// What became of it.
pub(super) struct Lifted {
    /// How many locks were lifted on this node.
    pub here: usize,
    /// How many locks were lifted on each node, in words.
    pub words: String,
}

/// Lifts locks. The caller has checked that the operator may do so.
///
/// # Errors
/// [`Refusal::Bad`] if nothing is named.
pub(super) async fn lift(visit: &Visit<'_>, wanted: &Wanted<'_>) -> Result<Lifted, Refusal> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("user", wanted.user), ("address", wanted.address)] {
        value.into_iter().for_each(|value| _ = query.append_pair(name, value));
    }
    if wanted.is_all {
        query.append_key_only("all");
    }
    let query = query.finish();
    let nothing = || Refusal::Bad(text("locks", "nothing").into());
    let here = locks::lift(&visit.state, &query).ok_or_else(nothing)?;
    tracing::info!(operator = visit.operator().name, address = %visit.asker.address, "console: locks lifted");
    let mut words = said("locks", "lifted", &here.to_string());
    for (url, answer) in visit.console.peers.post(&format!("/locks/clear?{query}")).await {
        let lifted = answer.and_then(|body| match serde_json::from_str(&body) {
            Ok(ClearedLocks { lifted }) => Ok(lifted),
            Err(_) => Err(text("locks", "not_understood").to_owned()),
        });
        let lifted = match lifted {
            Ok(lifted) => lifted.to_string(),
            Err(why) => {
                tracing::warn!(node = url, why, "console: locks of another node were not lifted");
                said("locks", "not_lifted", &why)
            }
        };
        words.push_str(&format!("; {} {url}: {lifted}", text("locks", "on")));
    }
    Ok(Lifted { here, words })
}
