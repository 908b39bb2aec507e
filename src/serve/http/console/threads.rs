//! The threads that make pages.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::process::priority;

/// How many pages are made at once. The others wait.
const MOST: usize = 16;

/// A few threads that clients do not wait for. A thread ends with its page, unless another page
/// waits already, because a thread keeps memory that it has used once: about 6 MiB after some
/// hundred pages. A new thread costs a page less than a tenth of its time.
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    /// No threads yet.
    pub fn new() -> Threads {
        let mut builder = Builder::new_current_thread();
        builder.thread_name("console").max_blocking_threads(MOST).thread_keep_alive(Duration::ZERO);
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
