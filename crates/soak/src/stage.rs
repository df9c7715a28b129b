//! The progress of a request below the layers. It is reported for a late request, and shows which
//! requests were lost.
//!
//! hyper can lose a request. It sends requests to a connection's task through a tokio channel. A
//! message that is sent while that task ends can stay in the channel: accepted, never read, and
//! kept as long as a sender exists. hyper-util holds a sender while it waits for the response. So a
//! GOAWAY, or the end of a connection, can leave a request waiting for ever, even without a layer
//! above hyper-util.
//!
//! In an experiment with 2.2 million requests over 14,000 connections with a GOAWAY each, 77
//! requests were lost. No request was lost when the receiver waited for the messages under way
//! before it ended. hyperium/hyper#4122 describes the same race over HTTP/1.1.
//!
//! This module ends such a request, and no other request. It recognises it by two facts: hyper-util
//! has given it to a connection, and the connection has not asked for the length of its body.

use std::{
    error::Error,
    fmt,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use http_body::{Body, Frame, SizeHint};
use hyper_util::client::legacy::connect::capture_connection;
use tokio::time::timeout;
use tower::Service;
use turris_auth::BoxError;

/// The longest time until a connection begins a request. Usually it begins when the connection's
/// task is next polled. If the connection has its maximum of streams, it begins when a stalled
/// response is given up, after four seconds at most.
const LONGEST_START: Duration = Duration::from_secs(10);

/// The stage of a request. It travels in the extensions of the request and of its copies.
#[derive(Clone, Default)]
pub(crate) struct Stage {
    sent: Arc<AtomicU32>,
    ended: Arc<AtomicU32>,
}

impl Stage {
    /// Describes the stage, with the number of attempts.
    pub(crate) fn describe(&self) -> String {
        let (sent, ended) = (self.sent.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed));
        match sent {
            0 => "waits in the layers, never sent".to_owned(),
            _ if sent == ended => format!("waits in the layers, after attempt {sent}"),
            _ => format!("waits for the answer to attempt {sent}"),
        }
    }
}

/// A service that records the stages of requests, and ends requests that hyper has lost.
#[derive(Clone)]
pub(crate) struct Staged<S>(pub(crate) S);

impl<S, B> Service<Request<B>> for Staged<S>
where
    S: Service<Request<Begun<B>>>,
    S::Error: Into<BoxError> + Send,
    S::Future: Send + 'static,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let stage = request.extensions().get::<Stage>().cloned().unwrap_or_default();
        stage.sent.fetch_add(1, Ordering::Relaxed);
        let begun = Arc::new(AtomicBool::new(false));
        let mut request = request.map(|body| Begun { body, begun: Arc::clone(&begun) });
        let connection = capture_connection(&mut request);
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut answer = pin!(answer);
            let answer = match timeout(LONGEST_START, answer.as_mut()).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) if connection.connection_metadata().is_some() && !begun.load(Ordering::Relaxed) => {
                    Err(NeverBegun.into())
                }
                // The connection has begun the request, so the wait has another cause.
                Err(_) => answer.await.map_err(Into::into),
            };
            stage.ended.fetch_add(1, Ordering::Relaxed);
            answer
        })
    }
}

/// A body that records when it is first examined. hyper does that when it begins with the request.
pub(crate) struct Begun<B> {
    body: B,
    begun: Arc<AtomicBool>,
}

impl<B: Body + Unpin> Body for Begun<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.begun.store(true, Ordering::Relaxed);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.begun.store(true, Ordering::Relaxed);
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.begun.store(true, Ordering::Relaxed);
        self.body.size_hint()
    }
}

/// Error of a request that was lost on its way to its connection.
#[derive(Debug)]
pub(crate) struct NeverBegun;

impl fmt::Display for NeverBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was given to a connection that never began with it")
    }
}

impl Error for NeverBegun {}

#[cfg(test)]
mod tests;
