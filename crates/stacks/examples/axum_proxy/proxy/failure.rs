//! The proxy's own responses, in the form of the vendor's error object.

use std::{error::Error, time::Duration};

use axum::{body::Body, response::Response};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::json;
use tower::timeout::error::Elapsed;
use turris_auth::{TokenError, TokenErrorKind};

/// Returns the response to a caller if there is no response of Turris to forward.
pub(super) fn of(error: &(dyn Error + 'static)) -> Response {
    if let Some(error) = TokenError::find_in(error) {
        let mut response = object(of_token(error.kind()), error.request_id(), &with_causes(error));
        if let Some(wait) = error.retry_after().filter(|_| response.status() == StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        return response;
    }
    let status = if error.is::<Elapsed>() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
    object(status, None, &with_causes(error))
}

/// Returns a response that does not involve Turris.
pub(super) fn answer(status: StatusCode, message: &str) -> Response {
    object(status, None, message)
}

fn of_token(kind: TokenErrorKind) -> StatusCode {
    match kind {
        TokenErrorKind::RateLimited | TokenErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        TokenErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        // Requests with these two kinds never reach Turris.
        TokenErrorKind::CredentialsProvider | TokenErrorKind::Runtime => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Rounded up, so that a caller that returns at that second is not too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

fn object(status: StatusCode, request_id: Option<&str>, message: &str) -> Response {
    let error_type = status.canonical_reason().unwrap_or("error").to_lowercase().replace(' ', "_");
    let mut object = json!({ "statusCode": status.as_u16(), "errorType": error_type, "errorMessage": [message] });
    if let (Some(request_id), Some(object)) = (request_id, object.as_object_mut()) {
        object.insert("requestId".to_owned(), request_id.into());
    }
    json_response(status, &object)
}

pub(super) fn json_response(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(format!("{value}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
