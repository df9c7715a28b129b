//! The report of a phase: numbers, a line, a table and JSON.

use std::{fmt::Write, time::Duration};

use serde::Serialize;
use turris_emulator::Counters;

use crate::load::Load;

/// One phase. The counts from `token_fetches` to `connections` are the server's.
#[derive(Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) requests: usize,
    pub(crate) succeeded: usize,
    pub(crate) failed: usize,
    pub(crate) token_fetches: u64,
    pub(crate) unauthorized: u64,
    pub(crate) rate_limited: u64,
    /// The connections that were opened in this phase. Connections of earlier phases are reused.
    pub(crate) connections: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    #[serde(skip)]
    pub(crate) story: String,
    #[serde(skip)]
    problems: Vec<String>,
}

impl Phase {
    pub(crate) fn new(name: &'static str, load: &Load, before: Counters, after: Counters) -> Self {
        let mut latencies = load.latencies.clone();
        latencies.sort_unstable();
        let (requests, failed) = (latencies.len(), load.errors.len());
        Self {
            name,
            requests,
            succeeded: requests.saturating_sub(failed),
            failed,
            token_fetches: after.token_requests - before.token_requests,
            unauthorized: after.unauthorized - before.unauthorized,
            rate_limited: after.rate_limited - before.rate_limited,
            connections: after.connections - before.connections,
            p50_us: percentile(&latencies, 50),
            p99_us: percentile(&latencies, 99),
            story: String::new(),
            problems: Vec::new(),
        }
    }

    /// Adds a description in a sentence or two.
    pub(crate) fn with_story(mut self, story: String) -> Self {
        self.story = story;
        self
    }

    /// Adds a problem, unless `holds`.
    pub(crate) fn expect(mut self, holds: bool, expectation: &str) -> Self {
        if !holds {
            self.problems.push(format!("{}: expected {expectation}; {}", self.name, self.story));
        }
        self
    }

    /// Adds the first error as a problem, if there is one.
    pub(crate) fn expect_no_error(self, load: &Load) -> Self {
        match load.errors.first() {
            None => self,
            Some(error) => self.expect(false, &format!("no request to fail, but one did with: {error}")),
        }
    }

    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// The percentile by nearest rank, in microseconds. `sorted` is in ascending order.
fn percentile(sorted: &[Duration], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    let latency = sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default();
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn json(phases: &[Phase]) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Report<'a> {
        phases: &'a [Phase],
    }
    serde_json::to_string(&Report { phases })
}

pub(crate) fn table(phases: &[Phase]) -> String {
    let mut table = String::from(
        "phase         requests  succeeded  failed  token fetches  401s  429s  new connections        p50        p99\n",
    );
    for phase in phases {
        let milliseconds = |microseconds: u64| format!("{}.{} ms", microseconds / 1_000, microseconds % 1_000 / 100);
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            table,
            "{:<12}  {:>8}  {:>9}  {:>6}  {:>13}  {:>4}  {:>4}  {:>15}  {:>9}  {:>9}",
            phase.name,
            phase.requests,
            phase.succeeded,
            phase.failed,
            phase.token_fetches,
            phase.unauthorized,
            phase.rate_limited,
            phase.connections,
            milliseconds(phase.p50_us),
            milliseconds(phase.p99_us),
        );
    }
    table + "Token fetches, 401s, 429s and connections are the server's own counts."
}
