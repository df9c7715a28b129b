//! Tests of `ReplayBodyLayer` as a Tower layer.

use std::{cell::Cell, convert::Infallible, marker::PhantomData, task::Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use turris_auth::replay::{ReplayBody, ReplayBodyLayer, ReplayBodyService, TryCloneBody};

use super::{
    attempt, next, read,
    source::{Source, data},
};

#[tokio::test]
async fn the_request_keeps_all_but_the_type_of_its_body() {
    let service = ReplayBodyLayer::new().layer(service_fn(async |request: Request<ReplayBody<Source>>| {
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), "/v1/agents");
        assert_eq!(request.headers()["idempotency-key"], "1");
        assert_eq!(request.extensions().get(), Some(&7_u8));
        assert_eq!(request.body().size_hint().exact(), Some(3));
        Ok::<_, Infallible>(Response::new(read(request.into_body()).unwrap().0))
    }));
    let request = Request::post("/v1/agents")
        .header("idempotency-key", "1")
        .extension(7_u8)
        .body(Source::exact([data("one")]))
        .unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().into_body(), b"one");
}

#[tokio::test]
async fn the_limit_can_be_set_on_the_layer() {
    async fn is_kept(layer: ReplayBodyLayer) -> bool {
        let service = layer.layer(service_fn(async |request: Request<ReplayBody<Source>>| {
            let mut body = attempt(request.into_body());
            next(&mut body);
            Ok::<_, Infallible>(body.try_clone().is_some())
        }));
        service.oneshot(Request::new(Source::stream([data("0123456789")]))).await.unwrap()
    }
    assert!(is_kept(ReplayBodyLayer::new().limit(10)).await);
    assert!(!is_kept(ReplayBodyLayer::new().limit(9)).await);
    assert!(is_kept(ReplayBodyLayer::default()).await);
}

/// A service that is not ready must not be called. `tower-test` panics if it is.
#[tokio::test]
async fn readiness_is_that_of_the_inner_service() {
    let (mut service, mut handle) = tower_test::mock::spawn_layer::<Request<ReplayBody<Full<Bytes>>>, (), _>(Inner);
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    let response = service.call(Request::new(Full::default()));
    let (_, respond) = handle.next_request().await.unwrap();
    respond.send_response(());
    response.await.unwrap();

    handle.send_error("inner");
    assert!(matches!(service.poll_ready(), Poll::Ready(Err(error)) if error.to_string() == "inner"));
}

/// `ReplayBodyLayer` with the request type that the mock needs.
struct Inner;

impl<S> Layer<S> for Inner {
    type Service = ReplayBodyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ReplayBodyLayer::new().layer(inner)
    }
}

#[tokio::test]
async fn two_layers_do_no_harm() {
    let mut service = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new())
        .layer(ReplayBodyLayer::new().limit(2))
        .service(service_fn(async |request: Request<ReplayBody<ReplayBody<Source>>>| {
            let body = request.into_body();
            let copy = body.try_clone();
            Ok::<_, Infallible>((read(body).unwrap().0, copy.map(read).transpose().is_err()))
        }));
    let request = Request::new(Source::stream([data("one "), data("two")]));
    let (bytes, copy_fails) = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(bytes, b"one two");
    assert!(copy_fails, "the limit of the inner layer decides");
}

#[test]
fn the_layer_and_the_service_pass_auto_traits_on() {
    fn all<T: Send + Sync + Unpin + Clone + std::fmt::Debug + 'static>() {}
    all::<ReplayBodyLayer>();
    all::<ReplayBodyService<()>>();
    fn send<T: Send>() {}
    // `Send` without `Sync`.
    send::<ReplayBodyService<PhantomData<Cell<u8>>>>();
    let mut service = ReplayBodyLayer::new().layer(5);
    *service.get_mut() += 1;
    assert_eq!((*service.get_ref(), service.into_inner()), (6, 6));
}
