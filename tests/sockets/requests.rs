//! Tests of requests that need more than a request and a response: `100-continue`, an upgrade,
//! `CONNECT`, and large bodies.

use http::{Method, Request, StatusCode, Version};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;
use turris_emulator::{Endpoint, Fault};

use super::support::{Body, VERSIONS, api, empty, get, send, started, uri};

#[tokio::test]
async fn a_request_that_expects_100_continue_is_answered_cold_hot_and_after_a_401() {
    let emulator = started().await;
    let api = api(&emulator, Version::HTTP_11);
    for _ in 0..3 {
        let request = Request::post(uri(&emulator, "/v1/echo")).header("expect", "100-continue");
        let answer = send(&api, request.body(Body::from("the body")).unwrap()).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"the body"[..]));
        if emulator.counters().token_requests == 1 && emulator.counters().requests == 3 {
            emulator.revoke_all_tokens();
        }
    }
    let counters = emulator.counters();
    assert_eq!((counters.unauthorized, counters.token_requests), (1, 2));
}

#[tokio::test]
async fn an_upgrade_gets_the_token_and_its_connection_passes_through() {
    let emulator = started().await;
    let api = api(&emulator, Version::HTTP_11);
    send(&api, get(&emulator, "/v1/agencies")).await.unwrap();
    // The first request is refused, and upgraded on the second attempt.
    emulator.revoke_all_tokens();
    for _ in 0..2 {
        let request = Request::get(uri(&emulator, "/v1/upgrade"));
        let request = request.header("connection", "upgrade").header("upgrade", "websocket");
        let mut response = api.clone().oneshot(empty(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut upgraded = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        upgraded.write_all(b"both ways").await.unwrap();
        let mut echoed = [0; 9];
        upgraded.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"both ways");
    }
    assert_eq!((emulator.counters().unauthorized, emulator.counters().token_requests), (1, 2));
}

#[tokio::test]
async fn connect_passes_without_a_token() {
    let emulator = started().await;
    let api = api(&emulator, Version::HTTP_11);
    let authority = emulator.address().unwrap().to_string();
    for target in [authority.clone(), format!("http://{authority}/")] {
        let request = empty(Request::builder().method(Method::CONNECT).uri(target));
        let answer = send(&api, request).await.unwrap();
        // The emulator is not a proxy, so it refuses a `CONNECT`. The test only needs that the
        // request carries no token.
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
    let seen = emulator.requests();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|request| request.method == Method::CONNECT && !request.has_authorization), "{seen:?}");
}

#[tokio::test]
async fn large_answers_stream_through_the_layer() {
    const LENGTH: u64 = 20_000_000;
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        emulator.fault(Endpoint::path("/v1/agencies"), Fault::giant(LENGTH));
        let mut body = api.clone().oneshot(get(&emulator, "/v1/agencies")).await.unwrap().into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().into_data().unwrap().len() as u64;
        }
        assert_eq!(length, LENGTH, "{version:?}");
        assert_eq!(emulator.counters().token_requests, 1);
    }
}
