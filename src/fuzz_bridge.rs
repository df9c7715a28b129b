//! Access for `crates/fuzz` to private functions, with plain values. It is compiled only with
//! `--cfg fuzzing`.
#![allow(missing_docs)]

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;

use crate::{
    api::{
        error::ErrorResponse,
        jwt,
        limits::{self, StatedLimits},
        token::TokenResponse,
    },
    engine::RetryCopy,
    gate::cooldown,
};

/// The content of a successful response of the token endpoint.
#[derive(Debug)]
pub struct Token {
    pub text: String,
    pub lifetime: Duration,
    pub request_id: Option<Box<str>>,
    /// The `Debug` text of the decoded response.
    pub shown: String,
}

/// Returns the token, or the problem of the response.
pub fn token_response(body: &[u8]) -> Result<Token, &'static str> {
    let answer = TokenResponse::decode(body, "").map_err(|error| error.problem)?;
    let shown = format!("{answer:?}");
    let text = answer.access_token.to_string();
    Ok(Token { text, lifetime: answer.lifetime, request_id: answer.request_id, shown })
}

pub fn jwt_lifetime(token: &str) -> Option<Duration> {
    jwt::lifetime(token)
}

/// Returns the request id, the error type and the messages, with the secret removed from them.
pub fn error_response(body: &[u8], secret: Option<&str>) -> [Vec<Box<str>>; 3] {
    let answer = ErrorResponse::decode_without(body, secret.as_slice());
    [answer.request_id.into_iter().collect(), answer.error_type.into_iter().collect(), answer.messages.into()]
}

/// The limits that a response states.
#[derive(Debug)]
pub struct Limits(StatedLimits);

impl Limits {
    pub fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        Self(StatedLimits::read(headers, now))
    }

    pub fn limit(&self) -> Option<u64> {
        self.0.limit
    }

    pub fn reset_after(&self) -> Option<Duration> {
        self.0.reset_after
    }

    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the wait that the server asks for, before and after jitter is added.
    pub fn asked_wait(&self, max_wait: Duration, share: f64) -> Option<(Duration, Duration)> {
        let asked = cooldown::asked_wait(&self.0)?;
        Some((asked, cooldown::with_jitter(asked, max_wait, share)))
    }
}

pub fn forbids_retry(headers: &HeaderMap) -> bool {
    limits::forbids_retry(headers)
}

pub fn exponential_wait(refusals: u32, base: Duration, max_wait: Duration, share: f64) -> Duration {
    cooldown::exponential(refusals, base, max_wait, share)
}

/// Returns the request that a retry would send.
pub fn retry_copy(request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
    RetryCopy::of(request, || {}).filter(RetryCopy::is_replayable)?.into_request()
}
