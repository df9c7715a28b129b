//! Tests with callers that drop requests, hold bodies and send fast, on many runtimes at once.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use fastrand::Rng;
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{runtime::Builder, task::yield_now};
use tower::{BoxError, Layer, ServiceExt, limit::ConcurrencyLimit};
use turris_auth::{TokenError, TokenErrorKind, TurrisAuthLayer};
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::server::{Body, HttpClient, client};

type Api = turris_auth::TurrisAuth<ConcurrencyLimit<HttpClient>>;

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

fn layer(emulator: &Emulator) -> TurrisAuthLayer {
    turris_test_support::trace::if_asked_for();
    TurrisAuthLayer::builder(emulator.credentials(), emulator.environment()).build().unwrap()
}

fn get(emulator: &Emulator, path: &str) -> Request<Body> {
    Request::get(emulator.url(path)).body(Body::default()).unwrap()
}

async fn send(api: &Api, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
    api.clone().oneshot(request).await
}

/// A response body that is never read holds no permit, and nothing that a fetch or a retry needs.
#[tokio::test]
async fn a_body_that_is_held_for_ever_delays_no_other_request() {
    for version in VERSIONS {
        let emulator = Emulator::start().await.unwrap();
        let api = layer(&emulator).layer(ConcurrencyLimit::new(client(version), 1));
        emulator.fault(Endpoint::path("/v1/agents"), Fault::giant(u64::MAX));
        emulator.fault(
            Endpoint::path("/v1/quotes"),
            Fault::status(StatusCode::UNAUTHORIZED).with_body("no".repeat(1_000_000)),
        );
        let mut held = vec![send(&api, get(&emulator, "/v1/agents")).await.unwrap()];
        for round in 1..=3 {
            emulator.revoke_all_tokens();
            let answer = send(&api, get(&emulator, "/v1/agencies")).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{version:?}, round {round}");
            answer.into_body().collect().await.unwrap();
        }
        // A 401 that a new token does not end, with a body that is too long to be drained.
        for _ in 0..3 {
            held.push(send(&api, get(&emulator, "/v1/quotes")).await.unwrap());
            assert_eq!(held.last().unwrap().status(), StatusCode::UNAUTHORIZED);
        }
        let answer = send(&api, get(&emulator, "/v1/agencies")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{version:?}");
        assert!(emulator.counters().token_requests <= 5);
        drop(held);
        while emulator.counters().in_flight > 0 {
            yield_now().await;
        }
    }
}

/// Over HTTP/2, unread bodies use up the window of their connection, and other requests on it wait.
/// A token service with its own connection does not wait.
#[tokio::test]
async fn bodies_that_fill_a_connection_do_not_delay_a_fetch_over_another_connection() {
    let emulator = Emulator::start().await.unwrap();
    emulator.fault(Endpoint::path("/v1/agents"), Fault::giant(u64::MAX));
    let layer = TurrisAuthLayer::builder(emulator.credentials(), emulator.environment())
        .token_service(client(Version::HTTP_2))
        .build()
        .unwrap();
    let api = layer.layer(client(Version::HTTP_2));
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(api.clone().oneshot(get(&emulator, "/v1/agents")).await.unwrap());
    }
    let generation = layer.handle().token().await.unwrap();
    layer.handle().invalidate();
    assert_ne!(layer.handle().token().await.unwrap().as_str(), generation.as_str());
    assert_eq!(held.len(), 8);
}

/// Sends `rounds` requests, and misuses each in some way.
async fn misbehave(
    api: Api,
    emulator: Arc<Emulator>,
    held: Arc<Mutex<Vec<Response<Incoming>>>>,
    rounds: usize,
    seed: u64,
) {
    let mut random = Rng::with_seed(seed);
    for _ in 0..rounds {
        let path = if random.u8(..4) == 0 { "/v1/agents" } else { "/v1/agencies" };
        let mut call = tokio_test::task::spawn(Box::pin(send(&api, get(&emulator, path))));
        // So rarely that the allowance nearly suffices for the new tokens.
        match random.u8(..) {
            0 => emulator.revoke_all_tokens(),
            1 => api.handle().invalidate(),
            2..8 => emulator.close_connections(),
            _ => {}
        }
        if random.bool() {
            // Drops the request somewhere on its way.
            for _ in 0..random.u8(..20) {
                if call.poll().is_ready() {
                    break;
                }
                yield_now().await;
            }
            continue;
        }
        match call.await {
            Ok(response) if random.bool() => held.lock().unwrap().push(response),
            // Read in part, and dropped.
            Ok(response) => drop(response.into_body().frame().await),
            // An error of a closed connection is the client's own error.
            Err(error) => {
                if let Some(error) = TokenError::find_in(&*error) {
                    assert!(
                        matches!(error.kind(), TokenErrorKind::RateLimited | TokenErrorKind::Unavailable),
                        "{error:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_new_caller_gets_a_token_after_others_have_dropped_and_held_at_random_on_many_runtimes() {
    for (seed, version) in [(1, Version::HTTP_11), (2, Version::HTTP_2), (3, Version::HTTP_11), (4, Version::HTTP_2)] {
        let servers = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let emulator = Arc::new(servers.block_on(Emulator::start()).unwrap());
        emulator.fault(Endpoint::path("/v1/agents"), Fault::giant(300_000));
        let layer = layer(&emulator);
        let held = Arc::new(Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for number in 0..6 {
                let (layer, emulator, held) = (&layer, &emulator, &held);
                scope.spawn(move || {
                    let runtime = match number % 2 {
                        0 => Builder::new_current_thread().enable_all().build().unwrap(),
                        _ => Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
                    };
                    let api = layer.layer(ConcurrencyLimit::new(client(version), 8));
                    let callers = (0..8).map(|caller| {
                        let seed = seed * 1_000 + number * 10 + caller;
                        misbehave(api.clone(), Arc::clone(emulator), Arc::clone(held), 20, seed)
                    });
                    runtime.block_on(async {
                        let tasks: Vec<_> = callers.map(|caller| runtime.spawn(caller)).collect();
                        for task in tasks {
                            task.await.unwrap();
                        }
                    });
                    // Ends everything that is under way on this runtime, perhaps the fetch for all
                    // callers.
                    runtime.shutdown_background();
                });
            }
        });

        let counters = emulator.counters();
        assert!(counters.tokens_issued > 1, "{counters:?}");
        assert!(counters.token_requests <= 10, "seed {seed}: {} fetches in a minute", counters.token_requests);
        assert!(held.lock().unwrap().len() > 20);
        // The bodies are still held. A new caller gets a token if one can be obtained, or else the
        // error of the layer.
        let api = layer.layer(ConcurrencyLimit::new(client(version), 8));
        match servers.block_on(send(&api, get(&emulator, "/v1/agencies"))) {
            Ok(response) => assert!([StatusCode::OK, StatusCode::UNAUTHORIZED].contains(&response.status())),
            Err(error) => {
                // A minute, and a second, since the server rounds to whole seconds.
                let error = TokenError::find_in(&*error).unwrap();
                assert!(error.retry_after().is_some_and(|wait| wait <= Duration::from_secs(62)), "{error}");
            }
        }
        held.lock().unwrap().clear();
        servers.block_on(async {
            while emulator.counters().in_flight > 0 {
                yield_now().await;
            }
        });
    }
}
