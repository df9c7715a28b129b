//! `/health`: how the token is.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;
use turris_auth::TokenStatus;

use super::failure::json_response;

/// 200 while requests can be sent, 503 while there is no token and the last fetch has failed.
pub(super) fn answer(status: &TokenStatus) -> Response {
    let failure = status.failure().map(|error| {
        json!({
            "kind": error.kind().to_string(),
            "status": error.status(),
            "requestId": error.request_id(),
            "message": error.to_string(),
            "retryInSeconds": status.retry_in().map(|wait| wait.as_secs_f64()),
        })
    });
    let object = json!({
        "healthy": status.is_healthy(),
        "validForSeconds": status.valid_for().map(|valid_for| valid_for.as_secs()),
        "fetching": status.is_fetching(),
        "failure": failure,
    });
    json_response(if status.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &object)
}
