//! The construction of responses.

use std::{fmt::Display, time::SystemTime};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

use crate::wire;
use crate::{clock::epoch_seconds_up, limits::LimitCheck, state::State, tokens::random_uuid};

pub(crate) type Answer = Response<Bytes>;

pub(crate) fn request_id() -> String {
    format!("dev-{}", random_uuid())
}

/// Formats a time in ISO 8601 with milliseconds, as the documentation shows it.
pub(crate) fn timestamp(now: SystemTime) -> impl Display {
    humantime::format_rfc3339_millis(now)
}

pub(crate) fn json_answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    answer
}

/// Creates a success: `data` in the envelope that the token endpoint uses.
pub(crate) fn data(status: StatusCode, data: &Value, now: SystemTime) -> Answer {
    let body = json!({ "data": data, "requestId": request_id(), "timestamp": timestamp(now).to_string() });
    json_answer(status, body.to_string().into_bytes())
}

/// Creates the error object of `status`.
pub(crate) fn error(status: StatusCode, messages: &[&str], now: SystemTime) -> Answer {
    let body =
        wire::error_answer(status.as_u16(), &request_id(), error_type(status), messages, &timestamp(now).to_string());
    let mut answer = json_answer(status, body);
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 requires a challenge with every 401.
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

pub(crate) fn method_not_allowed(allowed: &'static str, now: SystemTime) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, &["this path has other methods"], now);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn error_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        429 => "rate_limit_exceeded",
        400..500 => "invalid_input",
        _ => "internal_error",
    }
}

/// Adds the rate-limit headers, if the settings require them for this response.
pub(crate) fn add_rate_limit_headers(answer: &mut Answer, limit_check: &LimitCheck, state: &State) {
    if state.rate_limit_headers.apply_to(limit_check) {
        let now = state.clock.now();
        // Rounded up, so that a client that returns at that second gets a new window.
        let resets = epoch_seconds_up(now.checked_add(limit_check.resets_in).unwrap_or(now));
        let (limit, remaining) = (u64::from(limit_check.limit), u64::from(limit_check.remaining));
        wire::rate_limit_headers(answer.headers_mut(), limit, remaining, resets);
    }
}
