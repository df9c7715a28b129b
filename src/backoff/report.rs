//! The extensions of the layer: [`BackoffReport`] on responses, [`SkipBackoff`] on requests.

use std::time::Duration;

use http::Response;

use crate::engine::History;

/// Report on the attempts and the waits that led to a response.
///
/// Each response whose request was held back or sent more than once has it as an extension. If two
/// of these layers are stacked, the outer layer's report replaces the inner layer's report.
///
/// # Examples
///
/// ```
/// use turris_auth::backoff::BackoffReport;
///
/// fn log<B>(response: &http::Response<B>) {
///     if let Some(report) = response.extensions().get::<BackoffReport>() {
///         println!("{} attempts, waited {:?}", report.attempts(), report.waited());
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffReport {
    attempts: u32,
    waited: Duration,
}

impl BackoffReport {
    /// Returns how many times the request was sent. It is 1 for a request that was only held back.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns how long the request waited in the queue, for the gate, and for a token to be
    /// available again. The time in flight is not included.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

/// Extension of a request that turns [`TurrisBackoff`](super::TurrisBackoff), and the rate limits
/// of [`Turris`](crate::Turris), off for it.
///
/// The request is not held back, counted or repeated.
///
/// # Examples
///
/// ```
/// use turris_auth::backoff::SkipBackoff;
///
/// let request = http::Request::post("https://public.api.live.turrisfi.com/v1/agents")
///     .extension(SkipBackoff);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkipBackoff;

/// Adds a report to `response` if its request was held back or repeated.
pub(crate) fn report<B>(history: &History, response: &mut Response<B>) {
    if history.attempts > 1 || !history.waited.is_zero() {
        let report = BackoffReport { attempts: history.attempts, waited: history.waited };
        response.extensions_mut().insert(report);
    }
}
