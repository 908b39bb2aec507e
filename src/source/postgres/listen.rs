//! Hears from the server when changes are committed.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::SourceError;
use super::super::backend::Heard;
use super::{Postgres, STALL};

/// How long a notification may take to arrive before the server counts as unable to send any.
const ARRIVES: Duration = Duration::from_secs(3);
/// How often an idle connection is tried. A dead one must be noticed.
const TRY: Duration = Duration::from_secs(30);
/// How long the answer to that may take.
const ANSWER: Duration = Duration::from_secs(10);

impl Postgres {
    /// Listens until the connection ends. Calls `heard` when notifications have begun to arrive,
    /// and for each one.
    pub(super) async fn listen(&self, heard: Heard<'_>) -> Result<(), SourceError> {
        let (notified, mut notifications) = mpsc::channel(1);
        let client = self.client(false, &self.server.database, Some(notified)).await?;
        let run = async |what: &str, sql: &str, patience| match timeout(patience, client.batch_execute(sql))
            .await
        {
            Ok(done) => done.map_err(|error| self.failure(what, &error, false).error),
            Err(_) => Err(self.lost("the connection does not answer")),
        };
        run("listening for changes", "LISTEN jitsiprovs", STALL).await?;
        self.notify().await?;
        match timeout(ARRIVES, notifications.recv()).await {
            Ok(Some(())) => {}
            Ok(None) => return Err(self.lost("the connection was closed")),
            Err(_) => {
                let why = "notifications do not arrive: is there a pooler in between, such as PgBouncer \
                           in transaction mode?";
                return Err(self.statement("listening for changes", why));
            }
        }
        loop {
            heard();
            loop {
                tokio::select! {
                    notification = notifications.recv() => match notification {
                        Some(()) => break,
                        None => return Err(self.lost("the connection was closed")),
                    },
                    () = sleep(TRY) => run("trying the connection", "SELECT 1", ANSWER).await?,
                }
            }
        }
    }

    /// Sends a notification by another connection: a pooler may show one connection its own
    /// notifications, and not those of others.
    async fn notify(&self) -> Result<(), SourceError> {
        let client = self.client(false, &self.server.database, None).await?;
        let what = "sending a notification";
        match timeout(STALL, client.batch_execute("NOTIFY jitsiprovs")).await {
            Ok(done) => done.map_err(|error| self.failure(what, &error, false).error),
            Err(_) => Err(self.stalled(what).error),
        }
    }

    fn lost(&self, why: &str) -> SourceError {
        SourceError::Unreachable { at: self.server.at(), why: why.to_owned() }
    }
}
