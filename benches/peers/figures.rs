//! Figures of several rounds, and the table of them.

use std::time::Instant;

use support::server::processor;

/// The figures of one server in one round.
#[derive(Clone, Copy)]
pub struct Sample {
    pub per_second: f64,
    /// Microseconds of processor time of the server for each.
    pub cost: f64,
    /// Processor time of the server, as a share of one core.
    pub busy: f64,
}

impl Sample {
    /// Counts what `work` does, and the processor time that these processes need meanwhile.
    pub fn of(processes: &[u32], work: impl FnOnce() -> u64) -> Sample {
        let used = || processes.iter().copied().map(processor).sum::<f64>();
        let (begun, before) = (Instant::now(), used());
        let count = work() as f64;
        let (seconds, used) = (begun.elapsed().as_secs_f64(), used() - before);
        Sample { per_second: count / seconds, cost: used * 1e6 / count, busy: used / seconds }
    }
}

/// The figures of one server in all rounds.
pub struct Figures {
    pub name: &'static str,
    samples: Vec<Sample>,
}

impl Figures {
    pub fn new(name: &'static str) -> Figures {
        Figures { name, samples: Vec::new() }
    }

    pub fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    pub fn summary(&self, value: impl Fn(&Sample) -> f64) -> Summary {
        Summary::of(self.samples.iter().map(value))
    }

    /// The ratio to another server in the same round.
    pub fn ratio(&self, to: &Figures, value: impl Fn(&Sample) -> f64) -> Summary {
        Summary::of(self.samples.iter().zip(&to.samples).map(|(own, other)| value(own) / value(other)))
    }
}

pub struct Summary {
    least: f64,
    pub median: f64,
    most: f64,
}

impl Summary {
    fn of(values: impl Iterator<Item = f64>) -> Summary {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Summary { least: values[0], median: values[values.len() / 2], most: values[values.len() - 1] }
    }

    pub fn text(&self, digits: usize) -> String {
        let Summary { least, median, most } = self;
        format!("{median:.digits$} ({least:.digits$}-{most:.digits$})")
    }
}

/// Prints a line for each server, with ratios to one of them.
pub fn print(all: &[Figures], to: &Figures, what: &str) {
    println!("  {:<40} {:>22} {:>17} {:>22} {:>17}", "", what, "ratio", "CPU of each in µs", "ratio");
    for own in all {
        let rate = own.summary(|sample| sample.per_second).text(0);
        let cost = own.summary(|sample| sample.cost).text(1);
        let rates = own.ratio(to, |sample| sample.per_second).text(2);
        let costs = own.ratio(to, |sample| sample.cost).text(2);
        println!("  {:<40} {rate:>22} {rates:>17} {cost:>22} {costs:>17}", own.name);
    }
}
