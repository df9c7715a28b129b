//! The private functions that `crates/fuzz` tries, as plain values. Compiled with `--cfg fuzzing` only.
#![allow(missing_docs)]

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;

use crate::{
    api::{
        error::ErrorAnswer,
        jwt,
        limits::{self, RateLimits},
        token::TokenAnswer,
    },
    engine::RetryCopy,
    gate::cooldown,
};

/// Token, lifetime, request id, and what `Debug` shows; or what is wrong with the answer.
pub fn token_answer(body: &[u8]) -> Result<(String, Duration, Option<Box<str>>, String), &'static str> {
    let answer = TokenAnswer::decode(body, "").map_err(|error| error.problem)?;
    let shown = format!("{answer:?}");
    Ok((answer.access_token.to_string(), answer.lifetime, answer.request_id, shown))
}

pub fn jwt_lifetime(token: &str) -> Option<Duration> {
    jwt::lifetime(token)
}

/// Request id, error type and messages, without the secret if there is one.
pub fn error_answer(body: &[u8], secret: Option<&str>) -> [Vec<Box<str>>; 3] {
    let answer = ErrorAnswer::decode_without(body, secret.as_slice());
    [answer.request_id.into_iter().collect(), answer.error_type.into_iter().collect(), answer.messages.into()]
}

/// What an answer says of limits.
#[derive(Debug)]
pub struct Limits(RateLimits);

impl Limits {
    pub fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        Self(RateLimits::read(headers, now))
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

    /// The wait that the server asks for, before and after jitter is added.
    pub fn asked_wait(&self, max_wait: Duration, share: f64) -> Option<(Duration, Duration)> {
        let asked = cooldown::asked(&self.0)?;
        Some((asked, cooldown::with_jitter(asked, max_wait, share)))
    }
}

pub fn forbids_retry(headers: &HeaderMap) -> bool {
    limits::forbids_retry(headers)
}

pub fn exponential_wait(refusals: u32, base: Duration, max_wait: Duration, share: f64) -> Duration {
    cooldown::exponential(refusals, base, max_wait, share)
}

/// The request, by way of the copy that a retry is made of.
pub fn retry_copy(request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
    RetryCopy::of(request).filter(RetryCopy::is_replayable)?.into_request()
}
