//! [`Sharing`]: the gap between requests if other processes share a window.

use std::time::Duration;

use tokio::time::Instant;

/// In a shared window requests are sent at most at this multiple of the rate that spreads the limit
/// evenly over the window. A process that is alone again thus uses up its window in a quarter of
/// the time. Four processes that share a window exceed the limit by one request each.
const RATE: u32 = 4;

/// The first gap follows from the number of requests in the last window. It is halved after this
/// many successes, until it is the gap of the limit.
const EASE_STEP: u32 = 2;

/// A window in which we sent less than this part of the limit says nothing about an even share.
pub(super) const LEAST_SHARE_DIVISOR: u64 = 8;

/// The evidence that other processes share the windows.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    since: Option<Instant>,
    /// How many of our requests were in the last window.
    sent: u64,
    /// How long the last window took.
    span: Duration,
    /// The number of successes since the sharing was last noticed.
    eased: u32,
    gap_ends: Option<Instant>,
}

impl Sharing {
    /// Records that a window of length `span` was used up, although we sent only `sent` requests
    /// in it, fewer than the limit.
    pub(super) fn notice(&mut self, sent: u64, span: Duration, now: Instant) {
        *self = Self { since: Some(now), sent, span, eased: 0, gap_ends: self.gap_ends };
    }

    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Ends the sharing, if it was last noticed longer than `memory` ago.
    pub(super) fn forget_after(&mut self, memory: Duration, now: Instant) {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) > memory) {
            self.end();
        }
    }

    /// Returns when the sharing was last noticed.
    pub(super) fn known_since(&self) -> Option<Instant> {
        self.since
    }

    /// Returns the time until which the next request has to wait, if it has to wait.
    #[inline]
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.gap_ends.filter(|end| *end > now)
    }

    /// Records that a request is sent. A window has this `length`, and room for `limit` requests.
    #[inline]
    pub(super) fn sent(&mut self, limit: Option<u64>, length: Duration, now: Instant) {
        if let (Some(_), Some(limit)) = (self.since, limit) {
            let gap = |span: Duration, requests: u64| span / u32::try_from(requests.max(1)).unwrap_or(u32::MAX) / RATE;
            let halvings = 1u32.checked_shl(self.eased / EASE_STEP).unwrap_or(u32::MAX);
            let eased = gap(self.span.min(length), self.sent.max(limit / LEAST_SHARE_DIVISOR)) / halvings;
            self.gap_ends = Some(now + eased.max(gap(length, limit)));
        }
    }

    /// Records an accepted request.
    #[inline]
    pub(super) fn ease(&mut self) {
        if self.since.is_some() {
            self.eased = self.eased.saturating_add(1);
        }
    }
}
