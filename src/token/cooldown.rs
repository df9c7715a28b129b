//! [`Cooldown`]: the wait after a failed flight, and the error that callers get during that wait.

use std::time::Duration;

use super::sync::Instant;
use crate::TokenError;

/// The cool-down after the first failure. Each further failure doubles it.
const MIN_COOLDOWN: Duration = Duration::from_secs(1);
/// The longest cool-down, unless the server asks for a longer one. It is the length of the
/// endpoint's window, after which the endpoint starts a new count.
const MAX_COOLDOWN: Duration = Duration::from_secs(60);
/// The longest cool-down that a server can ask for.
const MAX_ASKED_WAIT: Duration = Duration::from_secs(5 * 60);

/// The failures since the last success.
///
/// Every cool-down ends by itself, whatever the failure was.
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
        let doubled =
            MIN_COOLDOWN.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(MAX_COOLDOWN);
        self.failures = self.failures.saturating_add(1).min(30);
        let jittered = doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
        let asked_for = error.asked_wait().unwrap_or_default().min(MAX_ASKED_WAIT);
        let wait = jittered.max(asked_for);
        let error = error.with_retry_after(Some(wait));
        self.last = Some(Failure { error: error.clone(), until: now + wait });
        error
    }

    /// Forgets all failures, because the endpoint has issued a token.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Returns whether the last flight failed. The next flight then makes a single token request,
    /// as a probe.
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
