//! What the emulator saw.

use std::collections::VecDeque;

use http::{Method, Request, StatusCode, header::AUTHORIZATION};
use tokio::time::Instant;

/// What the emulator saw since it was made: [`Emulator::counters`](super::Emulator::counters).
///
/// Answers are counted as they were sent, faults included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests that arrived, token requests among them.
    pub requests: u64,
    /// Requests to `/v1/auth/jwt` that arrived, whatever became of them.
    pub token_requests: u64,
    /// Tokens that were issued.
    pub tokens_issued: u64,
    /// Token requests that were answered with another status than 201.
    pub token_requests_refused: u64,
    /// Answers with the status 401, those to token requests among them.
    pub unauthorized: u64,
    /// Answers with the status 429, those to token requests among them.
    pub rate_limited: u64,
    /// Requests that a [`Fault`](super::Fault) was applied to.
    pub faults: u64,
    /// Connections that were accepted. The in-memory service has none.
    pub connections: u64,
    /// Connections that are open now.
    pub open_connections: u64,
    /// Requests that have arrived and are neither answered (up to the answer's head) nor given up by their client.
    pub in_flight: u64,
    /// The most that [`in_flight`](Self::in_flight) has been.
    pub peak_in_flight: u64,
}

/// One request, as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenRequest {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// Whether it had an `Authorization` header. Its value is kept nowhere.
    pub has_authorization: bool,
    /// When it arrived.
    pub at: Instant,
}

/// The counters, and logs of the latest requests that are bounded so that an emulator can run for days.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) counters: Counters,
    seen: VecDeque<SeenRequest>,
    token_times: VecDeque<Instant>,
}

impl Recorder {
    pub(super) const SEEN_KEPT: usize = 10_000;
    pub(super) const TOKEN_TIMES_KEPT: usize = 100_000;

    pub(super) fn arrived<B>(&mut self, request: &Request<B>, is_token_request: bool) {
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

    pub(super) fn left(&mut self) {
        self.counters.in_flight = self.counters.in_flight.saturating_sub(1);
    }

    pub(super) fn answered(&mut self, status: StatusCode, is_token_request: bool) {
        let counters = &mut self.counters;
        counters.unauthorized += u64::from(status == StatusCode::UNAUTHORIZED);
        counters.rate_limited += u64::from(status == StatusCode::TOO_MANY_REQUESTS);
        counters.token_requests_refused += u64::from(is_token_request && status != StatusCode::CREATED);
    }

    pub(super) fn connected(&mut self) {
        self.counters.connections += 1;
        self.counters.open_connections += 1;
    }

    pub(super) fn disconnected(&mut self) {
        self.counters.open_connections = self.counters.open_connections.saturating_sub(1);
    }

    pub(super) fn seen(&self) -> Vec<SeenRequest> {
        self.seen.iter().cloned().collect()
    }

    pub(super) fn token_times(&self) -> Vec<Instant> {
        self.token_times.iter().copied().collect()
    }
}

fn push_bounded<T>(log: &mut VecDeque<T>, entry: T, kept: usize) {
    if log.len() >= kept {
        log.pop_front();
    }
    log.push_back(entry);
}
