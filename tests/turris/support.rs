//! A Turris that answers as configured, checks that its callers keep Tower's contract, and records
//! the times of requests.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tower::{BoxError, Service};
use turris_auth::{Credentials, Environment, TurrisLayer, turris::TurrisLayerBuilder};

pub(crate) type Body = Full<Bytes>;

pub(crate) const API: &str = "https://public.api.live.turrisfi.com/v1/agents";

/// One request to the API as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Duration,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The server's reaction to one request.
pub(crate) enum Step {
    Answer(u16, &'static [(&'static str, &'static str)]),
    Fail(BoxError),
    Hang,
}

/// A server that issues `token-1`, `token-2` and so on. It answers API requests as scripted, and
/// with 200 after the end of the script.
///
/// Only a service that was polled ready may be called, and only once. A clone is not ready.
pub(crate) struct Server {
    shared: Arc<Shared>,
    ready: bool,
}

struct Shared {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tokens: VecDeque<Step>,
    issued: usize,
    token_requests: usize,
    script: VecDeque<Step>,
    seen: Vec<Seen>,
    held: usize,
}

impl Server {
    pub(crate) fn new(script: impl IntoIterator<Item = Step>) -> Self {
        let state = State { script: script.into_iter().collect(), ..State::default() };
        Self { shared: Arc::new(Shared { start: Instant::now(), state: Mutex::new(state) }), ready: false }
    }

    /// Sets the reactions of the token endpoint before it issues tokens.
    pub(crate) fn with_tokens(self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.shared.state.lock().unwrap().tokens = steps.into_iter().collect();
        self
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.state.lock().unwrap().seen.clone()
    }

    /// Returns the tokens that requests carried.
    pub(crate) fn tokens(&self) -> Vec<Option<String>> {
        self.seen().iter().map(|seen| seen.header("authorization").map(|value| value.replace("Bearer ", ""))).collect()
    }

    pub(crate) fn token_requests(&self) -> usize {
        self.shared.state.lock().unwrap().token_requests
    }

    /// Returns the number of clones that are ready and have not been called.
    pub(crate) fn held(&self) -> usize {
        self.shared.state.lock().unwrap().held
    }

    fn give_back(&mut self) -> bool {
        let was_ready = std::mem::take(&mut self.ready);
        self.shared.state.lock().unwrap().held -= usize::from(was_ready);
        was_ready
    }
}

impl Clone for Server {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), ready: false }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !std::mem::replace(&mut self.ready, true) {
            self.shared.state.lock().unwrap().held += 1;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(self.give_back(), "called without having been polled ready");
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let is_token = head.uri.path() == "/v1/auth/jwt";
            let step = {
                let mut state = shared.state.lock().unwrap();
                if is_token {
                    state.token_requests += 1;
                    state.tokens.pop_front()
                } else {
                    state.seen.push(Seen { at: shared.start.elapsed(), headers: head.headers, body });
                    state.script.pop_front()
                }
            };
            sleep(Duration::from_millis(10)).await;
            match step {
                Some(Step::Hang) => std::future::pending().await,
                Some(Step::Fail(error)) => Err(error),
                Some(Step::Answer(status, headers)) => {
                    let answer =
                        Response::builder().status(status).body(Body::from(r#"{"errorMessage":["scripted"]}"#));
                    let mut answer = answer.unwrap();
                    for (name, value) in headers {
                        answer.headers_mut().append(*name, value.parse().unwrap());
                    }
                    Ok(answer)
                }
                None if is_token => {
                    let mut state = shared.state.lock().unwrap();
                    state.issued += 1;
                    let n = state.issued;
                    let body = format!(
                        r#"{{"data":{{"accessToken":"token-{n}","expiresIn":3600,"tokenType":"Bearer"}},"requestId":"r"}}"#
                    );
                    Ok(Response::builder().status(201).body(body.into()).unwrap())
                }
                None => Ok(Response::new(Body::from("{}"))),
            }
        })
    }
}

pub(crate) fn builder() -> TurrisLayerBuilder {
    TurrisLayer::builder(Credentials::new("client", "secret").unwrap(), Environment::Production)
}

pub(crate) fn layer() -> TurrisLayer {
    builder().build().unwrap()
}

pub(crate) fn post() -> Request<Body> {
    Request::post(API).header("x-mine", "kept").body(Body::from("content")).unwrap()
}

pub(crate) fn get() -> Request<Body> {
    Request::get(API).body(Body::default()).unwrap()
}

/// A gRPC call with a deadline.
pub(crate) fn call(timeout: &str) -> Request<Body> {
    Request::post(API)
        .header("content-type", "application/grpc")
        .header("grpc-timeout", timeout)
        .body(Body::from("message"))
        .unwrap()
}

/// Runs `work` with a limit of a day of paused time, so that a hanging test fails.
pub(crate) async fn soon<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(24 * 60 * 60), work).await.unwrap()
}
