//! Tests with a recorder that uses the token handle whenever it is called.

use std::{
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tower::Layer;
use turris_auth::TokenHandle;

use super::{capture::Capture, support::*};

/// Asks for the status and invalidates. Under a lock of the cache, either call would deadlock.
#[derive(Default)]
struct CallingBack(Arc<OnceLock<TokenHandle>>);

impl CallingBack {
    fn call(&self, key: &Key) {
        if let Some(handle) = self.0.get() {
            let _ = handle.status();
            // It does nothing for the metric of a 401. If it invalidated then, no request would
            // ever get a token.
            if key.name() == "turris_auth_unauthorized_total" {
                handle.invalidate();
            }
        }
    }
}

impl Recorder for CallingBack {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.call(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.call(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.call(key);
        Histogram::noop()
    }
}

#[test]
fn a_recorder_may_use_the_handle() {
    let (done, is_done) = mpsc::channel();
    // On a separate thread, because a deadlock cannot be cancelled.
    let works = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let recorder = CallingBack::default();
        // A thread without a subscriber can disable events for tests that run on other threads.
        let (_capture, _subscriber) = Capture::start();
        let _guard = metrics::set_default_local_recorder(&recorder);
        runtime.block_on(async {
            let layer = layer(&Script::issuing(Duration::from_millis(50)));
            let _ = recorder.0.set(layer.handle());
            let service = layer.layer(Api::accepting(|token| token != "token-1"));
            carried(&service).await.unwrap();
            carried(&layer.layer(Api::accepting(|_| false))).await.unwrap_err();
            tokio::time::sleep(Duration::from_secs(2 * 60 * 60)).await;
            carried(&service).await.unwrap();
        });
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("it waits for itself, or has panicked");
    works.join().unwrap();
}
