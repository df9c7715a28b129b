//! Loads of many requests, and their results.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tower::ServiceExt;
use turris_auth::BoxError;

use crate::stack::{Api, BulkApi, BulkBody};

/// The results of a number of requests.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// The latency of each request, including failed ones, from its start until the end of the
    /// response's body.
    pub(crate) latencies: Vec<Duration>,
    /// The errors of the failed requests.
    pub(crate) errors: Vec<BoxError>,
}

impl Load {
    /// Sends all requests at once.
    pub(crate) async fn concurrent<R>(requests: impl Iterator<Item = R>) -> Self
    where
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self::default().finish(requests.map(timed).collect()).await
    }

    /// Sends a request every `pause` for as long as `duration`, even if earlier requests are still
    /// under way.
    pub(crate) async fn steady(api: &Api, uri: &Uri, pause: Duration, duration: Duration) -> Self {
        let mut tasks = JoinSet::new();
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = Instant::now();
        while started.elapsed() < duration {
            ticks.tick().await;
            tasks.spawn(timed(get(api.clone(), uri.clone())));
        }
        Self::default().finish(tasks).await
    }

    /// Combines both loads.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.latencies.extend(other.latencies);
        self.errors.extend(other.errors);
        self
    }

    async fn finish(mut self, mut tasks: JoinSet<(Duration, Result<(), BoxError>)>) -> Self {
        while let Some(task) = tasks.join_next().await {
            // A task that panicked has no latency. Zero keeps the number of requests right.
            let (latency, result) = task.unwrap_or_else(|error| (Duration::ZERO, Err(error.into())));
            self.latencies.push(latency);
            self.errors.extend(result.err());
        }
        self
    }
}

async fn timed(request: impl Future<Output = Result<(), BoxError>>) -> (Duration, Result<(), BoxError>) {
    let started = Instant::now();
    let result = request.await;
    (started.elapsed(), result)
}

/// Sends one request like a program's own code, which does not deal with tokens.
pub(crate) async fn get(api: Api, uri: Uri) -> Result<(), BoxError> {
    let request = Request::get(uri).body(Full::<Bytes>::default())?;
    let response = api.oneshot(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    if status.is_success() { Ok(()) } else { Err(format!("the answer has the status {status}").into()) }
}

/// Sends one request of a bulk job. Its body is produced while it is sent. The code does not deal
/// with limits.
pub(crate) async fn invite(api: BulkApi, uri: Uri, number: usize) -> Result<(), BoxError> {
    let entity = json!({ "companyName": format!("Company {number}"), "notes": "n".repeat(2_000) });
    let bytes = Bytes::from(entity.to_string());
    let frames: Vec<_> = bytes.chunks(500).map(|chunk| Ok(Frame::data(bytes.slice_ref(chunk)))).collect();
    let body = BulkBody::new(StreamBody::new(stream::iter(frames)));
    let response = api.oneshot(Request::post(uri).body(body)?).await?;
    let status = response.status();
    let answer = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        return Err(format!("the answer has the status {status}").into());
    }
    // The server's response contains the body that arrived.
    let answer: Value = serde_json::from_slice(&answer)?;
    if answer.pointer("/data/entity") == Some(&entity) {
        Ok(())
    } else {
        Err(format!("request {number} did not arrive whole").into())
    }
}
