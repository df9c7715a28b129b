//! Tests of which requests are repeated, how often, and with which result.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use tokio::time::timeout;
use tower::{
    Layer, ServiceExt,
    retry::budget::{Budget, TpsBudget},
};
use turris_auth::{
    BoxError, ResponseClass,
    backoff::{RetryBudget, SkipBackoff, TurrisBackoffLayer},
    replay::{ReplayBody, ReplayBodyLayer},
};

use super::support::*;

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_sent_again_whole() {
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let server = Server::new([refused(&[]), refused(&[])]);
        let mut original = request(method.clone(), "/v1/agents?page=2");
        original.headers_mut().append("x-many", "1".parse().unwrap());
        original.headers_mut().append("x-many", "2".parse().unwrap());
        let mut secret = http::HeaderValue::from_static("Bearer t");
        secret.set_sensitive(true);
        original.headers_mut().insert("authorization", secret);
        let response = server.layered(&TurrisBackoffLayer::new()).oneshot(original).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(report(&response).unwrap().attempts(), 3);
        let seen = server.seen();
        assert_eq!(seen.len(), 3);
        for seen in seen {
            assert_eq!((seen.method, &*seen.path, &*seen.body), (method.clone(), "/v1/agents", &b"content"[..]));
            assert_eq!(seen.headers.get_all("x-many").iter().collect::<Vec<_>>(), ["1", "2"]);
            assert!(seen.headers["authorization"].is_sensitive());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_three_retries_the_refusal_itself_comes_back() {
    let server = Server::answering(|_| refused(&[("retry-after", "2"), ("x-request", "r")]));
    let response = server.layered(&TurrisBackoffLayer::new()).oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["x-request"], "r");
    assert_eq!(server.times().len(), 4);
    let report = report(&response).unwrap();
    assert_eq!(report.attempts(), 4);
    assert!((seconds(6.0)..seconds(6.7)).contains(&report.waited()), "{report:?}");
    assert!(response.into_body().collect().await.unwrap().to_bytes().starts_with(br#"{"errorType""#));
}

#[tokio::test(start_paused = true)]
async fn the_number_of_retries_can_be_set_and_without_any_the_gate_still_closes() {
    for retries in [0, 1, 7] {
        let server = Server::answering(|_| refused(&[("retry-after", "1")]));
        let layer = TurrisBackoffLayer::builder().max_retries(retries).build().unwrap();
        let response = server.layered(&layer).oneshot(get("/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(server.times().len(), 1 + retries as usize);
        assert_eq!(report(&response).is_some(), retries > 0);
    }
    let server = Server::new([refused(&[("retry-after", "30")])]);
    let service = server.layered(&TurrisBackoffLayer::builder().max_retries(0).build().unwrap());
    service.clone().oneshot(get("/")).await.unwrap();
    service.oneshot(get("/")).await.unwrap();
    assert!(server.times()[1] >= seconds(30.0));
}

#[tokio::test(start_paused = true)]
async fn other_statuses_are_not_touched() {
    for status in [200, 201, 204, 301, 400, 401, 403, 404, 408, 428, 500, 502, 503, 504] {
        let server = Server::answering(move |_| {
            let mut response = refused(&[("retry-after", "5")]);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        });
        let service = server.layered(&TurrisBackoffLayer::new());
        for _ in 0..2 {
            let response = service.clone().oneshot(get("/")).await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert!(report(&response).is_none());
        }
        assert_eq!(server.times().len(), 2);
        assert!(server.times()[1] < seconds(0.1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_means_the_same_as_a_429_is_waited_out() {
    // gRPC over HTTP/2 uses a header of a 200.
    let exhausted = || {
        let mut response = ok();
        *response.version_mut() = http::Version::HTTP_2;
        response.headers_mut().insert("grpc-status", 8.into());
        response
    };
    let server = Server::new([exhausted()]);
    let response = server.layered(&TurrisBackoffLayer::new()).oneshot(post("/")).await.unwrap();
    assert!(!response.headers().contains_key("grpc-status"));
    assert_eq!(server.times().len(), 2);
    // A gateway that sends 503 instead of 429.
    let unavailable = || {
        let mut response = refused(&[("retry-after", "5")]);
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    };
    let layer = TurrisBackoffLayer::builder()
        .classify_responses(|status, headers| match status {
            StatusCode::SERVICE_UNAVAILABLE => ResponseClass::RateLimited,
            _ => ResponseClass::of(status, headers),
        })
        .build()
        .unwrap();
    let server = Server::new([unavailable()]);
    let response = server.layered(&layer).oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(server.times()[1] >= seconds(5.0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_repeated_gets_its_refusal_and_the_gate_closes() {
    let server = Server::new([refused(&[("retry-after", "30")])]);
    let client = server.client();
    let inner = tower::service_fn(move |request: Request<BoxBody<Bytes, Infallible>>| {
        let client = client.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = Body::from(body.collect().await.unwrap().to_bytes());
            client.oneshot(Request::from_parts(head, body)).await
        }
    });
    let service = TurrisBackoffLayer::new().layer(inner);
    let streaming = || post("/").map(BoxBody::new);
    let response = service.clone().oneshot(streaming()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(report(&response).is_none());
    // A body that is held back has not been sent, so it needs no copy.
    let response = service.oneshot(streaming()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(report(&response).unwrap().attempts(), 1);
    assert!(server.times()[1] >= seconds(30.0));
    assert_eq!(server.times().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_its_connection_goes_on_sending_after_the_refusal_is_still_repeated() {
    let calls = AtomicUsize::new(0);
    let inner = tower::service_fn(|request: Request<ReplayBody<_>>| {
        let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            let mut body = request.into_body();
            if !first {
                assert_eq!(body.collect().await?.to_bytes(), "0123456789".repeat(10));
                return Ok::<_, BoxError>(ok());
            }
            // Refused in the middle. The rest of the body passes the limit while the retry waits.
            body.frame().await.expect("a frame")?;
            tokio::spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
            Ok(refused(&[("retry-after", "5")]))
        }
    });
    let layers = (ReplayBodyLayer::new().limit(50), TurrisBackoffLayer::new());
    let frames = (0..10).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"0123456789"))));
    let request = post("/").map(|_| StreamBody::new(futures_util::stream::iter(frames)));
    let response = layers.layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_held_back_carries_no_report() {
    let server = Server::new([]);
    let service = server.layered(&TurrisBackoffLayer::new());
    for request in [get("/"), post("/")] {
        assert!(report(&service.clone().oneshot(request).await.unwrap()).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_can_opt_out() {
    let server = Server::new([refused(&[("retry-after", "30")]), refused(&[]), ok()]);
    let service = server.layered(&TurrisBackoffLayer::builder().max_retries(0).build().unwrap());
    service.clone().oneshot(get("/")).await.unwrap();
    for status in [429, 200] {
        let mut request = get("/");
        request.extensions_mut().insert(SkipBackoff);
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
    }
    assert!(server.times()[2] < seconds(0.1));
}

struct TowerBudget(TpsBudget);

impl RetryBudget for TowerBudget {
    fn deposit(&self) {
        self.0.deposit();
    }

    fn withdraw(&self) -> bool {
        self.0.withdraw()
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_bounds_the_share_of_retries() {
    let server = Server::answering(|_| refused(&[("retry-after", "1")]));
    // Two retries are allowed without deposits.
    let layer = TurrisBackoffLayer::builder()
        .max_retries(100)
        .retry_budget(TowerBudget(TpsBudget::new(Duration::from_secs(10), 0, 0.1)))
        .build()
        .unwrap();
    let service = server.layered(&layer);
    let response = service.oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(server.times().len(), 1, "there is nothing to withdraw");

    let server = Server::answering(|seen| if seen.path == "/bad" { refused(&[("retry-after", "1")]) } else { ok() });
    let layer = TurrisBackoffLayer::builder()
        .max_retries(100)
        .retry_budget(Arc::new(TowerBudget(TpsBudget::new(Duration::from_secs(60), 0, 0.1))))
        .build()
        .unwrap();
    let service = server.layered(&layer);
    for _ in 0..20 {
        service.clone().oneshot(get("/good")).await.unwrap();
    }
    service.clone().oneshot(get("/bad")).await.unwrap();
    assert_eq!(server.times().len(), 20 + 1 + 2);
}

#[tokio::test(start_paused = true)]
async fn the_refused_answer_is_drained_within_bounds_before_the_retry() {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let inner = tower::service_fn(move |request: Request<Body>| {
        let counted = Arc::clone(&counted);
        async move {
            let first = counted.load(Ordering::Relaxed) == 0;
            drop(request);
            let mut chunks = 4;
            let body = StreamBody::new(futures_util::stream::poll_fn(move |_| {
                if chunks == 0 {
                    // The body is silent from here on, and does not end.
                    return Poll::Pending;
                }
                chunks -= 1;
                counted.fetch_add(1, Ordering::Relaxed);
                Poll::Ready(Some(Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{}")))))
            }));
            let status = if first { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::OK };
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        }
    });
    let start = tokio::time::Instant::now();
    let response = TurrisBackoffLayer::new().layer(inner).oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(read.load(Ordering::Relaxed), 4);
    assert!(start.elapsed() >= seconds(1.0), "{:?}", start.elapsed());
    assert!(start.elapsed() <= seconds(1.1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_layers_can_be_nested() {
    let server = Server::answering(|_| refused(&[("retry-after", "1")]));
    let layer = |retries| TurrisBackoffLayer::builder().max_retries(retries).build().unwrap();
    let service = layer(1).layer(layer(2).layer(server.client()));
    let response = service.oneshot(post("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    // Each of the two layers makes its own attempts: two times three.
    assert_eq!(server.times().len(), 6);
    assert_eq!(report(&response).unwrap().attempts(), 2);
    let server = Server::new([refused(&[("retry-after", "1")])]);
    let service = layer(3).layer(layer(3).layer(server.client()));
    assert_eq!(service.oneshot(post("/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.times().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_goes_back_once_the_server_has_refused_everything_for_max_wait() {
    let server = Server::answering(|_| refused(&[]));
    let layer = TurrisBackoffLayer::builder().max_wait(seconds(20.0)).build().unwrap();
    let sent = timeout(seconds(200.0), server.layered(&layer).oneshot(get("/"))).await.expect("it comes back");
    assert_eq!(sent.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    let times = server.times();
    let last = *times.last().unwrap();
    assert!((seconds(20.0)..=seconds(60.0)).contains(&last), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_an_hour_ago_does_not_count_against_the_next_refusal() {
    let server = Server::new([refused(&[("retry-after", "30")]), refused(&[("retry-after", "1")])]);
    let service = server.layered(&TurrisBackoffLayer::new());
    timeout(seconds(5.0), service.clone().oneshot(get("/"))).await.expect_err("it waits for the gate");
    tokio::time::sleep(seconds(3_600.0)).await;
    assert_eq!(service.oneshot(get("/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.times().len(), 3);
}
