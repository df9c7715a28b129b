//! Connections that the server closes in an orderly way: GOAWAY over HTTP/2, `Connection: close` over HTTP/1.1.

use http::StatusCode;
use tokio::task::JoinSet;
use turris_auth::{
    TokenError,
    emulator::{Endpoint, Fault},
};

use super::support::{VERSIONS, api, get, send, started, until};

#[tokio::test]
async fn a_request_under_way_is_answered_and_the_next_one_takes_a_new_connection() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        send(&api, get(&emulator, "/v1/agencies")).await.unwrap();
        emulator.fault(Endpoint::path("/v1/agents"), Fault::hang());
        let under_way = tokio::spawn({
            let (api, request) = (api.clone(), get(&emulator, "/v1/agents"));
            async move { send(&api, request).await }
        });
        until(|| emulator.counters().in_flight == 1).await;
        emulator.close_connections();
        assert_eq!(send(&api, get(&emulator, "/v1/agencies")).await.unwrap().status, StatusCode::OK);
        emulator.clear_faults();
        assert_eq!(under_way.await.unwrap().unwrap().status, StatusCode::OK);
        // Over HTTP/2 the one above may still have been let in behind the goodbye; this one comes behind its end.
        assert_eq!(send(&api, get(&emulator, "/v1/agencies")).await.unwrap().status, StatusCode::OK);
        let counters = emulator.counters();
        assert_eq!((counters.connections, counters.token_requests), (2, 1), "{version:?}");
    }
}

#[tokio::test]
async fn a_fetch_under_way_brings_its_token() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        emulator.fault(Endpoint::Token, Fault::hang());
        let waiting = tokio::spawn({
            let (api, request) = (api.clone(), get(&emulator, "/v1/agents"));
            async move { send(&api, request).await }
        });
        until(|| emulator.counters().in_flight == 1).await;
        emulator.close_connections();
        emulator.clear_faults();
        assert_eq!(waiting.await.unwrap().unwrap().status, StatusCode::OK);
        assert_eq!(emulator.counters().token_requests, 1, "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_goodbye_does_to_requests_the_token_stays() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        send(&api, get(&emulator, "/v1/agencies")).await.unwrap();
        let mut callers = JoinSet::new();
        for caller in 0..400 {
            if caller % 100 == 50 {
                emulator.close_connections();
                tokio::task::yield_now().await;
            }
            let (api, request) = (api.clone(), get(&emulator, "/v1/agencies"));
            callers.spawn(async move { send(&api, request).await });
        }
        while let Some(answer) = callers.join_next().await {
            match answer.unwrap() {
                Ok(answer) => assert_eq!(answer.status, StatusCode::OK),
                // The client could not tell whether the server had begun to process it.
                Err(error) => assert!(TokenError::find_in(&*error).is_none(), "{error:?}"),
            }
        }
        assert_eq!(send(&api, get(&emulator, "/v1/agencies")).await.unwrap().status, StatusCode::OK);
        assert_eq!(emulator.counters().token_requests, 1, "{version:?}");
    }
}
