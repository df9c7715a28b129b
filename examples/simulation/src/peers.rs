//! Alternatives for the same purpose, on the same server.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use governor::{Quota, RateLimiter, clock::Clock};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{
    BoxError, Layer, Service, ServiceExt,
    buffer::BufferLayer,
    limit::RateLimitLayer,
    retry::{
        Policy, RetryLayer,
        backoff::{Backoff, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff},
    },
    util::{BoxCloneSyncService, rng::HasherRng},
};
use turris_auth::backoff::TurrisBackoffLayer;
use turris_emulator::EmulatorBody;

use super::scenarios::Client;

/// A wrapper around a client.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) wrap: fn(Client) -> Client,
}

pub(crate) const ALL: [Contender; 5] = [
    Contender { name: "TurrisBackoff", wrap: turris_backoff },
    Contender { name: "tower::retry, 3 times", wrap: |client| retry(client, 3) },
    Contender { name: "tower::retry, for ever", wrap: |client| retry(client, usize::MAX) },
    Contender { name: "tower::limit, retry", wrap: limit },
    Contender { name: "governor, retry", wrap: governor },
];

fn turris_backoff(client: Client) -> Client {
    BoxCloneSyncService::new(TurrisBackoffLayer::new().layer(client))
}

/// Exponential backoff from 1 s to 60 s.
fn retry(client: Client, times: usize) -> Client {
    BoxCloneSyncService::new(RetryLayer::new(Refusals { left: times, backoff: None }).layer(client))
}

/// With jitter of up to the whole step. Each has its own random numbers, because clones of one
/// generator draw the same numbers.
fn backoff() -> ExponentialBackoff {
    ExponentialBackoffMaker::new(Duration::from_secs(1), Duration::from_secs(60), 1.0, HasherRng::new())
        .expect("valid bounds")
        .make_backoff()
}

/// Sixty requests a minute from the first request on, including `GET`s, and a retry for refused
/// requests.
fn limit(client: Client) -> Client {
    let limited = RateLimitLayer::new(60, Duration::from_secs(60)).layer(client);
    retry(BoxCloneSyncService::new(BufferLayer::new(1024).layer(limited)), usize::MAX)
}

/// The generic cell rate algorithm: a burst of sixty, refilled by one a second.
fn governor(client: Client) -> Client {
    let limiter = Arc::new(RateLimiter::direct_with_clock(
        Quota::per_minute(const { std::num::NonZeroU32::new(60).expect("not zero") }),
        TokioClock(Instant::now()),
    ));
    let limited = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let (limiter, client) = (Arc::clone(&limiter), client.clone());
        async move {
            while let Err(refusal) = limiter.check() {
                sleep(refusal.wait_time_from(limiter.clock().now())).await;
            }
            client.oneshot(request).await
        }
    });
    retry(BoxCloneSyncService::new(limited), usize::MAX)
}

/// Tokio's time, which is paused here.
#[derive(Clone)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[derive(Clone)]
struct Refusals {
    left: usize,
    backoff: Option<ExponentialBackoff>,
}

impl Policy<Request<Full<Bytes>>, Response<EmulatorBody>, BoxError> for Refusals {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        _: &mut Request<Full<Bytes>>,
        result: &mut Result<Response<EmulatorBody>, BoxError>,
    ) -> Option<Self::Future> {
        let refused = result.as_ref().is_ok_and(|response| response.status() == StatusCode::TOO_MANY_REQUESTS);
        self.left = self.left.checked_sub(usize::from(refused))?;
        refused.then(|| self.backoff.get_or_insert_with(backoff).next_backoff())
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        Some(request.clone())
    }
}

// The bound that all contenders satisfy, so that a mistake shows here.
const _: fn() = || {
    fn is_client<S: Service<Request<Full<Bytes>>, Response = Response<EmulatorBody>, Error = BoxError> + Clone>() {}
    is_client::<Client>();
};
