//! [`Cooldown`]: the wait after a failed flight, and the error that callers get during it.

use std::time::Duration;

use super::sync::Instant;
use crate::TokenError;

/// The cool-down after the first failure. Each further failure doubles it.
const SHORTEST: Duration = Duration::from_secs(1);
/// The length of the endpoint's own window: the endpoint's count has started anew by then.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait that a server can impose. After it, the endpoint is asked again.
const LONGEST_ASKED_FOR: Duration = Duration::from_secs(5 * 60);

/// The failures since the last success.
///
/// A cool-down always ends by itself, after every kind of failure.
#[derive(Default)]
pub(super) struct Cooldown {
    failures: u32,
    last: Option<Failure>,
}

struct Failure {
    error: TokenError,
    until: Instant,
}

impl Cooldown {
    /// Starts the next cool-down, and returns the error with its wait. `jitter` is a random number
    /// from 0 to 1.
    pub(super) fn start(&mut self, now: Instant, error: TokenError, jitter: f64) -> TokenError {
        let doubled = SHORTEST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1).min(30);
        let jittered = doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
        let asked_for = error.asked_wait().unwrap_or_default().min(LONGEST_ASKED_FOR);
        let wait = jittered.max(asked_for);
        let error = error.with_retry_after(Some(wait));
        self.last = Some(Failure { error: error.clone(), until: now + wait });
        error
    }

    /// Forgets all failures, because the endpoint has answered with a token.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Returns whether the last flight failed. The next flight is then a probe of a single fetch.
    pub(super) fn is_failing(&self) -> bool {
        self.last.is_some()
    }

    /// Returns the time that is left of the cool-down.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.last.as_ref().map_or(Duration::ZERO, |last| last.until.saturating_duration_since(now))
    }

    pub(super) fn error(&self) -> Option<&TokenError> {
        self.last.as_ref().map(|last| &last.error)
    }
}

#[cfg(test)]
mod tests;
