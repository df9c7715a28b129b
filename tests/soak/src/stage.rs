//! How far a request has come below the layers, for the report on one that is late.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use http::Request;
use tower::Service;

/// Travels in the extensions of a request, and in those of its copies.
#[derive(Clone, Default)]
pub(crate) struct Stage {
    sent: Arc<AtomicU32>,
    ended: Arc<AtomicU32>,
}

impl Stage {
    /// Where it is: with what number of attempts.
    pub(crate) fn describe(&self) -> String {
        let (sent, ended) = (self.sent.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed));
        match sent {
            0 => "waits in the layers, never sent".to_owned(),
            _ if sent == ended => format!("waits in the layers, after attempt {sent}"),
            _ => format!("waits for the answer to attempt {sent}"),
        }
    }
}

/// Notes what passes.
#[derive(Clone)]
pub(crate) struct Staged<S>(pub(crate) S);

impl<S, B> Service<Request<B>> for Staged<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let stage = request.extensions().get::<Stage>().cloned().unwrap_or_default();
        stage.sent.fetch_add(1, Ordering::Relaxed);
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await;
            stage.ended.fetch_add(1, Ordering::Relaxed);
            answer
        })
    }
}
