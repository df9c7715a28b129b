//! Requests in numbers, and how they went.

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

use super::stack::{Api, BulkApi, BulkBody};

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
    pub(crate) async fn concurrent<R>(requests: impl Iterator<Item = R>) -> Self
    where
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self::default().finish(requests.map(timed).collect()).await
    }

    /// Sends a request every `pause` for as long as `duration`, however long the earlier ones take.
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

async fn timed(request: impl Future<Output = Result<(), BoxError>>) -> (Duration, Result<(), BoxError>) {
    let started = Instant::now();
    let result = request.await;
    (started.elapsed(), result)
}

/// One request as a program makes it. Nothing here knows of tokens.
pub(crate) async fn get(api: Api, uri: Uri) -> Result<(), BoxError> {
    let request = Request::get(uri).body(Full::<Bytes>::default())?;
    let response = api.oneshot(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    if status.is_success() { Ok(()) } else { Err(format!("the answer has the status {status}").into()) }
}

/// One request of a bulk job, whose body is produced while it is sent. Nothing here knows of limits.
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
    // The server tells what arrived.
    let answer: Value = serde_json::from_slice(&answer)?;
    if answer.pointer("/data/entity") == Some(&entity) {
        Ok(())
    } else {
        Err(format!("request {number} did not arrive whole").into())
    }
}
