//! [`FoundRate`]: the rate of a server that states no window.
//!
//! Requests are sent in *pulses*. The first request of a pulse probes whether the server accepts
//! requests again. If it is accepted, the rest of the pulse follows.
//!
//! 1. A pulse ends when the server refuses a request, or when the server has accepted as many
//!    requests as in the pulse before (`burst`).
//! 2. The limiter finds the time between two pulses by bisection. It tries times between a time
//!    that was too short (`too_short`) and a time that was long enough (`long_enough`), until the
//!    two differ by less than a sixteenth.
//! 3. Every few pulses the limiter tries a larger burst: one more request, and twice as many after
//!    each success. With a burst of one, it tries an earlier pulse instead. If the server refuses,
//!    the limiter tries half as often from then on, but at least once in two minutes.
//! 4. If a pulse came earlier than before and its burst was not accepted, it came too soon. If it
//!    came no earlier, the burst falls to the number of accepted requests. A time that is no longer
//!    long enough is given up.
//! 5. The server may have counted a lost request. So a lost request counts as accepted when the
//!    time between two pulses is measured. An outage thus does not make that time longer.
//! 6. If no request was accepted for longer than any pulse waits, the refusals have another cause,
//!    for instance another process. The found rate is then out of date: the first accepted pulse
//!    tries a larger burst, and the search for the time between pulses starts again.

use std::time::Duration;

use tokio::time::Instant;

use crate::gate::cooldown::{self, PROBE_TIMEOUT};

/// The rate is forgotten after a time without use, which is this many times as long as the time
/// between two pulses. In that time the rate has held no request back, and the server has refused
/// none.
const MEMORY: u32 = 5;
const SHORTEST_MEMORY: Duration = Duration::from_secs(10);

/// The most pulses, and the longest time, until the limiter tries a larger burst again.
const MAX_PULSES: u32 = 16;
const LONGEST_QUIET: Duration = Duration::from_secs(120);

/// The shortest time between two pulses.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct FoundRate {
    /// The time of sending of the last request of the earlier pulses. Only requests that the server
    /// may have counted matter.
    anchor: Instant,
    pulse: Pulse,
    burst: Option<u64>,
    too_short: Duration,
    long_enough: Option<Duration>,
    was_found: bool,
    /// The time between pulses to try first: the length of a documented window.
    expected: Option<Duration>,
    /// The longest time between pulses.
    longest: Duration,
    /// How many pulses were refused without an accepted request since `long_enough` was last known.
    misses: u32,
    /// How many pulses remain until the limiter tries a larger burst.
    quiet: u32,
    /// The number of pulses that `quiet` began with.
    quiet_for: u32,
    /// When the server last refused a request, or this rate last held a request back.
    used_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Pulse {
    began: Instant,
    sent: u64,
    accepted: u64,
    /// The time of sending of the last accepted or lost request of this pulse. The server may have
    /// counted it.
    counted_at: Option<Instant>,
    /// The server has refused a request of this pulse, so the next request begins another pulse.
    is_over: bool,
    /// Set if this pulse tries more than this burst.
    exceeds: Option<u64>,
}

impl FoundRate {
    /// Begins the search after the refusal of a request that was sent at `sent_at`. `expected` is
    /// the length of a documented window, if there is one. `accepted` is the number of requests
    /// that were accepted in that time. No pulse waits for longer than `max_wait`.
    pub(super) fn new(sent_at: Instant, expected: Option<Duration>, accepted: u64, max_wait: Duration) -> Self {
        let pulse = Pulse { began: sent_at, sent: 0, accepted: 0, counted_at: None, is_over: true, exceeds: None };
        Self {
            anchor: sent_at,
            pulse,
            burst: Some(accepted).filter(|accepted| *accepted > 0),
            too_short: Duration::ZERO,
            long_enough: None,
            was_found: false,
            expected,
            longest: max_wait.min(LONGEST_QUIET),
            misses: 0,
            quiet: 1,
            quiet_for: 1,
            used_at: sent_at,
        }
    }

    /// Returns when to look again, or `None` if the next request may be sent.
    pub(super) fn held_until(&mut self, now: Instant) -> Option<Instant> {
        if self.pulse.is_over || self.pulse.sent < self.allowed(now) {
            return None;
        }
        let next = self.next_pulse().filter(|next| *next > now)?;
        self.used_at = now;
        // A response may allow more requests, and wakes the head of the queue. The head also wakes
        // when the response is late.
        let late = self.pulse.began + PROBE_TIMEOUT;
        Some(if self.pulse.accepted == 0 && late > now { next.min(late) } else { next })
    }

    pub(super) fn sent(&mut self, now: Instant) {
        if self.pulse.is_over || self.pulse.sent >= self.allowed(now) {
            self.begin(now);
        }
        self.pulse.sent += 1;
    }

    /// Records that a request never reached the server. Another request gets its place in the
    /// pulse.
    pub(super) fn not_sent(&mut self, sent_at: Instant) {
        if sent_at >= self.pulse.began && !self.pulse.is_over {
            self.pulse.sent = self.pulse.sent.saturating_sub(1);
        }
    }

    /// Records that a request that was sent at `sent_at` was given up or failed.
    pub(super) fn lost(&mut self, sent_at: Instant) {
        if sent_at >= self.pulse.began && !self.pulse.is_over {
            self.pulse.counted_at = self.pulse.counted_at.max(Some(sent_at));
        }
    }

    fn begin(&mut self, now: Instant) {
        self.anchor = self.pulse.counted_at.unwrap_or(self.anchor);
        // A pulse without an accepted request says nothing about room for a larger burst.
        if self.pulse.accepted > 0 || self.pulse.sent == 0 {
            self.quiet = self.quiet.saturating_sub(1);
        }
        let is_out_of_date = self.long_enough.is_none() && now.saturating_duration_since(self.anchor) > self.longest;
        if is_out_of_date {
            (self.quiet, self.quiet_for, self.too_short) = (0, 1, Duration::ZERO);
        }
        let is_rising = self.quiet == 0;
        if is_rising {
            // The larger burst counts as refused until it succeeds.
            self.rest(self.quiet_for.saturating_mul(2));
            if self.burst == Some(1) {
                // The next pulse begins a sixteenth earlier.
                self.too_short = self.too_short.min(self.long_enough.unwrap_or_default() * 7 / 8);
            }
        }
        self.pulse = Pulse {
            began: now,
            sent: 0,
            accepted: 0,
            counted_at: None,
            is_over: false,
            exceeds: self.burst.filter(|_| is_rising),
        };
    }

    pub(super) fn accepted(&mut self, sent_at: Instant) {
        if sent_at < self.pulse.began || self.pulse.is_over {
            return;
        }
        self.pulse.accepted += 1;
        self.pulse.counted_at = self.pulse.counted_at.max(Some(sent_at));
        if self.pulse.accepted == 1 {
            self.misses = 0;
        }
        let is_whole = self.pulse.accepted == self.burst.unwrap_or(1);
        if is_whole || self.pulse.accepted == 1 && self.long_enough.is_none() {
            self.burst_was_accepted(self.pulse.began - self.anchor);
        }
        if self.burst.is_some_and(|burst| self.pulse.accepted > burst) {
            self.burst = Some(self.pulse.accepted);
            self.rest(if self.pulse.exceeds.is_some_and(|known| self.pulse.accepted >= 2 * known) {
                1
            } else {
                self.quiet_for
            });
        }
    }

    /// Records that the server has accepted the whole burst of a pulse that began `waited` after
    /// the one before.
    fn burst_was_accepted(&mut self, waited: Duration) {
        if self.long_enough.is_none_or(|known| waited < known) {
            if self.long_enough.is_some_and(|known| waited < known * 7 / 8) {
                self.rest(1);
            }
            self.long_enough = Some(waited);
            self.was_found = true;
            // The pulses may take longer now, so fewer of them may be quiet.
            self.quiet = self.quiet.min(self.most_quiet());
        }
        if waited <= self.too_short {
            self.too_short = waited / 2;
        }
    }

    /// Records the first refusal among requests that were sent together. Returns when the server is
    /// expected to accept requests again, if that is known.
    pub(super) fn refused(&mut self, sent_at: Instant, now: Instant, share: f64) -> Option<Instant> {
        self.used_at = now;
        if sent_at >= self.pulse.began && !self.pulse.is_over {
            let waited = self.pulse.began - self.anchor;
            let is_short = self.burst.is_some_and(|burst| self.pulse.accepted < burst);
            if self.pulse.accepted == 0 {
                self.too_short = self.too_short.max(waited);
                self.long_enough = self.long_enough.filter(|known| *known > waited);
            } else if is_short && self.long_enough.is_some_and(|known| waited < known) {
                // The pulse came too early for all of its burst.
                self.too_short = self.too_short.max(waited);
            } else {
                if self.burst.is_some_and(|burst| self.pulse.accepted < burst / 2) {
                    self.rest(1);
                }
                self.burst = Some(self.pulse.accepted);
                self.burst_was_accepted(waited);
            }
        }
        self.pulse.is_over = true;
        let anchor = self.pulse.counted_at.unwrap_or(self.anchor);
        let Some(period) = self.period() else {
            self.misses = self.misses.saturating_add(1);
            if !self.too_short.is_zero() && self.was_found {
                // The time between pulses was known and has become longer.
                return Some(now + (now - anchor).mul_f64(0.125 + share / 8.0));
            }
            // The exponential delay decides, unless a documented window ends before that delay.
            let expected = anchor + self.expected?;
            let step = Duration::from_secs(1u64.checked_shl(self.misses - 1).unwrap_or(u64::MAX).min(60));
            let most = step.min(cooldown::in_proportion(now - anchor));
            return Some(expected).filter(|expected| *expected > now && *expected <= now + most);
        };
        let next = anchor + period + period.mul_f64(share / 32.0);
        Some(next.max(now + (period / 16).max(SHORTEST_WAIT)))
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        let memory = (self.long_enough.unwrap_or_default() * MEMORY).max(SHORTEST_MEMORY);
        now.saturating_duration_since(self.used_at) > memory
    }

    /// Returns how many requests the present pulse may have so far.
    fn allowed(&self, now: Instant) -> u64 {
        let Pulse { began, accepted, exceeds, .. } = self.pulse;
        let Some(burst) = self.burst else { return u64::MAX };
        if accepted == 0 && now < began + PROBE_TIMEOUT {
            return 1;
        }
        match exceeds {
            Some(known) if accepted >= known => known + 1 + 2 * (accepted - known),
            _ => burst,
        }
    }

    /// Returns when the next pulse may begin.
    fn next_pulse(&self) -> Option<Instant> {
        let last = self.pulse.counted_at.unwrap_or(self.pulse.began);
        Some(last + self.period()?)
    }

    /// Returns the time between pulses to try next.
    fn period(&self) -> Option<Duration> {
        let long_enough = self.long_enough?;
        let is_found = self.too_short >= long_enough * 15 / 16;
        let period = if is_found { long_enough } else { (self.too_short + long_enough) / 2 };
        Some(period.min(self.longest))
    }

    /// Tries no larger burst for this many pulses, but for at most [`most_quiet`](Self::most_quiet)
    /// pulses.
    fn rest(&mut self, pulses: u32) {
        self.quiet_for = pulses.min(self.most_quiet());
        self.quiet = self.quiet_for;
    }

    fn most_quiet(&self) -> u32 {
        let period = self.long_enough.unwrap_or_default().max(Duration::from_millis(1));
        let most = (LONGEST_QUIET.as_millis() / period.as_millis()).clamp(1, u128::from(MAX_PULSES));
        u32::try_from(most).unwrap_or(MAX_PULSES)
    }
}
