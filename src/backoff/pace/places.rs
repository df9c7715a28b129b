//! The places of the allowance that are taken by requests which were answered, or lost.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Places are counted together when they were answered within this part of a window: it bounds the memory of a class.
const GRAIN_DIVISOR: u32 = 256;

/// Each place is taken from a request's answer until one window later.
#[derive(Debug)]
pub(super) struct Places {
    length: Duration,
    /// Oldest first.
    batches: VecDeque<Batch>,
    count: u64,
    expired: Option<Instant>,
}

/// Places that were taken at about the same time. All are free when the last one is.
#[derive(Clone, Copy, Debug)]
struct Batch {
    count: u64,
    closes: Instant,
    last_taken: Instant,
}

impl Places {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, batches: VecDeque::new(), count: 0, expired: None }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    #[inline]
    pub(super) fn take(&mut self, now: Instant) {
        self.count += 1;
        match self.batches.back_mut() {
            Some(last) if now < last.closes => {
                last.count += 1;
                last.last_taken = now;
            }
            _ => {
                let closes = now + self.length / GRAIN_DIVISOR;
                self.batches.push_back(Batch { count: 1, closes, last_taken: now });
            }
        }
    }

    /// When the oldest place will be free.
    pub(super) fn first_free_at(&self) -> Option<Instant> {
        self.batches.front().map(|batch| batch.last_taken + self.length)
    }

    /// When the oldest of the newest `count` places will be free.
    pub(super) fn free_at_of_newest(&self, mut count: u64) -> Option<Instant> {
        let is_among_them = |batch: &&Batch| {
            let is_among_them = count > 0;
            count = count.saturating_sub(batch.count);
            is_among_them
        };
        self.batches.iter().rev().take_while(is_among_them).last().map(|batch| batch.last_taken + self.length)
    }

    /// Frees the places whose time is over, but for those whose time was over at `still_counted` or later: they stay
    /// taken until they are freed without it.
    pub(super) fn expire(&mut self, now: Instant, still_counted: Option<Instant>) {
        let expired = self.free(|free_at| free_at <= now && still_counted.is_none_or(|from| free_at < from));
        self.expired = expired.or(self.expired);
    }

    /// Whether a place has become free by itself since `time`, or is taken although its time is over.
    pub(super) fn have_expired_since(&self, time: Instant, now: Instant) -> bool {
        self.expired.is_some_and(|expired| expired >= time)
            || self.first_free_at().is_some_and(|free_at| free_at <= now)
    }

    /// Frees the places that were taken by `time`.
    pub(super) fn free_those_taken_by(&mut self, time: Instant) {
        let time = time + self.length;
        self.free(|free_at| free_at <= time);
    }

    fn free(&mut self, is_free: impl Fn(Instant) -> bool) -> Option<Instant> {
        let mut last = None;
        while let Some(free_at) = self.first_free_at().filter(|free_at| is_free(*free_at)) {
            last = Some(free_at);
            self.count -= self.batches.pop_front().map_or(0, |batch| batch.count);
        }
        last
    }
}
