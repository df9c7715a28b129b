//! Telemetry of tokens.

use std::{future::Future, time::Duration};

use crate::TokenError;

/// The reason of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchReason {
    NoToken,
    Refresh,
    Unauthorized,
}

/// The reaction to a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnauthorizedAction {
    TokenReplaced,
    NewerToken,
    OlderToken,
    Ineffective { pause: Duration },
    Paused,
    NoFetchPossible,
}

#[cfg(feature = "tracing")]
impl FetchReason {
    fn name(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::Refresh => "refresh",
            Self::Unauthorized => "unauthorized",
        }
    }
}

/// Runs a fetch in its own span, which follows from the caller's span. The empty fields are
/// recorded when they are known.
#[cfg(feature = "tracing")]
pub(crate) fn token_fetch<F: Future>(reason: FetchReason, fetch: F) -> impl Future<Output = F::Output> + use<F> {
    use tracing::{Instrument, field::Empty};
    let span = tracing::info_span!(
        target: "turris_auth",
        parent: None,
        "token_fetch",
        "otel.kind" = "client",
        reason = reason.name(),
        source = Empty,
        outcome = Empty,
        generation = Empty,
        lifetime = Empty,
        waiters = Empty,
        request_id = Empty,
        "http.request.resend_count" = Empty,
        "http.response.status_code" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
    );
    span.follows_from(tracing::Span::current());
    fetch.instrument(span)
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn token_fetch<F: Future>(_: FetchReason, fetch: F) -> F {
    fetch
}

/// Another process of the fleet has fetched the token.
pub(crate) fn token_adopted(generation: u64, lifetime: Duration, waiters: usize) {
    let lifetime = lifetime.as_secs();
    event!(INFO, generation, lifetime, waiters, "access token adopted from the fleet");
    record!("outcome" = "adopted", "generation" = generation, "lifetime" = lifetime, "waiters" = waiters);
    metric!(counter!("turris_auth_token_fetches_total", "outcome" => "adopted").increment(1));
    metric!(histogram!("turris_auth_token_fetch_waiters").record(waiters as f64));
    let _ = (generation, lifetime, waiters);
}

pub(crate) fn token_fetched(generation: u64, lifetime: Duration, waiters: usize, request_id: Option<&str>) {
    let lifetime = lifetime.as_secs();
    event!(INFO, generation, lifetime, waiters, request_id, "access token fetched");
    record!(
        "outcome" = "token",
        "generation" = generation,
        "lifetime" = lifetime,
        "waiters" = waiters,
        "request_id" = request_id,
    );
    metric!(counter!("turris_auth_token_fetches_total", "outcome" => "token").increment(1));
    metric!(histogram!("turris_auth_token_fetch_waiters").record(waiters as f64));
    let _ = (generation, lifetime, waiters, request_id);
}

pub(crate) fn token_fetch_failed(error: &TokenError, waiters: usize) {
    let kind = error.kind().name();
    event!(
        WARN,
        "error.type" = kind,
        error = %error,
        waiters,
        retry_after = error.retry_after().map(|wait| wait.as_secs_f64()),
        "no access token could be fetched",
    );
    record!(
        "outcome" = kind,
        "error.type" = kind,
        "otel.status_code" = "ERROR",
        "http.response.status_code" = error.status(),
        "request_id" = error.request_id(),
        "waiters" = waiters,
    );
    metric!(counter!("turris_auth_token_fetches_total", "outcome" => kind).increment(1));
    metric!(histogram!("turris_auth_token_fetch_waiters").record(waiters as f64));
    let _ = (error, kind, waiters);
}

/// The reason why a fetch ended without a token and without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unused {
    /// The token was refused or invalidated while the fetch was under way.
    Discarded,
    /// The runtime was shut down, a waiter on another runtime superseded the fetch, or all users of
    /// the token were dropped.
    Abandoned,
}

pub(crate) fn token_fetch_unused(unused: Unused, waiters: usize) {
    let outcome = match unused {
        Unused::Discarded => "discarded",
        Unused::Abandoned => "abandoned",
    };
    event!(DEBUG, outcome, waiters, "a token fetch ended without a result");
    record!("outcome" = outcome, "waiters" = waiters);
    metric!(counter!("turris_auth_token_fetches_total", "outcome" => outcome).increment(1));
    metric!(histogram!("turris_auth_token_fetch_waiters").record(waiters as f64));
    let _ = (outcome, waiters);
}

/// A request is sent with the restricted access token, because no other token can be obtained.
pub(crate) fn restricted_access_token_used(error: &TokenError) {
    event!(DEBUG, "error.type" = error.kind().name(), "a request is sent with the restricted access token");
    metric!(counter!("turris_auth_restricted_access_token_total").increment(1));
    let _ = error;
}

/// The token request with the number `attempt` (from 1) has failed, and another request follows.
pub(crate) fn attempt_failed(attempt: u32, error: &TokenError) {
    event!(
        DEBUG,
        attempt,
        "error.type" = error.kind().name(),
        error = %error,
        "an attempt to fetch a token failed, another follows",
    );
    record!("http.request.resend_count" = attempt);
    let _ = (attempt, error);
}

/// The number of token requests that the allowance has left, now that a token request has begun or
/// ended.
pub(crate) fn allowance(places: usize) {
    metric!(gauge!("turris_auth_token_allowance").set(places as f64));
    let _ = places;
}

/// Measures how long a request waits for a token. Without the feature `metrics` it has no size and
/// does nothing.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch {
    #[cfg(feature = "metrics")]
    started: tokio::time::Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            started: tokio::time::Instant::now(),
        }
    }

    pub(crate) fn stop(self) {
        metric!(histogram!("turris_auth_token_wait_seconds").record(self.started.elapsed().as_secs_f64()));
    }
}

/// `age` is called only if the feature `metrics` is on.
pub(crate) fn token_used(age: impl FnOnce() -> Duration) {
    metric!(histogram!("turris_auth_token_age_seconds").record(age().as_secs_f64()));
    let _ = age;
}

/// `generation` is `None` if there was no token. Then only the result of a fetch under way is
/// discarded.
pub(crate) fn token_invalidated_by_handle(generation: Option<u64>) {
    event!(INFO, reason = "handle", generation, "access token invalidated");
    let _ = generation;
}

pub(crate) fn unauthorized(generation: u64, action: UnauthorizedAction) {
    match action {
        UnauthorizedAction::TokenReplaced => {
            event!(INFO, reason = "unauthorized", generation, "access token invalidated")
        }
        UnauthorizedAction::OlderToken => {
            event!(INFO, generation, "a new access token is refused, the one before it is used for another minute");
        }
        UnauthorizedAction::Ineffective { pause } => {
            event!(WARN, generation, pause = pause.as_secs(), "a new token did not cure a 401, replacing it is paused");
            let _ = pause;
        }
        UnauthorizedAction::Paused => {
            event!(DEBUG, reason = "paused", generation, "a 401 is returned, the token stays in use")
        }
        UnauthorizedAction::NoFetchPossible => {
            event!(DEBUG, reason = "no_fetch_possible", generation, "a 401 is returned, the token stays in use");
        }
        UnauthorizedAction::NewerToken => {}
    }
    metric!(counter!("turris_auth_unauthorized_total", "action" => action.name()).increment(1));
    let _ = (generation, action);
}

#[cfg(feature = "metrics")]
impl UnauthorizedAction {
    fn name(self) -> &'static str {
        match self {
            Self::TokenReplaced => "token_replaced",
            Self::NewerToken => "newer_token",
            Self::OlderToken => "older_token",
            Self::Ineffective { .. } => "ineffective",
            Self::Paused => "paused",
            Self::NoFetchPossible => "no_fetch_possible",
        }
    }
}

/// Shows only the origin of the URI, because the user information, the path and the query may be
/// secret.
pub(crate) fn passed_without_token(uri: &http::Uri) {
    event!(
        DEBUG,
        scheme = uri.scheme_str(),
        host = uri.host(),
        port = uri.port_u16(),
        "a request was sent without a token: its origin is not one that the token belongs to",
    );
    let _ = uri;
}

/// `origin` has neither user information nor a path. It is empty for a relative URI.
pub(crate) fn refused_without_token(origin: &str, allowed: &str) {
    let _ = (origin, allowed);
    if origin.is_empty() {
        event!(
            WARN,
            allowed,
            "a request with a relative URI was sent without a token and got a 401: such a URI has no origin; if its \
             connection leads to one of the allowed origins only, set `authorize_relative_uris`, and send no `Host` field \
             that names another one",
        );
        return;
    }
    event!(
        WARN,
        origin,
        allowed,
        "a request was sent without a token and got a 401: its origin, or the one that its `Host` field names, is not \
         allowed; if it belongs to this API, add it with `allow_origin`",
    );
}

pub(crate) fn not_repeatable(generation: u64) {
    event!(DEBUG, generation, "a 401 is returned: the request's body cannot be sent twice, ReplayBodyLayer helps");
    let _ = generation;
}
