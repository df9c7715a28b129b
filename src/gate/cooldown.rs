//! [`Cooldown`]: how long a gate is closed after a refusal, and how it opens.
//!
//! Pure: the time and the random numbers are arguments. `share` is a random number from 0 to below
//! 1.
//!
//! 1. A refusal closes the gate. Among requests that were sent together (one *epoch*), the first
//!    refusal closes it. A later refusal counts only if it asks for more time.
//! 2. The gate stays closed for the time that the server states. If it states none, the time that
//!    the [limiter](super::limiter) has found counts. If the limiter knows none either, the gate
//!    stays closed for an exponential delay with full jitter. That delay is
//!    [bounded](in_proportion) by the time for which the server has refused.
//! 3. After a closing the gate opens by degrees (*slow start*): one request may be in flight, and
//!    one more after each success, until the queue is empty. A request without a response holds up
//!    the next request for [`PROBE_TIMEOUT`] at most.
//! 4. A refusal uses up a retry of its request in two cases only: it is the first refusal of the
//!    request, or the request was the first to be sent after a stated time. Every other refused
//!    request was a probe of the gate, which uses up no retry. If the server has refused every
//!    request for `max_wait`, each refusal goes to the caller.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::limits::StatedLimits;

/// The wait in place of a stated wait of zero. The vendor advises it for a refusal whose reset is
/// imminent.
const SHORTEST_ASKED: Duration = Duration::from_secs(1);

/// How long a request that probes the gate, or a window, may hold up the next request.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The first step of the exponential delay.
const BASE: Duration = Duration::from_secs(1);

/// The longest step of the exponential delay. A longer step would outlast the window of every
/// documented limit.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// A jitter of a tenth of the wait spreads the processes of a fleet. A jitter above a second would
/// waste too much of a window.
const JITTER_DIVISOR: u32 = 10;
const MAX_JITTER: Duration = Duration::from_secs(1);

/// The mark of a request in flight, which matches its response to its epoch.
///
/// It is a single number, because it is moved with every request. The lowest bit says whether the
/// request was the first to be sent after a closing whose end the server had stated. The other bits
/// are the epoch: the number of closings so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EpochTag(u64);

impl EpochTag {
    const TRUSTS_SERVER: u64 = 1;

    #[inline]
    pub(super) fn new(epoch: u64, trusts_server: bool) -> Self {
        Self(epoch << 1 | u64::from(trusts_server))
    }

    #[inline]
    fn is_of(self, epoch: u64) -> bool {
        self.0 | Self::TRUSTS_SERVER == epoch << 1 | Self::TRUSTS_SERVER
    }

    #[inline]
    pub(super) fn trusts_server(self) -> bool {
        self.0 & Self::TRUSTS_SERVER != 0
    }
}

/// The effect of a refusal on the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    /// How long the gate is closed. `None` if the refusal has not closed it.
    pub(super) wait: Option<Duration>,
    /// The refusal goes to the caller, because the server asks for more than `max_wait`, or has
    /// refused every request for `max_wait`.
    pub(super) too_long: bool,
}

/// Whether a gate is closed, and how far it is open.
#[derive(Debug, Default)]
pub(super) struct Cooldown {
    closed_until: Option<Instant>,
    /// Whether the server stated `closed_until`.
    stated: bool,
    /// The gate has closed, and no request has been sent since.
    next_is_first: bool,
    epoch: u64,
    /// The number of closings since the last success for which the server stated no time.
    refusals: u32,
    /// The time since which every response has been a refusal, and the time of the last refusal.
    refused_since: Option<(Instant, Instant)>,
    /// How many requests of this epoch may be in flight. `None` if the gate is wide open.
    slow_start_limit: Option<u64>,
    /// How many requests of this epoch are in flight.
    in_flight: u64,
    /// When the last request was sent.
    last_sent: Option<Instant>,
}

impl Cooldown {
    /// Returns the time until which the next request has to wait. `None` if it may be sent.
    #[inline]
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        if let Some(until) = self.closed_until(now) {
            return Some(until);
        }
        self.slow_start_limit.filter(|most| self.in_flight >= *most)?;
        self.last_sent.map(|sent| sent + PROBE_TIMEOUT).filter(|until| *until > now)
    }

    /// Returns when the present closing ends, if the gate is closed.
    #[inline]
    pub(super) fn closed_until(&self, now: Instant) -> Option<Instant> {
        self.closed_until.filter(|until| *until > now)
    }

    /// Whether a response may let the next request be sent earlier than expected.
    pub(super) fn may_open_early(&self, now: Instant) -> bool {
        self.in_flight > 0 && self.closed_until(now).is_none()
    }

    /// Records that a request is sent. Returns its tag, and whether it is the first request
    /// since the gate closed.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant) -> (EpochTag, bool) {
        let is_first = std::mem::take(&mut self.next_is_first);
        let trusts_server = is_first && self.stated;
        self.closed_until = None;
        self.in_flight += 1;
        self.last_sent = Some(now);
        (EpochTag::new(self.epoch, trusts_server), is_first)
    }

    /// Records the outcome of a request that was not refused. If it was lost, it was not
    /// `accepted`. `is_last` says that the queue is empty.
    #[inline]
    pub(super) fn returned(&mut self, tag: EpochTag, accepted: bool, is_last: bool) {
        if accepted {
            self.refused_since = None;
        }
        if tag.is_of(self.epoch) {
            self.in_flight = self.in_flight.saturating_sub(1);
            if accepted {
                self.refusals = 0;
                self.slow_start_limit = self.slow_start_limit.map(|most| most.saturating_add(1)).filter(|_| !is_last);
            }
        }
    }

    /// Whether a refusal of a request with this tag is the first refusal of its epoch.
    pub(super) fn is_first_of_epoch(&self, tag: EpochTag) -> bool {
        tag.is_of(self.epoch)
    }

    /// Records a refusal. `asked` is the wait that the server states. `found` is when the limiter
    /// expects the server to accept again.
    pub(super) fn refused(
        &mut self,
        tag: EpochTag,
        asked: Option<Duration>,
        found: Option<Instant>,
        max_wait: Duration,
        now: Instant,
        share: f64,
    ) -> Closing {
        // Refusals that are far apart say nothing about the time between them.
        let since = match self.refused_since {
            Some((since, last)) if now.saturating_duration_since(last) <= max_wait.saturating_mul(2) => since,
            _ => now,
        };
        self.refused_since = Some((since, now));
        let is_first_of_epoch = self.is_first_of_epoch(tag);
        let is_closed_until = |until: Instant| self.closed_until.is_some_and(|closed| closed >= until);
        let wait = match (asked, found) {
            (Some(asked), _) if is_first_of_epoch || !is_closed_until(now + asked.min(max_wait)) => {
                Some(with_jitter(asked, max_wait, share))
            }
            (None, Some(found)) if is_first_of_epoch => Some(found.saturating_duration_since(now).min(max_wait)),
            (None, None) if is_first_of_epoch => {
                let most = max_wait.min(in_proportion(now.saturating_duration_since(since)));
                Some(exponential(self.refusals, BASE, most, share))
            }
            _ => None,
        };
        if let Some(wait) = wait {
            if asked.is_none() {
                self.refusals = self.refusals.saturating_add(1);
            }
            self.closed_until = self.closed_until.max(Some(now + wait));
            self.stated = asked.is_some();
            self.next_is_first = true;
            self.epoch = self.epoch.wrapping_add(1);
            self.slow_start_limit = Some(1);
            self.in_flight = 0;
        }
        let too_long = asked.is_some_and(|asked| asked > max_wait) || now.saturating_duration_since(since) >= max_wait;
        Closing { wait, too_long }
    }

    /// Whether requests may be sent without a tag.
    #[inline]
    pub(super) fn is_wide_open(&self) -> bool {
        // A closed gate has a slow-start limit too.
        self.slow_start_limit.is_none()
    }

    /// Whether the cool-down holds no information, so that the gate can be removed.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.refusals == 0 && self.closed_until.is_none_or(|until| until <= now)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    #[cfg(test)]
    pub(super) fn refusals(&self) -> u32 {
        self.refusals
    }
}

/// Returns the wait that a refusal states, or `None` if it states no wait.
pub(crate) fn asked_wait(limits: &StatedLimits) -> Option<Duration> {
    let until_reset = || limits.reset_after.map(|reset| reset.saturating_add(limits.reset_margin));
    let asked = limits.retry_after.or_else(until_reset)?;
    // A stated fraction of a second counts as stated.
    Some(if asked.is_zero() { SHORTEST_ASKED } else { asked })
}

/// Returns the wait that the server asked for, with jitter added, but at most `max_wait`.
pub(crate) fn with_jitter(asked: Duration, max_wait: Duration, share: f64) -> Duration {
    let most = (asked / JITTER_DIVISOR).min(MAX_JITTER);
    asked.saturating_add(most.mul_f64(share)).min(max_wait)
}

/// Returns the longest exponential delay after a server has refused every request for
/// `refused_for`. Full jitter can bring a few short delays in a row. The number of refusals is then
/// high although little time has passed, and this bound keeps the next delay short.
pub(super) fn in_proportion(refused_for: Duration) -> Duration {
    refused_for.saturating_mul(2).max(4 * BASE)
}

/// Returns an exponential delay with full jitter. `refusals` is the number of refusals before this
/// refusal without a success in between.
pub(crate) fn exponential(refusals: u32, base: Duration, max_wait: Duration, share: f64) -> Duration {
    let step = base.saturating_mul(1u32.checked_shl(refusals).unwrap_or(u32::MAX));
    step.min(LONGEST_STEP).min(max_wait).mul_f64(share)
}

#[cfg(test)]
mod tests;
