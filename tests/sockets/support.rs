//! An emulator and its client, over both versions of HTTP.

use bytes::Bytes;
use http::{Request, StatusCode, Version, request::Builder};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{BoxError, ServiceExt, limit::ConcurrencyLimit};
use turris_auth::{TokenError, TurrisAuth, TurrisAuthLayer, auth::TurrisAuthLayerBuilder};
use turris_emulator::Emulator;
use turris_test_support::EmulatorExt;

pub(crate) type Body = Full<Bytes>;
pub(crate) type HttpClient = ConcurrencyLimit<Client<HttpConnector, Body>>;
pub(crate) type Api = TurrisAuth<HttpClient>;

pub(crate) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// Creates a separate client. HTTP/1.1 needs one connection for each request, so the limit keeps
/// the number of file descriptors low.
pub(crate) fn client(version: Version) -> HttpClient {
    turris_test_support::trace::if_asked_for();
    let http2 = version == Version::HTTP_2;
    let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
    ConcurrencyLimit::new(client, if http2 { 1_000 } else { 64 })
}

pub(crate) async fn started() -> Emulator {
    turris_test_support::trace::if_asked_for();
    Emulator::start().await.unwrap()
}

pub(crate) fn builder(emulator: &Emulator) -> TurrisAuthLayerBuilder {
    TurrisAuthLayer::builder(emulator.credentials(), emulator.environment())
}

pub(crate) fn layer(emulator: &Emulator) -> TurrisAuthLayer {
    builder(emulator).build().unwrap()
}

/// The whole stack with all defaults.
pub(crate) fn api(emulator: &Emulator, version: Version) -> Api {
    tower::Layer::layer(&layer(emulator), client(version))
}

pub(crate) fn uri(emulator: &Emulator, path: &str) -> String {
    format!("{}{path}", emulator.base_url())
}

pub(crate) fn get(emulator: &Emulator, path: &str) -> Request<Body> {
    empty(Request::get(uri(emulator, path)))
}

pub(crate) fn empty(request: Builder) -> Request<Body> {
    request.body(Body::default()).unwrap()
}

/// The parts of a response that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) async fn send(api: &Api, request: Request<Body>) -> Result<Answer, BoxError> {
    let (head, body) = api.clone().oneshot(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer { status: head.status, version: head.version, headers: head.headers, body })
}

pub(crate) fn token_error(error: &BoxError) -> TokenError {
    TokenError::find_in(&**error).unwrap_or_else(|| panic!("expected a token error, got {error:?}")).clone()
}

/// Lets the other tasks of this runtime, and other threads, run until `condition` holds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
