//! How long to wait after a refusal. Pure: chance comes in as an argument, `share`, a number from 0 to below 1.

use std::time::Duration;

use crate::api::limits::RateLimits;

/// The vendor's advice for a refusal whose reset is imminent. A server that says "now" is not believed.
const SHORTEST_ASKED: Duration = Duration::from_secs(1);

/// The reset header and the `Date` it is read against count whole seconds. The difference of the two may be a second
/// short of the truth.
pub(super) const GRANULARITY: Duration = Duration::from_secs(1);

/// The first step of the exponential delay.
const BASE: Duration = Duration::from_secs(1);

/// Further doubling would outlast the window of every documented limit.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// A tenth of the wait pulls the processes of a fleet apart, and a second is as much as a window can spare.
const JITTER_DIVISOR: u32 = 10;
const MOST_JITTER: Duration = Duration::from_secs(1);

/// What a refusal says of the time to wait, as far as it says anything.
pub(crate) fn asked(limits: &RateLimits) -> Option<Duration> {
    let until_reset = || limits.reset_after.map(|reset| reset.saturating_add(GRANULARITY));
    Some(limits.retry_after.or_else(until_reset)?.max(SHORTEST_ASKED))
}

/// The time the server asked for, and a little more, but no more than `max_wait`.
pub(crate) fn with_jitter(asked: Duration, max_wait: Duration, share: f64) -> Duration {
    let most = (asked / JITTER_DIVISOR).min(MOST_JITTER);
    asked.saturating_add(most.mul_f64(share)).min(max_wait)
}

/// Exponential delay with full jitter, for the refusal that follows `refusals` others without success between them.
pub(crate) fn exponential(refusals: u32, max_wait: Duration, share: f64) -> Duration {
    let step = BASE.saturating_mul(1u32.checked_shl(refusals).unwrap_or(u32::MAX));
    step.min(LONGEST_STEP).min(max_wait).mul_f64(share)
}

#[cfg(test)]
mod tests;
