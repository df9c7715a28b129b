//! What an answer says of rate limits.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};

pub(crate) const X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The rate-limit headers of one answer, as far as they were there and made sense.
///
/// Times are relative: how long after the answer was made. They have been read against the answer's own `Date`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateLimits {
    /// `X-RateLimit-Limit`: requests in a window.
    pub(crate) limit: Option<u64>,
    /// `X-RateLimit-Remaining`: requests left in this window.
    pub(crate) remaining: Option<u64>,
    /// `X-RateLimit-Reset`: until the window ends.
    pub(crate) reset_after: Option<Duration>,
    /// `Retry-After`: until the server wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

impl RateLimits {
    /// Reads the headers of an answer that arrived at `now` by the local clock, which stands in for a missing `Date`.
    pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        let _ = (headers, now);
        todo!()
    }
}
