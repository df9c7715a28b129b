//! What the emulator says that it saw. Time is paused throughout.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, task};
use tower::ServiceExt;
use turris_auth::emulator::{Endpoint, Fault, Limits};

use super::{ID, builder, emulator, get, post, send, status, token, token_request, token_request_with};

#[tokio::test(start_paused = true)]
async fn requests_and_answers_are_counted() {
    let emulator = builder().limits(Limits::default().token_requests(2)).build().unwrap();
    let token = token(&emulator).await;
    status(&emulator, token_request_with(ID, "wrong")).await;
    status(&emulator, token_request()).await;
    emulator.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE).times(1));
    status(&emulator, token_request()).await;
    status(&emulator, get("/v1/agencies", &token)).await;
    status(&emulator, get("/v1/agencies", "bad")).await;

    let counters = emulator.counters();
    assert_eq!(counters.requests, 6);
    assert_eq!(counters.token_requests, 4);
    assert_eq!(counters.tokens_issued, 1);
    assert_eq!(counters.token_requests_refused, 3);
    assert_eq!(counters.unauthorized, 2);
    assert_eq!(counters.rate_limited, 1);
    assert_eq!(counters.faults, 1);
    assert_eq!(counters.connections, 0);
    assert_eq!(counters.in_flight, 0);
    assert_eq!(counters.peak_in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn the_log_of_token_requests_has_their_times() {
    let emulator = emulator();
    let start = Instant::now();
    let mut expected = Vec::new();
    for second in 0..20 {
        expected.push(start + Duration::from_secs(second));
        status(&emulator, token_request()).await;
        status(&emulator, get("/v1/agencies", "")).await;
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(emulator.token_request_times(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_log_of_requests_has_no_token_in_it_and_is_bounded() {
    let emulator = emulator();
    let token = token(&emulator).await;
    send(&emulator, post("/v1/echo?a=b", &token, "")).await;
    let requests = emulator.requests();
    let [first, second] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((&first.method, first.path.as_str(), first.has_authorization), (&Method::POST, "/v1/auth/jwt", false));
    assert_eq!((&second.method, second.path.as_str(), second.has_authorization), (&Method::POST, "/v1/echo", true));

    for _ in 0..10_000 {
        status(&emulator, get("/v1/nothing", "")).await;
    }
    let requests = emulator.requests();
    assert_eq!(requests.len(), 10_000);
    assert!(requests.iter().all(|request| request.path == "/v1/nothing"));
    assert_eq!(emulator.counters().requests, 10_002);
}

#[tokio::test(start_paused = true)]
async fn the_peak_of_requests_in_flight_is_kept() {
    let emulator = emulator();
    emulator.fault(Endpoint::All, Fault::hang());
    let mut held: Vec<_> = (0..7).map(|_| task::spawn(emulator.service().oneshot(token_request()))).collect();
    held.iter_mut().for_each(|held| assert_pending!(held.poll()));
    assert_eq!(emulator.counters().in_flight, 7);
    held.truncate(2);
    assert_eq!(emulator.counters().in_flight, 2);
    emulator.clear_faults();
    for held in held {
        assert_eq!(held.await.unwrap().status(), StatusCode::CREATED);
    }
    assert_eq!(emulator.counters().in_flight, 0);
    assert_eq!(emulator.counters().peak_in_flight, 7);
}

#[tokio::test]
async fn bodies_of_every_type_are_read_and_their_errors_reported() {
    let emulator = emulator();
    let body = token_request().into_body();
    let full = token_request().map(|body| Full::new(bytes::Bytes::from(body)));
    assert_eq!(emulator.service().oneshot(full).await.unwrap().status(), StatusCode::CREATED);
    let boxed = token_request().map(BodyExt::boxed_unsync);
    assert_eq!(emulator.service().oneshot(boxed).await.unwrap().status(), StatusCode::CREATED);

    let broken = futures_util::stream::iter([
        Ok(http_body::Frame::data(bytes::Bytes::from(body))),
        Err(std::io::Error::other("the client's disk")),
    ]);
    let broken: Request<_> = token_request().map(|_| StreamBody::new(broken));
    let error = emulator.service().oneshot(broken).await.unwrap_err();
    assert!(error.is_request_body());
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the client's disk");
    assert_eq!(emulator.counters().tokens_issued, 2);
}

#[test]
fn auto_traits_hold() {
    fn send_and_sync<T: Send + Sync + 'static>() {}
    fn only_send<T: Send + 'static>() {}
    send_and_sync::<turris_auth::emulator::Emulator>();
    send_and_sync::<turris_auth::emulator::EmulatorService>();
    send_and_sync::<turris_auth::emulator::EmulatorBody>();
    send_and_sync::<turris_auth::emulator::EmulatorError>();
    only_send::<turris_auth::emulator::EmulatorFuture>();
}
