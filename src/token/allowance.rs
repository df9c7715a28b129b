//! [`Allowance`]: how many token requests may be sent now, and when the next request may be sent.

use std::{collections::VecDeque, time::Duration};

use super::sync::Instant;
use crate::api::limits::StatedLimits;

/// The endpoint's documented window.
pub(crate) const DOCUMENTED_WINDOW: Duration = Duration::from_secs(60);
/// The endpoint's documented limit in one window. All processes with one client id share it.
pub(crate) const DOCUMENTED_LIMIT: u32 = 10;
/// One place in this many is reserved for recovery after a 401.
const PLACES_PER_RESERVED: usize = 5;
/// The longest window that is accepted from a server.
const LONGEST_WINDOW: Duration = Duration::from_secs(5 * 60);

/// The purpose of a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// There is no valid token, or the token needs its early refresh.
    Supply,
    /// A request that carried the token got a 401.
    Recovery,
}

/// The count of the token requests.
///
/// 1. A request takes a place just before it is sent. The place is free again a whole window after
///    the last moment at which the request can arrive. By then the server's window that counted the
///    request is over.
/// 2. A request begins only if a place is free, so in any window at most `limit` requests arrive.
/// 3. The server's statements can only lower the number of requests that may be sent, and only
///    until the server's window ends.
#[derive(Debug)]
pub(super) struct Allowance {
    limit: usize,
    window: Duration,
    under_way: usize,
    /// When the places of the ended requests become free, in ascending order.
    taken_until: VecDeque<Instant>,
    server: Option<ServerCount>,
}

#[derive(Debug)]
struct ServerCount {
    remaining: u64,
    until: Instant,
}

impl Allowance {
    pub(super) fn new(limit: u32, window: Duration) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
        Self { limit, window, under_way: 0, taken_until: VecDeque::new(), server: None }
    }

    /// Returns how long until a place is free for a request with this purpose. Zero means that a
    /// place is free now.
    pub(super) fn wait(&mut self, now: Instant, purpose: Purpose) -> Duration {
        self.forget(now);
        let reserved = match purpose {
            Purpose::Supply => self.limit / PLACES_PER_RESERVED,
            Purpose::Recovery => 0,
        };
        let usable = self.limit.saturating_sub(reserved).max(1);
        let taken = self.taken_until.len() + self.under_way;
        // If the number of taken places exceeds the usable places by `n`, the earliest `n + 1`
        // places have to become free. The places of requests under way become free last.
        let own = match taken.checked_sub(usable) {
            None => Duration::ZERO,
            Some(excess) => {
                self.taken_until.get(excess).map_or(self.window, |until| until.saturating_duration_since(now))
            }
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

    /// Ends a request. `last_arrival` is the last moment at which the request can arrive. It may be
    /// in the future.
    pub(super) fn end(&mut self, last_arrival: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        let free_at = last_arrival + self.window;
        let later = self.taken_until.partition_point(|until| *until <= free_at);
        self.taken_until.insert(later, free_at);
    }

    /// Learns from a response how many requests the endpoint has left for all processes.
    pub(super) fn learn(&mut self, now: Instant, limits: &StatedLimits) {
        if let Some(remaining) = limits.remaining {
            let window = limits.reset_after.unwrap_or(self.window).min(LONGEST_WINDOW);
            self.server = Some(ServerCount { remaining, until: now + window });
        }
    }

    /// Returns the number of requests that could be sent now, for any purpose.
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
