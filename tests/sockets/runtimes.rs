//! Tests of one layer on several tokio runtimes, each with its own client.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use http::{StatusCode, Version};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tokio_test::{assert_pending, task};
use tower::Layer;
use turris_emulator::{Endpoint, Fault};

use super::support::{VERSIONS, builder, client, get, layer, send, started, until};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn several_runtimes_share_one_fetch() {
    const RUNTIMES: usize = 4;
    for version in VERSIONS {
        let servers = runtime();
        let emulator = servers.block_on(started());
        let layer = layer(&emulator);
        let together = Arc::new(Barrier::new(RUNTIMES));
        thread::scope(|scope| {
            for _ in 0..RUNTIMES {
                scope.spawn(|| {
                    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                    let api = runtime.block_on(async { layer.layer(client(version)) });
                    together.wait();
                    runtime.block_on(async {
                        let mut callers = JoinSet::new();
                        for _ in 0..50 {
                            let (api, request) = (api.clone(), get(&emulator, "/v1/agencies"));
                            callers.spawn(async move { send(&api, request).await.unwrap().status });
                        }
                        while let Some(status) = callers.join_next().await {
                            assert_eq!(status.unwrap(), StatusCode::OK);
                        }
                    });
                    // The other runtimes may still wait for the token that this runtime fetches, or
                    // may not have begun.
                    together.wait();
                });
            }
        });
        assert_eq!(emulator.counters().token_requests, 1, "{version:?}");
    }
}

#[test]
fn a_token_outlives_the_runtime_that_fetched_it() {
    for version in VERSIONS {
        let servers = runtime();
        let emulator = servers.block_on(started());
        let layer = layer(&emulator);
        for _ in 0..3 {
            let runtime = runtime();
            let api = layer.layer(client(version));
            let answer = runtime.block_on(async { send(&api, get(&emulator, "/v1/agencies")).await.unwrap() });
            assert_eq!(answer.status, StatusCode::OK);
        }
        assert_eq!(emulator.counters().token_requests, 1, "{version:?}");
    }
}

#[test]
fn a_caller_on_another_runtime_survives_the_end_of_the_runtime_that_fetches() {
    for version in VERSIONS {
        let servers = runtime();
        let emulator = servers.block_on(started());
        let layer = layer(&emulator);
        emulator.fault(Endpoint::Token, Fault::hang().times(1));
        let doomed = runtime();
        let api = layer.layer(client(version));
        let request = get(&emulator, "/v1/agencies");
        let lost = doomed.spawn(async move { send(&api, request).await });
        servers.block_on(until(|| emulator.counters().in_flight == 1));

        let replacement = runtime();
        let api = layer.layer(client(version));
        let request = get(&emulator, "/v1/agencies");
        let answer = replacement.block_on(async {
            let mut waiting = task::spawn(send(&api, request));
            // The request now waits for the token that the other runtime fetches.
            assert_pending!(waiting.poll());
            doomed.shutdown_background();
            waiting.await.unwrap()
        });
        assert_eq!(answer.status, StatusCode::OK);
        assert!(servers.block_on(lost).is_err());
        assert_eq!(emulator.counters().token_requests, 2, "{version:?}");
    }
}

#[test]
fn a_caller_on_another_runtime_goes_on_without_a_runtime_that_is_no_longer_driven() {
    let servers = runtime();
    let emulator = servers.block_on(started());
    let layer = builder(&emulator).token_timeout(Duration::from_secs(3)).build().unwrap();
    let stopped = Builder::new_current_thread().enable_all().build().unwrap();
    let api = layer.layer(client(Version::HTTP_11));
    let mut lost = task::spawn(Box::pin(send(&api, get(&emulator, "/v1/agencies"))));
    {
        let _entered = stopped.enter();
        // The request has started the fetch on a runtime that is not driven.
        assert_pending!(lost.poll());
    }

    let other = layer.layer(client(Version::HTTP_11));
    let answer = servers.block_on(send(&other, get(&emulator, "/v1/agencies"))).unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(emulator.counters().token_requests, 1);

    // When the first runtime is driven again, its request uses the existing token, and its own
    // fetch sends nothing.
    let answer = stopped.block_on(lost.into_inner()).unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(emulator.counters().token_requests, 1);
}
