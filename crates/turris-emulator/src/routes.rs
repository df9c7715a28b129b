//! The routes of the API: from requests to responses.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, UPGRADE},
    request::Parts,
};
use serde_json::Value;
use tokio::time::Instant;

use crate::wire;
use crate::{
    TOKEN_PATH,
    answer::{self, Answer},
    fixtures, idempotency,
    limits::{Kind, LimitCheck},
    state::State,
    tokens::random_uuid,
};

const ADD_PATH: &str = "/v1/downstream-entities/onboarding/add";
const INVITE_PATH: &str = "/v1/downstream-entities/onboarding/invite";

/// The decision before the body of a request is read.
pub(crate) enum Admission {
    /// A response that does not depend on the body.
    Answered(Answer),
    /// A token request. Its client is known only from the body.
    Token,
    /// An admitted request. A mutating request has been counted.
    Api(Admitted),
}

pub(crate) struct Admitted {
    client_id: Arc<str>,
    limit_check: Option<LimitCheck>,
}

/// Applies authentication and rate limits to a request.
pub(crate) fn admit(state: &mut State, request: &Parts) -> Admission {
    let now = state.clock.now();
    let path = request.uri.path();
    if path == TOKEN_PATH {
        return if request.method == Method::POST {
            Admission::Token
        } else {
            Admission::Answered(answer::method_not_allowed("POST", now))
        };
    }
    match allowed_methods(path) {
        None => {
            return Admission::Answered(answer::error(StatusCode::NOT_FOUND, &["there is nothing at this path"], now));
        }
        Some(allowed) if !allowed.split(", ").any(|method| method == request.method.as_str()) => {
            return Admission::Answered(answer::method_not_allowed(allowed, now));
        }
        Some(_) => {}
    }
    let checked = bearer_token(&request.headers)
        .and_then(|token| state.tokens.check(token, now).map_err(crate::tokens::InvalidToken::message));
    let client_id = match checked {
        Ok(client_id) => client_id,
        Err(message) => return Admission::Answered(answer::error(StatusCode::UNAUTHORIZED, &[message], now)),
    };
    if path.starts_with("/v1/admin/") {
        let message = "this client may not do this";
        return Admission::Answered(answer::error(StatusCode::FORBIDDEN, &[message], now));
    }
    if matches!(request.method, Method::GET | Method::HEAD) {
        return Admission::Api(Admitted { client_id, limit_check: None });
    }
    let limit_check = state.windows.admit(Kind::Mutating, &client_id, &state.limits, Instant::now());
    if limit_check.admitted {
        Admission::Api(Admitted { client_id, limit_check: Some(limit_check) })
    } else {
        Admission::Answered(rate_limited(state, &limit_check))
    }
}

/// Returns the response to a token request.
pub(crate) fn token(state: &mut State, headers: &HeaderMap, body: &[u8]) -> Answer {
    let now = state.clock.now();
    if !has_json_content_type(headers) {
        return answer::error(StatusCode::UNPROCESSABLE_ENTITY, &["content-type must be application/json"], now);
    }
    let (client_id, client_secret) = match wire::decode_token_request(body) {
        Ok(request) => request,
        Err(refusal) => return answer::error(StatusCode::UNPROCESSABLE_ENTITY, &refusal.messages, now),
    };
    let limit_check = state.windows.admit(Kind::Token, &client_id, &state.limits, Instant::now());
    if !limit_check.admitted {
        return rate_limited(state, &limit_check);
    }
    let mut answer = if state.clients.accept(&client_id, &client_secret) {
        let issued = state.tokens.issue(&client_id, now);
        state.recorder.counters.tokens_issued += 1;
        let (id, timestamp) = (answer::request_id(), answer::timestamp(now).to_string());
        let body = wire::token_answer(&issued.access_token, issued.expires_in_seconds, &id, &timestamp);
        answer::json_answer(StatusCode::CREATED, body)
    } else {
        answer::error(StatusCode::UNAUTHORIZED, &["invalid client credentials"], now)
    };
    answer::add_rate_limit_headers(&mut answer, &limit_check, state);
    answer
}

/// Returns the response to an admitted request.
pub(crate) fn api(state: &mut State, request: &Parts, admitted: &Admitted, body: Bytes) -> Answer {
    let mut answer = process(state, request, &admitted.client_id, body);
    if let Some(limit_check) = &admitted.limit_check {
        answer::add_rate_limit_headers(&mut answer, limit_check, state);
    }
    answer
}

/// Returns the methods of a path, if the path exists.
fn allowed_methods(path: &str) -> Option<&'static str> {
    match path {
        INVITE_PATH | ADD_PATH => Some("POST"),
        "/v1/echo" => Some("POST, PUT, PATCH, DELETE"),
        _ if path.starts_with("/v1/admin/") => Some("GET, HEAD, POST, PUT, PATCH, DELETE"),
        "/v1/auth/test-oauth" | "/v1/upgrade" => Some("GET, HEAD"),
        _ if fixtures::get(path).is_some() => Some("GET, HEAD"),
        _ => None,
    }
}

fn process(state: &mut State, request: &Parts, client_id: &str, body: Bytes) -> Answer {
    let now = state.clock.now();
    match request.uri.path() {
        path @ (INVITE_PATH | ADD_PATH) => onboard(state, path, &request.headers, client_id, &body),
        "/v1/echo" => {
            let mut answer = Answer::new(body);
            if let Some(content_type) = request.headers.get(CONTENT_TYPE) {
                answer.headers_mut().insert(CONTENT_TYPE, content_type.clone());
            }
            answer
        }
        "/v1/auth/test-oauth" => {
            let data = serde_json::json!({ "clientId": client_id, "message": "the access token is good" });
            answer::data(StatusCode::OK, &data, now)
        }
        "/v1/upgrade" => upgrade(request).unwrap_or_else(|| {
            answer::error(StatusCode::UPGRADE_REQUIRED, &["the request has no `upgrade` header"], now)
        }),
        path => match fixtures::get(path) {
            Some(found) => answer::data(StatusCode::OK, found, now),
            None => answer::error(StatusCode::NOT_FOUND, &["there is nothing at this path"], now),
        },
    }
}

fn onboard(state: &mut State, path: &str, headers: &HeaderMap, client_id: &str, body: &[u8]) -> Answer {
    let (now, arrived) = (state.clock.now(), Instant::now());
    let Ok(key) = idempotency::key(headers) else {
        return answer::error(StatusCode::UNPROCESSABLE_ENTITY, &["idempotency-key must be a UUID v4"], now);
    };
    if let Some((status, body)) = key.and_then(|key| state.answers.find(client_id, path, key, arrived)) {
        return answer::json_answer(status, body);
    }
    let Ok(Value::Object(entity)) = serde_json::from_slice(body) else {
        return answer::error(StatusCode::UNPROCESSABLE_ENTITY, &["body must be a JSON object"], now);
    };
    let status = if path == INVITE_PATH { "invited" } else { "added" };
    let data = serde_json::json!({ "id": random_uuid().to_string(), "status": status, "entity": entity });
    let answer = answer::data(StatusCode::CREATED, &data, now);
    if let Some(key) = key {
        state.answers.keep(client_id, path, key, arrived, (answer.status(), answer.body().clone()));
    }
    answer
}

/// Accepts every requested protocol. The server then echoes every byte.
fn upgrade(request: &Parts) -> Option<Answer> {
    let protocol = request.headers.get(UPGRADE)?;
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, http::HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(UPGRADE, protocol.clone());
    Some(answer)
}

fn rate_limited(state: &State, limit_check: &LimitCheck) -> Answer {
    let message = "rate limit exceeded";
    let mut answer = answer::error(StatusCode::TOO_MANY_REQUESTS, &[message], state.clock.now());
    answer::add_rate_limit_headers(&mut answer, limit_check, state);
    answer
}

/// Returns the bearer token of a request, or the problem with it.
fn bearer_token(headers: &HeaderMap) -> Result<&str, &'static str> {
    let value = headers.get(AUTHORIZATION).ok_or("the authorization header is missing")?;
    let text = value.to_str().map_err(|_| "the authorization header is malformed")?;
    match text.split_once(' ') {
        // RFC 9110: the case of the scheme does not matter.
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err("the authorization header is not of the form `Bearer <token>`"),
    }
}

fn has_json_content_type(headers: &HeaderMap) -> bool {
    let essence = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()?.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
