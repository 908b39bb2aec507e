//! Hears from the source when rows may have changed, if that kind of database says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use super::reader::Reader;
use super::schedule::Backoff;
use crate::source::{Source, SourceError};

/// Listens until it is dropped.
pub(super) struct Pushes {
    heard: Arc<Heard>,
    listening: AbortHandle,
}

#[derive(Default)]
struct Heard {
    /// Whether the source reports changes now.
    is_listening: AtomicBool,
    changed: Notify,
}

impl Pushes {
    /// Begins to listen on the reader's thread. `advice` adds the options to check to an error.
    pub fn begin(reader: &Reader, source: Arc<dyn Source>, advice: fn(&SourceError) -> String) -> Pushes {
        let heard = Arc::<Heard>::default();
        let listening = reader.spawn(listen(source, heard.clone(), advice)).abort_handle();
        Pushes { heard, listening }
    }

    /// Whether the source reports changes now, so that polls are not needed.
    pub fn arrive(&self) -> bool {
        self.heard.is_listening.load(Ordering::Relaxed)
    }
}

/// Waits for something that may be a change since the last call.
pub(super) async fn heard(pushes: &Option<Pushes>) {
    match pushes {
        Some(pushes) => pushes.heard.changed.notified().await,
        None => std::future::pending().await,
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Listens, and tries again when that is no longer possible.
async fn listen(source: Arc<dyn Source>, heard: Arc<Heard>, advice: fn(&SourceError) -> String) {
    let (mut backoff, mut why) = (Backoff::new(), None);
    loop {
        let hear = || {
            if !heard.is_listening.swap(true, Ordering::Relaxed) {
                tracing::info!("the database reports changes as they are committed");
            }
            heard.changed.notify_one();
        };
        let Err(error) = source.listen(&hear).await else { return };
        if heard.is_listening.swap(false, Ordering::Relaxed) {
            (backoff, why) = (Backoff::new(), None);
            // What was not reported is found by a poll.
            heard.changed.notify_one();
        }
        report(&error, &mut why, advice);
        sleep_until(backoff.next()).await;
    }
}

/// Logs why changes are not reported, once for each kind of reason.
fn report(
    error: &SourceError,
    why: &mut Option<std::mem::Discriminant<SourceError>>,
    advice: fn(&SourceError) -> String,
) {
    let kind = std::mem::discriminant(error);
    if why.replace(kind) == Some(kind) {
        return;
    }
    // That the source cannot be reached is logged by polls.
    if error.is_unreachable() {
        tracing::info!("the database no longer reports changes: {error}");
    } else {
        tracing::warn!(
            "the database does not report changes, so only polls notice them: {error}{}",
            advice(error)
        );
    }
}
