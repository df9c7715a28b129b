//! Tests with token endpoints and services that misbehave.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{BoxError, Layer, Service, ServiceExt};
use turris_auth::{Credentials, CredentialsFuture, CredentialsProvider, TokenErrorKind};

use super::support::*;

#[tokio::test(start_paused = true)]
async fn callers_do_not_see_a_failed_attempt_before_a_success() {
    for first in [Answering::Unreachable, Answering::Status(500), Answering::Status(503), Answering::Nothing] {
        let (script, switch) = Script::switched(Duration::from_millis(50));
        switch.to(first);
        let service = layer(&script).layer(Api::accepting_all());
        let calls = join_all((0..100).map(|_| carried(&service)));
        let heal = async {
            sleep(Duration::from_millis(60)).await;
            switch.to(Answering::Tokens);
        };
        for result in tokio::join!(calls, heal).0 {
            assert_eq!(result.unwrap(), "Bearer token-2", "{first:?}");
        }
        assert_eq!(script.requests(), 2, "{first:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_makes_up_to_three_attempts_after_transient_failures_only() {
    for (answering, attempts, kind) in [
        (Answering::Unreachable, 3, TokenErrorKind::Unavailable),
        (Answering::Status(500), 3, TokenErrorKind::Unavailable),
        (Answering::Nothing, 3, TokenErrorKind::Timeout),
        (Answering::Status(401), 1, TokenErrorKind::InvalidCredentials),
        (Answering::Status(403), 1, TokenErrorKind::InvalidCredentials),
        (Answering::Status(422), 1, TokenErrorKind::InvalidCredentials),
        (Answering::Status(429), 1, TokenErrorKind::RateLimited),
        (Answering::Status(404), 1, TokenErrorKind::Protocol),
        (Answering::Status(307), 1, TokenErrorKind::Protocol),
    ] {
        let (script, switch) = Script::switched(Duration::from_millis(50));
        switch.to(answering);
        let layer = layer(&script);
        let error = token_error(carried(&layer.layer(Api::accepting_all())).await);
        assert_eq!((error.kind(), script.requests()), (kind, attempts), "{answering:?}");
        let wait = layer.handle().status().retry_in();
        assert!(wait.unwrap() >= Duration::from_millis(500), "{answering:?}");
        assert_eq!(error.retry_after(), wait.filter(|_| kind.is_transient()), "{answering:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_ends_by_its_timeout_whichever_part_hangs() {
    let provider = Arc::new(HangingProvider(AtomicBool::new(true)));
    let script = Script::issuing(Duration::ZERO);
    let layer_of_provider = turris_auth::TurrisAuthLayer::builder(provider, turris_auth::Environment::Production)
        .token_timeout(Duration::from_secs(7))
        .token_service(script.clone())
        .build()
        .unwrap();
    let (silent, switch) = Script::switched(Duration::ZERO);
    switch.to(Answering::Nothing);
    let silent = builder().token_timeout(Duration::from_secs(7)).token_service(silent).build().unwrap();
    let unready = builder().token_timeout(Duration::from_secs(7)).token_service(NeverReady).build().unwrap();
    for layer in [layer_of_provider, silent, unready] {
        let service = layer.layer(Api::accepting_all());
        let begun = Instant::now();
        let calls = (0..10).map(|_| carried(&service));
        for result in join_all(calls).await {
            assert_eq!(token_error(result).kind(), TokenErrorKind::Timeout);
        }
        let took = begun.elapsed();
        assert!(took > Duration::from_secs(6) && took < Duration::from_millis(7_010), "{took:?}");
    }
    // The hanging provider was called, but no request was sent.
    assert_eq!(script.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_uses_up_the_budget_of_its_task_is_given_up_in_time() {
    // It uses up tokio's whole budget in each poll, so that a timer after it gets none.
    let restless = Script::new(|_| async {
        loop {
            tokio::task::coop::consume_budget().await;
        }
    });
    let handle = builder().token_timeout(Duration::from_secs(7)).token_service(restless).build().unwrap().handle();
    let waiting = tokio::spawn(async move { handle.warm_up().await });
    settle().await;
    tokio::time::advance(Duration::from_secs(7)).await;
    for _ in 0..20 {
        settle().await;
    }
    assert!(waiting.is_finished());
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), TokenErrorKind::Timeout);
}

struct HangingProvider(AtomicBool);

impl turris_auth::CredentialsProvider for HangingProvider {
    fn credentials(&self) -> turris_auth::CredentialsFuture<'_> {
        match self.0.load(Ordering::SeqCst) {
            true => Box::pin(pending()),
            false => Box::pin(async { Ok(credentials()) }),
        }
    }
}

#[derive(Clone)]
struct NeverReady;

impl Service<Request<Full<Bytes>>> for NeverReady {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        std::future::ready(Ok(token(1)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Clone,
    PollReady,
    Call,
    Poll,
}

/// Panics in one place while it is armed.
struct Panicking {
    place: Where,
    armed: Arc<AtomicBool>,
}

impl Panicking {
    #[allow(clippy::panic, reason = "the test needs the panic")]
    fn at(&self, place: Where) {
        if self.place == place && self.armed.load(Ordering::SeqCst) {
            panic!("a scripted panic in {place:?}");
        }
    }
}

impl Clone for Panicking {
    fn clone(&self) -> Self {
        self.at(Where::Clone);
        Self { place: self.place, armed: Arc::clone(&self.armed) }
    }
}

impl Service<Request<Full<Bytes>>> for Panicking {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.at(Where::PollReady);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        self.at(Where::Call);
        let here = self.clone();
        Box::pin(async move {
            sleep(Duration::from_millis(10)).await;
            here.at(Where::Poll);
            Ok(token(1))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_service_is_an_error_for_its_callers() {
    for place in [Where::Clone, Where::PollReady, Where::Call, Where::Poll] {
        let armed = Arc::new(AtomicBool::new(false));
        let layer = builder().token_service(Panicking { place, armed: Arc::clone(&armed) }).build().unwrap();
        armed.store(true, Ordering::SeqCst);
        let service = layer.layer(Api::accepting_all());
        for result in join_all((0..10).map(|_| carried(&service))).await {
            let error = token_error(result);
            assert_eq!(error.kind(), TokenErrorKind::Unavailable, "{place:?}");
            assert!(error.to_string().contains("panicked"), "{place:?}: {error}");
        }
        // The panic meets the cool-down like any other failure, and recovery is possible after it.
        armed.store(false, Ordering::SeqCst);
        assert!(token_error(carried(&service).await).retry_after().is_some());
        sleep(Duration::from_secs(1)).await;
        assert_eq!(carried(&service).await.unwrap(), "Bearer token-1", "{place:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_token_costs_one_fetch_and_is_over_with_the_cool_down() {
    let answers: [(u16, String); 12] = [
        (200, "<html>maintenance</html>".into()),
        (201, String::new()),
        (204, String::new()),
        (201, "null".into()),
        (201, r#"{"data":{"accessToken":"tok"#.into()),
        (201, r#"{"data":{}}"#.into()),
        (201, r#"{"data":{"accessToken":"a\r\nb: c"}}"#.into()),
        (201, r#"{"data":{"accessToken":"t","tokenType":"mac"}}"#.into()),
        (201, r#"{"data":{"accessToken":"t","expiresIn":"NaN"}}"#.into()),
        (201, r#"{"data":{"accessToken":"t","expiresIn":NaN}}"#.into()),
        (201, r#"{"data":{"accessToken":"t","expiresIn":1e400}}"#.into()),
        (201, "x".repeat(64 * 1024 + 1)),
    ];
    for (status, body) in answers {
        let about = body.chars().take(60).collect::<String>();
        let script = Script::new(move |n| {
            let garbage = Response::builder().status(status).body(Body::from(body.clone())).unwrap();
            async move { Ok(if n == 1 { garbage } else { token(n) }) }
        });
        let service = layer(&script).layer(Api::accepting_all());
        let calls = join_all((0..10).map(|_| carried(&service))).await;
        for result in calls {
            assert_eq!(token_error(result).kind(), TokenErrorKind::Protocol, "{about}");
        }
        assert_eq!(script.requests(), 1, "{about}");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(carried(&service).await.unwrap(), "Bearer token-2", "{about}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_lifetime_makes_the_client_spin_or_overflow_and_its_waiters_get_the_token() {
    // The bounds on the number of fetches in ten minutes with ten requests a second. For lifetimes
    // of a second or less the number is the full allowance without a 401: 8 in a window.
    for (expires_in, at_least, at_most) in [
        ("0", 60, 88),
        ("1", 60, 88),
        ("-5", 60, 88),
        ("0.001", 60, 88),
        ("\"1\"", 60, 88),
        ("-1e308", 60, 88),
        ("1e308", 1, 1),
        ("18446744073709551615", 1, 1),
        ("\"3600.0\"", 1, 1),
        ("null", 1, 1),
    ] {
        let script = Script::new(move |n| async move { Ok(issued(&format!("token-{n}"), expires_in)) });
        let service = layer(&script).layer(Api::accepting_all());
        let first = join_all((0..10).map(|_| carried(&service))).await;
        assert!(first.into_iter().all(|result| result.unwrap() == "Bearer token-1"), "{expires_in}");
        for _ in 0..6_000 {
            sleep(Duration::from_millis(100)).await;
            match carried(&service).await {
                Ok(_) => {}
                Err(error) => {
                    let error = token_error::<()>(Err(error));
                    assert_eq!(error.kind(), TokenErrorKind::RateLimited, "{expires_in}");
                }
            }
        }
        let fetches = script.requests();
        assert!((at_least..=at_most).contains(&fetches), "{expires_in}: {fetches} fetches");
        assert!(script.most_in_any(Duration::from_secs(60)) <= 10, "{expires_in}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_counts_from_when_the_request_was_sent() {
    // The response takes 20 s of the token's 30 s.
    let script = Script::new(|n| async move {
        sleep(Duration::from_secs(if n == 1 { 20 } else { 0 })).await;
        Ok(issued(&format!("token-{n}"), "30"))
    });
    let layer = builder()
        .token_timeout(Duration::from_secs(90))
        .refresh_before(Duration::ZERO)
        .token_service(script.clone())
        .build()
        .unwrap();
    let service = layer.layer(Api::accepting_all());
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-1");
    assert_eq!(layer.handle().token().await.unwrap().expires_in(), Duration::from_secs(10));
    // Valid until 1.5 s (5 %) before its end.
    sleep(Duration::from_millis(8_499)).await;
    assert!(layer.handle().status().valid_for().is_some());
    sleep(Duration::from_millis(2)).await;
    assert!(layer.handle().status().valid_for().is_none());
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expired_in_transit_serves_its_waiters() {
    let script = Script::new(|n| async move {
        sleep(Duration::from_secs(2)).await;
        Ok(issued(&format!("token-{n}"), "1"))
    });
    let service = layer(&script).layer(Api::accepting_all());
    for result in join_all((0..10).map(|_| carried(&service))).await {
        assert_eq!(result.unwrap(), "Bearer token-1");
    }
    assert_eq!(script.requests(), 1);
    // Later requests fetch their own token.
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-2");
}

/// A provider with a new secret for each fetch.
struct Rotated(AtomicUsize);

impl CredentialsProvider for Rotated {
    fn credentials(&self) -> CredentialsFuture<'_> {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(Credentials::new("client", format!("secret-{n}"))?) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_sends_at_most_three_token_requests_whatever_their_results() {
    for refused in 1..=3 {
        let script = Script::new(move |n| async move { Ok(status(if n == refused { 401 } else { 503 })) });
        let layer =
            turris_auth::TurrisAuthLayer::builder(Rotated(AtomicUsize::new(0)), turris_auth::Environment::Production)
                .token_service(script.clone())
                .build()
                .unwrap();
        layer.handle().warm_up().await.unwrap_err();
        assert_eq!(script.requests(), 3, "the refused one is number {refused}");
    }
}
