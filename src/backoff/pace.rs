//! Pacing: how many requests of a class may leave, and when, so that the limit is met without being hit.
//!
//! Pure: the clock and chance come in as arguments.
//!
//! What is sure is counted; what the server says replaces it:
//!
//! 1. Until the server has said otherwise, a request occupies a place of the documented allowance from when it is sent
//!    until one window after its answer. The server counted it between the two, so that no window of the server,
//!    however it is aligned, holds more than the allowance. (The usual arithmetic of a leaky bucket, as in `governor`,
//!    lets a burst and a window's refill pass within one window: twice the allowance.)
//! 2. An answer with `X-RateLimit-Remaining` and `-Reset` describes the present window: it replaces the count, up and
//!    down, until the window ends. Then all places that were answered are free.
//! 3. A refusal means that nothing is left of the present window. Where it does not say when the window ends, it is
//!    taken to end when the oldest place is free, and what this window carried becomes the limit.
//! 4. A window that was used up although it carried less than the limit was shared with others. Requests then keep a
//!    gap, so that each process loses one request to a refusal when the window is used up, not all of them, and each
//!    gets its share.
//! 5. What was learned is forgotten when it has not been said for [`MEMORY`] windows. A limit that was inferred is then
//!    raised by a quarter in every window, until it is the documented one again.

mod places;
mod sharing;

use std::time::Duration;

use tokio::time::Instant;

use self::{places::Places, sharing::Sharing};
use super::policy::{self, GRANULARITY};
use crate::api::limits::RateLimits;

/// The windows after which a limit that the server no longer states is forgotten.
const MEMORY: u32 = 5;

/// Pulls the processes of a fleet apart when a window ends.
const MOST_WINDOW_JITTER: Duration = Duration::from_millis(250);

/// How many requests a window carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) requests: u64,
    pub(super) window: Duration,
}

/// What became of a request that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// Answered, and not with 429; with what the answer says of the limit, if anything.
    Accepted(Option<RateLimits>),
    /// Answered with 429.
    Refused(RateLimits),
    /// Given up or failed: the server may have counted it.
    Lost,
    /// Failed before it could reach the server.
    NotSent,
}

#[derive(Debug)]
pub(super) struct Pace {
    /// The allowance to begin with; without one nothing is held back until the server has stated a limit.
    documented: Option<u64>,
    length: Duration,
    max_wait: Duration,
    limit: Option<u64>,
    learned: Option<Learned>,
    in_flight: u64,
    answered: Places,
    window: Option<Window>,
    sharing: Sharing,
    /// Before this, time alone changes nothing. `None` where that has to be worked out anew.
    settled_until: Option<Instant>,
}

/// A limit that is not the documented one.
#[derive(Clone, Copy, Debug)]
enum Learned {
    Stated {
        at: Instant,
    },
    /// `carried` is what a window did carry; the limit that is tried may be higher.
    Inferred {
        at: Instant,
        carried: u64,
    },
}

/// The window that the server counts in at present.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Not earlier than its true end.
    ends: Instant,
    /// Not later than its true end: what was answered by then was not counted in the next window.
    certain: Instant,
    jitter: Duration,
    /// What is left of it, requests in flight not yet subtracted.
    left: u64,
    /// Its end is our assumption, made at this time.
    assumed: Option<Instant>,
}

impl Window {
    fn opens(&self) -> Instant {
        self.ends + self.jitter
    }
}

impl Pace {
    pub(super) fn new(allowance: Allowance, paced: bool, max_wait: Duration) -> Self {
        let documented = paced.then_some(allowance.requests);
        Self {
            documented,
            length: allowance.window,
            max_wait,
            limit: documented,
            learned: None,
            in_flight: 0,
            answered: Places::new(allowance.window),
            window: None,
            sharing: Sharing::default(),
            settled_until: None,
        }
    }

    /// `None` when the next request may leave, otherwise when to ask again. A `probe` may leave before a window is
    /// over of which nobody has said when it ends.
    #[inline]
    pub(super) fn wait(&mut self, probe: bool, now: Instant) -> Option<Instant> {
        self.roll(now);
        if let Some(window) = &self.window {
            let probing = probe && window.assumed.is_some() && self.learned.is_none();
            if window.left <= self.in_flight && !probing {
                return Some(window.opens());
            }
        } else if self.limit.is_some_and(|limit| self.in_flight + self.answered.count() >= limit) {
            // With everything in flight the next answer decides; it wakes whoever waits here.
            return Some(self.answered.first_free_at().unwrap_or(now + self.length));
        }
        self.sharing.wait(now)
    }

    /// A request leaves.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant) {
        self.in_flight += 1;
        self.sharing.sent(self.limit, self.length, now);
    }

    /// A request that left at `sent_at` has come back, or never will. `share` is chance, from 0 to below 1.
    #[inline]
    pub(super) fn returned(&mut self, outcome: Outcome, sent_at: Instant, now: Instant, share: impl FnOnce() -> f64) {
        self.roll(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::NotSent => {}
            Outcome::Lost => {
                self.answered.take(now);
                self.one_less();
            }
            Outcome::Accepted(limits) => {
                self.answered.take(now);
                if self.limit.is_none() {
                    self.sharing.ease();
                }
                if self.window.and_then(|window| window.assumed).is_some_and(|assumed| sent_at > assumed) {
                    // Accepted where nothing should have been left: it was not our window that was used up.
                    self.window = None;
                    self.sharing.notice(now);
                }
                match limits {
                    Some(limits) => self.learn(&limits, sent_at, now, share()),
                    None => self.one_less(),
                }
            }
            Outcome::Refused(limits) => self.refused(&limits, now, share()),
        }
    }

    /// Whether this class is as it was when it was new, and nothing is held back.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.roll(now);
        self.in_flight == 0
            && self.answered.count() == 0
            && self.window.is_none()
            && self.learned.is_none()
            && !self.sharing.is_known()
    }

    /// Whether requests may leave without being counted.
    pub(super) fn is_unlimited(&mut self, now: Instant) -> bool {
        self.documented.is_none() && self.is_idle(now)
    }

    /// An answer that says nothing of the window has used a place of it. One that does counts itself.
    fn one_less(&mut self) {
        if let Some(window) = &mut self.window {
            window.left = window.left.saturating_sub(1);
        }
    }

    fn learn(&mut self, limits: &RateLimits, sent_at: Instant, now: Instant, share: f64) {
        self.learn_limit(limits, now);
        match (limits.remaining, limits.reset_after) {
            // It ends within the second, or has ended, and no end can be told from that. What is left of it can.
            (Some(remaining), Some(Duration::ZERO)) => {
                self.one_less();
                if let Some(window) = &mut self.window {
                    window.left = window.left.min(remaining);
                }
            }
            (Some(remaining), Some(reset)) => self.learn_window(remaining, reset, sent_at, now, share),
            _ => self.one_less(),
        }
    }

    fn learn_limit(&mut self, limits: &RateLimits, now: Instant) {
        if let Some(limit) = limits.limit.filter(|limit| *limit > 0) {
            self.limit = Some(limit);
            self.learned = Some(Learned::Stated { at: now });
        }
    }

    /// An answer said what is left of the window, and in how long it ends: a difference of whole seconds, up to a
    /// second short of the truth, or two seconds beyond it, at some time between `sent_at` and `now`.
    fn learn_window(&mut self, left: u64, reset: Duration, sent_at: Instant, now: Instant, share: f64) {
        self.settled_until = None;
        let reset = reset.min(self.max_wait);
        let (said, latest) = (now + reset, now + self.max_wait);
        let mut ends = (said + GRANULARITY).min(latest);
        let mut certain = sent_at + reset.saturating_sub(2 * GRANULARITY);
        let counted = self.limit.and_then(|limit| limit.checked_sub(left));
        if counted == Some(self.answered.count() + self.in_flight) && !self.answered.have_expired_since(sent_at, now) {
            // All that the server has counted are ours, and all of ours are in this window. (A place whose time was over
            // since could stand in for one of the next window.) Then it ends at the latest when the place of the first
            // is free, which we know to the millisecond.
            certain = certain.max(now);
            if let Some(first) = self.answered.first_free_at()
                && first + 2 * GRANULARITY >= said
            {
                ends = ends.min(first);
            }
        }
        let jitter = MOST_WINDOW_JITTER.mul_f64(share).min(latest - ends);
        match &mut self.window {
            // An answer that comes late, from the window before.
            Some(window) if window.assumed.is_none() && ends + self.length / 2 < window.ends => {}
            // Answers may overtake each other: the lowest is the latest, and every end is a bound from above.
            Some(window) if window.assumed.is_none() && ends < window.ends + self.length / 2 => {
                window.left = window.left.min(left);
                window.ends = window.ends.min(ends);
                window.certain = window.certain.max(certain);
            }
            known => {
                if known.is_some_and(|window| window.assumed.is_none()) {
                    self.finish_window(now);
                }
                self.window = Some(Window { ends, certain, jitter, left, assumed: None });
            }
        }
    }

    fn refused(&mut self, limits: &RateLimits, now: Instant, share: f64) {
        self.settled_until = None;
        self.learn_limit(limits, now);
        if let Some(asked) = policy::asked(limits) {
            // The gate adds the jitter, and sees to it that nobody leaves before the server wants to be asked again.
            let ends = now + asked.min(self.max_wait);
            let known = self.window.filter(|window| window.assumed.is_none() && window.ends < ends);
            let said = Window { ends, certain: ends, jitter: Duration::ZERO, left: 0, assumed: None };
            self.window = Some(known.unwrap_or(said));
        }
        let assumed_end = self.assumed_end();
        match (&mut self.window, assumed_end) {
            (Some(window), _) => window.left = 0,
            (None, Some(ends)) => {
                let jitter = MOST_WINDOW_JITTER.mul_f64(share);
                // Where nobody has said that it ends, every place stays taken until it is free by itself. (All were
                // answered at least a window before their end.)
                let certain = ends - self.length;
                self.window = Some(Window { ends, certain, jitter, left: 0, assumed: Some(now) });
            }
            // Whoever used it up, it was not us.
            (None, None) => self.sharing.notice(now),
        }
    }

    /// When the first request of the window that is now used up will be a window old. Places beyond what a window is
    /// known to carry were those of the window before.
    fn assumed_end(&self) -> Option<Instant> {
        let carried = match self.learned {
            Some(Learned::Inferred { carried, .. }) => carried,
            _ => u64::MAX,
        };
        self.answered.free_at_of_newest(carried)
    }

    /// Brings everything up to date.
    #[inline]
    fn roll(&mut self, now: Instant) {
        if self.settled_until.is_none_or(|until| until <= now) {
            self.catch_up(now);
        }
    }

    /// When time changes something next, unless something else does before.
    fn next_change(&self, now: Instant) -> Instant {
        let forgotten = self.learned.map(|learned| match learned {
            Learned::Stated { at } | Learned::Inferred { at, .. } => at + self.length * MEMORY,
        });
        let changes = [
            self.window.map(|window| window.opens()),
            self.answered.first_free_at(),
            self.sharing.known_since().map(|since| since + self.length * MEMORY),
            forgotten,
        ];
        // What is learned and which places are taken from now on changes no sooner than this.
        changes.into_iter().flatten().fold(now + self.length, Instant::min)
    }

    #[cold]
    fn catch_up(&mut self, now: Instant) {
        if self.window.is_some_and(|window| window.opens() <= now) {
            self.finish_window(now);
        }
        // What a window carried is counted when it opens, which is a little later than its first place is free.
        self.answered.expire(now, self.window.map(|window| window.ends));
        self.sharing.forget_after(self.length * MEMORY, now);
        let length = self.length;
        let past = |at: Instant, windows: u32| now.saturating_duration_since(at) > length * windows;
        match self.learned {
            Some(Learned::Stated { at }) if past(at, MEMORY) => self.forget(),
            Some(Learned::Inferred { at, .. }) if past(at, 2 * MEMORY) => self.forget(),
            Some(Learned::Inferred { at, carried }) if past(at, MEMORY) => {
                // Nobody says when a limit that was inferred is raised again: it is tried, a little in every window.
                self.limit = self.limit.map(|limit| limit + (limit / 4).max(1));
                self.learned = Some(Learned::Inferred { at: at + self.length, carried });
            }
            _ => {}
        }
        if let (Some(limit), Some(documented), Some(Learned::Inferred { .. })) =
            (self.limit, self.documented, self.learned)
            && limit >= documented
        {
            self.forget();
        }
        self.settled_until = Some(self.next_change(now));
    }

    fn forget(&mut self) {
        self.limit = self.documented;
        self.learned = None;
    }

    fn finish_window(&mut self, now: Instant) {
        let Some(window) = self.window.take() else { return };
        if window.assumed.is_some() {
            // Those were of the window before, if nobody has asked since they were free.
            self.answered.expire(now, Some(window.ends));
        }
        let carried = self.answered.count() + self.in_flight;
        let used_up = window.left == 0;
        match self.limit {
            Some(limit) if used_up && carried < limit => {
                if window.assumed.is_some() && !matches!(self.learned, Some(Learned::Stated { .. })) && carried > 0 {
                    self.limit = Some(carried);
                    self.learned = Some(Learned::Inferred { at: now, carried });
                }
                self.sharing.notice(now);
            }
            Some(_) if used_up => self.sharing.end(),
            None if used_up => self.sharing.notice(now),
            _ => {}
        }
        self.answered.free_those_taken_by(window.certain);
    }
}

#[cfg(test)]
mod tests;
