//! Tests of Tower's contract: only a service that was polled ready is called, and no readiness is
//! held during a wait.

use std::{
    future::poll_fn,
    io,
    sync::Mutex,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, task};
use tower::{BoxError, Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_test::mock;
use turris_auth::{TokenErrorKind, TurrisAuthLayer, auth::SkipAuth};

use super::support::*;

type Mock = mock::Mock<Request<Body>, Response<Body>>;

fn ok() -> Response<Body> {
    Response::new(Body::default())
}

fn authorization(request: &Request<Body>) -> &str {
    request.headers().get("authorization").map_or("none", |value| value.to_str().unwrap())
}

/// A service over a mock that panics if it is called before it was polled ready.
fn mocked(
    script: &Script,
) -> (turris_auth::TurrisAuth<Mock, turris_auth::TokenService>, mock::Handle<Request<Body>, Response<Body>>) {
    let (mock, handle) = mock::pair();
    (layer(script).layer(mock), handle)
}

#[tokio::test(start_paused = true)]
async fn cold_hot_retried_and_skipped_requests_call_a_service_that_was_polled_ready() {
    let script = Script::issuing(Duration::from_millis(50));
    let (mut service, mut handle) = mocked(&script);
    // One instance for all calls, so that the next call would reveal a service that was not handed
    // back properly.
    for expected in ["Bearer token-1", "Bearer token-1"] {
        let answer = tokio::spawn(service.ready().await.unwrap().call(get(API)));
        let (request, respond) = soon(handle.next_request()).await.unwrap();
        assert_eq!(authorization(&request), expected);
        respond.send_response(ok());
        assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
    }

    let answer = tokio::spawn(service.ready().await.unwrap().call(get(API)));
    soon(handle.next_request()).await.unwrap().1.send_response(status(401));
    let (request, respond) = soon(handle.next_request()).await.unwrap();
    assert_eq!(authorization(&request), "Bearer token-2");
    respond.send_response(ok());
    assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);

    let answer = tokio::spawn(service.ready().await.unwrap().call(get("https://elsewhere.example/")));
    let (request, respond) = soon(handle.next_request()).await.unwrap();
    assert_eq!(authorization(&request), "none");
    respond.send_response(ok());
    assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_layer_is_ready_when_the_inner_service_is() {
    let script = Script::issuing(Duration::ZERO);
    let (service, mut handle) = mocked(&script);
    let mut service = tokio_test::task::spawn(service);
    handle.allow(0);
    assert_pending!(service.enter(|cx, mut service| service.poll_ready(cx)));
    handle.allow(1);
    assert!(service.is_woken());
    assert_ready!(service.enter(|cx, mut service| service.poll_ready(cx))).unwrap();
    // To poll readiness fetches no token.
    assert_eq!(script.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_is_passed_on() {
    let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "scripted");
    let is_refused =
        |error: BoxError| error.downcast::<io::Error>().unwrap().kind() == io::ErrorKind::ConnectionRefused;
    let script = Script::issuing(Duration::from_millis(50));
    let (service, mut handle) = mocked(&script);

    let mut polled = tokio_test::task::spawn(service.clone());
    handle.send_error(refused());
    assert!(is_refused(assert_ready_err!(polled.enter(|cx, mut service| service.poll_ready(cx)))));

    // After the wait for the token.
    let waiting = tokio::spawn(service.clone().oneshot(get(API)));
    tokio::time::sleep(Duration::from_millis(10)).await;
    handle.send_error(refused());
    assert!(is_refused(soon(waiting).await.unwrap().unwrap_err()));

    // Before the second attempt.
    let waiting = tokio::spawn(service.clone().oneshot(get(API)));
    let (_, respond) = soon(handle.next_request()).await.unwrap();
    respond.send_response(status(401));
    tokio::time::sleep(Duration::from_millis(10)).await;
    handle.send_error(refused());
    assert!(is_refused(soon(waiting).await.unwrap().unwrap_err()));
    assert_eq!(script.requests(), 2);
}

/// Records the use of each instance. A clone is another instance.
struct Instance {
    id: usize,
    log: std::sync::Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    instances: usize,
    ready: Vec<usize>,
    called: Vec<usize>,
}

impl Clone for Instance {
    fn clone(&self) -> Self {
        let mut log = self.log.lock().unwrap();
        log.instances += 1;
        Self { id: log.instances, log: std::sync::Arc::clone(&self.log) }
    }
}

impl Service<Request<Body>> for Instance {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.log.lock().unwrap().ready.push(self.id);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.log.lock().unwrap().called.push(self.id);
        std::future::ready(Ok(if authorization(&request) == "Bearer token-1" { status(401) } else { ok() }))
    }
}

#[tokio::test(start_paused = true)]
async fn the_very_instance_that_was_polled_ready_is_called() {
    let script = Script::issuing(Duration::ZERO);
    let log = std::sync::Arc::new(Mutex::new(Log::default()));
    let layer = layer(&script);
    layer.handle().warm_up().await.unwrap();
    let mut service = layer.layer(Instance { id: 0, log: std::sync::Arc::clone(&log) });
    let mut calls = vec![];
    // A refused and repeated request, a request with a token at hand, and a request to another
    // origin.
    for uri in [API, API, "https://elsewhere.example/"] {
        poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        assert_eq!(service.call(get(uri)).await.unwrap().status(), 200);
        let mut log = log.lock().unwrap();
        calls.push((std::mem::take(&mut log.ready), std::mem::take(&mut log.called)));
    }
    for (ready, called) in &calls {
        assert_eq!(ready, called);
    }
    assert_eq!(calls[0].0.len(), 2);
    assert_ne!(calls[0].0[0], calls[0].0[1], "the second attempt has another service");
    assert_eq!((&calls[1].0, &calls[2].0), (&vec![0], &vec![0]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_ready_while_a_token_is_awaited() {
    let script = Script::issuing(Duration::from_secs(5));
    let recorder = Recorder::new(|seen| if seen.token() == Some("token-1") { status(401) } else { ok() });
    let mut service = layer(&script).layer(recorder.clone());
    service.ready().await.unwrap();
    assert_eq!(recorder.held(), 1);
    let mut cold = task::spawn(service.call(get(API)));
    assert_eq!(recorder.held(), 0, "the call has given readiness back");
    assert_pending!(cold.poll());
    assert_eq!(recorder.held(), 0);

    // The first token is refused. The wait for the second one holds nothing either.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_pending!(cold.poll());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_pending!(cold.poll());
    assert_eq!((recorder.seen().len(), recorder.held(), script.requests()), (1, 0, 2));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(assert_ready!(cold.poll()).unwrap().status(), 200);
    assert_eq!(recorder.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_of_one_does_not_deadlock() {
    // The fetches use the limited service too.
    let api = Recorder::turris(&["token-2"]);
    let service = TurrisAuthLayer::new(credentials(), turris_auth::Environment::Production)
        .layer(ConcurrencyLimitLayer::new(1).layer(api.clone()));
    // The first request waits for a token, gets a 401, and succeeds with a second token. The second
    // request finds a token.
    for _ in 0..2 {
        let calls = (0..50).map(|_| service.clone().oneshot(get(API)));
        let all = futures_util::future::join_all(calls);
        for result in soon(all).await {
            assert_eq!(text(result.unwrap()).await, "token-2");
        }
    }
    let fetches = api.seen().iter().filter(|seen| seen.uri.path() == "/v1/auth/jwt").count();
    assert_eq!(fetches, 2);
}

#[tokio::test(start_paused = true)]
async fn the_permit_is_free_while_a_token_is_awaited() {
    let script = Script::issuing(Duration::from_secs(10));
    let recorder = Recorder::new(|seen| if seen.token() == Some("token-1") { status(401) } else { ok() });
    let limited = ConcurrencyLimitLayer::new(1).layer(recorder.clone());
    let service = layer(&script).layer(limited.clone());
    let waiting = tokio::spawn(service.clone().oneshot(get(API)));
    // The request waits ten seconds for its first token, and another ten for its second.
    for (seconds, fetches) in [(5, 1), (10, 2)] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        assert_eq!(script.requests(), fetches);
        let mut skipping = get(API);
        skipping.extensions_mut().insert(SkipAuth);
        for other in [
            task::spawn(service.clone().oneshot(skipping)).poll(),
            task::spawn(service.clone().oneshot(get("https://elsewhere.example/"))).poll(),
        ] {
            assert_eq!(assert_ready!(other).unwrap().status(), 200);
        }
        assert_eq!(assert_ready!(task::spawn(limited.clone().oneshot(get(API))).poll()).unwrap().status(), 200);
        assert!(!waiting.is_finished());
    }
    assert_eq!(soon(waiting).await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_while_the_service_is_not_ready_is_replaced() {
    let script = Script::new(|n| async move { Ok(issued(&format!("token-{n}"), "100")) });
    let (mut service, mut handle) = mocked(&script);
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let answer = tokio::spawn(service.call(get(API)));
    handle.allow(0);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(script.requests(), 1, "there is nothing to do before the service is ready");
    handle.allow(5);
    let (request, respond) = soon(handle.next_request()).await.unwrap();
    assert_eq!(authorization(&request), "Bearer token-2");
    respond.send_response(ok());
    soon(answer).await.unwrap().unwrap();

    // After the wait, the token is used if it is still valid. If another caller has fetched a newer
    // token meanwhile, that token is used.
    let answer = tokio::spawn(service.clone().oneshot(get(API)));
    soon(handle.next_request()).await.unwrap().1.send_response(status(401));
    handle.allow(0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(script.requests(), 3);
    handle.allow(5);
    assert_eq!(authorization(&soon(handle.next_request()).await.unwrap().0), "Bearer token-3");
    drop(answer);
}

#[tokio::test(start_paused = true)]
async fn a_token_refused_while_the_service_is_not_ready_is_not_sent() {
    let script = Script::issuing(Duration::ZERO);
    let (mock, mut handle) = mock::pair();
    let layer = layer(&script);
    let mut service = layer.layer(mock);
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let answer = tokio::spawn(service.call(get(API)));
    handle.allow(0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(script.requests(), 1);
    layer.handle().invalidate();
    handle.allow(5);
    let (request, respond) = soon(handle.next_request()).await.unwrap();
    assert_eq!(authorization(&request), "Bearer token-2");
    respond.send_response(ok());
    soon(answer).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failed_token_is_not_a_failed_service() {
    let script = Script::new(|n| async move { Ok(if n == 1 { status(429) } else { token(n) }) });
    let (mut service, mut handle) = mocked(&script);
    let error = token_error(service.ready().await.unwrap().call(get(API)).await);
    assert_eq!(error.kind(), TokenErrorKind::RateLimited);
    // The service is as ready as before. It works after the wait that the error states.
    tokio::time::sleep(error.retry_after().unwrap()).await;
    let answer = tokio::spawn(service.ready().await.unwrap().call(get(API)));
    let (request, respond) = soon(handle.next_request()).await.unwrap();
    assert_eq!(authorization(&request), "Bearer token-2");
    respond.send_response(ok());
    soon(answer).await.unwrap().unwrap();
}
