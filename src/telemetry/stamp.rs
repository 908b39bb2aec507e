//! The time at the beginning of a log line.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use time::UtcDateTime;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

thread_local! {
    /// The last second that this thread has logged in, and its text up to the fraction.
    static SECOND: RefCell<(Option<u64>, String)> = const { RefCell::new((None, String::new())) };
}

/// Appends a time in UTC with microseconds, as in `2026-01-31T23:59:59.123456Z`.
pub(super) fn append(at: SystemTime, out: &mut impl Write) -> fmt::Result {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != Some(since.as_secs()) {
            *second = Some(since.as_secs());
            text.clear();
            append_second(since.as_secs(), text)?;
        }
        out.write_str(text)
    })?;
    let mut rest = since.subsec_micros();
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    digits.into_iter().try_for_each(|digit| out.write_char(digit.into()))?;
    out.write_char('Z')
}

fn append_second(second: u64, out: &mut String) -> fmt::Result {
    let at = UtcDateTime::from_unix_timestamp(second as i64).unwrap_or(UtcDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second)) = (at.date(), at.time().as_hms());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.")
}

/// The clock of all other log lines.
pub(super) struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        append(SystemTime::now(), writer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(at: SystemTime) -> String {
        let mut text = String::new();
        append(at, &mut text).expect("appended");
        text
    }

    #[test]
    fn times_are_in_utc_with_microseconds() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_827_696_000_001, "2000-02-29T12:34:56.000001Z"),
            (951_827_696_999_999, "2000-02-29T12:34:56.999999Z"),
            (951_827_697_020_300, "2000-02-29T12:34:57.020300Z"),
            (4_102_444_799_100_000, "2099-12-31T23:59:59.100000Z"),
        ] {
            assert_eq!(text(UNIX_EPOCH + Duration::from_micros(micros)), expected);
        }
    }

    /// Programs that read the log know the form that tracing-subscriber gives to times.
    #[test]
    fn it_looks_like_the_time_of_the_library() {
        let before = text(SystemTime::now());
        let mut theirs = String::new();
        let clock = tracing_subscriber::fmt::time::SystemTime;
        clock.format_time(&mut Writer::new(&mut theirs)).expect("a time");
        let after = text(SystemTime::now());
        assert!(before <= theirs && theirs <= after, "{before} {theirs} {after}");
        assert_eq!(before.len(), theirs.len());
    }
}
