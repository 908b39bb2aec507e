//! The queue of lines that wait to be written to the log.
//!
//! A log may be read slowly, or not at all for a while, and no request may wait
//! for that. So the threads that serve put lines in a queue, and one thread
//! takes them out and writes them. When the queue is full, new lines are lost;
//! their number is counted and logged.
//!
//! There are two queues, because anybody can fill one with requests: lines about
//! requests must not push out the lines that operators and fail2ban act on.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::{ACCESS, LostLines};
use crate::telemetry::visible::{EscapeStyle, escape_but};

/// The most lines that may wait in each queue. They take a few megabytes.
const CAPACITY: usize = 8192;
/// The shortest time between two reports of lost lines.
const TELL: Duration = Duration::from_secs(1);

/// Lines lost by all queues of this process, by kind.
static LOST: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// How many lines were lost since the start.
pub(super) fn lost() -> LostLines {
    let of = |kind: Priority| LOST[kind as usize].load(Ordering::Relaxed);
    LostLines { important: of(Priority::Important), routine: of(Priority::Routine) }
}

/// Which queue a line waits in. Important lines are written first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Priority {
    /// All lines that are not routine.
    Important,
    /// A line for each request, and debug messages.
    Routine,
}

impl Priority {
    /// In the order in which they are written.
    const ALL: [Priority; 2] = [Priority::Important, Priority::Routine];

    fn of(meta: &Metadata<'_>) -> Priority {
        match meta.target() == ACCESS || *meta.level() > Level::INFO {
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

/// Creates writers that put a line into the queue, for the writer that `target` creates.
pub(super) struct Queued<M, W> {
    target: M,
    look: LineFormat,
    queue: Arc<Queue<W>>,
}

/// The form of the lines that the target gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineFormat {
    /// Whether they end with a line break.
    pub has_end: bool,
    /// Whether they have colours.
    pub has_colours: bool,
    /// How to escape characters that would act on a terminal or begin a line.
    pub escapes: EscapeStyle,
}

impl LineFormat {
    /// Turns logged text into exactly one line, even if it contains line breaks.
    fn of(self, mut line: Vec<u8>) -> Vec<u8> {
        line.pop_if(|last| *last == b'\n');
        // Nearly all lines are plain, and this form of the loop is fast.
        let is_plain = line.iter().fold(true, |all, byte| all & (b' '..=b'~').contains(byte));
        if !is_plain {
            // With colours, escape characters are kept: those in logged values were
            // escaped before they were put into the line.
            let kept = |c| c == '\x1b' && self.has_colours;
            line = escape_but(&String::from_utf8_lossy(&line), self.escapes, kept).into_owned().into();
        }
        if self.has_end {
            line.push(b'\n');
        }
        line
    }
}

pub(super) struct Queue<W> {
    state: Mutex<QueueState<W>>,
    /// Notified when there is a line.
    filled: Condvar,
    /// Notified when there is no line, and none is being written.
    emptied: Condvar,
}

struct QueueState<W> {
    /// Waiting lines, by kind.
    lines: [VecDeque<(W, Vec<u8>)>; 2],
    is_writing: bool,
    /// Lines lost since the start, by kind.
    lost: [u64; 2],
}

impl<W> QueueState<W> {
    fn next(&mut self) -> Option<(W, Vec<u8>)> {
        self.lines.iter_mut().find_map(VecDeque::pop_front)
    }

    fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }
}

impl<M, W: Write + Send + 'static> Queued<M, W> {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(target: M, look: LineFormat) -> io::Result<Queued<M, W>> {
        let lines = Priority::ALL.map(|_| VecDeque::new());
        let state = QueueState { lines, is_writing: false, lost: [0; 2] };
        let queue =
            Arc::new(Queue { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new() });
        let writing = queue.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || writing.write())?;
        Ok(Queued { target, look, queue })
    }

    pub fn queue(&self) -> Arc<Queue<W>> {
        self.queue.clone()
    }

    fn line(&self, to: W, kind: Priority) -> LogLine<'_, W> {
        LogLine { to: Some(to), kind, text: Vec::new(), look: self.look, queue: &self.queue }
    }
}

impl<W: Write> Queue<W> {
    /// No code under this lock can panic half-way, so the state is valid even after a panic.
    fn lock(&self) -> MutexGuard<'_, QueueState<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, to: W, kind: Priority, line: Vec<u8>) {
        let mut state = self.lock();
        let lines = &mut state.lines[kind as usize];
        if lines.len() < CAPACITY {
            lines.push_back((to, line));
            self.filled.notify_one();
        } else {
            state.lost[kind as usize] += 1;
            LOST[kind as usize].fetch_add(1, Ordering::Relaxed);
            // Some writers write when they are dropped, even if they have no text.
            std::mem::forget(to);
        }
    }

    /// Writes lines, and never returns.
    fn write(&self) {
        let (mut told, mut told_at) = ([0; 2], None::<Instant>);
        let mut state = self.lock();
        loop {
            let Some((mut to, line)) = state.next() else {
                self.emptied.notify_all();
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.is_writing = true;
            let (lost, is_last) = (state.lost, state.is_empty());
            drop(state);
            // An error in writing the log cannot be logged.
            let _ = to.write_all(&line).and_then(|()| to.flush());
            drop(to);
            if lost != told && (is_last || told_at.is_none_or(|at| at.elapsed() > TELL)) {
                for kind in
                    Priority::ALL.into_iter().filter(|kind| lost[*kind as usize] > told[*kind as usize])
                {
                    tracing::warn!(
                        kind = kind.name(),
                        lost = lost[kind as usize],
                        "the log is read too slowly: lines were lost since the start"
                    );
                }
                (told, told_at) = (lost, Some(Instant::now()));
            }
            state = self.lock();
            state.is_writing = false;
        }
    }
}

/// What the end of the program needs from a queue.
pub(super) trait Flush: Send + Sync {
    /// Waits until everything is written, but no longer than `patience`.
    fn flush(&self, patience: Duration);
}

impl<W: Write + Send> Flush for Queue<W> {
    fn flush(&self, patience: Duration) {
        let has_more = |state: &mut QueueState<W>| state.is_writing || !state.is_empty();
        drop(self.emptied.wait_timeout_while(self.lock(), patience, has_more));
    }
}

impl<'a, M, W> MakeWriter<'a> for Queued<M, W>
where
    M: MakeWriter<'a, Writer = W>,
    W: Write + Send + 'static,
{
    type Writer = LogLine<'a, W>;

    fn make_writer(&'a self) -> LogLine<'a, W> {
        self.line(self.target.make_writer(), Priority::Important)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> LogLine<'a, W> {
        self.line(self.target.make_writer_for(meta), Priority::of(meta))
    }
}

/// A line that is being built. Dropping it puts it into the queue.
pub(super) struct LogLine<'a, W: Write> {
    to: Option<W>,
    kind: Priority,
    text: Vec<u8>,
    look: LineFormat,
    queue: &'a Queue<W>,
}

impl<W: Write> Write for LogLine<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for LogLine<'_, W> {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            let line = self.look.of(std::mem::take(&mut self.text));
            self.queue.push(to, self.kind, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A log that finishes writing a line only when the test reads it.
    #[derive(Clone)]
    struct SlowLog(SyncSender<String>);

    impl Write for SlowLog {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).trim_end().to_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const PLAIN: LineFormat = LineFormat { has_end: true, has_colours: false, escapes: EscapeStyle::Braces };

    fn slow() -> (impl Fn() -> SlowLog + Send + Sync, Receiver<String>) {
        let (sender, lines) = sync_channel(0);
        (move || SlowLog(sender.clone()), lines)
    }

    #[test]
    fn nobody_waits_for_a_slow_reader_who_is_told_how_much_is_lost() {
        let (target, lines) = slow();
        let queued = Queued::<_, SlowLog>::start(target, PLAIN).expect("a thread");
        let queue = queued.queue();
        for number in 0..CAPACITY + 100 {
            write!(queued.make_writer(), "{number}").expect("queued");
        }
        queue.flush(Duration::from_millis(10));
        assert_eq!(lines.recv().as_deref(), Ok("0"));
        let [lost, routine] = queue.lock().lost;
        assert_eq!(routine, 0);
        // The writer may have taken one line before the queue was full.
        assert!((99..=100).contains(&lost), "{lost}");
    }

    #[test]
    fn all_that_is_queued_is_written_before_the_end() {
        let (target, lines) = slow();
        let queued = Queued::<_, SlowLog>::start(target, PLAIN).expect("a thread");
        let reader = std::thread::spawn(move || lines.iter().take(1000).count());
        (0..1000).for_each(|_| queued.make_writer().write_all(b"line\n").expect("queued"));
        queued.queue().flush(Duration::from_secs(60));
        assert_eq!(queued.queue().lock().lines.iter().map(VecDeque::len).sum::<usize>(), 0);
        assert_eq!(reader.join().expect("no panic"), 1000);
    }

    #[test]
    fn a_line_is_one_line_and_acts_on_no_terminal() {
        let line = "a\nb \u{202e}\x1b[1m\u{e9}\n";
        for (look, expected) in [
            (PLAIN, "a\\nb \\u{202e}\\u{1b}[1m\u{e9}\n"),
            (LineFormat { has_end: false, ..PLAIN }, "a\\nb \\u{202e}\\u{1b}[1m\u{e9}"),
            (LineFormat { has_colours: true, ..PLAIN }, "a\\nb \\u{202e}\x1b[1m\u{e9}\n"),
            (LineFormat { escapes: EscapeStyle::Units, ..PLAIN }, "a\\nb \\u202e\\u001b[1m\u{e9}\n"),
        ] {
            assert_eq!(String::from_utf8(look.of(line.into())).as_deref(), Ok(expected), "{look:?}");
        }
        assert_eq!(PLAIN.of(b"plain\n".into()), b"plain\n");
    }

    /// When requests overfill their queue, no important line is lost, and these come first.
    #[test]
    fn important_lines_pass_those_of_requests() {
        let (target, lines) = slow();
        let queued = Queued::<_, SlowLog>::start(target, PLAIN).expect("a thread");
        for number in 0..CAPACITY + 100 {
            write!(queued.line(queued.target.make_writer(), Priority::Routine), "routine {number}")
                .expect("queued");
            if number % 100 == 0 {
                write!(queued.make_writer(), "important {}", number / 100).expect("queued");
            }
        }
        let wanted = (CAPACITY + 100).div_ceil(100);
        let lost = queued.queue().lock().lost;
        assert!(lost[0] == 0 && lost[1] >= 99, "{lost:?}");
        // The writer may have taken the first routine line before the others came.
        let read: Vec<String> = lines.iter().take(wanted + 3).collect();
        let (important, routine): (Vec<_>, Vec<_>) =
            read.iter().partition(|line| line.starts_with("important"));
        let expected: Vec<String> = (0..wanted).map(|number| format!("important {number}")).collect();
        assert_eq!(important.into_iter().cloned().collect::<Vec<_>>(), expected);
        assert_eq!(routine, ["routine 0", "routine 1", "routine 2"]);
    }

    #[test]
    fn access_lines_and_debug_messages_are_routine() {
        /// Records the kinds of the events that it gets.
        #[derive(Clone, Default)]
        struct Kinds(Arc<Mutex<Vec<Priority>>>);

        impl<'a> MakeWriter<'a> for Kinds {
            type Writer = io::Sink;

            fn make_writer(&'a self) -> io::Sink {
                io::sink()
            }

            fn make_writer_for(&'a self, meta: &Metadata<'_>) -> io::Sink {
                self.0.lock().expect("kinds").push(Priority::of(meta));
                io::sink()
            }
        }

        let kinds = Kinds::default();
        let log = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(kinds.clone()).finish();
        tracing::subscriber::with_default(log, || {
            tracing::error!("important");
            tracing::warn!("important");
            tracing::info!("important");
            tracing::info!(target: ACCESS, "routine");
            tracing::debug!("routine");
            tracing::trace!("routine");
        });
        let expected = [[Priority::Important; 3], [Priority::Routine; 3]].concat();
        assert_eq!(*kinds.0.lock().expect("kinds"), expected);
    }
}
