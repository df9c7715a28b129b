//! After a failure: how long not to ask again, and what to tell callers in the meantime.

use std::time::Duration;

use super::sync::Instant;
use crate::TokenError;

/// The first failure's cool-down; each further one doubles it.
const SHORTEST: Duration = Duration::from_secs(1);
/// As long as the endpoint's own window: by then its count has started anew.
const LONGEST: Duration = Duration::from_secs(60);
/// A wait that the server itself asks for is believed up to here; then it is asked again.
const LONGEST_ASKED_FOR: Duration = Duration::from_secs(5 * 60);

/// The failures since the last success.
///
/// A cool-down is over by itself, whatever the failure was: no error is for ever.
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
    /// Starts the next cool-down and returns the error with the time it takes. `jitter` is a random number from 0 to 1.
    pub(super) fn start(&mut self, now: Instant, error: TokenError, jitter: f64) -> TokenError {
        let doubled = SHORTEST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1).min(30);
        let jittered = doubled.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
        let asked_for = error.retry_after().unwrap_or_default().min(LONGEST_ASKED_FOR);
        let wait = jittered.max(asked_for);
        let error = error.with_retry_after(Some(wait));
        self.last = Some(Failure { error: error.clone(), until: now + wait });
        error
    }

    /// The endpoint works.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Whether the last fetch failed, which makes the next one a careful probe.
    pub(super) fn is_failing(&self) -> bool {
        self.last.is_some()
    }

    /// The time that is left.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.last.as_ref().map_or(Duration::ZERO, |last| last.until.saturating_duration_since(now))
    }

    pub(super) fn error(&self) -> Option<&TokenError> {
        self.last.as_ref().map(|last| &last.error)
    }
}

#[cfg(test)]
mod tests;
