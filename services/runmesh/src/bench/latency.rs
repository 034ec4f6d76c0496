//! Latencies of many tries, and their percentiles.

use hdrhistogram::Histogram;
use std::time::Duration;

/// Three digits of each value are kept.
const DIGITS: u8 = 3;
/// Ten minutes in microseconds: longer than anything here may take.
const MOST: u64 = 600_000_000;

/// Latencies in microseconds.
#[derive(Debug, Clone)]
pub(super) struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    /// None yet.
    pub(super) fn new() -> Self {
        // The bounds are constants that the histogram takes; without one, percentiles are not numbers.
        Self(Histogram::new_with_bounds(1, MOST, DIGITS).ok())
    }

    /// One more.
    pub(super) fn add(&mut self, latency: Duration) {
        self.add_micros(u64::try_from(latency.as_micros()).unwrap_or(MOST));
    }

    /// One more, in microseconds.
    pub(super) fn add_micros(&mut self, micros: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(micros);
        }
    }

    /// All of another's.
    pub(super) fn merge(&mut self, other: &Self) {
        if let (Some(all), Some(other)) = (&mut self.0, &other.0) {
            // Both have the same bounds, so everything fits.
            let _ = all.add(other);
        }
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The median in milliseconds.
    pub(super) fn p50(&self) -> f64 {
        self.at(0.50)
    }

    /// The 99th percentile in milliseconds.
    pub(super) fn p99(&self) -> f64 {
        self.at(0.99)
    }

    /// The longest in milliseconds.
    pub(super) fn max(&self) -> f64 {
        self.at(1.0)
    }

    fn at(&self, quantile: f64) -> f64 {
        let filled = self.0.as_ref().filter(|histogram| !histogram.is_empty());
        filled.map_or(f64::NAN, |histogram| histogram.value_at_quantile(quantile) as f64 / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Latencies;
    use std::time::Duration;

    #[test]
    fn percentiles_are_of_everything_that_was_merged() {
        let (mut low, mut high) = (Latencies::new(), Latencies::new());
        (0..99).for_each(|_| low.add(Duration::from_millis(1)));
        high.add(Duration::from_millis(50));
        low.merge(&high);
        assert_eq!(low.count(), 100);
        assert!((low.p50() - 1.0).abs() < 0.01, "{}", low.p50());
        assert!((low.p99() - 1.0).abs() < 0.01, "{}", low.p99());
        assert!((low.max() - 50.0).abs() < 0.1, "{}", low.max());
    }

    #[test]
    fn of_nothing_there_is_no_median() {
        assert!(Latencies::new().p50().is_nan());
    }
}
