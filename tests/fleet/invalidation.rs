//! Test of a request that another thread sends in the middle of `TokenHandle::invalidate`.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use tokio::runtime::{Builder, Runtime};
use tracing::{
    Dispatch, Event, Subscriber,
    subscriber::{NoSubscriber, with_default},
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, registry};
use turris_auth::fleet::MemoryStore;
use turris_emulator::Emulator;

use super::support::Process;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Subscriber that calls its function at the first event.
struct AtFirstEvent(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl<S: Subscriber> Layer<S> for AtFirstEvent {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        if let Some(call) = self.0.lock().unwrap().take() {
            call();
        }
    }
}

#[test]
fn the_fleet_knows_of_an_invalidation_before_the_process_asks_it_for_a_new_token() {
    let (turris, store) = (Emulator::builder().build().unwrap(), Arc::new(MemoryStore::new()));
    let (one, other) = (Process::start(&turris, &store), Process::start(&turris, &store));
    runtime().block_on(async {
        one.works().await;
        other.works().await;
        other.handle.invalidate();
        other.works().await;
        assert_eq!(turris.counters().token_requests, 2, "the store has a newer token than the process `one`");
        // The cache emits an event as soon as its token is gone. A request at this moment must not
        // get the store's token: that token is older than the invalidation too.
        let requesting = one.clone();
        let request = move || thread::spawn(move || runtime().block_on(requesting.works())).join().unwrap();
        let subscriber = registry().with(AtFirstEvent(Mutex::new(Some(Box::new(request)))));
        // With a second subscriber, tracing asks both whether they want an event. Otherwise it asks
        // only the thread that meets the event first, which can be the thread of another test.
        let _second = Dispatch::new(NoSubscriber::new());
        with_default(subscriber, || one.handle.invalidate());
        assert_eq!(turris.counters().token_requests, 3, "the request got a token older than the invalidation");
        one.works().await;
        assert_eq!(turris.counters().token_requests, 3, "the token of that request stays in use");
    });
}
