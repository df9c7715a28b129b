//! The circuit breaker around the store: while the store is down, requests do not wait for it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A probe may take this much longer than its deadline. After that its runtime counts as stopped.
const PROBE_GRACE: Duration = Duration::from_secs(1);
/// The pause after the first failure. Each further failure doubles it, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// After so many doublings the pause has certainly reached [`LONGEST`].
const MAX_DOUBLINGS: u32 = 16;

/// Circuit breaker around the calls to the store.
///
/// 1. While it is closed, every call goes through.
/// 2. A failure opens it for a pause. Jitter shortens the pause by up to a half. During the pause
///    no call goes through.
/// 3. After the pause one call goes through, the probe. All other calls are held off until the
///    probe has ended. If the probe has not ended by its latest time, the next call becomes the
///    probe.
/// 4. The success of any call closes it, since the store answers. A probe that is dropped says
///    nothing about the store; the next call is the probe.
/// 5. A failure counts in two cases only: if the call was the probe, or if the breaker is closed.
///    So the failures of calls that were under way at the same time count as one.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
    /// How long a call may take.
    deadline: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
        failures: u32,
    },
    Probing {
        /// The latest time at which the probe ends.
        until: Instant,
        failures: u32,
    },
}

/// Change of the breaker by the end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// The store was lost.
    Opened,
    /// The store is back.
    Closed,
}

/// Permission for one call.
#[derive(Debug)]
pub(super) struct CallPermit<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl Breaker {
    /// Returns a closed breaker around calls that may take as long as `deadline`.
    pub(super) fn new(deadline: Duration) -> Self {
        Self { state: Mutex::default(), deadline }
    }

    /// Returns a permit if a call may go through now.
    pub(super) fn try_acquire(&self, now: Instant) -> Option<CallPermit<'_>> {
        let mut state = self.lock();
        let probe = match *state {
            State::Closed => false,
            State::Open { until, failures } | State::Probing { until, failures } if until <= now => {
                *state = State::Probing { until: now + self.deadline + PROBE_GRACE, failures };
                true
            }
            State::Open { .. } | State::Probing { .. } => return None,
        };
        Some(CallPermit { breaker: self, probe })
    }

    /// Whether the breaker is closed, so that calls go through without being probes.
    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.lock(), State::Closed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing under the lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallPermit<'_> {
    /// The store answered.
    pub(super) fn succeeded(mut self) -> Change {
        self.probe = false;
        let before = std::mem::take(&mut *self.breaker.lock());
        if matches!(before, State::Closed) { Change::None } else { Change::Closed }
    }

    /// The store did not answer. `jitter` is a random number from 0 to 1.
    pub(super) fn failed(mut self, now: Instant, jitter: f64) -> Change {
        let probe = std::mem::take(&mut self.probe);
        let mut state = self.breaker.lock();
        let (failures, change) = match *state {
            State::Closed => (0, Change::Opened),
            State::Probing { failures, .. } if probe => (failures, Change::None),
            State::Probing { .. } | State::Open { .. } => return Change::None,
        };
        let pause = SHORTEST.saturating_mul(1 << failures.min(MAX_DOUBLINGS)).min(LONGEST);
        let until = now + pause.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
        *state = State::Open { until, failures: (failures + 1).min(MAX_DOUBLINGS) };
        change
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        if self.probe {
            let mut state = self.breaker.lock();
            if let State::Probing { failures, .. } = *state {
                *state = State::Open { until: Instant::now(), failures };
            }
        }
    }
}

#[cfg(test)]
mod tests;
