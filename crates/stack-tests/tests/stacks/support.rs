//! Shared parts of the tests: requests, responses, and servers other than Turris.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::State, routing::any};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;
use tower::BoxError;
use turris_auth::{TokenError, TurrisAuthLayer};
use turris_emulator::Emulator;
use turris_test_support::EmulatorExt;

pub(crate) async fn started() -> Emulator {
    turris_test_support::trace::if_asked_for();
    Emulator::start().await.unwrap()
}

pub(crate) fn layer(emulator: &Emulator) -> TurrisAuthLayer {
    TurrisAuthLayer::new(emulator.credentials(), emulator.environment())
}

pub(crate) fn uri(base_url: &Uri, path: &str) -> String {
    format!("{}{path}", base_url.to_string().trim_end_matches('/'))
}

pub(crate) fn get(base_url: &Uri, path: &str) -> Request<Full<Bytes>> {
    turris_test_support::trace::if_asked_for();
    Request::get(uri(base_url, path)).body(Full::default()).unwrap()
}

pub(crate) fn post(base_url: &Uri, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(uri(base_url, path)).body(Full::new(body.into())).unwrap()
}

pub(crate) async fn text<B>(response: Response<B>) -> String
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let bytes = response.into_body().collect().await.map_err(Into::into).unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn token_error(error: &BoxError) -> TokenError {
    TokenError::find_in(&**error).unwrap_or_else(|| panic!("expected a token error, got {error:?}")).clone()
}

/// Waits for `future`, and fails if it takes a minute, so that a broken test cannot hang.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("an end within a minute")
}

/// A request as a server received it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// A server that records every request. It stands for a host to which nothing may be sent.
pub(crate) struct Stranger {
    pub(crate) url: Uri,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Stranger {
    pub(crate) async fn start() -> Self {
        let received = Arc::default();
        let router = Router::new().fallback(any(keep)).with_state(Arc::clone(&received));
        Self { url: serve(router).await, received }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn keep(State(received): State<Arc<Mutex<Vec<Received>>>>, request: axum::extract::Request) {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    received.lock().unwrap().push(Received { headers: head.headers, body });
}

/// Serves on a free loopback port for as long as the test's runtime lives.
pub(crate) async fn serve(router: Router) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}
