//! A progress bar for long work.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Work that takes less time gets no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows a bar if standard error is a terminal and the work takes longer than a second.
pub struct Progress {
    what: &'static str,
    /// 0 if the total is not known.
    total: u64,
    done: u64,
    begun: Instant,
    is_wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts the measurement; `total` is 0 if it is not known.
    #[expect(clippy::disallowed_methods, reason = "nothing is written")]
    pub fn new(what: &'static str, total: usize) -> Progress {
        let is_wanted = std::io::stderr().is_terminal();
        Progress { what, total: total as u64, done: 0, begun: Instant::now(), is_wanted, bar: None }
    }

    /// Adds `count` to what is done.
    pub fn add(&mut self, count: usize) {
        self.done += count as u64;
        if !self.is_wanted || self.begun.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let (bar, template) = match self.total {
                0 => (ProgressBar::no_length(), "{msg} {human_pos}"),
                total => (ProgressBar::new(total), "{msg} {wide_bar} {human_pos}/{human_len} {eta}"),
            };
            let style = ProgressStyle::with_template(template).expect("the template is part of the program");
            bar.with_style(style).with_message(self.what)
        });
        bar.set_position(self.done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_comes_only_after_a_second_and_only_when_wanted() {
        let mut progress = Progress::new("reading", 10);
        progress.is_wanted = true;
        progress.add(1);
        assert!(progress.bar.is_none());
        progress.begun = progress.begun.checked_sub(PATIENCE).expect("a time");
        progress.add(1);
        assert_eq!(progress.bar.as_ref().map(ProgressBar::position), Some(2));
        let mut unwanted = Progress::new("reading", 0);
        (unwanted.is_wanted, unwanted.begun) = (false, progress.begun);
        unwanted.add(1);
        assert!(unwanted.bar.is_none());
    }
}
