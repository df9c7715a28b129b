//! The report of a phase, as a table and as JSON.

use std::{fmt::Write, time::Duration};

use serde::Serialize;
use turris_emulator::Counters;

use crate::worker::Done;

/// One phase. `token_fetches` and `rate_limited` are the server's counts.
#[derive(Debug, Serialize)]
pub(crate) struct Phase {
    name: &'static str,
    processes: usize,
    requests: u32,
    succeeded: u32,
    failed: u32,
    token_fetches: u64,
    rate_limited: u64,
    /// The longest time from a request to its response, including the time in the queue.
    longest_wait_ms: u64,
    /// From the first request to the last response.
    makespan_s: f64,
    /// The shortest makespan that the server's limits allow.
    ideal_s: f64,
    #[serde(skip)]
    problems: Vec<String>,
}

impl Phase {
    pub(crate) fn new(
        name: &'static str,
        processes: usize,
        done: Done,
        counters: (Counters, Counters),
        makespan: Duration,
        ideal: Duration,
    ) -> Self {
        let (before, after) = counters;
        let phase = Self {
            name,
            processes,
            requests: done.requests,
            succeeded: done.requests - done.failed,
            failed: done.failed,
            token_fetches: after.token_requests - before.token_requests,
            rate_limited: after.rate_limited - before.rate_limited,
            longest_wait_ms: u64::try_from(done.longest_wait.as_millis()).unwrap_or(u64::MAX),
            makespan_s: rounded(makespan),
            ideal_s: rounded(ideal),
            problems: Vec::new(),
        };
        let error = done.first_error.unwrap_or_default();
        phase.expect(done.failed == 0, &format!("no request to fail, but one did with: {error}"))
    }

    pub(crate) fn expect_fetches(self, fetches: u64) -> Self {
        let holds = self.token_fetches == fetches;
        self.expect(holds, &format!("{fetches} token fetches in all"))
    }

    pub(crate) fn expect_no_429(self) -> Self {
        let holds = self.rate_limited == 0;
        self.expect(holds, "no 429")
    }

    /// Expects a makespan of at most the ideal, 3 % of it, and `slack`.
    pub(crate) fn expect_near_ideal(self, slack: Duration) -> Self {
        let most = self.ideal_s * 1.03 + slack.as_secs_f64();
        let holds = self.makespan_s <= most;
        self.expect(holds, &format!("a makespan of at most {most:.1} s"))
    }

    /// Adds a problem, unless `holds`.
    pub(crate) fn expect(mut self, holds: bool, expectation: &str) -> Self {
        if !holds {
            self.problems.push(format!("{}: expected {expectation}", self.name));
        }
        self
    }

    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// Returns the seconds of a duration, rounded to milliseconds.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
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
        "phase       processes  requests  succeeded  failed  token fetches  429s  longest wait  makespan    ideal\n",
    );
    for phase in phases {
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            table,
            "{:<10}  {:>9}  {:>8}  {:>9}  {:>6}  {:>13}  {:>4}  {:>9} ms  {:>6.1} s  {:>5.1} s",
            phase.name,
            phase.processes,
            phase.requests,
            phase.succeeded,
            phase.failed,
            phase.token_fetches,
            phase.rate_limited,
            phase.longest_wait_ms,
            phase.makespan_s,
            phase.ideal_s,
        );
    }
    table + "Token fetches and 429s are the server's own counts."
}
