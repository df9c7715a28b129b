//! Tests with Tower's own middleware above and below. Services that cannot be cloned stand under a
//! `Buffer`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt,
    balance::p2c::Balance,
    buffer::{Buffer, BufferLayer},
    discover::ServiceList,
    hedge::{Hedge, Policy},
    load::Constant,
    reconnect::Reconnect,
    service_fn,
    spawn_ready::SpawnReady,
    util::BoxCloneService,
};
use turris_emulator::{Emulator, EmulatorBody, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::support::{get, layer, post, text};

type Body = Full<Bytes>;

fn emulator() -> Emulator {
    Emulator::builder().build().unwrap()
}

/// Checks that the stack fetches one token, recovers from a 401, and sends a body twice.
async fn works<S>(emulator: &Emulator, mut api: S)
where
    S: Service<Request<Body>, Response = Response<EmulatorBody>, Error = BoxError>,
{
    let response = api.ready().await.unwrap().call(get(&emulator.url("/"), "/v1/agencies")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    emulator.revoke_all_tokens();
    let response = api.ready().await.unwrap().call(post(&emulator.url("/"), "/v1/echo", "twice")).await.unwrap();
    assert_eq!((response.status(), text(response).await.as_str()), (StatusCode::OK, "twice"));
    let counters = emulator.counters();
    assert_eq!((counters.token_requests, counters.unauthorized, counters.requests), (2, 1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_stack_with_a_box_above_and_a_box_below_works() {
    let emulator = emulator();
    let boxed = BoxCloneService::<Request<Body>, _, _>::new(emulator.service());
    works(&emulator, layer(&emulator).layer(boxed).boxed_clone()).await;
}

#[tokio::test(start_paused = true)]
async fn a_stack_with_a_buffer_above_and_a_buffer_below_works() {
    let emulator = emulator();
    let stack = ServiceBuilder::new()
        .layer(BufferLayer::new(1))
        .layer(layer(&emulator))
        .layer(BufferLayer::new(1))
        .service(emulator.service());
    works(&emulator, stack).await;
}

#[tokio::test(start_paused = true)]
async fn a_stack_with_a_balance_under_a_buffer_works() {
    let emulator = emulator();
    let used = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
    let endpoints = used.clone().map(|used| {
        let counted = emulator.service().map_request(move |request: Request<Body>| {
            used.fetch_add(1, Ordering::Relaxed);
            request
        });
        Constant::new(counted, 1)
    });
    let balance = Balance::new(ServiceList::new::<Request<Body>>(endpoints));
    let api = layer(&emulator).layer(Buffer::new(balance, 4));
    works(&emulator, api.clone()).await;
    // With this many requests, chance leaves no endpoint out.
    for _ in 0..64 {
        let response = api.clone().oneshot(get(&emulator.url("/"), "/v1/agencies")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert!(used.iter().all(|used| used.load(Ordering::Relaxed) > 0), "{used:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_reconnects_under_a_buffer_works() {
    let emulator = emulator();
    let made = Arc::new(AtomicU32::new(0));
    let (counter, service) = (Arc::clone(&made), emulator.service());
    let connect = service_fn(move |(): ()| {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        // The first connection fails, as networks do.
        let service = if number == 0 { Err(BoxError::from("no route")) } else { Ok(service.clone()) };
        std::future::ready(service)
    });
    let api = layer(&emulator).layer(Buffer::new(Reconnect::new(connect, ()), 4));
    // The fetch of the token met the failure, and made another attempt.
    works(&emulator, api).await;
    assert_eq!(made.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stack_with_spawned_readiness_under_a_buffer_works() {
    let emulator = emulator();
    let api = layer(&emulator).layer(Buffer::new(SpawnReady::new(emulator.service()), 4));
    works(&emulator, api).await;
}

/// A policy that allows every request to be sent a second time.
#[derive(Clone)]
struct Always;

impl Policy<Request<Body>> for Always {
    fn clone_request(&self, request: &Request<Body>) -> Option<Request<Body>> {
        Some(request.clone())
    }

    fn can_retry(&self, _: &Request<Body>) -> bool {
        true
    }
}

/// A hedge that has seen responses after a millisecond, so it sends a copy after two milliseconds.
fn hedge<S>(service: S) -> Hedge<S, Always>
where
    S: Service<Request<Body>, Error: Into<BoxError>> + Clone,
{
    Hedge::new_with_mock_latencies(service, Always, 10, 0.9, Duration::from_secs(60), &[1; 20])
}

#[tokio::test(start_paused = true)]
async fn the_copies_of_a_hedge_above_share_the_token() {
    let emulator = emulator();
    emulator.fault(Endpoint::Token, Fault::delay(Duration::from_secs(1)));
    emulator.fault(Endpoint::path("/v1/agencies"), Fault::hang().times(1));
    let mut api = hedge(layer(&emulator).layer(emulator.service()));
    // The first copy hangs, and the second is answered. Both waited for the same token.
    let response = api.ready().await.unwrap().call(get(&emulator.url("/"), "/v1/agencies")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let counters = emulator.counters();
    assert_eq!((counters.token_requests, counters.requests), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_stack_with_a_hedge_below_under_a_buffer_works() {
    let emulator = emulator();
    let api = layer(&emulator).layer(Buffer::new(hedge(emulator.service()), 4));
    emulator.fault(Endpoint::path("/v1/agencies"), Fault::hang().times(1));
    let response = api.clone().oneshot(get(&emulator.url("/"), "/v1/agencies")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let counters = emulator.counters();
    assert_eq!((counters.token_requests, counters.requests, counters.in_flight), (1, 3, 0));
}
