//! Moments that people type: how long ago, or a date.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{Date, Month, UtcDateTime};

/// Reads a moment: 90s, 15m, 2h, 3d or 1w ago, or a date such as 2026-11-27, which begins at 0:00
/// in UTC. Returns seconds since 1970.
///
/// # Errors
/// When it is neither.
pub fn moment(typed: &str) -> Result<i64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    ago(typed)
        .and_then(|span| now.checked_sub(span))
        .or_else(|| date(typed))
        .ok_or_else(|| "write how long ago, such as 2h or 3d, or a date, such as 2026-11-27".to_owned())
}

/// The seconds of a span.
fn ago(typed: &str) -> Option<i64> {
    let (number, unit) = typed.split_at_checked(typed.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return None,
    };
    i64::from(number.parse::<u32>().ok()?).checked_mul(seconds)
}

fn date(typed: &str) -> Option<i64> {
    let mut parts = typed.splitn(3, '-');
    let year = parts.next()?.parse().ok()?;
    let month = Month::try_from(parts.next()?.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year, month, parts.next()?.parse().ok()?).ok()?;
    Some(UtcDateTime::new(date, time::Time::MIDNIGHT).unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_dates_are_read() {
        assert_eq!(ago("2h"), Some(7200));
        assert_eq!(ago("3d"), Some(3 * 24 * 3600));
        assert_eq!(date("2026-11-27"), Some(1_795_737_600));
        for wrong in ["", "h", "2", "-1h", "2y", "2026-13-01", "2026-02-30", "tomorrow", "2é"] {
            assert!(moment(wrong).is_err(), "{wrong:?}");
        }
    }
}
