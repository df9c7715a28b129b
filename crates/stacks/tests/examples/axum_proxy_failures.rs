//! Tests of `examples/axum_proxy`: the response to a caller if Turris cannot be reached.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use turris_auth::{Credentials, CredentialsFuture, CredentialsProvider, TurrisAuthLayer};
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::{
    axum_proxy::{LONG_TIMEOUT, proxied, proxy_to, raw},
    support::{layer, serve, started},
};

const REQUEST: &str = "GET /v1/agencies HTTP/1.1";

/// Returns the status, the head and the error object of a response.
fn parts(answer: &str) -> (u16, String, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let object: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answer}"));
    assert_eq!(object["statusCode"], status, "{object}");
    assert!(object["errorMessage"][0].is_string(), "{object}");
    (status, head.to_owned(), object)
}

async fn with_fault(endpoint: Endpoint, fault: Fault) -> (u16, String, Value) {
    let emulator = started().await;
    let url = proxied(&emulator).await;
    emulator.fault(endpoint, fault);
    parts(&raw(&url, REQUEST).await)
}

#[tokio::test]
async fn refused_credentials_are_a_502_with_the_request_id() {
    let (status, head, object) = with_fault(Endpoint::Token, Fault::status(StatusCode::UNAUTHORIZED)).await;
    assert_eq!((status, &object["errorType"]), (502, &"bad_gateway".into()));
    assert!(object["requestId"].as_str().is_some_and(|id| !id.is_empty()), "{object}");
    // Waiting does not help.
    assert!(!head.contains("retry-after"), "{head}");
}

#[tokio::test]
async fn an_answer_that_is_no_token_is_a_502() {
    let (status, _, object) = with_fault(Endpoint::Token, Fault::garbage()).await;
    assert_eq!((status, object.get("requestId")), (502, None));
}

#[tokio::test]
async fn a_used_up_allowance_is_a_503_that_says_when_to_come_back() {
    let fault = Fault::status(StatusCode::TOO_MANY_REQUESTS).with_header(RETRY_AFTER, HeaderValue::from_static("17"));
    let (status, head, object) = with_fault(Endpoint::Token, fault).await;
    assert_eq!((status, &object["errorType"]), (503, &"service_unavailable".into()));
    assert!(object["requestId"].is_string(), "{object}");
    // Counted from now and rounded up. A slow machine may have used up a part.
    let (_, seconds) = head.split_once("retry-after: ").unwrap_or_else(|| panic!("{head}"));
    let seconds: u64 = seconds.split("\r\n").next().unwrap().parse().unwrap();
    assert!((1..=17).contains(&seconds), "{head}");
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_a_503() {
    let (status, head, object) = with_fault(Endpoint::Token, Fault::status(StatusCode::BAD_GATEWAY)).await;
    assert_eq!((status, object["requestId"].is_string()), (503, true));
    assert!(head.contains("retry-after: "), "{head}");
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_is_a_504() {
    let emulator = started().await;
    emulator.fault(Endpoint::Token, Fault::hang());
    let layer = TurrisAuthLayer::builder(emulator.credentials(), emulator.environment())
        .token_timeout(Duration::from_millis(10))
        .build()
        .unwrap();
    let url = serve(proxy_to(layer, emulator.environment(), LONG_TIMEOUT).router()).await;
    let (status, _, object) = parts(&raw(&url, REQUEST).await);
    assert_eq!((status, &object["errorType"]), (504, &"gateway_timeout".into()));
    assert!(object["errorMessage"][0].as_str().unwrap().contains("no access token"), "{object}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_504() {
    let emulator = started().await;
    emulator.fault(Endpoint::All, Fault::hang());
    let url = serve(proxy_to(layer(&emulator), emulator.environment(), Duration::from_millis(10)).router()).await;
    let (status, _, object) = parts(&raw(&url, REQUEST).await);
    assert_eq!((status, object.get("requestId")), (504, None));
    assert!(!object["errorMessage"][0].as_str().unwrap().contains("access token"), "{object}");
}

#[tokio::test]
async fn a_lost_connection_is_a_502() {
    let (status, head, object) = with_fault(Endpoint::path("/v1/agencies"), Fault::reset()).await;
    assert_eq!((status, &object["errorType"]), (502, &"bad_gateway".into()));
    assert!(!head.contains("retry-after"), "{head}");
}

#[tokio::test]
async fn an_error_of_turris_is_forwarded() {
    let (status, _, object) =
        with_fault(Endpoint::path("/v1/agencies"), Fault::status(StatusCode::INTERNAL_SERVER_ERROR)).await;
    assert_eq!((status, &object["errorType"]), (500, &"internal_error".into()));
    assert!(object["requestId"].is_string(), "{object}");
}

struct Locked;

impl CredentialsProvider for Locked {
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(async { Err("the vault is locked".into()) })
    }
}

#[tokio::test]
async fn a_fault_of_the_proxy_itself_is_a_500() {
    let emulator: Emulator = started().await;
    let layer = TurrisAuthLayer::new(Locked, emulator.environment());
    let url = serve(proxy_to(layer, emulator.environment(), LONG_TIMEOUT).router()).await;
    let (status, _, object) = parts(&raw(&url, REQUEST).await);
    assert_eq!(status, 500);
    assert!(object["errorMessage"][0].as_str().unwrap().contains("the vault is locked"), "{object}");
    assert_eq!(emulator.counters().requests, 0);
}

#[tokio::test]
async fn no_answer_shows_the_secret() {
    let secret = "a-secret-that-nobody-sees";
    let emulator = started().await;
    let layer = TurrisAuthLayer::new(Credentials::new("client", secret).unwrap(), emulator.environment());
    let url = serve(proxy_to(layer, emulator.environment(), LONG_TIMEOUT).router()).await;
    for request in [REQUEST, "GET /health HTTP/1.1"] {
        let answer = raw(&url, request).await;
        assert!(answer.contains("401") && !answer.contains(secret), "{answer}");
    }
}
