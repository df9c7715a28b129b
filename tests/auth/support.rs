//! A scripted token endpoint and a scripted API. Both count requests and use tokio's (paused) time.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{BoxError, Service};
use turris_auth::{Credentials, Environment, TokenError, TokenService, TurrisAuthLayer, auth::TurrisAuthLayerBuilder};

pub type Body = Full<Bytes>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

pub const SECRET: &str = "s3cr3t-that-must-never-show";
pub const API: &str = "https://public.api.live.turrisfi.com/v1/agencies";

/// An endpoint that answers the n-th request (from 1) as its script says, and records the times
/// of the requests.
#[derive(Clone)]
pub struct Script {
    answer: Arc<dyn Fn(usize) -> Answer + Send + Sync>,
    seen: Arc<Mutex<Vec<Instant>>>,
}

impl Script {
    pub fn new<F>(answer: impl Fn(usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
    {
        turris_test_support::trace::if_asked_for();
        Self { answer: Arc::new(move |n| Box::pin(answer(n))), seen: Arc::default() }
    }

    /// Creates an endpoint that issues `token-1`, `token-2` and so on, each for an hour, each after
    /// `delay`.
    pub fn issuing(delay: Duration) -> Self {
        Self::new(move |n| async move {
            tokio::time::sleep(delay).await;
            Ok(token(n))
        })
    }

    pub fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn instants(&self) -> Vec<Instant> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the largest number of requests in any window of `length`.
    pub fn most_in_any(&self, length: Duration) -> usize {
        let seen = self.instants();
        let in_window_from = |i: usize| seen[i..].iter().take_while(|at| **at - seen[i] < length).count();
        (0..seen.len()).map(in_window_from).max().unwrap_or(0)
    }
}

impl Service<Request<Body>> for Script {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        assert_eq!(request.uri().path(), "/v1/auth/jwt");
        let n = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(Instant::now());
            seen.len()
        };
        (self.answer)(n)
    }
}

pub fn token(n: usize) -> Response<Body> {
    issued(&format!("token-{n}"), "3600")
}

pub fn issued(token: &str, expires_in: &str) -> Response<Body> {
    let body = format!(
        r#"{{"data":{{"accessToken":"{token}","expiresIn":{expires_in},"tokenType":"Bearer"}},"requestId":"r","timestamp":"t"}}"#
    );
    Response::builder().status(201).body(body.into()).unwrap()
}

pub fn status(status: u16) -> Response<Body> {
    let body = format!(
        r#"{{"statusCode":{status},"requestId":"request-7","errorType":"scripted","errorMessage":["as scripted"],"timestamp":"t","details":{{}}}}"#
    );
    Response::builder().status(status).body(body.into()).unwrap()
}

pub fn credentials() -> Credentials {
    turris_test_support::trace::if_asked_for();
    Credentials::new("client", SECRET).unwrap()
}

pub fn builder() -> TurrisAuthLayerBuilder {
    TurrisAuthLayer::builder(credentials(), Environment::Production)
}

pub fn layer(script: &Script) -> TurrisAuthLayer<TokenService> {
    builder().token_service(script.clone()).build().unwrap()
}

pub fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::default()).unwrap()
}

/// An API that accepts the tokens for which `accepts` returns true, and counts accepted and refused
/// requests.
#[derive(Clone)]
pub struct Api {
    accepts: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    pub accepted: Arc<AtomicUsize>,
    pub refused: Arc<AtomicUsize>,
}

impl Api {
    pub fn accepting(accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { accepts: Arc::new(accepts), accepted: Arc::default(), refused: Arc::default() }
    }

    pub fn accepting_all() -> Self {
        Self::accepting(|_| true)
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

impl<B: http_body::Body> Service<Request<B>> for Api {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let token = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let accepted = token.as_deref().and_then(|value| value.strip_prefix("Bearer ")).is_some_and(&*self.accepts);
        let (counter, answer) = match accepted {
            true => (&self.accepted, Response::new(Body::from(token.unwrap_or_default()))),
            false => (&self.refused, status(401)),
        };
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(answer))
    }
}

pub async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Returns the part of a request's result that tests compare.
pub fn status_of(result: &Result<Response<Body>, BoxError>) -> Result<StatusCode, String> {
    result.as_ref().map(Response::status).map_err(ToString::to_string)
}

/// The caller's marker in a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker(pub &'static str);

/// A request as the service below the layer saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub marker: Option<Marker>,
    pub body: Bytes,
}

impl Seen {
    /// Returns the one token that the request carried.
    pub fn token(&self) -> Option<&str> {
        let mut values = self.headers.get_all("authorization").iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "more than one `Authorization`: {:?}", self.headers);
        value.to_str().unwrap().strip_prefix("Bearer ")
    }
}

type Respond<R> = dyn Fn(&Seen) -> Response<R> + Send + Sync;

/// A service that records every request, answers as configured, and checks that its caller keeps
/// Tower's contract. A service may be called only after it was itself polled ready, and only once.
/// Its clones are not ready.
pub struct Recorder<R = Body> {
    answer: Arc<Respond<R>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// The number of clones that are ready and have not been called.
    held: Arc<AtomicUsize>,
    ready: bool,
}

impl<R> Recorder<R> {
    pub fn new(answer: impl Fn(&Seen) -> Response<R> + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), seen: Arc::default(), held: Arc::default(), ready: false }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn tokens(&self) -> Vec<Option<String>> {
        self.seen().iter().map(|seen| seen.token().map(str::to_owned)).collect()
    }

    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    fn give_back(&mut self) -> bool {
        let was_ready = std::mem::take(&mut self.ready);
        self.held.fetch_sub(usize::from(was_ready), Ordering::SeqCst);
        was_ready
    }
}

impl Recorder {
    /// Answers every request with the `Authorization` that it carried.
    pub fn echo() -> Self {
        Self::new(|seen| Response::new(Body::from(seen.token().unwrap_or("none").to_owned())))
    }

    /// The whole API behind one service. It issues `token-1`, `token-2` and so on, and answers
    /// 401 to tokens that are not in `accepted`.
    pub fn turris(accepted: &'static [&'static str]) -> Self {
        let issued = AtomicUsize::new(0);
        Self::new(move |seen| match (seen.uri.path(), seen.token()) {
            ("/v1/auth/jwt", _) => token(issued.fetch_add(1, Ordering::SeqCst) + 1),
            (_, Some(token)) if accepted.contains(&token) => Response::new(Body::from(token.to_owned())),
            _ => status(401),
        })
    }
}

impl<R> Clone for Recorder<R> {
    fn clone(&self) -> Self {
        let (answer, seen, held) = (Arc::clone(&self.answer), Arc::clone(&self.seen), Arc::clone(&self.held));
        Self { answer, seen, held, ready: false }
    }
}

impl<R> Drop for Recorder<R> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<R: 'static> Service<Request<Body>> for Recorder<R> {
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !std::mem::replace(&mut self.ready, true) {
            self.held.fetch_add(1, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(self.give_back(), "called without having been polled ready");
        let (answer, seen) = (Arc::clone(&self.answer), Arc::clone(&self.seen));
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let this = Seen {
                method: head.method,
                uri: head.uri,
                version: head.version,
                headers: head.headers,
                marker: head.extensions.get().cloned(),
                body: body.collect().await.unwrap().to_bytes(),
            };
            let mut requests = seen.lock().unwrap();
            assert!(requests.len() < 10_000, "requests for ever");
            requests.push(this.clone());
            drop(requests);
            Ok(answer(&this))
        })
    }
}

/// Returns the [`TokenError`] in the error of a service.
pub fn token_error<R>(result: Result<R, BoxError>) -> TokenError {
    let error = result.err().unwrap();
    TokenError::find_in(&*error).unwrap().clone()
}

/// Runs `work` with a limit of an hour of paused time, so that a hanging test fails.
pub async fn soon<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60 * 60), work).await.unwrap()
}

/// The behaviour of the endpoint of [`Script::switched`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    Tokens,
    Status(u16),
    /// Accepts the request and sends no response.
    Nothing,
    Unreachable,
}

/// The switch with which a test breaks and heals an endpoint.
#[derive(Clone)]
pub struct Switch(Arc<Mutex<Answering>>);

impl Switch {
    pub fn to(&self, answering: Answering) {
        *self.0.lock().unwrap() = answering;
    }

    pub fn get(&self) -> Answering {
        *self.0.lock().unwrap()
    }
}

impl Script {
    /// Creates an endpoint that follows a switch. At first it issues tokens for an hour, as
    /// [`issuing`](Self::issuing) does.
    pub fn switched(delay: Duration) -> (Self, Switch) {
        let switch = Switch(Arc::new(Mutex::new(Answering::Tokens)));
        let read = switch.clone();
        let script = Self::new(move |n| {
            let answering = read.get();
            async move {
                tokio::time::sleep(delay).await;
                match answering {
                    Answering::Tokens => Ok(token(n)),
                    Answering::Status(code) => Ok(status(code)),
                    Answering::Nothing => std::future::pending().await,
                    Answering::Unreachable => Err("connection refused".into()),
                }
            }
        });
        (script, switch)
    }
}

pub type Authorized = turris_auth::TurrisAuth<Api, TokenService>;

/// Sends one `GET` and returns the `Authorization` that the API saw.
pub async fn carried(service: &Authorized) -> Result<String, BoxError> {
    let response = tower::ServiceExt::oneshot(service.clone(), get(API)).await?;
    let status = response.status();
    match status {
        StatusCode::OK => Ok(text(response).await),
        _ => Err(format!("status {status}").into()),
    }
}

/// Lets every runnable task run, without time passing.
pub async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
