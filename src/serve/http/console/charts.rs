//! The charts of the overview: lines in an SVG picture, drawn here.

use serde::Serialize;

use super::moment::length;
use crate::metrics::{MINUTES, Minute, RequestOutcome};

/// The size of a picture, in its own units.
const SIZE: (f64, f64) = (600.0, 120.0);

/// The charts of the last hour.
#[derive(Serialize)]
pub(super) struct Charts {
    /// Requests a second that were answered with properties, as the points of a line.
    ok: String,
    /// Those that were refused for the password or the name.
    denied: String,
    /// All others.
    others: String,
    /// The largest of them.
    most: String,
    /// The times that 99 of 100 requests did not exceed.
    p99: String,
    slowest: String,
    /// The last minute, in words.
    rate: String,
    latest: String,
    is_empty: bool,
}

/// Draws the minutes, which end now.
pub(super) fn draw(minutes: &[Minute]) -> Charts {
    let rate = |is_it: fn(RequestOutcome) -> bool| -> Vec<f64> {
        let sum = |minute: &Minute| {
            let counts = RequestOutcome::ALL.into_iter().zip(minute.outcomes);
            counts.filter(|(outcome, _)| is_it(*outcome)).map(|(_, count)| count).sum::<u64>() as f64 / 60.0
        };
        minutes.iter().map(sum).collect()
    };
    let is_denied = |outcome| matches!(outcome, RequestOutcome::Denied | RequestOutcome::Throttled);
    let ok = rate(|outcome| outcome == RequestOutcome::Ok);
    let denied = rate(is_denied);
    let others = rate(|outcome| {
        use RequestOutcome::{Denied, Health, Ok, Throttled};
        !matches!(outcome, Ok | Denied | Throttled | Health)
    });
    let p99: Vec<f64> = minutes.iter().map(|minute| minute.p99.unwrap_or(0.0)).collect();
    let largest =
        |lines: &[&Vec<f64>]| lines.iter().flat_map(|line| line.iter()).fold(0.0, |a: f64, b| a.max(*b));
    let (most, slowest) = (largest(&[&ok, &denied, &others]), largest(&[&p99]));
    let last = |line: &Vec<f64>| line.last().copied().unwrap_or_default();
    Charts {
        rate: format!("{:.1}", last(&ok) + last(&denied) + last(&others)),
        latest: length(last(&p99)),
        ok: points(&ok, most),
        denied: points(&denied, most),
        others: points(&others, most),
        most: format!("{most:.1}"),
        p99: points(&p99, slowest),
        slowest: length(slowest),
        is_empty: minutes.is_empty(),
    }
}

/// The points of a line, whose last one is at the right.
fn points(line: &[f64], most: f64) -> String {
    let step = SIZE.0 / (MINUTES - 1) as f64;
    let first = MINUTES.saturating_sub(line.len());
    let scale = if most > 0.0 { SIZE.1 / most } else { 0.0 };
    let point = |(at, value): (usize, &f64)| {
        format!("{:.1},{:.1}", (first + at) as f64 * step, SIZE.1 - value * scale)
    };
    line.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_is_at_the_right_and_the_largest_value_at_the_top() {
        assert_eq!(points(&[1.0, 2.0], 2.0), "589.8,60.0 600.0,0.0");
        assert_eq!(points(&[0.0], 0.0), "600.0,120.0");
        assert!(draw(&[]).is_empty);
    }
}
