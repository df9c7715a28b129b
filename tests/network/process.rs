//! A client process: one layer of each kind, and its services.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn,
    util::{BoxCloneSyncService, Either},
};
use tower_http::follow_redirect::FollowRedirectLayer;
use turris_auth::{
    Credentials, CredentialsFuture, CredentialsProvider, Environment, TokenHandle, TurrisAuthLayer, TurrisBackoffLayer,
    auth::TurrisAuthLayerBuilder, replay::ReplayBody,
};

use super::{
    checker::{Checker, call_of},
    net::{Host, Network},
    plan::{API, FILES, ProcessPlan, TOKEN_PATH},
};

pub type RequestBody = ReplayBody<UnsyncBoxBody<Bytes, io::Error>>;
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
pub type Stack = BoxCloneSyncService<Request<RequestBody>, Response<ResponseBody>, BoxError>;

/// Credentials that can be replaced while the process runs.
#[derive(Clone)]
pub struct Vault(Arc<Mutex<Credentials>>);

impl Vault {
    pub fn put(&self, credentials: Credentials) {
        *self.0.lock().unwrap() = credentials;
    }
}

impl CredentialsProvider for Vault {
    fn credentials(&self) -> CredentialsFuture<'_> {
        let credentials = self.0.lock().unwrap().clone();
        Box::pin(std::future::ready(Ok(credentials)))
    }
}

pub struct Process {
    pub name: Host,
    /// Whether there is a concurrency limit below the layers.
    pub has_a_limit: bool,
    pub vault: Vault,
    pub handle: TokenHandle,
    /// The stack with the token only.
    pub auth: Stack,
    /// The whole stack, which also waits out limits.
    pub full: Stack,
    /// The stack that follows redirects above the layer for the token.
    pub redirected: Stack,
}

impl Process {
    pub fn start(plan: &ProcessPlan, credentials: Credentials, network: &Network, checker: &Checker) -> Self {
        checker.add_process(plan.name, plan.token_requests);
        let vault = Vault(Arc::new(Mutex::new(credentials)));
        let transport = transport(plan, network, checker);
        let environment = Environment::custom(format!("https://{API}")).unwrap();
        let builder = TurrisAuthLayer::builder(vault.clone(), environment);
        let (auth, handle) = if plan.own_token_service {
            let tokens = transport.clone().map_request(|request: Request<Full<Bytes>>| {
                request.map(|body| ReplayBody::new(body.map_err(|never| match never {}).boxed_unsync()))
            });
            let layer = configure(builder, plan).token_service(tokens).build().unwrap();
            let handle = layer.handle();
            (Stack::new(layer.layer(transport)), handle)
        } else {
            let auth = configure(builder, plan).build().unwrap().layer(transport);
            let handle = auth.handle();
            (Stack::new(auth), handle)
        };
        let backoff =
            TurrisBackoffLayer::builder().max_retries(plan.max_retries).max_wait(plan.max_wait).build().unwrap();
        let redirected = Stack::new(FollowRedirectLayer::new().layer(auth.clone()));
        Self {
            name: plan.name,
            has_a_limit: plan.concurrency.is_some(),
            vault,
            handle,
            full: Stack::new(backoff.layer(auth.clone())),
            auth,
            redirected,
        }
    }
}

fn configure<T>(builder: TurrisAuthLayerBuilder<T>, plan: &ProcessPlan) -> TurrisAuthLayerBuilder<T> {
    builder
        .token_timeout(plan.token_timeout)
        .rate_limit(plan.token_requests.into(), Duration::from_secs(60))
        .refresh_before(plan.refresh_before)
        .allow_origin(format!("https://{FILES}"))
}

/// A pooled client over the simulated network. It gives up after a while, and may have its own
/// concurrency limit.
fn transport(plan: &ProcessPlan, network: &Network, checker: &Checker) -> Stack {
    let (network, name) = (network.clone(), plan.name);
    let connector = service_fn(move |uri: Uri| {
        let network = network.clone();
        Box::pin(async move {
            Ok::<_, io::Error>(TokioIo::new(network.connect(name, uri.host().unwrap_or_default()).await?))
        })
    });
    let mut builder = Client::builder(TokioExecutor::new());
    builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).http2_only(plan.http2);
    builder.http2_keep_alive_interval(plan.attempt_timeout).http2_keep_alive_timeout(plan.attempt_timeout);
    let client = builder.build(connector).map_response(|response: Response<hyper::body::Incoming>| {
        response.map(|body| body.map_err(BoxError::from).boxed_unsync())
    });
    let client = ServiceBuilder::new().timeout(plan.attempt_timeout).service(client);
    let client = match plan.concurrency {
        Some(most) => Either::Left(ServiceBuilder::new().concurrency_limit(most).service(client)),
        None => Either::Right(client),
    };
    Stack::new(Probe { inner: Stack::new(client), checker: checker.clone(), process: plan.name })
}

/// Reports the library's requests and responses to the checker.
#[derive(Clone)]
struct Probe {
    inner: Stack,
    checker: Checker,
    process: Host,
}

impl Service<Request<RequestBody>> for Probe {
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let is_fetch = request.uri().path() == TOKEN_PATH;
        let (call, checker) = (call_of(request.headers()), self.checker.clone());
        let fetch = is_fetch.then(|| UnderWay::new(&checker, self.process));
        if !is_fetch {
            checker.sends(self.process, request.uri(), request.headers());
        }
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await.inspect_err(|_| checker.fails(call))?;
            if fetch.is_none() {
                checker.answered(call, response.status(), response.headers());
            }
            Ok(response.map(|body| Answer { body, fetch, whole: Vec::new() }.boxed_unsync()))
        })
    }
}

/// A fetch, from its sending until its response is read or dropped.
struct UnderWay {
    checker: Checker,
    process: Host,
}

impl UnderWay {
    fn new(checker: &Checker, process: Host) -> Self {
        checker.fetch_begins(process);
        Self { checker: checker.clone(), process }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.checker.fetch_ends(self.process);
    }
}

struct Answer {
    body: ResponseBody,
    fetch: Option<UnderWay>,
    /// The bytes that have been read of a response to a fetch.
    whole: Vec<u8>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match (&polled, &this.fetch) {
            (Poll::Ready(Some(Ok(frame))), Some(_)) => {
                this.whole.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            }
            (Poll::Ready(None), Some(fetch)) => {
                if let Some((token, lifetime)) = token_in(&this.whole) {
                    fetch.checker.obtained(fetch.process, &token, lifetime);
                }
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns the token and its lifetime, if `answer` is a complete answer with a token.
pub fn token_in(answer: &[u8]) -> Option<(String, Duration)> {
    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let data = &answer["data"];
    Some((data["accessToken"].as_str()?.to_owned(), Duration::from_secs(data["expiresIn"].as_u64()?)))
}
