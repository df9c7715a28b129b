//! Tests of the reaction to a 401, over sockets.

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use turris_emulator::{Endpoint, Fault};

use super::support::{Body, VERSIONS, api, empty, get, send, started, uri};

#[tokio::test]
async fn a_connection_survives_a_401_and_carries_the_new_token_and_the_retry() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        for _ in 0..3 {
            let answer = send(&api, get(&emulator, "/v1/agencies")).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK);
            emulator.revoke_all_tokens();
        }
        let counters = emulator.counters();
        assert_eq!((counters.unauthorized, counters.token_requests), (2, 3), "{version:?}");
        assert_eq!(counters.connections, 1, "{version:?}");
    }
}

#[tokio::test]
async fn a_connection_survives_a_401_whose_body_does_not_arrive_at_once() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        // More than the client has read when it hands out the head, and less than a new connection
        // costs.
        let refusal = Fault::status(StatusCode::UNAUTHORIZED).with_body("no".repeat(30_000));
        emulator.fault(Endpoint::path("/v1/agencies"), refusal.times(1));
        let answer = send(&api, get(&emulator, "/v1/agencies")).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        let counters = emulator.counters();
        assert_eq!((counters.unauthorized, counters.token_requests), (1, 2), "{version:?}");
        assert_eq!(counters.connections, 1, "{version:?}");
    }
}

#[tokio::test]
async fn a_body_is_sent_again_whole_after_a_401() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        send(&api, get(&emulator, "/v1/agencies")).await.unwrap();
        emulator.revoke_all_tokens();
        let body = "x".repeat(300_000);
        let request = Request::post(uri(&emulator, "/v1/echo")).body(Body::from(body.clone())).unwrap();
        let answer = send(&api, request).await.unwrap();
        assert_eq!((answer.status, answer.body), (StatusCode::OK, body.into()), "{version:?}");
        assert_eq!(emulator.counters().unauthorized, 1, "{version:?}");
    }
}

#[tokio::test]
async fn head_gets_its_answer_through_a_401() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        for _ in 0..2 {
            let request = empty(Request::builder().method(Method::HEAD).uri(uri(&emulator, "/v1/agencies")));
            let answer = send(&api, request).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK);
            assert_ne!(answer.headers["content-length"], "0");
            assert!(answer.body.is_empty());
            emulator.revoke_all_tokens();
        }
        let counters = emulator.counters();
        assert_eq!((counters.unauthorized, counters.token_requests, counters.connections), (1, 2, 1), "{version:?}");
    }
}

#[tokio::test]
async fn a_401_that_a_new_token_does_not_cure_comes_back_whole() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        let body = "not for you ".repeat(20_000);
        emulator.fault(Endpoint::path("/v1/agents"), Fault::status(StatusCode::UNAUTHORIZED).with_body(body.clone()));
        let response = api.clone().oneshot(get(&emulator, "/v1/agents")).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
        // The first attempt's body is too long to be drained, so its connection or stream is given
        // up.
        assert_eq!(emulator.counters().token_requests, 2, "{version:?}");
    }
}
