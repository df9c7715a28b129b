//! The allowance of the token endpoint: how many fetches may still be made, and when the next.

use std::{collections::VecDeque, time::Duration};

use super::sync::Instant;
use crate::api::limits::RateLimits;

/// The endpoint's documented window.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// The endpoint's documented limit in one window, for all processes of one client id together.
pub(crate) const DOCUMENTED_LIMIT: u32 = 10;
/// One place in this many is kept for a fetch that a 401 made necessary.
const PLACES_PER_RESERVED: usize = 5;
/// What a server says of its window is believed up to here.
const LONGEST_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Why a fetch is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// There is no token, or it grows old.
    Supply,
    /// A request that carried the token got a 401.
    Recovery,
}

/// Counts fetches.
///
/// 1. A fetch has a place from before it is sent until [`WINDOW`] after it ended: whichever window of the server it was
///    counted in, that window is over by then.
/// 2. No fetch is begun without a free place, so in any window at most `limit` are under way.
/// 3. What the server says only ever lowers what may be sent, and only until its window ends.
#[derive(Debug)]
pub(super) struct Quota {
    limit: usize,
    under_way: usize,
    /// When the places of the fetches that have ended become free, earliest first.
    taken_until: VecDeque<Instant>,
    server: Option<ServerCount>,
}

#[derive(Debug)]
struct ServerCount {
    remaining: u64,
    until: Instant,
}

impl Quota {
    pub(super) fn new(limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
        Self { limit, under_way: 0, taken_until: VecDeque::new(), server: None }
    }

    /// How long until there is a place for a fetch with this purpose; zero when it may be made now.
    pub(super) fn wait(&mut self, now: Instant, purpose: Purpose) -> Duration {
        self.forget(now);
        let reserved = match purpose {
            Purpose::Supply => self.limit / PLACES_PER_RESERVED,
            Purpose::Recovery => 0,
        };
        let usable = self.limit.saturating_sub(reserved).max(1);
        let taken = self.taken_until.len() + self.under_way;
        // With `n` places too many taken, the earliest `n + 1` have to become free first; those under way end last.
        let own = match taken.checked_sub(usable) {
            None => Duration::ZERO,
            Some(excess) => self.taken_until.get(excess).map_or(WINDOW, |until| until.saturating_duration_since(now)),
        };
        let servers = match &self.server {
            Some(server) if server.remaining == 0 => server.until.saturating_duration_since(now),
            _ => Duration::ZERO,
        };
        own.max(servers)
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.forget(now);
        self.under_way += 1;
        if let Some(server) = &mut self.server {
            server.remaining = server.remaining.saturating_sub(1);
        }
    }

    pub(super) fn end(&mut self, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.taken_until.push_back(now + WINDOW);
    }

    /// What an answer of the endpoint says of the fetches that all processes have made.
    pub(super) fn learn(&mut self, now: Instant, limits: &RateLimits) {
        if let Some(remaining) = limits.remaining {
            let window = limits.reset_after.unwrap_or(WINDOW).min(LONGEST_WINDOW);
            self.server = Some(ServerCount { remaining, until: now + window });
        }
    }

    /// How many fetches could be made now, with any purpose.
    pub(super) fn free(&mut self, now: Instant) -> usize {
        self.forget(now);
        let own = self.limit.saturating_sub(self.taken_until.len() + self.under_way);
        let server = self.server.as_ref().map(|server| usize::try_from(server.remaining).unwrap_or(usize::MAX));
        server.map_or(own, |server| own.min(server))
    }

    fn forget(&mut self, now: Instant) {
        while self.taken_until.front().is_some_and(|until| *until <= now) {
            self.taken_until.pop_front();
        }
        if self.server.as_ref().is_some_and(|server| server.until <= now) {
            self.server = None;
        }
    }
}

#[cfg(test)]
mod tests;
