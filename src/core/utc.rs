//! Seconds since 1970 as text, in UTC. All texts of a kind have the same length up to the year
//! 9999, so later moments come later in the order of texts.

use time::UtcDateTime;

/// For programs: `2026-11-27T04:20:54Z`.
pub fn iso(second: i64) -> String {
    let (day, clock) = parts(second);
    format!("{day}T{clock}Z")
}

/// For people: `2026-11-27 04:20:54`.
pub fn readable(second: i64) -> String {
    let (day, clock) = parts(second);
    format!("{day} {clock}")
}

fn parts(second: i64) -> (String, String) {
    let at = UtcDateTime::from_unix_timestamp(second).unwrap_or(UtcDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second)) = (at.date(), at.time().as_hms());
    (
        format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()),
        format!("{hour:02}:{minute:02}:{second:02}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_as_moments_in_utc() {
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(readable(1_795_753_254), "2026-11-27 04:20:54");
    }
}
