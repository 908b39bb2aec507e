//! The thread on which the source is read. The thread that owns signals, the watchdog and
//! reloads only waits for what comes of it.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::process::priority;

/// Runs loads and polls on a thread of its own, until it is dropped.
pub(super) struct Reader {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

impl Reader {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start() -> io::Result<Reader> {
        // Its blocking threads build snapshots, which may not slow down requests.
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().on_thread_start(priority::step_back).build()?;
        let (handle, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel::<()>());
        thread::Builder::new().name("source".into()).spawn(move || {
            priority::step_back();
            let _ = runtime.block_on(stopped);
            // Nobody waits for what is still on its way.
            runtime.shutdown_background();
        })?;
        Ok(Reader { runtime: handle, _stop: stop })
    }

    /// Runs `task` there.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.spawn(task)
    }
}
