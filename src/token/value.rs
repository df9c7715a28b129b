//! [`Token`]: one token and its lifetime.

use std::{fmt, time::Duration};

use http::HeaderValue;

use super::sync::{Due, Flag, Instant};

/// The lower bound of a lifetime. A token with a shorter lifetime would be useless, and a server's
/// mistake would cost a fetch for every request.
const MIN_LIFETIME: Duration = Duration::from_secs(1);
/// The upper bound of a lifetime, so that a change of the server's rules reaches every client
/// within a day.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The last part of a lifetime, in which a token is no longer sent, because it could expire in
/// transit.
const MAX_EXPIRY_MARGIN: Duration = Duration::from_secs(5);
const EXPIRY_MARGIN_SHARE: u32 = 20;
/// The largest share of a lifetime that the early refresh takes, so that a short-lived token is
/// used for most of its life.
const REFRESH_SHARE: u32 = 3;
/// The largest jitter of the early refresh, as a share of the margin. It spreads the refreshes of a
/// fleet.
const REFRESH_JITTER: f64 = 0.25;

/// A token that has just been issued.
pub(crate) struct IssuedToken {
    /// The whole `Authorization` value, marked sensitive.
    pub(crate) authorization: HeaderValue,
    pub(crate) lifetime: Duration,
    /// When the token request was sent. The server counts the lifetime from this moment at the
    /// earliest.
    pub(crate) sent_at: Instant,
    pub(crate) request_id: Option<Box<str>>,
    /// The generation of the token in the store of the fleet. Zero if the store does not know the
    /// token.
    pub(crate) fleet_generation: u64,
    /// Whether another process of the fleet fetched the token.
    pub(crate) adopted: bool,
}

impl IssuedToken {
    /// Returns the lifetime, clamped to the accepted bounds.
    pub(crate) fn bounded_lifetime(&self) -> Duration {
        self.lifetime.clamp(MIN_LIFETIME, MAX_LIFETIME)
    }
}

/// A token and its place in the sequence of tokens.
pub(crate) struct Token {
    authorization: HeaderValue,
    generation: u64,
    fleet_generation: u64,
    sent_at: Instant,
    /// Until this moment the token is sent without further checks, so the hot path needs one
    /// comparison.
    fresh_until: Instant,
    /// In nanoseconds since `sent_at`, like the two fields below.
    valid_for: u64,
    expires_after: u64,
    refresh: Due,
    /// A request that carried this token got a 401, or the token was invalidated.
    pub(super) refused: Flag,
    /// A 401 made this token necessary, and no request with it has succeeded yet.
    pub(super) unconfirmed: Flag,
}

impl Token {
    /// `jitter` is a random number from 0 to 1.
    pub(super) fn new(
        issued: IssuedToken,
        generation: u64,
        forced: bool,
        refresh_before: Duration,
        jitter: f64,
    ) -> Self {
        let lifetime = issued.bounded_lifetime();
        // No subtraction underflows: the expiry margin is at most a twentieth of the lifetime, and
        // the margin is at most five twelfths of it.
        let valid_for = lifetime.saturating_sub(MAX_EXPIRY_MARGIN.min(lifetime / EXPIRY_MARGIN_SHARE));
        let margin =
            refresh_before.min(lifetime / REFRESH_SHARE).mul_f64(1.0 + REFRESH_JITTER * jitter.clamp(0.0, 1.0));
        let refresh_after = valid_for.min(lifetime.saturating_sub(margin));
        Self {
            authorization: issued.authorization,
            generation,
            fleet_generation: issued.fleet_generation,
            sent_at: issued.sent_at,
            // Both are at most 24 hours, so no sum overflows.
            fresh_until: issued.sent_at + refresh_after,
            valid_for: nanoseconds(valid_for),
            expires_after: nanoseconds(lifetime),
            refresh: Due::at(nanoseconds(refresh_after)),
            refused: Flag::new(false),
            unconfirmed: Flag::new(forced),
        }
    }

    /// Returns the `Authorization` value, marked sensitive. A clone of it only increments a
    /// reference count.
    #[inline]
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the generation of the token in the store of the fleet, or zero.
    pub(crate) fn fleet_generation(&self) -> u64 {
        self.fleet_generation
    }

    /// Returns whether the caller should tell the cache when a request with this token succeeds.
    #[inline]
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed.is_set()
    }

    /// Returns whether the token is valid and its refresh is not due.
    #[inline]
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }

    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        self.nanoseconds_old(now) < self.valid_for
    }

    /// Returns whether a 401 or an invalidation has ended the use of this token. No request gets
    /// such a token.
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

    /// Returns how much longer requests carry this token.
    pub(crate) fn valid_for(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.valid_for.saturating_sub(self.nanoseconds_old(now)))
    }

    /// Returns how much longer the server accepts this token.
    pub(crate) fn expires_in(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.expires_after.saturating_sub(self.nanoseconds_old(now)))
    }

    /// Returns when the token request for this token was sent.
    pub(super) fn sent_at(&self) -> Instant {
        self.sent_at
    }

    /// Returns how long ago the token request for this token was sent.
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

/// Returns the duration in nanoseconds. It saturates after 584 years, which is far above every
/// clamp.
fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

#[cfg(test)]
mod tests;
