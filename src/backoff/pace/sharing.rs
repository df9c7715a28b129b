//! The gap that requests keep while their windows are shared with others.

use std::time::Duration;

use tokio::time::Instant;

/// In a shared window requests leave at most at this multiple of the even rate: a process that is alone again uses up
/// its window in a quarter of it, and four that share one overshoot by a request each.
const RATE: u32 = 4;

/// The gap is worked out from this limit where none is known.
const UNKNOWN_LIMIT: u64 = 60;

/// Where no limit is known the gap is halved after this many successes, and gone after [`EASED`].
const EASE_STEP: u32 = 4;
pub(super) const EASED: u32 = 24;

/// Whether windows are shared with others, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    since: Option<Instant>,
    /// The successes since then, where no limit is known.
    eased: u32,
    gap_ends: Option<Instant>,
}

impl Sharing {
    pub(super) fn notice(&mut self, now: Instant) {
        self.since = Some(now);
        self.eased = 0;
    }

    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Nothing lasts for ever: it ends `memory` after it was last noticed.
    pub(super) fn forget_after(&mut self, memory: Duration, now: Instant) {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) > memory) {
            self.end();
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.since.is_some()
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
        if self.since.is_some() {
            let even = length / u32::try_from(limit.unwrap_or(UNKNOWN_LIMIT).max(1)).unwrap_or(u32::MAX);
            self.gap_ends = Some(now + even / RATE / (1 << (self.eased / EASE_STEP)));
        }
    }

    /// A request was accepted where no limit is known: success after success narrows the gap until it is gone.
    pub(super) fn ease(&mut self) {
        if self.since.is_some() {
            self.eased += 1;
            if self.eased >= EASED {
                self.end();
            }
        }
    }
}
