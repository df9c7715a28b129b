//! Tests with the layers of tower-http above and below. (Redirects and traces are in `tests/auth`.)

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};
use tower_http::{
    compression::CompressionLayer,
    decompression::DecompressionLayer,
    map_request_body::MapRequestBodyLayer,
    request_id::{MakeRequestId, RequestId, SetRequestIdLayer},
    timeout::TimeoutLayer,
};
use turris_auth::TokenErrorKind;
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::EmulatorExt;

use super::support::{get, layer, post, text, token_error, uri};

type Body = Full<Bytes>;
type Turris = BoxCloneService<Request<Body>, Response<BoxBody<Bytes, BoxError>>, BoxError>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An emulator in memory that compresses on request, and a record of each exchange.
struct Seen {
    emulator: Emulator,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Exchange {
    path: String,
    request_id: Option<String>,
    encoding: Option<HeaderValue>,
}

impl Seen {
    fn new() -> Self {
        Self { emulator: Emulator::builder().build().unwrap(), exchanges: Arc::default() }
    }

    fn base_url(&self) -> Uri {
        self.emulator.url("/")
    }

    fn service(&self) -> Turris {
        let (exchanges, inner) = (Arc::clone(&self.exchanges), CompressionLayer::new().layer(self.emulator.service()));
        service_fn(move |request: Request<Body>| {
            let (exchanges, inner) = (Arc::clone(&exchanges), inner.clone());
            async move {
                let path = request.uri().path().to_owned();
                let request_id = request.headers().get(REQUEST_ID).map(|id| id.to_str().unwrap().to_owned());
                let response = inner.oneshot(request).await?;
                let encoding = response.headers().get("content-encoding").cloned();
                exchanges.lock().unwrap().push(Exchange { path, request_id, encoding });
                Ok::<_, BoxError>(response.map(|body| body.map_err(Into::into).boxed()))
            }
        })
        .boxed_clone()
    }

    /// Returns the encodings of the responses to requests with this path.
    fn encodings(&self, path: &str) -> Vec<Option<HeaderValue>> {
        let exchanges = self.exchanges.lock().unwrap();
        exchanges.iter().filter(|seen| seen.path == path).map(|seen| seen.encoding.clone()).collect()
    }

    fn request_ids(&self, path: &str) -> Vec<Option<String>> {
        let exchanges = self.exchanges.lock().unwrap();
        exchanges.iter().filter(|seen| seen.path == path).map(|seen| seen.request_id.clone()).collect()
    }
}

const TOKEN: &str = "/v1/auth/jwt";
const API: &str = "/v1/agencies";

#[tokio::test]
async fn a_decompression_above_decodes_the_response_after_a_401() {
    let seen = Seen::new();
    let api =
        ServiceBuilder::new().layer(DecompressionLayer::new()).layer(layer(&seen.emulator)).service(seen.service());
    for _ in 0..2 {
        let response = api.clone().oneshot(get(&seen.base_url(), API)).await.unwrap();
        assert_eq!((response.status(), response.headers().get("content-encoding")), (StatusCode::OK, None));
        assert!(text(response).await.contains("agency-1"));
        seen.emulator.revoke_all_tokens();
    }
    // The refusal and the second attempt were compressed as well. The token requests did not pass
    // this layer.
    let gzip = Some(HeaderValue::from_static("gzip"));
    assert_eq!(seen.encodings(API), [gzip.clone(), gzip.clone(), gzip]);
    assert_eq!(seen.encodings(TOKEN), [None, None]);
}

#[tokio::test]
async fn a_decompression_below_works_and_the_token_comes_uncompressed() {
    let seen = Seen::new();
    let api =
        ServiceBuilder::new().layer(layer(&seen.emulator)).layer(DecompressionLayer::new()).service(seen.service());
    for _ in 0..2 {
        let response = api.clone().oneshot(get(&seen.base_url(), API)).await.unwrap();
        assert!(text(response).await.contains("agency-1"));
        seen.emulator.revoke_all_tokens();
    }
    let gzip = Some(HeaderValue::from_static("gzip"));
    assert_eq!(seen.encodings(API), [gzip.clone(), gzip.clone(), gzip]);
    // A token request asks for `identity`, and this layer leaves that unchanged.
    assert_eq!(seen.encodings(TOKEN), [None, None]);
}

/// Gives the responses a body type with a default, because tower-http's timeout responds with an
/// empty body.
fn defaulted(
    turris: Turris,
) -> impl tower::Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send> + Clone {
    turris.and_then(|response: Response<BoxBody<Bytes, BoxError>>| async {
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
    })
}

fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(1))
}

#[tokio::test(start_paused = true)]
async fn a_timeout_above_answers_one_request_and_the_token_arrives_for_the_next() {
    let seen = Seen::new();
    let api = ServiceBuilder::new().layer(timeout()).layer(layer(&seen.emulator)).service(defaulted(seen.service()));
    seen.emulator.fault(Endpoint::Token, Fault::delay(Duration::from_millis(1_500)));
    for status in [StatusCode::GATEWAY_TIMEOUT, StatusCode::OK] {
        assert_eq!(api.clone().oneshot(get(&seen.base_url(), API)).await.unwrap().status(), status);
    }
    assert_eq!(seen.emulator.counters().token_requests, 1);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_below_bounds_each_request_and_each_token_request() {
    let seen = Seen::new();
    let api = ServiceBuilder::new().layer(layer(&seen.emulator)).layer(timeout()).service(defaulted(seen.service()));
    seen.emulator.fault(Endpoint::path(API), Fault::hang());
    let response = api.clone().oneshot(get(&seen.base_url(), API)).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    seen.emulator.clear_faults();

    // The timeout's own response counts as a response of a failing endpoint.
    api.handle::<Body, Body>().invalidate();
    seen.emulator.fault(Endpoint::Token, Fault::hang());
    let error = token_error(&api.clone().oneshot(get(&seen.base_url(), API)).await.unwrap_err());
    assert_eq!((error.kind(), error.status()), (TokenErrorKind::Unavailable, Some(504)));
    assert_eq!(seen.emulator.counters().token_requests, 1 + 3);
}

#[derive(Clone, Default)]
struct Counting(Arc<AtomicU32>);

impl MakeRequestId for Counting {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Some(RequestId::new(HeaderValue::from(number)))
    }
}

fn ids(expected: &[&str]) -> Vec<Option<String>> {
    expected.iter().map(|id| Some((*id).to_owned())).collect()
}

#[tokio::test]
async fn a_request_id_from_above_is_on_both_attempts() {
    let seen = Seen::new();
    let api = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(REQUEST_ID, Counting::default()))
        .layer(layer(&seen.emulator))
        .service(seen.service());
    for _ in 0..2 {
        let response = api.clone().oneshot(get(&seen.base_url(), API)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        seen.emulator.revoke_all_tokens();
    }
    assert_eq!(seen.request_ids(API), ids(&["1", "2", "2"]));
    assert_eq!(seen.request_ids(TOKEN), [None, None]);
}

#[tokio::test]
async fn a_request_id_from_below_differs_on_every_exchange() {
    let seen = Seen::new();
    let api = ServiceBuilder::new()
        .layer(layer(&seen.emulator))
        .layer(SetRequestIdLayer::new(REQUEST_ID, Counting::default()))
        .service(seen.service());
    for _ in 0..2 {
        let response = api.clone().oneshot(get(&seen.base_url(), API)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        seen.emulator.revoke_all_tokens();
    }
    assert_eq!(seen.request_ids(API), ids(&["2", "3", "5"]));
    assert_eq!(seen.request_ids(TOKEN), ids(&["1", "4"]));
}

#[tokio::test]
async fn bodies_may_be_mapped_above_and_below() {
    let seen = Seen::new();
    let api = ServiceBuilder::new()
        .layer(MapRequestBodyLayer::new(|text: String| Full::new(Bytes::from(text))))
        .layer(layer(&seen.emulator))
        // The token request passes here too.
        .layer(MapRequestBodyLayer::new(|body: Body| body.boxed()))
        .service(seen.emulator.service());
    for _ in 0..2 {
        let request = Request::post(uri(&seen.base_url(), "/v1/echo")).body("text".to_owned()).unwrap();
        assert_eq!(text(api.clone().oneshot(request).await.unwrap()).await, "text");
        seen.emulator.revoke_all_tokens();
    }
    assert_eq!((seen.emulator.counters().unauthorized, seen.emulator.counters().token_requests), (1, 2));

    // A mapping to the same body type sees both attempts.
    let mapped = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&mapped);
    let api = ServiceBuilder::new()
        .layer(layer(&seen.emulator))
        .layer(MapRequestBodyLayer::new(move |body: Body| {
            counter.fetch_add(1, Ordering::Relaxed);
            body
        }))
        .service(seen.emulator.service());
    api.handle::<Body, _>().warm_up().await.unwrap();
    seen.emulator.revoke_all_tokens();
    assert_eq!(text(api.oneshot(post(&seen.base_url(), "/v1/echo", "again")).await.unwrap()).await, "again");
    assert_eq!(mapped.load(Ordering::Relaxed), 4);
}
