//! What an answer says of rate limits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{
    HeaderMap, HeaderName,
    header::{DATE, RETRY_AFTER},
};

pub(crate) const X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// What gRPC has for `Retry-After`: milliseconds.
pub(crate) const GRPC_RETRY_PUSHBACK_MS: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// A reset below this is a delta (of up to 31 years) and not a time: as one, it would be before September 2001.
const FIRST_EPOCH_SECOND: u64 = 1_000_000_000;

/// A reset from here on is in milliseconds: in seconds it would be after the year 5138, in milliseconds it is after
/// March 1973.
const FIRST_EPOCH_MILLISECOND: u64 = 100_000_000_000;

/// The longest wait that comes of a time of the server's clock when only the local clock is there to hold against it.
///
/// The two may differ by anything, while the documented windows are a minute long.
const LONGEST_WITHOUT_DATE: Duration = Duration::from_secs(60 * 60);

/// The rate-limit headers of one answer, as far as they were there and made sense.
///
/// Times are relative: how long after the answer was made. They have been read against the answer's own `Date`. They are
/// saturated, but otherwise not judged: a server can ask for a wait of years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateLimits {
    /// `X-RateLimit-Limit`: requests in a window.
    pub(crate) limit: Option<u64>,
    /// `X-RateLimit-Remaining`: requests left in this window.
    pub(crate) remaining: Option<u64>,
    /// `X-RateLimit-Reset`: until the window ends.
    pub(crate) reset_after: Option<Duration>,
    /// `Retry-After` or `grpc-retry-pushback-ms`: until the server wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

impl RateLimits {
    /// Reads the headers of an answer that arrived at `now` by the local clock, which stands in for a missing `Date`.
    ///
    /// Of several values of one header the most careful one counts: the fewest requests, the longest wait. Values that
    /// are not whole numbers (nor dates, in `Retry-After`) are left out. A time that has passed is a wait of zero. A
    /// time that had to be read against `now` is a wait of an hour at most; a delta is not bounded.
    pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        let clock = Clock::of(headers, now);
        let date = |text: &str| httpdate::parse_http_date(text).ok().map(since_epoch).map(|epoch| clock.until(epoch));
        Self {
            limit: numbers(headers, X_RATE_LIMIT_LIMIT).min(),
            remaining: numbers(headers, X_RATE_LIMIT_REMAINING).min(),
            reset_after: numbers(headers, X_RATE_LIMIT_RESET).map(|number| clock.until_reset(number)).max(),
            retry_after: numbers(headers, RETRY_AFTER)
                .map(Duration::from_secs)
                .chain(texts(headers, RETRY_AFTER).filter_map(date))
                .chain(numbers(headers, GRPC_RETRY_PUSHBACK_MS).map(Duration::from_millis))
                .max(),
        }
    }
}

/// Whether a gRPC server says that a call must not be sent again: it does with any pushback that is no wait.
pub(crate) fn forbids_retry(headers: &HeaderMap) -> bool {
    let mut pushbacks = headers.get_all(&GRPC_RETRY_PUSHBACK_MS).iter();
    pushbacks.any(|pushback| pushback.to_str().ok().and_then(number).is_none())
}

/// The time at which an answer was made.
struct Clock {
    since_epoch: Duration,
    longest_wait: Duration,
}

impl Clock {
    fn of(headers: &HeaderMap, now: SystemTime) -> Self {
        match texts(headers, DATE).find_map(|text| httpdate::parse_http_date(text).ok()) {
            Some(date) => Self { since_epoch: since_epoch(date), longest_wait: Duration::MAX },
            None => Self { since_epoch: since_epoch(now), longest_wait: LONGEST_WITHOUT_DATE },
        }
    }

    fn until(&self, epoch: Duration) -> Duration {
        epoch.saturating_sub(self.since_epoch).min(self.longest_wait)
    }

    fn until_reset(&self, number: u64) -> Duration {
        match number {
            ..FIRST_EPOCH_SECOND => Duration::from_secs(number),
            FIRST_EPOCH_SECOND..FIRST_EPOCH_MILLISECOND => self.until(Duration::from_secs(number)),
            FIRST_EPOCH_MILLISECOND.. => self.until(Duration::from_millis(number)),
        }
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// The whole numbers in the lists that are the values of a header, without the parameters (`60;w=60`) behind them.
fn numbers(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = u64> {
    let numeral = |item: &str| item.split(';').next().map(str::trim).and_then(number);
    texts(headers, name).flat_map(|text| text.split(',')).filter_map(numeral)
}

/// A number of nothing but digits; one that is too large for the type is as large as the type has it.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
