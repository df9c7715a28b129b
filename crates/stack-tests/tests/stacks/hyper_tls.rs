//! Tests of hyper-util's client over TLS, with both versions of HTTP.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Channel, Full};
use tower::{Layer, ServiceBuilder, ServiceExt};
use turris_auth::replay::{ReplayBody, ReplayBodyLayer};
use turris_emulator::{Endpoint, Fault};

use super::{
    support::{get, post, soon, started, text, uri},
    tls::TlsFront,
};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn one_connection_carries_the_token_the_401_the_retry_and_a_renewal() {
    for version in VERSIONS {
        let emulator = started().await;
        let front = TlsFront::start(&emulator).await;
        let api = front.layer(&emulator).layer(front.client::<Full<Bytes>>(version));
        let base_url = front.environment().base_url();
        let ask = async || {
            let response = api.clone().oneshot(get(&base_url, "/v1/agencies")).await.unwrap();
            assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
            assert!(text(response).await.contains("agency-1"));
        };
        ask().await;
        // More than the client has read when it hands out the head, and less than a new connection
        // costs.
        let refusal = Fault::status(StatusCode::UNAUTHORIZED).with_body("no".repeat(30_000));
        emulator.fault(Endpoint::path("/v1/agencies"), refusal.times(1));
        ask().await;
        api.handle().invalidate();
        ask().await;

        let counters = emulator.counters();
        assert_eq!((counters.token_requests, counters.unauthorized), (3, 1), "{version:?}");
        assert_eq!((front.connections(), counters.connections), (1, 1), "{version:?}");
    }
}

#[tokio::test]
async fn a_body_in_memory_is_sent_again() {
    for version in VERSIONS {
        let emulator = started().await;
        let front = TlsFront::start(&emulator).await;
        let api = front.layer(&emulator).layer(front.client::<Full<Bytes>>(version));
        let base_url = front.environment().base_url();
        api.handle().warm_up().await.unwrap();
        emulator.revoke_all_tokens();
        let body = "x".repeat(300_000);
        let response = api.oneshot(post(&base_url, "/v1/echo", body.clone())).await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
        assert_eq!(text(response).await, body);
        assert_eq!(emulator.counters().unauthorized, 1);
    }
}

#[tokio::test]
async fn a_stream_is_sent_again_while_it_still_comes() {
    for version in VERSIONS {
        let emulator = started().await;
        let front = TlsFront::start(&emulator).await;
        let api = ServiceBuilder::new()
            .layer(ReplayBodyLayer::new())
            .layer(front.layer(&emulator))
            .service(front.client::<ReplayBody<Channel<Bytes, Infallible>>>(version));
        api.get_ref().handle().warm_up().await.unwrap();
        emulator.revoke_all_tokens();

        let (mut frames, body) = Channel::new(1);
        let echo = Request::post(uri(&front.environment().base_url(), "/v1/echo")).body(body).unwrap();
        let answer = tokio::spawn(api.oneshot(echo));
        frames.send_data(Bytes::from_static(b"one, ")).await.unwrap();
        // Two token requests and two attempts: the second attempt has arrived, and the body has not
        // ended.
        soon(emulator.until(|counters| counters.tokens_issued == 2 && counters.requests == 4)).await;
        frames.send_data(Bytes::from_static(b"two")).await.unwrap();
        drop(frames);

        let response = answer.await.unwrap().unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
        assert_eq!(text(response).await, "one, two");
        assert_eq!(emulator.counters().unauthorized, 1);
        // Over HTTP/1.1 no request can follow a request that was not sent to its end.
        assert_eq!(front.connections(), if version == Version::HTTP_2 { 1 } else { 2 });
    }
}

#[tokio::test]
async fn an_answer_streams() {
    for version in VERSIONS {
        let emulator = started().await;
        let front = TlsFront::start(&emulator).await;
        let api = front.layer(&emulator).layer(front.client::<Full<Bytes>>(version));
        // The response stops in its middle. Only a body that is forwarded as it arrives shows its
        // first half.
        emulator.fault(Endpoint::path("/v1/agencies"), Fault::stalled());
        let response = api.oneshot(get(&front.environment().base_url(), "/v1/agencies")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let first = soon(response.into_body().frame()).await.unwrap().unwrap();
        assert!(!first.into_data().unwrap().is_empty());
    }
}
