//! How long callers waited, in a fixed number of bins.

use std::time::Duration;

/// Four to each doubling, from a microsecond to longer than anybody waits.
const BINS: usize = 128;
const BINS_PER_DOUBLING: f64 = 4.0;

#[derive(Clone)]
pub(crate) struct Latency {
    bins: [u64; BINS],
    longest: Duration,
}

impl Latency {
    pub(crate) fn new() -> Self {
        Self { bins: [0; BINS], longest: Duration::ZERO }
    }

    pub(crate) fn add(&mut self, waited: Duration) {
        let bin = (waited.as_secs_f64() * 1e6).max(1.0).log2() * BINS_PER_DOUBLING;
        self.bins[(bin as usize).min(BINS - 1)] += 1;
        self.longest = self.longest.max(waited);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            *bin += more;
        }
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// The upper end of the bin that this share of the waits reaches.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let total: u64 = self.bins.iter().sum();
        let mut left = (total as f64 * share).ceil() as u64;
        for (bin, count) in self.bins.iter().enumerate() {
            left = left.saturating_sub(*count);
            if left == 0 {
                return Duration::from_secs_f64(2_f64.powf((bin + 1) as f64 / BINS_PER_DOUBLING) / 1e6)
                    .min(self.longest);
            }
        }
        self.longest
    }
}
