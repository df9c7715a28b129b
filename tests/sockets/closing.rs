//! Connections that the server closes in an orderly way: GOAWAY over HTTP/2, `Connection: close` over HTTP/1.1.

use std::io::ErrorKind;

use http::StatusCode;
use turris_auth::{
    TokenError,
    emulator::{Emulator, Endpoint, Fault},
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

#[tokio::test]
async fn a_server_that_was_restarted_and_knows_no_token_costs_one_fetch() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        let request = || get(&emulator, "/v1/agencies");
        send(&api, request()).await.unwrap();
        let (request, port) = (request(), emulator.base_url().port_u16().unwrap());
        emulator.shutdown().await;
        // Somebody else may have the port for a moment, as the near end of a connection.
        let restarted = loop {
            match Emulator::builder().port(port).start().await {
                Ok(restarted) => break restarted,
                Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
            }
            tokio::task::yield_now().await;
        };
        let answer = loop {
            match send(&api, request.clone()).await {
                Ok(answer) => break answer,
                // The client has not noticed yet that the server closed its connections.
                Err(error) => assert!(TokenError::find_in(&*error).is_none(), "{error:?}"),
            }
        };
        assert_eq!(answer.status, StatusCode::OK);
        let counters = restarted.counters();
        assert_eq!((counters.unauthorized, counters.tokens_issued), (1, 1), "{version:?}");
    }
}
