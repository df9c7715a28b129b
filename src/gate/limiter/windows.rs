//! [`Windows`]: windows that the server, the settings or the documentation state.
//!
//! We count our own requests until the server states its window. Its count then replaces our count,
//! whether it is larger or smaller.
//!
//! 1. Until the server states its window, at most `limit` slots are in use ([`UsedSlots`]).
//! 2. A response that states how many requests are left and when the window ends describes the
//!    present window. It replaces the count until the window ends. Then the slots of all requests
//!    that certainly got their responses in that window are free.
//! 3. The length of a window is the length that the server states. If it states none, the length is
//!    the time from one stated end to the next, if that time is shorter than the known length.
//! 4. A refusal that states when to retry means that no requests are left until then.
//! 5. If a window was used up although we sent fewer requests than the limit, other processes share
//!    it, or the server has no windows. Requests are then sent with a gap between them
//!    ([`Sharing`]).
//! 6. A stated limit is forgotten if the server has not repeated it for [`MEMORY`] windows.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    sharing::{LEAST_SHARE_DIVISOR, Sharing},
    slots::UsedSlots,
};
use crate::{
    api::limits::StatedLimits,
    gate::{
        RateLimit,
        cooldown::{self, PROBE_TIMEOUT},
    },
};

/// The number of windows after which a limit that the server no longer states is forgotten.
const MEMORY: u32 = 5;

/// The bounds on the jitter at the end of a window: this time, and this part of the time until the
/// end. The jitter spreads the processes of a fleet.
const MAX_WINDOW_JITTER: Duration = Duration::from_millis(250);
const WINDOW_JITTER_DIVISOR: u32 = 16;

/// A stated time is uncertain if the server's clock counts whole seconds, so it is prolonged. The
/// exception is a time below this value in a short window: there one request probes whether the
/// window has ended.
const SHORT_RESET: Duration = Duration::from_secs(4);

/// A length below the documented length is accepted after this many shorter windows in a row.
const SHORT_WINDOWS: u32 = 3;

#[derive(Debug)]
pub(super) struct Windows {
    /// The limit of the settings or the documentation. If it is `None`, requests are held back only
    /// after the server has stated a limit.
    documented: Option<u64>,
    documented_length: Duration,
    max_wait: Duration,
    limit: Option<u64>,
    /// When the server last stated its limit.
    stated_at: Option<Instant>,
    slots: UsedSlots,
    /// The server has stated the length of its windows.
    length_is_stated: bool,
    /// The longest time until a reset, if the server's limit is not the documented limit.
    least_length: Duration,
    window: Option<Window>,
    /// How many windows in a row were much shorter than the known length.
    short_windows: u32,
    /// When the previous window ended, as stated by the server.
    ended_at: Option<Instant>,
    /// Set if a window has ended and the next window may have no room for requests. One request
    /// then probes it. The inner value is when that request was sent.
    probe: Option<Option<Instant>>,
    sharing: Sharing,
    /// Until this time the passing of time has no effect. `None` if this has to be computed again.
    settled_until: Option<Instant>,
}

/// The window in which the server counts at present.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// When the server first stated it.
    began: Instant,
    /// The latest possible end. It is not earlier than the true end, unless the end is uncertain.
    ends: Instant,
    /// The earliest possible end. It is not later than the true end. The next window did not count
    /// requests whose responses had arrived by then.
    certain: Instant,
    jitter: Duration,
    /// How many requests are left, before requests in flight are subtracted.
    left: u64,
    /// The server has stated how many requests are left. Otherwise it has stated only when to
    /// retry.
    is_counted: bool,
    /// The window may end a little later than `ends`.
    is_uncertain: bool,
    /// We have counted our requests since the beginning of this window.
    is_whole: bool,
}

impl Window {
    fn opens(&self) -> Instant {
        self.ends + self.jitter
    }
}

impl Windows {
    pub(super) fn new(rate_limit: RateLimit, is_paced: bool, max_wait: Duration) -> Self {
        let documented = is_paced.then_some(rate_limit.requests);
        // Without a documented limit a window is as long as the server states or as assumed, and
        // both are bounded.
        let documented_length = if is_paced { rate_limit.window } else { rate_limit.window.min(max_wait) };
        Self {
            documented,
            documented_length,
            max_wait,
            limit: documented,
            stated_at: None,
            slots: UsedSlots::new(documented_length),
            length_is_stated: false,
            least_length: Duration::ZERO,
            window: None,
            short_windows: 0,
            ended_at: None,
            probe: None,
            sharing: Sharing::default(),
            settled_until: None,
        }
    }

    pub(super) fn is_documented(&self) -> bool {
        self.documented.is_some()
    }

    pub(super) fn documented_length(&self) -> Option<Duration> {
        self.documented.map(|_| self.documented_length)
    }

    pub(super) fn max_wait(&self) -> Duration {
        self.max_wait
    }

    /// How many slots belong to requests that got a response.
    pub(super) fn answered(&self) -> u64 {
        self.slots.answered()
    }

    #[inline]
    pub(super) fn held_until(&mut self, now: Instant) -> Option<Instant> {
        self.roll(now);
        if let Some(Some(probed_at)) = self.probe
            && now < probed_at + PROBE_TIMEOUT
        {
            return Some(probed_at + PROBE_TIMEOUT);
        }
        if let Some(window) = &self.window {
            if window.left <= self.slots.in_flight() {
                return Some(window.opens());
            }
        } else if self.limit.is_some_and(|limit| self.slots.used() >= limit) {
            // If all slots are in flight, the next response decides, and wakes the head of the
            // queue.
            return Some(self.slots.first_free_at().unwrap_or(now + self.slots.length()));
        }
        self.sharing.held_until(now)
    }

    #[inline]
    pub(super) fn sent(&mut self, now: Instant) {
        self.slots.sent(now);
        if let Some(probed_at) = &mut self.probe {
            *probed_at = Some(now);
        }
        self.sharing.sent(self.limit, self.slots.length(), now);
    }

    pub(super) fn not_sent(&mut self, sent_at: Instant, now: Instant) {
        self.roll(now);
        self.slots.returned(sent_at, false, now);
        if self.probe.is_some() {
            self.probe = Some(None);
        }
    }

    pub(super) fn lost(&mut self, sent_at: Instant, now: Instant) {
        self.roll(now);
        self.slots.returned(sent_at, true, now);
        self.one_less();
    }

    #[inline]
    pub(super) fn accepted(
        &mut self,
        limits: Option<&StatedLimits>,
        sent_at: Instant,
        now: Instant,
        share: impl Fn() -> f64,
    ) {
        self.roll(now);
        self.slots.returned(sent_at, true, now);
        self.sharing.ease();
        self.probe = None;
        match limits {
            Some(limits) => self.learn(limits, sent_at, now, share()),
            None => self.one_less(),
        }
    }

    pub(super) fn refused(&mut self, limits: &StatedLimits, sent_at: Instant, now: Instant) {
        self.roll(now);
        self.slots.returned(sent_at, false, now);
        self.settled_until = None;
        self.probe = None;
        self.learn_limit(limits, now);
        let Some(asked) = cooldown::asked_wait(limits) else {
            if let Some(window) = &mut self.window {
                window.left = 0;
            }
            return;
        };
        // No jitter here: the gate adds jitter, and holds requests back until the stated time.
        let ends = now + asked.min(self.max_wait);
        if let Some(reset) = limits.reset_after.filter(|reset| !reset.is_zero()) {
            self.learn_least_length(reset, false);
        }
        let is_counted = limits.remaining.is_some() || limits.reset_after.is_some();
        let said = Window {
            began: now,
            ends,
            certain: ends,
            jitter: Duration::ZERO,
            left: 0,
            is_counted,
            is_uncertain: false,
            is_whole: self.is_whole(),
        };
        match &mut self.window {
            Some(window) if window.ends < ends && !is_counted => window.left = 0,
            Some(window) if window.ends < ends + self.slots.length() / 2 && window.ends + asked / 4 > ends => {
                window.left = 0;
                window.ends = window.ends.min(ends);
                // Requests that were accepted before this refusal were counted in the window that
                // is used up now.
                window.certain = window.certain.max(now.min(window.ends));
            }
            window => *window = Some(said),
        }
    }

    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.roll(now);
        self.slots.used() == 0
            && self.window.is_none()
            && self.stated_at.is_none()
            && self.sharing.known_since().is_none()
    }

    /// Whether we have counted our requests for at least the length of a window.
    fn is_whole(&self) -> bool {
        self.documented.is_some() || self.ended_at.is_some()
    }

    /// Records that a request whose response states nothing has used up one request of the window.
    /// A statement includes its own request.
    fn one_less(&mut self) {
        if let Some(window) = &mut self.window {
            window.left = window.left.saturating_sub(1);
        }
    }

    fn learn(&mut self, limits: &StatedLimits, sent_at: Instant, now: Instant, share: f64) {
        self.learn_limit(limits, now);
        match (limits.remaining, limits.reset_after) {
            // A reset of zero means that the window ends within the second or has ended. Its end
            // stays unknown, but the number of requests left still counts.
            (Some(remaining), Some(Duration::ZERO)) => {
                self.one_less();
                // Responses may overtake each other, so this does not apply to the documented
                // limit.
                let limit = self.limit.filter(|_| self.limit != self.documented);
                if let Some(counted) = limit.and_then(|limit| limit.checked_sub(remaining)) {
                    self.slots.free_all_but(counted);
                }
                if let Some(window) = &mut self.window {
                    window.left = window.left.min(remaining);
                }
            }
            (Some(remaining), Some(reset)) => {
                self.learn_window(remaining, reset, limits.reset_margin, sent_at, now, share);
            }
            _ => self.one_less(),
        }
    }

    fn learn_limit(&mut self, limits: &StatedLimits, now: Instant) {
        if let Some(limit) = limits.limit.filter(|limit| *limit > 0) {
            self.limit = Some(limit);
            self.stated_at = Some(now);
            self.settled_until = None;
        }
        if let Some(window) = limits.window {
            self.slots.set_length(window.min(self.max_wait.max(self.documented_length)));
            self.length_is_stated = true;
            self.settled_until = None;
        }
    }

    /// Learns that a window is at least `reset` long. If the window `is_fresh`, that is its length.
    /// Without a stated length this is all that is known, unless the server's limit is the
    /// documented limit.
    fn learn_least_length(&mut self, reset: Duration, is_fresh: bool) {
        if self.length_is_stated || self.documented.is_some() && !is_fresh || self.limit == self.documented {
            return;
        }
        let reset = reset.min(self.max_wait);
        if self.least_length < reset {
            self.least_length = reset;
            self.slots.set_length(reset);
        }
    }

    /// Learns from a response how many requests are `left` of the window, and that the window ends
    /// after `reset`. The stated end is up to `margin` before the true end, or up to twice `margin`
    /// after it. The server made the statement between `sent_at` and `now`.
    fn learn_window(
        &mut self,
        left: u64,
        reset: Duration,
        margin: Duration,
        sent_at: Instant,
        now: Instant,
        share: f64,
    ) {
        self.settled_until = None;
        self.learn_least_length(reset, self.limit.is_some_and(|limit| left.saturating_add(1) >= limit));
        let reset = reset.min(self.max_wait);
        let is_short = reset < SHORT_RESET && self.slots.length() < 2 * SHORT_RESET;
        let prolonged = if is_short { Duration::ZERO } else { margin };
        // `UsedSlots` assumes that the server has counted the request by then.
        let said_at = now.min(sent_at + self.slots.answered_after());
        let (said, latest) = (said_at + reset, now + self.max_wait);
        let mut ends = (said + prolonged).min(latest);
        let mut is_uncertain = prolonged < margin;
        // Requests that got their responses before this request was sent were counted before it. A
        // server that rounds up states up to a second too much.
        let coarse = margin.max(Duration::from_secs(1));
        let mut certain = sent_at + reset.saturating_sub(margin + coarse);
        let counted = self.limit.and_then(|limit| limit.checked_sub(left));
        let all_ours = counted == Some(self.slots.used()) && !self.slots.have_expired_since(sent_at, now);
        if all_ours {
            // The server has counted only our requests, and all of our requests are in this window.
            // Then the window ends at the latest when the slot of its first request is free, a time
            // that we know to the millisecond. (No slot may have expired since, because it could be
            // mistaken for a slot of the next window.)
            certain = certain.max(now);
            if let Some(first) = self.slots.first_free_at()
                && first + 2 * coarse >= said
                && first <= ends
            {
                ends = first;
                is_uncertain = false;
            }
        }
        let jitter = MAX_WINDOW_JITTER.min(reset / WINDOW_JITTER_DIVISOR).mul_f64(share).min(latest - ends);
        let half = self.slots.length() / 2;
        match &mut self.window {
            // A late response from the previous window.
            Some(window) if window.is_counted && ends + half < window.ends => {}
            // Responses may overtake each other. So the lowest number left is the latest, and every
            // stated end is an upper bound.
            Some(window) if window.is_counted && ends < window.ends + half => {
                window.left = window.left.min(left);
                window.ends = window.ends.min(ends);
                window.certain = window.certain.max(certain);
                window.is_uncertain &= is_uncertain;
            }
            known => {
                if known.is_some_and(|window| window.is_counted) {
                    self.finish_window(now);
                }
                self.learn_length(ends, reset, sent_at);
                let is_whole = self.is_whole();
                self.window =
                    Some(Window { began: now, ends, certain, jitter, left, is_counted: true, is_uncertain, is_whole });
            }
        }
    }

    /// Learns the length of a new window that ends at `ends`, from the response to a request that
    /// was sent at `sent_at`. A window that follows another window at once is at most as long as
    /// the time between their ends. A request that was sent before the end of the previous window
    /// teaches nothing, because its response may describe that window.
    fn learn_length(&mut self, ends: Instant, reset: Duration, sent_at: Instant) {
        if let Some(ended_at) = self.ended_at.filter(|ended_at| sent_at >= *ended_at) {
            let longest = reset.max(ends.saturating_duration_since(ended_at));
            // The two ends may be off by a second or two. So a window that is not much shorter than
            // the known length counts as having that length. If the limit is the documented limit,
            // one short window is not enough.
            let is_shorter = longest < self.slots.length() / 2 && !longest.is_zero();
            self.short_windows = if is_shorter { self.short_windows + 1 } else { 0 };
            let enough = if self.limit == self.documented { SHORT_WINDOWS } else { 1 };
            if self.short_windows >= enough && !self.length_is_stated {
                self.slots.set_length(longest);
            }
        }
    }

    /// Applies the effects of the time that has passed.
    #[inline]
    fn roll(&mut self, now: Instant) {
        if self.settled_until.is_none_or(|until| until <= now) {
            self.catch_up(now);
        }
    }

    /// Returns when the passing of time next has an effect, if no event comes before.
    fn next_change(&self, now: Instant) -> Instant {
        let memory = self.memory();
        let changes = [
            self.window.map(|window| window.opens()),
            self.slots.first_free_at(),
            self.slots.next_settled_at(),
            self.sharing.known_since().map(|since| since + memory),
            self.stated_at.map(|stated| stated + memory),
            self.ended_at.map(|ended| ended + memory),
        ];
        // Later statements and slots have no effect before this time.
        changes.into_iter().flatten().fold(now + self.slots.length() / 4, Instant::min)
    }

    fn memory(&self) -> Duration {
        (self.slots.length() * MEMORY).max(self.documented_length.min(Duration::from_secs(10)))
    }

    #[cold]
    fn catch_up(&mut self, now: Instant) {
        self.slots.settle(now);
        if self.window.is_some_and(|window| window.opens() <= now) {
            self.finish_window(now);
        }
        // The requests of a window are counted when the next window opens, a little after the first
        // slot is free. So no slot of the window is freed before that.
        self.slots.expire(now, self.window.map(|window| window.ends));
        let memory = self.memory();
        self.sharing.forget_after(memory, now);
        let is_past = |at: Instant| now.saturating_duration_since(at) > memory;
        if self.stated_at.is_some_and(is_past) {
            self.limit = self.documented;
            self.stated_at = None;
            self.length_is_stated = false;
            self.least_length = Duration::ZERO;
            self.slots.set_length(self.documented_length);
        }
        if self.ended_at.is_some_and(is_past) {
            self.ended_at = None;
        }
        self.settled_until = Some(self.next_change(now));
    }

    fn finish_window(&mut self, now: Instant) {
        let Some(window) = self.window.take() else { return };
        if window.is_counted {
            let sent = self.slots.used();
            let used_up = window.left == 0;
            match self.limit {
                Some(limit) if used_up && sent < limit && window.is_whole => {
                    self.sharing.notice(sent, window.ends.saturating_duration_since(window.began), now);
                    if sent < limit / LEAST_SHARE_DIVISOR {
                        self.probe = Some(None);
                    }
                }
                Some(_) if used_up => self.sharing.end(),
                None if used_up => self.probe = Some(None),
                _ => {}
            }
            self.ended_at = Some(window.ends);
            if window.is_uncertain {
                self.probe = Some(None);
            }
        }
        self.slots.free_those_answered_by(window.certain);
    }

    #[cfg(test)]
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    #[cfg(test)]
    pub(super) fn ends(&self) -> Option<Instant> {
        self.window.map(|window| window.ends)
    }

    #[cfg(test)]
    pub(super) fn first_free_at(&self) -> Option<Instant> {
        self.slots.first_free_at()
    }

    /// Makes the next call apply the effects of time, even if none is due.
    #[cfg(test)]
    pub(super) fn unsettle(&mut self) {
        self.settled_until = None;
    }
}
