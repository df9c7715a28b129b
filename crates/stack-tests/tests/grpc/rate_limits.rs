//! Tests of `RESOURCE_EXHAUSTED`, with `TurrisBackoffLayer` above the auth layer.

use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use turris_auth::{ResponseClass, TokenError, TokenErrorKind, backoff::TurrisBackoffLayer};
use turris_emulator::{Endpoint, Fault};

use super::{
    calls::{check, join},
    server::GrpcServer,
    stack::{backing_off, layer, replaying, turris},
};

#[tokio::test]
async fn a_call_that_meets_a_limit_is_repeated_after_the_pushback() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let stack = backing_off(&server, TurrisBackoffLayer::new(), layer(&turris));
    server.gate.exhaust(1, Some("10"));
    assert_eq!(join(&stack, &["all", "the", "same"]).await.unwrap(), "all the same");
    assert_eq!(server.gate.counts(), (1, 1));
    // An exceeded limit does not invalidate the token.
    assert_eq!(turris.counters().token_requests, 1);
}

#[tokio::test]
async fn a_call_that_meets_a_limit_is_repeated_without_a_pushback() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let stack = backing_off(&server, TurrisBackoffLayer::new(), layer(&turris));
    server.gate.exhaust(1, None);
    check(&stack).await.unwrap();
    assert_eq!(server.gate.counts(), (1, 1));
}

#[tokio::test]
async fn a_call_that_the_server_does_not_want_repeated_is_returned() {
    let turris = turris().await;
    // A day exceeds the longest wait. The other values are not durations.
    for pushback in ["86400000", "-1", "soon"] {
        let server = GrpcServer::start().await;
        let stack = backing_off(&server, TurrisBackoffLayer::new(), layer(&turris));
        server.gate.exhaust(1, Some(pushback));
        let status = check(&stack).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "a limit was met"), "{pushback}");
        assert_eq!(server.gate.counts(), (0, 1), "{pushback}");
    }
}

#[tokio::test]
async fn without_the_backoff_layer_a_limit_is_returned() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let stack = replaying(&server, layer(&turris));
    server.gate.exhaust(1, Some("10"));
    assert_eq!(check(&stack).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(server.gate.counts(), (0, 1));
}

#[tokio::test]
async fn the_definition_of_a_limit_can_be_replaced() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let backoff = TurrisBackoffLayer::builder().classify_responses(|_, _| ResponseClass::Ordinary).build().unwrap();
    let stack = backing_off(&server, backoff, layer(&turris));
    server.gate.exhaust(1, Some("10"));
    assert_eq!(check(&stack).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(server.gate.counts(), (0, 1));
}

#[tokio::test]
async fn a_token_error_is_recognised_through_its_status() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    // The error, with its wait, is found below the status.
    let fault = Fault::status(StatusCode::TOO_MANY_REQUESTS).with_header(RETRY_AFTER, HeaderValue::from_static("1"));
    turris.fault(Endpoint::Token, fault.times(1));
    let stack = backing_off(&server, TurrisBackoffLayer::new(), layer(&turris));
    check(&stack).await.unwrap();
    assert_eq!(server.gate.counts(), (1, 0));
    assert_eq!(turris.counters().token_requests, 2);
}

#[tokio::test]
async fn a_token_error_that_waiting_cannot_end_is_returned_at_once() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    turris.fault(Endpoint::Token, Fault::garbage());
    let stack = backing_off(&server, TurrisBackoffLayer::new(), layer(&turris));
    let error = check(&stack).await.unwrap_err();
    assert_eq!(TokenError::find_in(&error).map(TokenError::kind), Some(TokenErrorKind::Protocol), "{error}");
    assert_eq!(server.gate.counts(), (0, 0));
    assert_eq!(turris.counters().token_requests, 1);
}

/// The deadline of a call covers the wait for a limit and the wait for a token.
#[tokio::test]
async fn a_deadline_ends_a_call_that_waits() {
    let (turris, server) = (turris().await, GrpcServer::start().await);
    let call = async |stack| {
        let mut request = Request::new(HealthCheckRequest::default());
        request.set_timeout(Duration::from_millis(300));
        let start = Instant::now();
        let status = HealthClient::new(stack).check(request).await.unwrap_err();
        // The limit asks for a minute, and the token takes half a minute.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        status.code()
    };
    server.gate.exhaust(1, Some("60000"));
    let stack = backing_off(&server, TurrisBackoffLayer::new(), layer(&turris));
    assert_eq!(call(stack).await, Code::DeadlineExceeded);

    turris.fault(Endpoint::Token, Fault::delay(Duration::from_secs(30)).times(1));
    let stack = replaying(&server, layer(&turris));
    assert_eq!(call(stack).await, Code::DeadlineExceeded);
}
