//! Tests of trait bounds: the layer requires only the necessary traits of the inner service, and
//! keeps its auto traits.

use std::{
    cell::Cell,
    future::Future,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{BoxError, Layer, Service, ServiceExt};
use turris_auth::{
    Credentials, Environment, TokenError, TokenHandle, TokenService, TokenStatus, TurrisAuth, TurrisAuthLayer,
    auth::{AccessToken, ResponseFuture, ThroughInner, TurrisAuthLayerBuilder},
};

use super::support::*;

/// `Send`, but not `Sync`.
#[derive(Clone, Default)]
struct Unshared {
    calls: Cell<usize>,
}

impl Service<Request<Body>> for Unshared {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.calls.set(self.calls.get() + 1);
        let token = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        Box::pin(std::future::ready(Ok(match (request.uri().path(), token) {
            ("/v1/auth/jwt", _) => issued("token-1", "3600"),
            (_, token) => Response::new(Body::from(token.unwrap_or_default())),
        })))
    }
}

fn assert_send<T: Send>(_: &T) {}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_sync_will_do() {
    // Tokens through the service and through a separate token service. The futures can be spawned.
    let through = TurrisAuthLayer::new(credentials(), Environment::Production).layer(Unshared::default());
    let call = through.oneshot(get(API));
    assert_send(&call);
    assert_eq!(text(tokio::spawn(call).await.unwrap().unwrap()).await, "Bearer token-1");

    let layer = builder().token_service(Unshared::default()).build().unwrap();
    let call = layer.layer(Unshared::default()).oneshot(get(API));
    assert_eq!(text(tokio::spawn(call).await.unwrap().unwrap()).await, "Bearer token-1");
}

/// Neither `Send` nor `'static`. The same holds for its futures and its response bodies.
#[derive(Clone)]
struct Local<'a> {
    calls: &'a Cell<usize>,
    tokens: Rc<Cell<usize>>,
}

/// A response body that is not `Send`.
struct LocalBody<'a>(Full<Bytes>, PhantomData<(Rc<()>, &'a ())>);

impl http_body::Body for LocalBody<'_> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

impl<'a> Service<Request<Body>> for Local<'a> {
    type Response = Response<LocalBody<'a>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (calls, tokens) = (self.calls, Rc::clone(&self.tokens));
        Box::pin(async move {
            calls.set(calls.get() + 1);
            tokio::task::yield_now().await;
            tokens.set(tokens.get() + 1);
            let refused = request.headers()["authorization"] == "Bearer token-1";
            let body = LocalBody(Full::from("local"), PhantomData);
            Ok(Response::builder().status(if refused { 401 } else { 200 }).body(body).unwrap())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_token_service_the_inner_service_need_be_neither_send_nor_static() {
    let calls = Cell::new(0);
    let layer = layer(&Script::issuing(Duration::from_millis(50)));
    let service = layer.layer(Local { calls: &calls, tokens: Rc::default() });
    let response = service.clone().oneshot(get(API)).await.unwrap();
    assert_eq!((response.status().as_u16(), calls.get()), (200, 2));

    // A `LocalSet` can spawn futures that are not `Send`.
    let local = tokio::task::LocalSet::new();
    let calls: &'static Cell<usize> = Box::leak(Box::new(Cell::new(0)));
    let service = layer.layer(Local { calls, tokens: Rc::default() });
    let task = local.spawn_local(async move { service.oneshot(get(API)).await.unwrap().status() });
    assert_eq!(local.run_until(task).await.unwrap(), 200);
    assert_eq!(calls.get(), 1);
}

#[test]
fn auto_traits() {
    fn send_and_sync<T: Send + Sync>() {}
    fn send<T: Send>() {}
    fn unpin<T: Unpin>() {}
    send_and_sync::<Credentials>();
    send_and_sync::<Environment>();
    send_and_sync::<TokenError>();
    send_and_sync::<TokenHandle>();
    send_and_sync::<TokenStatus>();
    send_and_sync::<AccessToken>();
    send_and_sync::<TokenService>();
    send_and_sync::<TurrisAuthLayer>();
    send_and_sync::<TurrisAuthLayer<TokenService>>();
    send_and_sync::<TurrisAuthLayerBuilder<TokenService>>();
    // The auto traits of a service and its future follow from their parts.
    send_and_sync::<TurrisAuth<Api>>();
    send_and_sync::<TurrisAuth<Api, TokenService>>();
    send_and_sync::<ResponseFuture<Api, ThroughInner, Body, Body>>();
    send_and_sync::<ResponseFuture<Api, TokenService, Body, Body>>();
    send::<TurrisAuth<Unshared>>();
    send::<ResponseFuture<Unshared, ThroughInner, Body, Body>>();
    unpin::<TurrisAuth<Api>>();
}

// A larger future makes every request more expensive: it is moved, and every waiter holds it.
#[test]
fn the_response_future_adds_at_most_80_bytes() {
    let size = size_of::<ResponseFuture<Api, TokenService, Body, Body>>();
    let inner = size_of::<Request<Body>>() + size_of::<Api>() + size_of::<<Api as Service<Request<Body>>>::Future>();
    println!("the future has {size} bytes; a request, a service and its future have {inner}");
    assert!(size <= inner + 80, "{size} bytes, {inner} of them the inner service's");
    // The shared state, and the reader of the token.
    assert_eq!(size_of::<TurrisAuth<Api, TokenService>>(), size_of::<Api>() + 2 * size_of::<usize>());
}

#[tokio::test(start_paused = true)]
async fn polling_a_completed_future_panics_with_words_and_starts_nothing() {
    let failing = Script::new(|_| async { Ok(status(401)) });
    let issuing = Script::issuing(Duration::ZERO);
    // The successful response has an inner future that panics if it is polled again.
    for script in [failing, issuing] {
        let mut service = layer(&script).layer(Api::accepting_all());
        service.clone().oneshot(get(API)).await.ok();
        let fetched = script.requests();
        let mut response = tokio_test::task::spawn(service.call(get(API)));
        assert!(response.poll().is_ready());
        // Longer than the cool-down, so that a fetch would be possible.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let panic = catch_unwind(AssertUnwindSafe(|| response.poll().is_ready())).unwrap_err();
        let words = panic.downcast_ref::<&str>().unwrap();
        assert!(words.contains("polled after it had completed"), "{words}");
        settle().await;
        assert_eq!(script.requests(), fetched);
    }
}
