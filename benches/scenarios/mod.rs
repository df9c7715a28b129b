//! What many callers do to one token, as functions that say what happened. The benchmarks time them, the report tabulates
//! them.
//!
//! All but the threads run on one current-thread runtime and in real time, so that what is measured is the layer and not
//! the scheduling of two processors.

pub mod cold;
pub mod end_to_end;
pub mod expiry;
pub mod refused;
pub mod source;
pub mod storm;
pub mod threads;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode};
use tokio::{runtime::Runtime, task::JoinHandle};
use tower::{Layer, Service, ServiceExt};
use turris_auth::{Credentials, Environment, TokenService, TurrisAuth, TurrisAuthLayer, auth::TurrisAuthLayerBuilder};

use self::source::Source;
use crate::work::{Content, Inner, request};

/// What a scenario can send requests through.
pub trait Caller:
    Service<Request<Content>, Response = Response<Content>, Error: Send, Future: Send> + Clone + Send + 'static
{
}

impl<S> Caller for S where
    S: Service<Request<Content>, Response = Response<Content>, Error: Send, Future: Send> + Clone + Send + 'static
{
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A layer that fetches from `source`. Its allowance is no limit here: what is counted is what it asks for by itself.
pub fn builder(source: &Source) -> TurrisAuthLayerBuilder<TokenService> {
    let credentials = Credentials::new("client", "secret").expect("valid credentials");
    TurrisAuthLayer::builder(credentials, Environment::Production)
        .token_service(source.clone())
        .token_requests_per_minute(1_000)
}

pub fn auth(source: &Source) -> TurrisAuth<Inner, TokenService> {
    builder(source).build().expect("a valid layer").layer(Inner)
}

/// How one caller fared.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Since the first caller started.
    pub at: Duration,
    pub succeeded: bool,
}

/// Starts callers that send one request each.
fn start<S: Caller>(service: &S, callers: usize, since: Instant) -> Vec<JoinHandle<Outcome>> {
    let call = |service: S| async move {
        let succeeded = service.oneshot(request()).await.is_ok_and(|response| response.status() == StatusCode::OK);
        Outcome { at: since.elapsed(), succeeded }
    };
    (0..callers).map(|_| tokio::spawn(call(service.clone()))).collect()
}

/// Those that were not cancelled.
async fn outcomes(callers: Vec<JoinHandle<Outcome>>) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(callers.len());
    for caller in callers {
        outcomes.extend(caller.await.ok());
    }
    outcomes
}

fn last(outcomes: &[Outcome]) -> Duration {
    outcomes.iter().map(|outcome| outcome.at).max().unwrap_or_default()
}

fn first(outcomes: &[Outcome]) -> Duration {
    outcomes.iter().map(|outcome| outcome.at).min().unwrap_or_default()
}

fn on_runtime<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}
