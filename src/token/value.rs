//! One token: what it is, and how long it is good for.

use std::{fmt, time::Duration};

use http::HeaderValue;

use super::sync::{Due, Flag, Instant};

/// A shorter lifetime could not be used, and would turn a server's mistake into a fetch per request.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(1);
/// Nobody should go on for longer with a token that was issued under yesterday's rules.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A token is not sent in the last moments of its life: it would expire on the way.
const LONGEST_LAST_MOMENTS: Duration = Duration::from_secs(5);
const LAST_MOMENTS_SHARE: u32 = 20;
/// The early refresh takes at most this share of a lifetime, so that short-lived tokens are used and not only renewed.
const REFRESH_SHARE: u32 = 3;
/// How much earlier than asked a refresh may come (a quarter of the margin), so that a fleet does not refresh as one.
const REFRESH_JITTER: f64 = 0.25;

/// A token that has just been issued.
pub(crate) struct Issued {
    /// The whole `Authorization` value, marked sensitive.
    pub(crate) authorization: HeaderValue,
    pub(crate) lifetime: Duration,
    /// When the request was sent: the server's clock for the token started later, never earlier.
    pub(crate) sent_at: Instant,
    pub(crate) request_id: Option<Box<str>>,
}

/// A token and its place in the sequence of tokens.
pub(crate) struct Token {
    authorization: HeaderValue,
    generation: u64,
    sent_at: Instant,
    /// Until then there is nothing to do but to send it: one comparison serves the hot path.
    fresh_until: Instant,
    /// In nanoseconds since `sent_at`, as the ages below.
    valid_for: u64,
    expires_after: u64,
    refresh: Due,
    /// A request that carried it got a 401.
    pub(super) refused: Flag,
    /// A 401 made it necessary, and no request has succeeded with it yet.
    pub(super) unproven: Flag,
}

impl Token {
    /// `jitter` is a random number from 0 to 1.
    pub(super) fn new(issued: Issued, generation: u64, forced: bool, refresh_before: Duration, jitter: f64) -> Self {
        let lifetime = issued.lifetime.clamp(SHORTEST_LIFETIME, LONGEST_LIFETIME);
        // No subtraction underflows: the last moments are at most a twentieth of the lifetime, the margin five twelfths.
        let valid_for = lifetime.saturating_sub(LONGEST_LAST_MOMENTS.min(lifetime / LAST_MOMENTS_SHARE));
        let margin =
            refresh_before.min(lifetime / REFRESH_SHARE).mul_f64(1.0 + REFRESH_JITTER * jitter.clamp(0.0, 1.0));
        let refresh_after = valid_for.min(lifetime.saturating_sub(margin));
        Self {
            authorization: issued.authorization,
            generation,
            sent_at: issued.sent_at,
            // Both are at most 24 hours: no sum overflows.
            fresh_until: issued.sent_at + refresh_after,
            valid_for: nanoseconds(valid_for),
            expires_after: nanoseconds(lifetime),
            refresh: Due::at(nanoseconds(refresh_after)),
            refused: Flag::new(false),
            unproven: Flag::new(forced),
        }
    }

    /// The `Authorization` value, marked sensitive. A clone of it is one reference count.
    #[inline]
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the caller should tell the cache when a request with this token has succeeded.
    #[inline]
    pub(crate) fn is_unproven(&self) -> bool {
        self.unproven.is_set()
    }

    /// Whether it is valid and its refresh is not due.
    #[inline]
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }

    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        self.nanoseconds_old(now) < self.valid_for
    }

    /// Whether a 401 or an invalidation has struck it, so that nobody may be handed it any longer.
    #[inline]
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.is_set()
    }

    pub(super) fn claim_refresh(&self, now: Instant) -> bool {
        self.refresh.claim(self.nanoseconds_old(now))
    }

    pub(super) fn put_off_refresh(&self, until: Instant) {
        self.refresh.put_off(self.nanoseconds_old(until));
    }

    /// How long requests go on carrying this token.
    pub(crate) fn valid_for(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.valid_for.saturating_sub(self.nanoseconds_old(now)))
    }

    /// How long the server goes on accepting this token.
    pub(crate) fn expires_in(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.expires_after.saturating_sub(self.nanoseconds_old(now)))
    }

    /// How long ago its request was sent.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.sent_at)
    }

    fn nanoseconds_old(&self, now: Instant) -> u64 {
        nanoseconds(self.age(now))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// Saturates after 584 years, far behind every clamp.
fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

#[cfg(test)]
mod tests;
