//! Many requests under way with one token when the server stops accepting it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use tokio::sync::Notify;
use tower::{BoxError, Layer, Service};

use super::{builder, last, on_runtime, outcomes, source::Source, start};
use crate::work::Content;

pub const CALLERS: usize = 1_000;
const FETCH: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// After the token that is refused.
    pub source_calls: usize,
    pub succeeded: usize,
    /// Since the 401.
    pub last_answer: Duration,
}

/// All requests are under way before the first 401 is sent.
pub fn burst() -> Burst {
    let source = Source::issuing(FETCH, Duration::from_secs(3_600));
    let api = Api::default();
    let service = builder(&source).build().expect("a valid layer").layer(api.clone());
    let handle = service.handle();
    let (outcomes, refused_at) = on_runtime(async {
        handle.warm_up().await.expect("a token");
        let began = Instant::now();
        let callers = start(&service, CALLERS, began);
        while api.0.waiting.load(Ordering::Relaxed) < CALLERS {
            tokio::task::yield_now().await;
        }
        let refused_at = began.elapsed();
        api.0.refuse.notify_waiters();
        (outcomes(callers).await, refused_at)
    });
    Burst {
        source_calls: source.calls() - 1,
        succeeded: outcomes.iter().filter(|outcome| outcome.succeeded).count(),
        last_answer: last(&outcomes) - refused_at,
    }
}

/// Refuses the first token, after all have come with it; accepts any other.
#[derive(Clone, Default)]
struct Api(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    refuse: Notify,
}

impl Service<Request<Content>> for Api {
    type Response = Response<Content>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Content>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Content>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let token = request.headers().get(AUTHORIZATION);
            let is_first = token.is_some_and(|token| token.as_bytes().starts_with(b"Bearer 1."));
            let mut response = Response::new(Content::default());
            if is_first {
                let refused = shared.refuse.notified();
                shared.waiting.fetch_add(1, Ordering::Relaxed);
                refused.await;
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            Ok(response)
        })
    }
}
