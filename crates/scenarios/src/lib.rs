//! Scenarios of many callers and one token, as functions that return measurements. The benchmarks
//! time them, and the report tabulates them.
//!
//! All scenarios except `threads` use one current-thread runtime and real time, so that they
//! measure the layer instead of the scheduling of two processors.

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
use turris_auth_instructions::work::{Content, Inner, request};

/// A service through which a scenario can send requests.
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

/// Returns the builder of a layer that fetches from `source`. The allowance is too large to limit
/// the fetches, so the fetch count shows the layer's own behaviour.
pub fn builder(source: &Source) -> TurrisAuthLayerBuilder<TokenService> {
    let credentials = Credentials::new("client", "secret").expect("valid credentials");
    TurrisAuthLayer::builder(credentials, Environment::Production)
        .token_service(source.clone())
        .rate_limit(1_000, Duration::from_secs(60))
}

pub fn auth(source: &Source) -> TurrisAuth<Inner, TokenService> {
    builder(source).build().expect("a valid layer").layer(Inner)
}

/// The result of one caller.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The time since the first caller started.
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

/// Returns the outcomes of the callers that were not cancelled.
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
