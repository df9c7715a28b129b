//! Tests that one fetch serves all callers, over sockets.

use http::{StatusCode, Version};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use super::support::{Api, Body, VERSIONS, api, builder, client, get, send, started, until};
use turris_emulator::{Emulator, Endpoint, Fault};

const CALLERS: usize = 1_000;

async fn all_succeed(emulator: &Emulator, api: &Api, version: Version) {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (api, request) = (api.clone(), get(emulator, "/v1/agencies"));
        callers.spawn(async move { send(&api, request).await.unwrap() });
    }
    while let Some(answer) = callers.join_next().await {
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.version), (StatusCode::OK, version));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_cost_one_fetch_cold_and_one_after_a_revocation() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        all_succeed(&emulator, &api, version).await;
        assert_eq!(emulator.counters().token_requests, 1, "{version:?}, cold");

        emulator.revoke_all_tokens();
        all_succeed(&emulator, &api, version).await;
        let counters = emulator.counters();
        assert_eq!(counters.token_requests, 2, "{version:?}, revoked");
        // Exactly one retry followed every 401.
        assert_eq!(counters.requests, 2 * CALLERS as u64 + 2 + counters.unauthorized, "{version:?}");
    }
}

#[tokio::test]
async fn a_separate_token_service_can_be_warmed_up_before_the_first_request() {
    for version in VERSIONS {
        let emulator = started().await;
        let layer = builder(&emulator).token_service(client(version)).build().unwrap();
        layer.handle().warm_up().await.unwrap();
        assert_eq!((emulator.counters().requests, emulator.counters().token_requests), (1, 1));
        // Its bodies need not be made from bytes, and it has its own connections.
        let requests = client(version).map_request(|request: http::Request<String>| request.map(Body::from));
        let request = get(&emulator, "/v1/agencies").map(|_| String::new());
        let response = layer.layer(requests).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let counters = emulator.counters();
        assert_eq!((counters.token_requests, counters.connections), (1, 2), "{version:?}");
    }
}

#[tokio::test]
async fn callers_that_give_up_leave_the_fetch_to_the_next_one() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        emulator.fault(Endpoint::Token, Fault::hang());
        let mut impatient = JoinSet::new();
        for _ in 0..100 {
            let (api, request) = (api.clone(), get(&emulator, "/v1/agencies"));
            impatient.spawn(async move { send(&api, request).await });
        }
        until(|| emulator.counters().in_flight == 1).await;
        impatient.shutdown().await;
        emulator.clear_faults();
        let answer = send(&api, get(&emulator, "/v1/agencies")).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!((emulator.counters().token_requests, emulator.counters().requests), (1, 2), "{version:?}");
    }
}
