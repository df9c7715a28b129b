//! A scripted server that records the times of its requests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneSyncService};
use turris_auth::backoff::{BackoffReport, TurrisBackoffLayer};

pub(crate) type Body = Full<Bytes>;
pub(crate) type Client = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Duration,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Gives the scripted responses in sequence, and then 200s.
#[derive(Clone)]
pub(crate) struct Server {
    start: Instant,
    latency: Duration,
    state: Arc<Mutex<State>>,
}

type Answer = Box<dyn Fn(&Seen) -> Response<Body> + Send>;

#[derive(Default)]
struct State {
    script: VecDeque<Response<Body>>,
    always: Option<Answer>,
    seen: Vec<Seen>,
}

impl Server {
    pub(crate) fn new(script: impl IntoIterator<Item = Response<Body>>) -> Self {
        turris_test_support::trace::if_asked_for();
        let state = State { script: script.into_iter().collect(), ..State::default() };
        Self { start: Instant::now(), latency: Duration::from_millis(10), state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn answering(answer: impl Fn(&Seen) -> Response<Body> + Send + 'static) -> Self {
        let server = Self::new([]);
        server.state.lock().unwrap().always = Some(Box::new(answer));
        server
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Returns when requests arrived.
    pub(crate) fn times(&self) -> Vec<Duration> {
        self.seen().into_iter().map(|seen| seen.at).collect()
    }

    /// Returns the paths in the order of arrival.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = http_body_util::BodyExt::collect(body).await?.to_bytes();
                let seen = Seen {
                    at: server.start.elapsed(),
                    method: head.method,
                    path: head.uri.path().to_owned(),
                    headers: head.headers,
                    body,
                };
                let response = {
                    let mut state = server.state.lock().unwrap();
                    state.seen.push(seen.clone());
                    let scripted = state.script.pop_front();
                    scripted.or_else(|| state.always.as_ref().map(|always| always(&seen))).unwrap_or_else(ok)
                };
                sleep(server.latency).await;
                Ok(response)
            }
        }))
    }

    pub(crate) fn layered(&self, layer: &TurrisBackoffLayer) -> turris_auth::backoff::TurrisBackoff<Client> {
        layer.layer(self.client())
    }
}

pub(crate) fn ok() -> Response<Body> {
    Response::new(Body::from("{}"))
}

pub(crate) fn refused(headers: &[(&'static str, &str)]) -> Response<Body> {
    let mut response = Response::new(Body::from(r#"{"errorType": "rate_limit_exceeded"}"#));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    for (name, value) in headers {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

pub(crate) fn request(method: Method, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("https://public.api.live.turrisfi.com{path}"))
        .body(Body::from("content"))
        .unwrap()
}

pub(crate) fn get(path: &str) -> Request<Body> {
    request(Method::GET, path)
}

pub(crate) fn post(path: &str) -> Request<Body> {
    request(Method::POST, path)
}

pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

pub(crate) fn report<B>(response: &Response<B>) -> Option<BackoffReport> {
    response.extensions().get().copied()
}

/// Sends `request` through a clone of `service`, in a separate task.
pub(crate) fn spawn<S>(service: &S, request: Request<Body>) -> tokio::task::JoinHandle<Result<Response<Body>, BoxError>>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    tokio::spawn(service.clone().oneshot(request))
}
