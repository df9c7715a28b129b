//! The emulator's counters and logs.

use std::collections::VecDeque;

use http::{Method, Request, StatusCode, header::AUTHORIZATION};
use tokio::time::Instant;

/// The counts since the emulator's creation: [`Emulator::counters`](crate::Emulator::counters).
///
/// Responses are counted as they were sent, including the effect of faults.
///
/// # Examples
///
/// ```
/// use turris_emulator::Emulator;
///
/// let emulator = Emulator::builder().build()?;
/// // After the code under test:
/// let counters = emulator.counters();
/// assert_eq!((counters.token_requests, counters.unauthorized, counters.rate_limited), (0, 0, 0));
/// # Ok::<(), turris_emulator::SettingsError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests that arrived, including token requests.
    pub requests: u64,
    /// Requests to `/v1/auth/jwt` that arrived, with any outcome.
    pub token_requests: u64,
    /// Tokens that were issued.
    pub tokens_issued: u64,
    /// Token requests whose response had a status other than 201.
    pub token_requests_refused: u64,
    /// Responses with the status 401, including responses to token requests.
    pub unauthorized: u64,
    /// Responses with the status 429, including responses to token requests.
    pub rate_limited: u64,
    /// Requests to which a [`Fault`](crate::Fault) was applied.
    pub faults: u64,
    /// Connections that were accepted. The in-memory service has no connections.
    pub connections: u64,
    /// Connections that are open now.
    pub open_connections: u64,
    /// Requests in flight: they have arrived, the head of their response has not been sent, and
    /// their client has not given them up.
    pub in_flight: u64,
    /// The highest value that [`in_flight`](Self::in_flight) has had.
    pub peak_in_flight: u64,
}

/// One request, as it arrived.
///
/// # Examples
///
/// ```
/// use http::Request;
/// use tower::ServiceExt;
/// use turris_emulator::Emulator;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let emulator = Emulator::builder().build()?;
/// emulator.service().oneshot(Request::get("/v1/agencies").body(String::new())?).await?;
/// let seen = emulator.requests();
/// assert_eq!((seen[0].path.as_str(), seen[0].has_authorization), ("/v1/agencies", false));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenRequest {
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// Whether the request had an `Authorization` header. The value is not kept.
    pub has_authorization: bool,
    /// The time of arrival.
    pub at: Instant,
}

/// The counters, and bounded logs of the latest requests. The bounds let an emulator run for days.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) counters: Counters,
    seen: VecDeque<SeenRequest>,
    token_times: VecDeque<Instant>,
}

impl Recorder {
    pub(crate) const SEEN_KEPT: usize = 10_000;
    pub(crate) const TOKEN_TIMES_KEPT: usize = 100_000;

    pub(crate) fn arrived<B>(&mut self, request: &Request<B>, is_token_request: bool) {
        let at = Instant::now();
        let counters = &mut self.counters;
        counters.requests += 1;
        counters.in_flight += 1;
        counters.peak_in_flight = counters.peak_in_flight.max(counters.in_flight);
        if is_token_request {
            counters.token_requests += 1;
            push_bounded(&mut self.token_times, at, Self::TOKEN_TIMES_KEPT);
        }
        let seen = SeenRequest {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            has_authorization: request.headers().contains_key(AUTHORIZATION),
            at,
        };
        push_bounded(&mut self.seen, seen, Self::SEEN_KEPT);
    }

    pub(crate) fn left(&mut self) {
        self.counters.in_flight = self.counters.in_flight.saturating_sub(1);
    }

    pub(crate) fn answered(&mut self, status: StatusCode, is_token_request: bool) {
        let counters = &mut self.counters;
        counters.unauthorized += u64::from(status == StatusCode::UNAUTHORIZED);
        counters.rate_limited += u64::from(status == StatusCode::TOO_MANY_REQUESTS);
        counters.token_requests_refused += u64::from(is_token_request && status != StatusCode::CREATED);
    }

    pub(crate) fn connected(&mut self) {
        self.counters.connections += 1;
        self.counters.open_connections += 1;
    }

    pub(crate) fn disconnected(&mut self) {
        self.counters.open_connections = self.counters.open_connections.saturating_sub(1);
    }

    pub(crate) fn seen(&self) -> Vec<SeenRequest> {
        self.seen.iter().cloned().collect()
    }

    pub(crate) fn token_times(&self) -> Vec<Instant> {
        self.token_times.iter().copied().collect()
    }
}

fn push_bounded<T>(log: &mut VecDeque<T>, entry: T, kept: usize) {
    if log.len() >= kept {
        log.pop_front();
    }
    log.push_back(entry);
}
