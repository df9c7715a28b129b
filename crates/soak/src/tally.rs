//! The outcomes of the requests, by kind.

use std::time::Duration;

use crate::{latency::Latency, outcome::Kind};

/// The number of samples of unexpected outcomes. A few show as much as all.
const SAMPLES: usize = 5;

#[derive(Clone)]
pub(crate) struct Tally {
    counts: [u64; Kind::ALL.len()],
    pub(crate) latency: Latency,
    samples: Vec<String>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { counts: [0; Kind::ALL.len()], latency: Latency::new(), samples: Vec::new() }
    }

    /// Adds the outcome of a request. `details` is called only if the outcome is unexpected.
    pub(crate) fn add(&mut self, kind: Kind, details: impl FnOnce() -> String) {
        self.counts[kind as usize] += 1;
        if !kind.is_expected() && self.samples.len() < SAMPLES {
            self.samples.push(format!("{}: {}", kind.name(), details()));
        }
    }

    pub(crate) fn waited(&mut self, waited: Duration) {
        self.latency.add(waited);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.latency.merge(&other.latency);
        let room = SAMPLES.saturating_sub(self.samples.len());
        self.samples.extend(other.samples.into_iter().take(room));
    }

    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn unexpected(&self) -> u64 {
        Kind::ALL.iter().filter(|kind| !kind.is_expected()).map(|kind| self.count(*kind)).sum()
    }

    pub(crate) fn samples(&self) -> &[String] {
        &self.samples
    }
}
