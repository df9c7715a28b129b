//! What is measured.

use std::{convert::Infallible, future::Ready};

use http::{Request, Response};
use tower::{
    Layer, Service, ServiceBuilder,
    retry::{Policy, RetryLayer},
};
use tower_http::auth::AddAuthorizationLayer;
use turris_auth::{
    Credentials, Environment, TokenService, TurrisAuthLayer,
    replay::{ReplayBodyLayer, TryCloneBody},
};

use crate::work::{Content, Inner, ReadingInner, drive, jwt};

/// A service to send requests through.
pub struct Contender {
    pub name: &'static str,
    /// The contender whose cost is taken off, because it is not this one's.
    pub floor: &'static str,
    pub run: fn(u64) -> Run,
}

/// What a run shows beside what is counted around it.
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

pub const CONTENDERS: &[Contender] = &[
    Contender { name: BARE, floor: BARE, run: |requests| run(Inner, requests) },
    Contender { name: BARE_READING, floor: BARE_READING, run: |requests| run(ReadingInner, requests) },
    Contender { name: STATIC_HEADER, floor: BARE, run: |requests| run(static_header().layer(Inner), requests) },
    Contender {
        name: TOWER_RETRY,
        floor: BARE,
        run: |requests| {
            let stack = ServiceBuilder::new().layer(RetryLayer::new(CloneAndGiveUp)).layer(static_header());
            run(stack.service(Inner), requests)
        },
    },
    Contender {
        name: TWO_TOWER_RETRIES,
        floor: BARE,
        run: |requests| {
            let retries = ServiceBuilder::new()
                .layer(RetryLayer::new(CloneAndGiveUp))
                .layer(RetryLayer::new(CloneAndGiveUp))
                .layer(static_header());
            run(retries.service(Inner), requests)
        },
    },
    Contender { name: AUTH_WITHOUT_RETRY, floor: BARE, run: |requests| run(auth(false).layer(Inner), requests) },
    Contender { name: AUTH, floor: BARE, run: |requests| run(auth(true).layer(Inner), requests) },
    Contender {
        name: REPLAY_AUTH,
        floor: BARE_READING,
        run: |requests| {
            run(ServiceBuilder::new().layer(ReplayBodyLayer::new()).layer(auth(true)).service(ReadingInner), requests)
        },
    },
];

pub fn contender(name: &str) -> Option<&'static Contender> {
    CONTENDERS.iter().find(|contender| contender.name == name)
}

fn run<S>(mut service: S, requests: u64) -> Run
where
    S: Service<Request<Content>, Response = Response<Content>>,
{
    // What the heap looks like decides how malloc goes about its work, so every run begins with the same one.
    let same_heap = auth(true);
    let future_size = drive(&mut service, requests);
    drop(same_heap);
    Run { service_size: size_of::<S>(), future_size }
}

/// A header that never changes: the least that any layer costs that adds one.
pub fn static_header() -> AddAuthorizationLayer {
    AddAuthorizationLayer::bearer(&jwt())
}

/// A layer with a token that outlives the run.
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

fn issue(_: Request<Content>) -> Ready<Result<Response<Content>, Infallible>> {
    let answer = format!(
        r#"{{"data":{{"accessToken":"{}","expiresIn":86400,"tokenType":"Bearer"}},"requestId":"r","timestamp":"t"}}"#,
        jwt()
    );
    std::future::ready(Ok(Response::builder().status(201).body(answer.into()).expect("a valid answer")))
}

/// What everybody pays who is to be able to retry: a copy of the request, with whatever its body needs for one.
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
