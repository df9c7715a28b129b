//! What the caller and this layer tell each other through extensions.

use std::time::Duration;

use http::Response;

use crate::engine::History;

/// What it took to get an answer. It is among the extensions of a response whose request was held back, or sent more
/// than once, and of no other. Of two such layers the outer one has the word.
///
/// # Examples
///
/// ```
/// use turris_auth::backoff::BackoffReport;
///
/// fn log<B>(response: &http::Response<B>) {
///     if let Some(report) = response.extensions().get::<BackoffReport>() {
///         println!("{} attempts, {:.1} s waited", report.attempts(), report.waited().as_secs_f64());
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffReport {
    attempts: u32,
    waited: Duration,
}

impl BackoffReport {
    /// How many times the request was handed to the service inside: 1 where it was held back only.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The time it stood in line, waited for the gate, or for a token to become possible. Not the time that answers
    /// took.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

/// A request with this among its extensions passes by the layer: it is neither held back, nor counted, nor repeated.
///
/// # Examples
///
/// ```
/// use turris_auth::backoff::SkipBackoff;
///
/// let request = http::Request::post("https://public.api.live.turrisfi.com/v1/agents").extension(SkipBackoff);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkipBackoff;

/// Adds a report to `response` if there is anything to tell.
pub(crate) fn report<B>(history: &History, response: &mut Response<B>) {
    if history.attempts > 1 || !history.waited.is_zero() {
        let report = BackoffReport { attempts: history.attempts, waited: history.waited };
        response.extensions_mut().insert(report);
    }
}
