//! The threads that make pages.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::process::priority;

/// How many pages are made at once. The others wait.
const MOST: usize = 16;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(600);

/// A few threads that clients do not wait for. Pages have threads of their own, because a thread
/// keeps memory that it has used once, and the threads of a large pool take turns.
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    /// No threads yet.
    pub fn new() -> Threads {
        let mut builder = Builder::new_current_thread();
        builder.thread_name("console").max_blocking_threads(MOST).thread_keep_alive(IDLE);
        let runtime = builder.on_thread_start(priority::step_back).build();
        Threads(Some(runtime.expect("without timers and sockets, it opens nothing")))
    }

    /// Runs `work` on one of the threads. `None` if the work panics.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let spawn = |runtime: &Runtime| -> JoinHandle<T> { runtime.spawn_blocking(work) };
        self.0.as_ref().map(spawn)?.await.ok()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Pages that are not made yet must not delay the end of the server.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
