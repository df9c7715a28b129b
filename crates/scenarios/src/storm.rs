//! A source that fails, and a caller that gives up during the fetch for all callers.

use std::time::{Duration, Instant};

use crate::{Caller, first, last, on_runtime, outcomes, source::Source, start};

pub const CALLERS: usize = 1_000;
const FAILS_AFTER: Duration = Duration::from_millis(20);
const FETCH: Duration = Duration::from_millis(50);
const GIVES_UP_AFTER: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
pub struct Storm {
    pub source_calls: usize,
    pub failed: usize,
    pub first_error: Duration,
    pub last_error: Duration,
}

/// Runs all callers at once against a source that fails.
pub fn storm<S: Caller>(callers: usize, make: impl FnOnce(&Source) -> S) -> Storm {
    let source = Source::failing(FAILS_AFTER);
    let service = make(&source);
    let outcomes = on_runtime(async { outcomes(start(&service, callers, Instant::now())).await });
    Storm {
        source_calls: source.calls(),
        failed: outcomes.iter().filter(|outcome| !outcome.succeeded).count(),
        first_error: first(&outcomes),
        last_error: last(&outcomes),
    }
}

#[derive(Clone, Copy, Debug)]
pub struct CancelledLeader {
    pub source_calls: usize,
    /// The number of successes among the 999 other callers.
    pub succeeded: usize,
    pub last_answer: Duration,
}

/// Runs callers of which the first starts the fetch and is dropped before the fetch ends.
pub fn cancelled_leader<S: Caller>(make: impl FnOnce(&Source) -> S) -> CancelledLeader {
    let source = Source::issuing(FETCH, Duration::from_secs(3_600));
    let service = make(&source);
    let outcomes = on_runtime(async {
        let began = Instant::now();
        let leader = start(&service, 1, began);
        while source.calls() == 0 {
            tokio::task::yield_now().await;
        }
        let others = start(&service, CALLERS - 1, began);
        tokio::time::sleep_until((began + GIVES_UP_AFTER).into()).await;
        leader.iter().for_each(|leader| leader.abort());
        outcomes(others).await
    });
    CancelledLeader {
        source_calls: source.calls(),
        succeeded: outcomes.iter().filter(|outcome| outcome.succeeded).count(),
        last_answer: last(&outcomes),
    }
}
