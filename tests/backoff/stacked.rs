//! Tests around `TurrisAuth`, on an emulated Turris.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use turris_auth::{
    TokenError, TurrisAuthLayer,
    backoff::{BackoffReport, TurrisBackoffLayer},
};
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::support::seconds;

fn post() -> Request<Full<Bytes>> {
    Request::post("http://localhost/v1/echo").body(Full::from("{}")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_that_waited_carry_a_valid_token_and_fetches_are_not_paced() {
    // The lifetime of a token is shorter than the time in the queue.
    let emulator = Emulator::builder().token_lifetime(Duration::from_secs(90)).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(TurrisBackoffLayer::new())
        .layer(TurrisAuthLayer::new(emulator.credentials(), emulator.environment()))
        .layer(ConcurrencyLimitLayer::new(60))
        .service(emulator.service());
    let start = Instant::now();
    let tasks: Vec<_> = (0..240).map(|_| tokio::spawn(service.clone().oneshot(post()))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    let counters = emulator.counters();
    assert_eq!((counters.rate_limited, counters.unauthorized), (0, 0), "{counters:?}");
    assert!((2..=4).contains(&counters.token_requests), "{counters:?}");
    assert!(start.elapsed() < seconds(190.0), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_token_endpoint_is_waited_out() {
    let emulator = Emulator::builder().build().unwrap();
    emulator.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(3));
    let auth = TurrisAuthLayer::new(emulator.credentials(), emulator.environment());
    let alone = ServiceBuilder::new().layer(auth.clone()).service(emulator.service());
    let error = alone.oneshot(post()).await.unwrap_err();
    assert!(TokenError::find_in(&*error).unwrap().retry_after().is_some());

    let emulator = Emulator::builder().build().unwrap();
    emulator.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(3));
    let auth = TurrisAuthLayer::new(emulator.credentials(), emulator.environment());
    let service = ServiceBuilder::new().layer(TurrisBackoffLayer::new()).layer(auth).service(emulator.service());
    let tasks: Vec<_> = (0..20).map(|_| tokio::spawn(service.clone().oneshot(post()))).collect();
    for task in tasks {
        let response = task.await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.extensions().get::<BackoffReport>().unwrap().attempts() > 1);
    }
    assert_eq!(emulator.counters().rate_limited, 0);
}
