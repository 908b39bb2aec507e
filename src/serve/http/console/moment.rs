//! Points in time and lengths of time on pages.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::core::utc;

/// A point in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Moment {
    /// For the attribute `datetime`.
    pub iso: String,
    /// For people, in UTC.
    pub text: String,
}

impl Moment {
    /// The moment with this number of seconds since 1970 in UTC.
    pub fn at(second: i64) -> Moment {
        Moment { iso: utc::iso(second), text: format!("{} UTC", utc::readable(second)) }
    }
}

/// Now, in seconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// A length of time, such as `1.5 ms`.
pub(super) fn length(seconds: f64) -> String {
    match seconds {
        long if long >= 120.0 => format!("{:.0} min", long / 60.0),
        long if long >= 1.0 => format!("{long:.1} s"),
        short if short >= 1e-3 => format!("{:.1} ms", short * 1e3),
        tiny => format!("{:.0} µs", tiny * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_lengths_are_readable() {
        let moment = Moment::at(1_795_753_254);
        assert_eq!((&*moment.iso, &*moment.text), ("2026-11-27T04:20:54Z", "2026-11-27 04:20:54 UTC"));
        for (seconds, text) in [(0.000_005, "5 µs"), (0.0015, "1.5 ms"), (2.0, "2.0 s"), (7200.0, "120 min")]
        {
            assert_eq!(length(seconds), text);
        }
    }
}
