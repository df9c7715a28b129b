//! The deadline of a gRPC call: it covers all attempts and all waits together.
//!
//! A gRPC client states its timeout in the header `grpc-timeout`. By the gRPC proposal A6 the
//! timeout covers all attempts, so
//!
//! - the engine ends a call when its deadline passes,
//! - a later attempt carries the time that is left,
//! - `grpc-previous-rpc-attempts` counts the attempts before it.

use std::{
    error::Error,
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use tokio::time::Instant;

use crate::{BoxError, classify::is_grpc, timer::Timer};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// The gRPC protocol: a timeout has at most eight digits, then its unit.
const MAX_DIGITS: usize = 8;
const MAX_VALUE: u128 = 99_999_999;

const HOUR: (char, u128) = ('H', 3_600 * 1_000_000_000);

/// The units of a timeout in nanoseconds, the finest first.
const UNITS: [(char, u128); 6] =
    [('n', 1), ('u', 1_000), ('m', 1_000_000), ('S', 1_000_000_000), ('M', 60 * 1_000_000_000), HOUR];

/// The deadline of one gRPC call, and the number of attempts that its caller has already made.
pub(super) struct Deadline {
    at: Instant,
    timer: Timer,
    previous_attempts: u32,
}

impl Deadline {
    /// Returns the deadline of `request`, counted from now. `None` if the request is not a gRPC
    /// call or has no usable timeout.
    #[cold]
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        // Every gRPC call is a `POST`.
        if *request.method() != Method::POST || !is_grpc(request) {
            return None;
        }
        let timeout = parse(only(request.headers(), &GRPC_TIMEOUT)?)?;
        let previous_attempts = only(request.headers(), &PREVIOUS_ATTEMPTS).and_then(|value| value.parse().ok());
        Some(Self {
            at: Instant::now().checked_add(timeout)?,
            timer: Timer::default(),
            previous_attempts: previous_attempts.unwrap_or(0),
        })
    }

    /// Writes the time that is left, and the number of earlier attempts, into the headers.
    ///
    /// If the header map has no room for the two fields, it keeps the values of the first attempt.
    pub(super) fn write<B>(&self, request: &mut Request<B>, attempts: u32) {
        let left = self.at.saturating_duration_since(Instant::now());
        let headers = request.headers_mut();
        let _ = headers.try_insert(GRPC_TIMEOUT, encode(left));
        let previous = self.previous_attempts.saturating_add(attempts);
        if previous > 0 {
            let _ = headers.try_insert(PREVIOUS_ATTEMPTS, HeaderValue::from(previous));
        }
    }

    /// Completes when the deadline has passed. On a runtime without timers it stays pending, and
    /// the call has no deadline.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<BoxError> {
        match self.timer.poll_until(self.at, cx) {
            Poll::Ready(Ok(())) => Poll::Ready(error()),
            _ => Poll::Pending,
        }
    }
}

/// Returns the value of a header that occurs exactly once and is visible ASCII.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()
}

/// Reads a timeout: one to eight digits, then a unit.
fn parse(timeout: &str) -> Option<Duration> {
    let unit = timeout.chars().next_back()?;
    let digits = timeout.strip_suffix(unit)?;
    if !(1..=MAX_DIGITS).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (_, nanoseconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    // Eight digits of hours are below 2^69 nanoseconds.
    let nanoseconds = digits.parse::<u128>().ok()? * nanoseconds;
    Some(Duration::new(u64::try_from(nanoseconds / 1_000_000_000).ok()?, (nanoseconds % 1_000_000_000) as u32))
}

/// Writes a timeout in the finest unit that has room for it. The least value is a nanosecond.
fn encode(timeout: Duration) -> HeaderValue {
    let nanoseconds = timeout.as_nanos().clamp(1, MAX_VALUE * HOUR.1);
    let (unit, length) = UNITS.into_iter().find(|(_, length)| nanoseconds / length <= MAX_VALUE).unwrap_or(HOUR);
    let text = format!("{}{unit}", nanoseconds / length);
    // Digits and a letter are a valid value, so the fallback is never taken.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("1n"))
}

/// The error of a call whose deadline is over, in the form that gRPC callers look for.
#[cfg(feature = "tonic")]
fn error() -> BoxError {
    let mut status = tonic::Status::deadline_exceeded(DeadlineExceeded.to_string());
    status.set_source(std::sync::Arc::new(DeadlineExceeded));
    status.into()
}

#[cfg(not(feature = "tonic"))]
fn error() -> BoxError {
    DeadlineExceeded.into()
}

/// Error of a gRPC call whose deadline passed before a response arrived.
///
/// The call's `grpc-timeout` states the deadline. It covers all attempts, and the waits for a token
/// and for rate limits between them. With the feature `tonic` this type is the source of a
/// `tonic::Status` with the code `DEADLINE_EXCEEDED`. Without the feature it is the error itself.
///
/// # Examples
///
/// ```
/// use turris_auth::{BoxError, DeadlineExceeded};
///
/// fn is_over(error: &BoxError) -> bool {
///     std::iter::successors(Some(&**error as &(dyn std::error::Error + 'static)), |error| error.source())
///         .any(|error| error.is::<DeadlineExceeded>())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadlineExceeded;

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the deadline of the gRPC call was over before an answer came; the deadline covers all attempts and the waits \
             for a token and for rate limits, so give the call more time if it should outlast them",
        )
    }
}

impl Error for DeadlineExceeded {}

#[cfg(test)]
mod tests;
