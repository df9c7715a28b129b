//! The gap between requests whose windows carry less than their limit, because other processes share them.

use std::time::Duration;

use tokio::time::Instant;

/// In a shared window requests leave at most at this multiple of the even rate: a process that is alone again uses up its
/// window in a quarter of it, and four that share one overshoot by a request each.
const RATE: u32 = 4;

/// The gap begins with what the last window carried, and is halved after this many successes, until it is that of the limit.
const EASE_STEP: u32 = 2;

/// A window that carried less than this part of its limit says nothing of an even share.
pub(super) const LEAST_SHARE_DIVISOR: u64 = 8;

/// Whether other processes share the windows, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    since: Option<Instant>,
    /// What the last window carried, and in what time.
    carried: u64,
    span: Duration,
    /// The successes since then.
    eased: u32,
    gap_ends: Option<Instant>,
}

impl Sharing {
    /// A window that lasted for `span` was used up although it `carried` too little.
    pub(super) fn notice(&mut self, carried: u64, span: Duration, now: Instant) {
        *self = Self { since: Some(now), carried, span, eased: 0, gap_ends: self.gap_ends };
    }

    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Ends it `memory` after it was last noticed.
    pub(super) fn forget_after(&mut self, memory: Duration, now: Instant) {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) > memory) {
            self.end();
        }
    }

    /// When it was last noticed.
    pub(super) fn known_since(&self) -> Option<Instant> {
        self.since
    }

    /// The time until which the next request has to wait.
    #[inline]
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        self.gap_ends.filter(|end| *end > now)
    }

    /// A request leaves, of the `limit` that a window of this `length` carries.
    #[inline]
    pub(super) fn sent(&mut self, limit: Option<u64>, length: Duration, now: Instant) {
        if let (Some(_), Some(limit)) = (self.since, limit) {
            let gap = |span: Duration, requests: u64| span / u32::try_from(requests.max(1)).unwrap_or(u32::MAX) / RATE;
            let halvings = 1u32.checked_shl(self.eased / EASE_STEP).unwrap_or(u32::MAX);
            let eased = gap(self.span.min(length), self.carried.max(limit / LEAST_SHARE_DIVISOR)) / halvings;
            self.gap_ends = Some(now + eased.max(gap(length, limit)));
        }
    }

    /// A request was accepted.
    #[inline]
    pub(super) fn ease(&mut self) {
        if self.since.is_some() {
            self.eased = self.eased.saturating_add(1);
        }
    }
}
