//! The server's side of the contract, as the vendor's OpenAPI file describes it. The tests of this
//! module use it.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::limits::{X_RATE_LIMIT_LIMIT, X_RATE_LIMIT_REMAINING, X_RATE_LIMIT_RESET};

/// Returns the body of a `201` of the token endpoint.
pub(crate) fn token_response(
    access_token: &str,
    expires_in_seconds: u64,
    request_id: &str,
    timestamp: &str,
) -> Vec<u8> {
    let body = json!({
        "data": { "accessToken": access_token, "expiresIn": expires_in_seconds, "tokenType": "Bearer" },
        "requestId": request_id,
        "timestamp": timestamp,
    });
    body.to_string().into_bytes()
}

/// Returns the error object, which is the body of every response that is not 2xx.
pub(crate) fn error_response(
    status: u16,
    request_id: &str,
    error_type: &str,
    messages: &[&str],
    timestamp: &str,
) -> Vec<u8> {
    let body = json!({
        "statusCode": status,
        "requestId": request_id,
        "errorType": error_type,
        "errorMessage": messages,
        "timestamp": timestamp,
    });
    body.to_string().into_bytes()
}

/// Puts the documented rate-limit headers into `headers`. They replace headers of the same names.
pub(crate) fn rate_limit_headers(headers: &mut HeaderMap, limit: u64, remaining: u64, reset_epoch_seconds: u64) {
    headers.insert(X_RATE_LIMIT_LIMIT, HeaderValue::from(limit));
    headers.insert(X_RATE_LIMIT_REMAINING, HeaderValue::from(remaining));
    headers.insert(X_RATE_LIMIT_RESET, HeaderValue::from(reset_epoch_seconds));
}

/// The reasons why a body is not a token request, as the `errorMessage` strings of the error
/// object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenRequestError {
    pub(crate) messages: Vec<&'static str>,
}

/// Returns the client id and the client secret of a token request.
///
/// This is as strict as the schema: both fields are required strings with exactly these names, so
/// `client_id` does not count. Unknown fields are allowed, because the schema allows them.
pub(crate) fn decode_token_request(body: &[u8]) -> Result<(String, Zeroizing<String>), TokenRequestError> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
        return Err(TokenRequestError { messages: vec!["body must be a JSON object"] });
    };
    match (fields.remove("clientId"), fields.remove("clientSecret")) {
        (Some(Value::String(id)), Some(Value::String(secret))) => Ok((id, Zeroizing::new(secret))),
        (id, secret) => {
            let mut messages = Vec::new();
            if !matches!(id, Some(Value::String(_))) {
                messages.push("clientId must be a string");
            }
            if !matches!(secret, Some(Value::String(_))) {
                messages.push("clientSecret must be a string");
            }
            Err(TokenRequestError { messages })
        }
    }
}
