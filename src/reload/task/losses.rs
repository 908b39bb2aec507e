//! What the task does about losses that the publisher withholds.

use std::time::Duration;

use tokio::time::Instant;

use super::Reloader;
use crate::reload::cause::Cause;
use crate::reload::handle::ReloadOutcome;
use crate::snapshot::{Withheld, WithheldTenant};

/// How often everything is loaded while a loss is withheld.
const LOOK_FOR_LOST: Duration = Duration::from_secs(30);
/// How many tenants a line of the log names.
const TENANTS_SHOWN: usize = 5;

impl Reloader {
    /// Notes what is withheld now. Logs a loss when it begins, when it grows, and when it is
    /// over. `cause` is that of the load or poll that may have changed it.
    pub(super) fn note_withheld(&mut self, cause: Cause) {
        let now = self.publisher.withheld();
        let before = self.status.borrow().withheld.clone();
        if *before == *now {
            return self.settle(&now);
        }
        let is_larger =
            now.users > before.users || now.rules > before.rules || now.attributes > before.attributes;
        if is_larger {
            if !cause.is_signal() {
                // An earlier SIGHUP cannot have been about this loss.
                self.hung_up = None;
            }
            tracing::error!(
                cause = cause.name(),
                users = now.users,
                rules = now.rules,
                attributes = now.attributes,
                tenants = tenants(&now),
                "a loss is withheld: these users can no longer sign in by what the database says, or these \
                 rules or attributes are gone, and they are served as before; everything else is up to date; if the loss \
                 is intended, run `jitsiprovs confirm`, or send SIGHUP twice within 60 s"
            );
        } else if before.is_loss() && !now.is_loss() {
            tracing::info!(cause = cause.name(), "no loss is withheld any more");
        }
        if now.unsettled > 0 && before.unsettled == 0 {
            tracing::info!(
                cause = cause.name(),
                rows = now.unsettled,
                "users, rules or attributes are missing that no trigger has reported, perhaps because a table is being \
                 restored: they are served until the table has not changed for {} s (--settle)",
                self.settings.settle.as_secs_f64()
            );
        }
        self.status.send_modify(|status| status.withheld = now.clone());
        self.settle(&now);
    }

    /// Notes that an operator has confirmed the options.
    pub(super) fn end_doubt(&mut self) {
        if self.status.borrow().doubt.is_some() {
            self.status.send_modify(|status| status.doubt = None);
            self.publisher.set_settings(&self.settings.meaning);
            tracing::info!("the options are confirmed");
            // It writes a state file with them.
            self.again.get_or_insert(Cause::Settled);
        }
    }

    /// Plans a load that finds out whether missing rows have come back. Triggers may be
    /// missing too, so that no poll would notice.
    fn settle(&mut self, withheld: &Withheld) {
        let wait = match (withheld.unsettled > 0, withheld.is_loss()) {
            (true, _) => Some(self.settings.settle),
            (false, true) => Some(LOOK_FOR_LOST),
            (false, false) => None,
        };
        self.settled = wait.map(|wait| {
            let due = Instant::now() + wait;
            self.settled.map_or(due, |settled| settled.min(due))
        });
    }

    /// The result of a load that published its rows.
    pub(super) fn with_loss(&self, outcome: ReloadOutcome) -> ReloadOutcome {
        if self.status.borrow().withheld.is_loss() { ReloadOutcome::LossWithheld } else { outcome }
    }
}

/// The first tenants of a loss, with the numbers of what they lost.
fn tenants(withheld: &Withheld) -> String {
    let shown = withheld.tenants.iter().take(TENANTS_SHOWN);
    let mut shown: Vec<String> = shown
        .map(|WithheldTenant { domain, users, rules, attributes }| {
            let attributes = match attributes {
                0 => String::new(),
                some => format!(", {some} attributes"),
            };
            match domain.is_empty() {
                true => format!("all ({rules} rules{attributes})"),
                false => format!("{domain} ({users} users, {rules} rules{attributes})"),
            }
        })
        .collect();
    if withheld.tenants.len() > TENANTS_SHOWN {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}
