//! Lines on their way to the log.
//!
//! Whoever reads a log may be slow, or stop reading, and no request may wait
//! for that. So the threads that serve put lines in a queue, and one thread
//! takes them out and writes. When the queue is full, lines are lost, counted,
//! and the count is logged.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait at most; a few megabytes.
const CAPACITY: usize = 8192;
/// How often at most it is told that lines were lost.
const TELL: Duration = Duration::from_secs(1);

/// Lines lost by all queues of this process, of which there is one.
pub(super) static LOST: AtomicU64 = AtomicU64::new(0);

/// Makes writers that queue a line for the writer that `target` would have
/// made.
pub(super) struct Queued<M, W> {
    target: M,
    /// Whether the target wants a line break at the end.
    keeps_end: bool,
    queue: Arc<Queue<W>>,
}

pub(super) struct Queue<W> {
    state: Mutex<State<W>>,
    /// There is a line.
    filled: Condvar,
    /// There is none, and none is being written.
    emptied: Condvar,
}

struct State<W> {
    lines: VecDeque<(W, Vec<u8>)>,
    is_writing: bool,
    /// Since the start.
    lost: u64,
}

impl<M, W: Write + Send + 'static> Queued<M, W> {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(target: M, keeps_end: bool) -> io::Result<Queued<M, W>> {
        let state = State { lines: VecDeque::new(), is_writing: false, lost: 0 };
        let queue =
            Arc::new(Queue { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new() });
        let writing = queue.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || writing.write())?;
        Ok(Queued { target, keeps_end, queue })
    }

    pub fn queue(&self) -> Arc<Queue<W>> {
        self.queue.clone()
    }

    fn line(&self, to: W) -> Line<'_, W> {
        Line { to: Some(to), text: Vec::new(), keeps_end: self.keeps_end, queue: &self.queue }
    }
}

impl<W: Write> Queue<W> {
    /// Nothing under this lock can panic half-way, so a poisoned one is as good.
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, to: W, line: Vec<u8>) {
        let mut state = self.lock();
        if state.lines.len() < CAPACITY {
            state.lines.push_back((to, line));
            self.filled.notify_one();
        } else {
            state.lost += 1;
            LOST.fetch_add(1, Ordering::Relaxed);
            // Some writers write when they are dropped, even if it is nothing.
            std::mem::forget(to);
        }
    }

    /// Writes lines, for ever.
    fn write(&self) {
        let (mut told, mut told_at) = (0, None::<Instant>);
        let mut state = self.lock();
        loop {
            let Some((mut to, line)) = state.lines.pop_front() else {
                self.emptied.notify_all();
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.is_writing = true;
            let (lost, is_last) = (state.lost, state.lines.is_empty());
            drop(state);
            // There is nobody to tell that a log cannot be written.
            let _ = to.write_all(&line).and_then(|()| to.flush());
            drop(to);
            if lost > told && (is_last || told_at.is_none_or(|at| at.elapsed() > TELL)) {
                (told, told_at) = (lost, Some(Instant::now()));
                tracing::warn!(lost, "the log is read too slowly: so many lines are lost since the start");
            }
            state = self.lock();
            state.is_writing = false;
        }
    }
}

/// What of a queue is of interest at the end.
pub(super) trait Flush: Send + Sync {
    /// Waits until everything is written, but no longer than `patience`.
    fn flush(&self, patience: Duration);
}

impl<W: Write + Send> Flush for Queue<W> {
    fn flush(&self, patience: Duration) {
        let has_more = |state: &mut State<W>| state.is_writing || !state.lines.is_empty();
        drop(self.emptied.wait_timeout_while(self.lock(), patience, has_more));
    }
}

impl<'a, M, W> MakeWriter<'a> for Queued<M, W>
where
    M: MakeWriter<'a, Writer = W>,
    W: Write + Send + 'static,
{
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Line<'a, W> {
        self.line(self.target.make_writer())
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a, W> {
        self.line(self.target.make_writer_for(meta))
    }
}

/// A line being put together; queued when it is dropped.
pub(super) struct Line<'a, W: Write> {
    to: Option<W>,
    text: Vec<u8>,
    keeps_end: bool,
    queue: &'a Queue<W>,
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for Line<'_, W> {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            self.text.pop_if(|last| !self.keeps_end && *last == b'\n');
            self.queue.push(to, std::mem::take(&mut self.text));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A log whose reader takes a line whenever it likes.
    #[derive(Clone)]
    struct Slow(SyncSender<String>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).trim_end().to_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (impl Fn() -> Slow + Send + Sync, Receiver<String>) {
        let (sender, lines) = sync_channel(0);
        (move || Slow(sender.clone()), lines)
    }

    #[test]
    fn nobody_waits_for_a_slow_reader_who_is_told_how_much_is_lost() {
        let (target, lines) = slow();
        let queued = Queued::<_, Slow>::start(target, true).expect("a thread");
        let queue = queued.queue();
        for number in 0..CAPACITY + 100 {
            write!(queued.make_writer(), "{number}").expect("queued");
        }
        queue.flush(Duration::from_millis(10));
        assert_eq!(lines.recv().as_deref(), Ok("0"));
        let lost = queue.lock().lost;
        // One line is on its way besides those in the queue, if it was soon
        // enough.
        assert!((99..=100).contains(&lost), "{lost}");
    }

    #[test]
    fn all_that_is_queued_is_written_before_the_end() {
        let (target, lines) = slow();
        let queued = Queued::<_, Slow>::start(target, true).expect("a thread");
        let reader = std::thread::spawn(move || lines.iter().take(1000).count());
        (0..1000).for_each(|_| queued.make_writer().write_all(b"line\n").expect("queued"));
        queued.queue().flush(Duration::from_secs(60));
        assert_eq!(queued.queue().lock().lines.len(), 0);
        assert_eq!(reader.join().expect("no panic"), 1000);
    }
}
