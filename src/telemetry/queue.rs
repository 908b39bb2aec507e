//! The queue of lines that wait to be written to the log.
//!
//! A log may be read slowly, or not at all for a while, and no request may wait for that. So
//! the threads that serve append their lines to a buffer, and one thread writes many lines at
//! once. It gathers lines about requests for a moment, so that neither a wake-up nor a system
//! call is spent on each. When the buffer is full, new lines are lost; their number is counted
//! and logged.
//!
//! There are two buffers, because anybody can fill one with requests: lines about requests must
//! not push out the lines that operators and fail2ban act on.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};

use super::LostLines;

/// The most bytes that may wait in each buffer.
const CAPACITY: usize = 1 << 20;
/// The most bytes in one write, unless a single line is longer. A write to a pipe is whole up
/// to this length (PIPE_BUF of Linux), so lines of other processes come between two of ours and
/// never into one.
const WRITE: usize = 4096;
/// How long routine lines are gathered, unless [`MANY`] bytes wait earlier.
const GATHER: Duration = Duration::from_millis(50);
/// So many bytes are still in the processor's cache when they are written.
const MANY: usize = 64 << 10;
/// How long to wait before writing again to a pipe that does not block and is full.
const RETRY: Duration = Duration::from_millis(10);
/// The shortest time between two reports of lost lines.
const TELL: Duration = Duration::from_secs(1);

/// Lines lost by all queues of this process, by kind.
static LOST: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// How many lines were lost since the start.
pub(super) fn lost() -> LostLines {
    let of = |kind: Priority| LOST[kind as usize].load(Ordering::Relaxed);
    LostLines { important: of(Priority::Important), routine: of(Priority::Routine) }
}

/// Which buffer a line waits in. Important lines are written first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// All lines that are not routine.
    Important,
    /// A line for each request, and debug messages.
    Routine,
}

impl Priority {
    /// In the order in which they are written.
    const ALL: [Priority; 2] = [Priority::Important, Priority::Routine];

    pub fn of(meta: &Metadata<'_>) -> Priority {
        match *meta.level() > Level::INFO {
            true => Priority::Routine,
            false => Priority::Important,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Priority::Important => "important",
            Priority::Routine => "routine",
        }
    }
}

pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// Notified when the writer sleeps and there is what it sleeps for.
    filled: Condvar,
    /// Notified when there is no line, and none is being written.
    emptied: Condvar,
}

#[derive(Default)]
struct QueueState {
    /// Waiting lines with their ends, by kind.
    lines: [VecDeque<u8>; 2],
    sleep: Sleep,
    is_writing: bool,
    /// How many threads wait until all is written. Then nothing is gathered.
    flushing: usize,
    /// Lines lost since the start because a buffer was full, by kind.
    lost: [u64; 2],
}

/// What the thread that writes sleeps for.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// It is awake, or has been notified, and need not be notified again.
    #[default]
    Awake,
    Any,
    /// For an important line, or for many.
    Urgent,
}

impl QueueState {
    fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }

    /// Whether what waits should be written now.
    fn is_urgent(&self) -> bool {
        let [important, routine] = &self.lines;
        self.flushing > 0 || !important.is_empty() || routine.len() >= MANY
    }

    /// Whether the writer must be notified, which is true once for each sleep.
    fn wakes(&mut self) -> bool {
        let wakes = match self.sleep {
            Sleep::Awake => false,
            Sleep::Any => true,
            Sleep::Urgent => self.is_urgent(),
        };
        if wakes {
            self.sleep = Sleep::Awake;
        }
        wakes
    }

    /// Takes out the lines to write next, and says of which kind they are.
    fn take(&mut self, batch: &mut Vec<u8>) -> Option<Priority> {
        let kind = Priority::ALL.into_iter().find(|kind| !self.lines[*kind as usize].is_empty())?;
        let waiting = &mut self.lines[kind as usize];
        let is_end = |byte: &u8| *byte == b'\n';
        let last = waiting.range(..waiting.len().min(WRITE)).rposition(is_end);
        let last = last.or_else(|| waiting.iter().position(is_end)).unwrap_or(waiting.len() - 1);
        batch.clear();
        // Byte by byte, a drain would take longer than the write.
        let (front, back) = waiting.as_slices();
        let in_front = front.len().min(last + 1);
        batch.extend_from_slice(&front[..in_front]);
        batch.extend_from_slice(&back[..last + 1 - in_front]);
        waiting.drain(..=last);
        Some(kind)
    }
}

impl Queue {
    /// Starts the thread that writes to the log.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(log: impl Write + Send + 'static) -> io::Result<Arc<Queue>> {
        let state = Mutex::new(QueueState::default());
        let queue = Arc::new(Queue { state, filled: Condvar::new(), emptied: Condvar::new() });
        let writing = queue.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || writing.write(log))?;
        Ok(queue)
    }

    /// No code under this lock can panic half-way, so the state is valid even after a panic.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a line, which has its end, or counts it as lost.
    pub fn push(&self, kind: Priority, line: &[u8]) {
        let mut state = self.lock();
        let waiting = &mut state.lines[kind as usize];
        if waiting.len() + line.len() > CAPACITY {
            state.lost[kind as usize] += 1;
            LOST[kind as usize].fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.extend(line);
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, QueueState>) {
        let wakes = state.wakes();
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Waits until everything is written, but no longer than `patience`.
    pub fn flush(&self, patience: Duration) {
        let mut state = self.lock();
        state.flushing += 1;
        self.wake(state);
        let has_more = |state: &mut QueueState| state.is_writing || !state.is_empty();
        let waited = self.emptied.wait_timeout_while(self.lock(), patience, has_more);
        waited.unwrap_or_else(PoisonError::into_inner).0.flushing -= 1;
    }

    /// Sleeps until lines should be written.
    fn gather<'a>(&self, mut state: MutexGuard<'a, QueueState>) -> MutexGuard<'a, QueueState> {
        state.sleep = Sleep::Any;
        let woken = self.filled.wait_while(state, |state| state.is_empty());
        state = woken.unwrap_or_else(PoisonError::into_inner);
        state.sleep = Sleep::Urgent;
        let woken = self.filled.wait_timeout_while(state, GATHER, |state| !state.is_urgent());
        state = woken.unwrap_or_else(PoisonError::into_inner).0;
        state.sleep = Sleep::Awake;
        state
    }

    /// Writes lines, and never returns.
    fn write(&self, mut log: impl Write) {
        let (mut told, mut told_at) = ([0; 2], None::<Instant>);
        let mut batch = Vec::with_capacity(WRITE);
        let mut state = self.lock();
        loop {
            let Some(kind) = state.take(&mut batch) else {
                self.emptied.notify_all();
                state = self.gather(state);
                continue;
            };
            state.is_writing = true;
            let (lost, is_last) = (state.lost, state.is_empty());
            drop(state);
            let unwritten = write_lines(&mut log, &batch);
            LOST[kind as usize].fetch_add(unwritten, Ordering::Relaxed);
            if lost != told && (is_last || told_at.is_none_or(|at| at.elapsed() > TELL)) {
                tell(told, lost);
                (told, told_at) = (lost, Some(Instant::now()));
            }
            state = self.lock();
            state.is_writing = false;
        }
    }
}

/// Writes lines, and returns how many the log refused. These are not logged: that line would be
/// refused too.
#[expect(clippy::disallowed_methods, reason = "only the thread of the log sleeps")]
fn write_lines(log: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match log.write(lines) {
            Ok(written @ 1..) => lines = &lines[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Ok(0) | Err(_) => return lines.iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
    0
}

/// Logs how many lines were lost, of the kinds that have lost more than was told.
fn tell(told: [u64; 2], lost: [u64; 2]) {
    for kind in Priority::ALL.into_iter().filter(|kind| lost[*kind as usize] > told[*kind as usize]) {
        tracing::warn!(
            kind = kind.name(),
            lost = lost[kind as usize],
            "the log is read too slowly: lines were lost since the start"
        );
    }
}

#[cfg(test)]
mod tests;
