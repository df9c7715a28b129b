//! The contenders: the services whose cost is measured.

use std::{
    convert::Infallible,
    future::Ready,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tower::{
    Layer, Service,
    retry::{Policy, RetryLayer},
};
use tower_http::auth::AddAuthorizationLayer;
use turris_auth::{
    Credentials, Environment, TokenService, TurrisAuthLayer, TurrisBackoffLayer, TurrisLayer,
    backoff::TurrisBackoffLayerBuilder,
    replay::{ReplayBodyLayer, TryCloneBody},
};

use crate::work::{Content, Inner, ReadingInner, drive, jwt, read, request, request_with_host};

/// A service whose cost is measured.
#[derive(Clone, Copy)]
pub struct Contender {
    pub name: &'static str,
    /// The contender below this contender, whose cost is subtracted.
    pub floor: &'static str,
    /// Sets up the service.
    pub prepare: fn() -> Runner,
}

/// Sends the given number of requests, one after another.
pub type Runner = Box<dyn FnMut(u64) -> Run>;

/// The sizes that a run finds.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub service_size: usize,
    pub future_size: usize,
}

pub const BARE: &str = "bare";
pub const BARE_READING: &str = "bare_reading";
pub const STATIC_HEADER: &str = "add_authorization";
pub const TOWER_RETRY: &str = "tower_retry";
pub const TWO_TOWER_RETRIES: &str = "two_tower_retries";
pub const AUTH_WITHOUT_RETRY: &str = "auth_without_retry";
pub const AUTH: &str = "auth";
pub const REPLAY_AUTH: &str = "replay_auth";
/// The comparison for `replay_auth`. It also keeps the other comparisons fair: a layer with one
/// caller of `HeaderMap::insert` has it inlined, and then costs 120 instructions less. The layers
/// of this crate have several callers here.
pub const READING_STATIC_HEADER: &str = "reading_add_authorization";
/// The same, with a clone of the service for each request.
pub const CLONED_STATIC_HEADER: &str = "cloned_add_authorization";
pub const CLONED_AUTH_WITHOUT_RETRY: &str = "cloned_auth_without_retry";
pub const CLONED_AUTH: &str = "cloned_auth";
/// `TurrisBackoff` without retries, so without a copy: only the gate is left.
pub const BACKOFF_WITHOUT_RETRY: &str = "backoff_without_retry";
/// The gate of `GET`s, which are not limited, and so neither counted nor held back.
pub const READ_BACKOFF_WITHOUT_RETRY: &str = "read_backoff_without_retry";
pub const BACKOFF: &str = "backoff";
pub const BACKOFF_AUTH: &str = "backoff_auth";
pub const BARE_READ: &str = "bare_read";
pub const READ_BACKOFF_AUTH: &str = "read_backoff_auth";

/// The whole stack in one layer, on one copy of the request.
pub const TURRIS: &str = "turris";
pub const READ_TURRIS: &str = "read_turris";
/// The same, with a `Host` field in the request.
pub const BARE_HOST: &str = "bare_host";
pub const HOST_STATIC_HEADER: &str = "host_add_authorization";
pub const HOST_TOWER_RETRY: &str = "host_tower_retry";
pub const HOST_AUTH_WITHOUT_RETRY: &str = "host_auth_without_retry";
pub const HOST_AUTH: &str = "host_auth";

pub const CONTENDERS: &[Contender] = &[
    Contender { name: BARE, floor: BARE, prepare: || runner(Inner) },
    Contender { name: BARE_READ, floor: BARE_READ, prepare: || reader(Inner) },
    Contender { name: BARE_READING, floor: BARE_READING, prepare: || runner(ReadingInner) },
    Contender { name: STATIC_HEADER, floor: BARE, prepare: || runner(static_header().layer(Inner)) },
    Contender { name: TOWER_RETRY, floor: BARE, prepare: || runner(tower_retry().layer(static_header().layer(Inner))) },
    Contender {
        name: TWO_TOWER_RETRIES,
        floor: BARE,
        prepare: || runner(tower_retry().layer(tower_retry().layer(static_header().layer(Inner)))),
    },
    Contender { name: AUTH_WITHOUT_RETRY, floor: BARE, prepare: || runner(auth(false).layer(Inner)) },
    Contender { name: AUTH, floor: BARE, prepare: || runner(auth(true).layer(Inner)) },
    Contender {
        name: BACKOFF_WITHOUT_RETRY,
        floor: BARE,
        prepare: || runner(backoff().max_retries(0).build().expect("a valid layer").layer(Inner)),
    },
    Contender {
        name: BACKOFF,
        floor: BARE,
        prepare: || runner(backoff().build().expect("a valid layer").layer(Inner)),
    },
    Contender {
        name: BACKOFF_AUTH,
        floor: BARE,
        prepare: || runner(backoff().build().expect("a valid layer").layer(auth(true).layer(Inner))),
    },
    Contender {
        name: READ_BACKOFF_WITHOUT_RETRY,
        floor: BARE_READ,
        prepare: || reader(backoff().max_retries(0).build().expect("a valid layer").layer(Inner)),
    },
    Contender {
        name: READ_BACKOFF_AUTH,
        floor: BARE_READ,
        prepare: || reader(backoff().build().expect("a valid layer").layer(auth(true).layer(Inner))),
    },
    Contender { name: CLONED_STATIC_HEADER, floor: BARE, prepare: || runner(Cloned(static_header().layer(Inner))) },
    Contender { name: CLONED_AUTH_WITHOUT_RETRY, floor: BARE, prepare: || runner(Cloned(auth(false).layer(Inner))) },
    Contender { name: CLONED_AUTH, floor: BARE, prepare: || runner(Cloned(auth(true).layer(Inner))) },
    Contender { name: TURRIS, floor: BARE, prepare: || runner(turris().layer(Inner)) },
    Contender { name: READ_TURRIS, floor: BARE_READ, prepare: || reader(turris().layer(Inner)) },
    Contender { name: BARE_HOST, floor: BARE_HOST, prepare: || sender(Inner, request_with_host) },
    Contender {
        name: HOST_STATIC_HEADER,
        floor: BARE_HOST,
        prepare: || sender(static_header().layer(Inner), request_with_host),
    },
    Contender {
        name: HOST_TOWER_RETRY,
        floor: BARE_HOST,
        prepare: || sender(tower_retry().layer(static_header().layer(Inner)), request_with_host),
    },
    Contender {
        name: HOST_AUTH_WITHOUT_RETRY,
        floor: BARE_HOST,
        prepare: || sender(auth(false).layer(Inner), request_with_host),
    },
    Contender { name: HOST_AUTH, floor: BARE_HOST, prepare: || sender(auth(true).layer(Inner), request_with_host) },
    Contender {
        name: READING_STATIC_HEADER,
        floor: BARE_READING,
        prepare: || runner(static_header().layer(ReadingInner)),
    },
    Contender {
        name: REPLAY_AUTH,
        floor: BARE_READING,
        prepare: || runner(ReplayBodyLayer::new().layer(auth(true).layer(ReadingInner))),
    },
];

pub fn contender(name: &str) -> Option<&'static Contender> {
    CONTENDERS.iter().find(|contender| contender.name == name)
}

/// Returns a function that sends requests through `service`.
pub fn runner<S>(service: S) -> Runner
where
    S: Service<Request<Content>, Response = Response<Content>> + 'static,
{
    sender(service, request)
}

fn reader<S>(service: S) -> Runner
where
    S: Service<Request<Content>, Response = Response<Content>> + 'static,
{
    sender(service, read)
}

fn sender<S>(mut service: S, request: fn() -> Request<Content>) -> Runner
where
    S: Service<Request<Content>, Response = Response<Content>> + 'static,
{
    // The work of the allocator depends on the blocks that were freed before. So every process sets
    // up a layer and its token.
    let same_heap = auth(true);
    Box::new(move |requests| {
        let _ = &same_heap;
        Run { service_size: size_of::<S>(), future_size: drive(&mut service, request, requests) }
    })
}

/// Calls a clone for each request, as `service.clone().oneshot(request)` does. [`Inner`] need not
/// be polled ready.
struct Cloned<S>(S);

impl<S: Service<Request<Content>> + Clone> Service<Request<Content>> for Cloned<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Content>) -> S::Future {
        self.0.clone().call(request)
    }
}

fn tower_retry() -> RetryLayer<CloneAndGiveUp> {
    RetryLayer::new(CloneAndGiveUp)
}

/// Returns a layer that adds a fixed header: the cheapest layer that adds a header.
pub fn static_header() -> AddAuthorizationLayer {
    AddAuthorizationLayer::bearer(&jwt())
}

/// Returns a layer with a token that outlives the run.
pub fn auth(retry: bool) -> TurrisAuthLayer<TokenService> {
    let layer = TurrisAuthLayer::builder(
        Credentials::new("client", "secret").expect("valid credentials"),
        Environment::Production,
    )
    .token_service(tower::service_fn(issue))
    .retry_unauthorized(retry)
    .build()
    .expect("a valid layer");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(layer.handle().warm_up()).expect("a token");
    layer
}

/// Returns the whole stack, paced as by default, with a limit that no run reaches and a token that
/// outlives the run.
fn turris() -> TurrisLayer<TokenService> {
    let layer =
        TurrisLayer::builder(Credentials::new("client", "secret").expect("valid credentials"), Environment::Production)
            .token_service(tower::service_fn(issue))
            .rate_limit(1_000_000_000, Duration::from_secs(60))
            .build()
            .expect("a valid layer");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(layer.handle().warm_up()).expect("a token");
    layer
}

/// Returns the builder of a layer that is paced as by default, with a limit that no run reaches.
pub fn backoff() -> TurrisBackoffLayerBuilder {
    TurrisBackoffLayer::builder().rate_limit(1_000_000_000, Duration::from_secs(60))
}

fn issue(_: Request<Content>) -> Ready<Result<Response<Content>, Infallible>> {
    let answer = format!(
        r#"{{"data":{{"accessToken":"{}","expiresIn":86400,"tokenType":"Bearer"}},"requestId":"r","timestamp":"t"}}"#,
        jwt()
    );
    std::future::ready(Ok(Response::builder().status(201).body(answer.into()).expect("a valid answer")))
}

/// Retry policy that copies every request and never retries. The copy is the cost of every layer
/// that can retry.
#[derive(Clone, Copy, Debug)]
pub struct CloneAndGiveUp;

impl<B: Clone + TryCloneBody, R, E> Policy<Request<B>, R, E> for CloneAndGiveUp {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<B>, _: &mut Result<R, E>) -> Option<Ready<()>> {
        None
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}
