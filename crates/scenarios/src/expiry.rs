//! Steady callers across the ends of several tokens.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use tower::ServiceExt;

use crate::{Caller, on_runtime, source::Source};
use turris_auth_instructions::work::request;

pub const CALLERS: usize = 200;
const PAUSE: Duration = Duration::from_millis(5);
const LIFETIME: Duration = Duration::from_secs(1);
const FETCH: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub struct Expiry {
    pub source_calls: usize,
    pub requests: usize,
    /// The number of requests after the first token that did not complete in the poll that sent
    /// them. They can only have waited for a token.
    pub waited: usize,
    /// When each of those requests was made, and how long it waited.
    pub waits: Vec<(Duration, Duration)>,
}

/// Runs callers that send a request every 5 ms, with tokens that live for a second and a source
/// that takes 50 ms.
pub fn expiry<S: Caller>(lasting: Duration, make: impl FnOnce(&Source) -> S) -> Expiry {
    let source = Source::issuing(FETCH, LIFETIME);
    let service = make(&source);
    let requests = Arc::new(AtomicUsize::new(0));
    let waits = on_runtime(async {
        let _ = service.clone().oneshot(request()).await;
        let began = Instant::now();
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| tokio::spawn(steady(service.clone(), caller, began, lasting, Arc::clone(&requests))))
            .collect();
        let mut waits = Vec::new();
        for caller in callers {
            waits.extend(caller.await.expect("a caller that does not panic"));
        }
        waits
    });
    Expiry { source_calls: source.calls(), requests: requests.load(Ordering::Relaxed), waited: waits.len(), waits }
}

async fn steady<S: Caller>(
    mut service: S,
    caller: usize,
    began: Instant,
    lasting: Duration,
    requests: Arc<AtomicUsize>,
) -> Vec<(Duration, Duration)> {
    // The callers are spread over the pause, like callers that are independent of each other.
    tokio::time::sleep(PAUSE.mul_f64(caller as f64 / CALLERS as f64)).await;
    let mut waits = Vec::new();
    while began.elapsed() < lasting {
        let sent = Instant::now();
        let Ok(ready) = service.ready().await else { break };
        let mut response = pin!(ready.call(request()));
        let mut is_first = true;
        let mut has_waited = false;
        let _ = poll_fn(|cx| {
            let poll = response.as_mut().poll(cx);
            has_waited |= is_first && poll.is_pending();
            is_first = false;
            match poll {
                Poll::Ready(result) => Poll::Ready(result),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        requests.fetch_add(1, Ordering::Relaxed);
        if has_waited {
            waits.push((sent - began, sent.elapsed()));
        }
        tokio::time::sleep(PAUSE).await;
    }
    waits
}
