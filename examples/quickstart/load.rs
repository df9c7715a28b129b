//! Requests in numbers, and how they went.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tower::ServiceExt;
use turris_auth::BoxError;

use super::stack::Api;

/// How a number of requests went.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// One of each request, failed ones included, from its start until the end of the answer's body.
    pub(crate) latencies: Vec<Duration>,
    /// What the failed requests ended with.
    pub(crate) errors: Vec<BoxError>,
}

impl Load {
    /// Sends all requests at once.
    pub(crate) async fn concurrent(api: &Api, uri: &Uri, requests: usize) -> Self {
        let mut tasks = JoinSet::new();
        for _ in 0..requests {
            tasks.spawn(timed(api.clone(), uri.clone()));
        }
        Self::default().finish(tasks).await
    }

    /// Sends a request every `pause` for as long as `duration`, however long the earlier ones take.
    pub(crate) async fn steady(api: &Api, uri: &Uri, pause: Duration, duration: Duration) -> Self {
        let mut tasks = JoinSet::new();
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = Instant::now();
        while started.elapsed() < duration {
            ticks.tick().await;
            tasks.spawn(timed(api.clone(), uri.clone()));
        }
        Self::default().finish(tasks).await
    }

    /// Both loads as one.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.latencies.extend(other.latencies);
        self.errors.extend(other.errors);
        self
    }

    async fn finish(mut self, mut tasks: JoinSet<(Duration, Result<(), BoxError>)>) -> Self {
        while let Some(task) = tasks.join_next().await {
            // A task that panicked has no latency to show; zero keeps the number of requests right.
            let (latency, result) = task.unwrap_or_else(|error| (Duration::ZERO, Err(error.into())));
            self.latencies.push(latency);
            self.errors.extend(result.err());
        }
        self
    }
}

async fn timed(api: Api, uri: Uri) -> (Duration, Result<(), BoxError>) {
    let started = Instant::now();
    let result = get(api, uri).await;
    (started.elapsed(), result)
}

/// One request as a program makes it. Nothing here knows of tokens.
async fn get(api: Api, uri: Uri) -> Result<(), BoxError> {
    let request = Request::get(uri).body(Full::<Bytes>::default())?;
    let response = api.oneshot(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    if status.is_success() { Ok(()) } else { Err(format!("the answer has the status {status}").into()) }
}
