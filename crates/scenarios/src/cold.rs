//! Callers without a token: the time until all of them continue once the token has arrived, and the
//! memory that each holds until then.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::{Caller, on_runtime, source::Source};
use turris_auth_instructions::work::request;

/// The minimum time of a fetch. The source opens only when every caller waits.
pub const FETCH: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub struct Cold {
    /// From the end of the fetch until the last caller has finished.
    pub release: Duration,
    /// The heap of all waiting callers, as the given meter reads it.
    pub heap: i64,
    pub source_calls: usize,
}

/// Reads the heap of the current thread, in bytes.
pub type HeapMeter = fn() -> i64;

/// Measures callers that wait for a token.
pub fn waiting<S: Caller>(callers: usize, heap: HeapMeter, make: impl FnOnce(&Source) -> S) -> Cold {
    let source = Source::gated();
    let service = make(&source);
    let call = || {
        let mut service = service.clone();
        async move {
            let Ok(ready) = service.ready().await else { panic!("the service is not ready") };
            assert!(ready.call(request()).await.is_ok(), "a caller that waited got an error");
        }
    };
    let cold = park_and_release(callers, heap, call, || source.open());
    Cold { source_calls: source.calls(), ..cold }
}

/// Measures the lower bound: the same tasks parked on one `Notify`. Each task holds its request.
/// When it wakes, it sends the request through `service` without a wait, because the service has a
/// fixed header or a layer that already has its token.
pub fn parked<S: Caller>(callers: usize, heap: HeapMeter, service: S) -> Cold {
    let gate = Arc::new(Notify::new());
    let call = || {
        let (mut service, gate) = (service.clone(), Arc::clone(&gate));
        async move {
            let request = request();
            gate.notified().await;
            let Ok(ready) = service.ready().await else { panic!("the service is not ready") };
            assert!(ready.call(request).await.is_ok(), "a caller that was parked got an error");
        }
    };
    park_and_release(callers, heap, call, || gate.notify_waiters())
}

pin_project! {
    // Written by hand, because an `async` block would hold the call twice, and this scenario
    // measures what a caller holds.
    struct Task<F> {
        #[pin]
        call: F,
        has_started: bool,
        progress: Arc<Progress>,
    }
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if !std::mem::replace(this.has_started, true) {
            this.progress.started.fetch_add(1, Ordering::Relaxed);
        }
        ready!(this.call.poll(cx));
        if this.progress.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            this.progress.done.notify_one();
        }
        Poll::Ready(())
    }
}

struct Progress {
    started: AtomicUsize,
    left: AtomicUsize,
    done: Notify,
}

fn park_and_release<F>(callers: usize, heap: HeapMeter, call: impl Fn() -> F, open: impl FnOnce()) -> Cold
where
    F: Future<Output = ()> + Send + 'static,
{
    on_runtime(async {
        let progress =
            Arc::new(Progress { started: AtomicUsize::new(0), left: AtomicUsize::new(callers), done: Notify::new() });
        let began = Instant::now();
        let before = heap();
        for _ in 0..callers {
            tokio::spawn(Task { call: call(), has_started: false, progress: Arc::clone(&progress) });
        }
        // There is only one thread, so every caller that has started waits when this task runs
        // again.
        while progress.started.load(Ordering::Relaxed) < callers {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep_until((began + FETCH).into()).await;
        let heap = heap() - before;
        let opened = Instant::now();
        open();
        progress.done.notified().await;
        Cold { release: opened.elapsed(), heap, source_calls: 0 }
    })
}
