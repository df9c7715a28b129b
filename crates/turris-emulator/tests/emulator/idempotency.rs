//! Tests of the two idempotent endpoints. Time is paused throughout.

use std::time::Duration;

use http::{Request, StatusCode};
use tokio::time::advance;
use turris_emulator::{Emulator, Endpoint, Fault};

use super::{emulator, json_of, post, send, status, token};

const KEY: &str = "0c7a2f7e-6a0b-4c8e-9f1d-2b3c4d5e6f70";
const ADD: &str = "/v1/downstream-entities/onboarding/add";
const INVITE: &str = "/v1/downstream-entities/onboarding/invite";

fn keyed(path: &str, token: &str, header: &str, key: &str) -> Request<String> {
    let mut request = post(path, token, r#"{"name": "Old Mill Brokers"}"#);
    request.headers_mut().insert(http::HeaderName::try_from(header).unwrap(), key.parse().unwrap());
    request
}

async fn answer(emulator: &Emulator, request: Request<String>) -> serde_json::Value {
    let response = send(emulator, request).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    json_of(response).await
}

#[tokio::test(start_paused = true)]
async fn a_repeated_key_gets_the_first_answer_back_for_an_hour() {
    let emulator = emulator();
    emulator.set_token_lifetime(Duration::from_secs(100_000));
    let token = token(&emulator).await;
    let first = answer(&emulator, keyed(ADD, &token, "idempotency-key", KEY)).await;
    assert_eq!(first["data"]["status"], "added");
    advance(Duration::from_millis(3_599_999)).await;
    // Both header names are accepted.
    assert_eq!(answer(&emulator, keyed(ADD, &token, "x-idempotency-key", KEY)).await, first);
    advance(Duration::from_millis(1)).await;
    let later = answer(&emulator, keyed(ADD, &token, "idempotency-key", KEY)).await;
    assert_ne!(later["data"]["id"], first["data"]["id"]);
}

#[tokio::test(start_paused = true)]
async fn other_keys_other_paths_and_no_key_are_processed() {
    let emulator = emulator();
    let token = token(&emulator).await;
    let other_key = "11111111-2222-4333-8444-555555555555";
    let answers = [
        answer(&emulator, keyed(ADD, &token, "idempotency-key", KEY)).await,
        answer(&emulator, keyed(ADD, &token, "idempotency-key", other_key)).await,
        answer(&emulator, keyed(INVITE, &token, "idempotency-key", KEY)).await,
        answer(&emulator, post(ADD, &token, "{}")).await,
        answer(&emulator, post(ADD, &token, "{}")).await,
    ];
    let ids: std::collections::HashSet<_> =
        answers.iter().map(|answer| answer["data"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), answers.len());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_no_uuid_v4_is_refused() {
    let emulator = emulator();
    let token = token(&emulator).await;
    for key in ["again", "", "0c7a2f7e-6a0b-1c8e-9f1d-2b3c4d5e6f70", "0c7a2f7e-6a0b-4c8e-cf1d-2b3c4d5e6f70"] {
        let refused = status(&emulator, keyed(ADD, &token, "idempotency-key", key)).await;
        assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_processed_does_not_use_up_its_key() {
    let emulator = emulator();
    emulator.set_token_lifetime(Duration::from_secs(100_000));
    let token = token(&emulator).await;
    assert_eq!(status(&emulator, keyed(ADD, "bad", "idempotency-key", KEY)).await, StatusCode::UNAUTHORIZED);
    emulator.fault(Endpoint::path(ADD), Fault::status(StatusCode::BAD_GATEWAY).times(1));
    assert_eq!(status(&emulator, keyed(ADD, &token, "idempotency-key", KEY)).await, StatusCode::BAD_GATEWAY);
    // The request is processed, its response is lost on the way, and the hour begins.
    emulator.fault(Endpoint::path(ADD), Fault::garbage().times(1));
    assert_eq!(status(&emulator, keyed(ADD, &token, "idempotency-key", KEY)).await, StatusCode::CREATED);
    advance(Duration::from_secs(3_599)).await;
    let first = answer(&emulator, keyed(ADD, &token, "idempotency-key", KEY)).await;
    advance(Duration::from_secs(1)).await;
    assert_ne!(answer(&emulator, keyed(ADD, &token, "idempotency-key", KEY)).await, first);
}
