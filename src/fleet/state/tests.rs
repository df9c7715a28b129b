//! Tests of calls to stores that answer late, never, or with an error, in paused time.

use std::{
    future::{pending, ready},
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;
use crate::{
    BoxError,
    fleet::{
        AcquireAsk, Acquired, Answer, ExchangeAsk, Exchanged, FailAsk, Gate, InvalidateAsk, MemoryStore, PublishAsk,
        RenewAsk, Renewed, ReportRetryAsk, Slot,
    },
};

/// How a [`Scripted`] store treats its next call.
#[derive(Clone, Copy)]
enum Health {
    Answers,
    Late(Duration),
    Never,
    Fails,
}

/// A store that follows a script, and counts its calls.
struct Scripted {
    health: std::sync::Mutex<Health>,
    calls: AtomicU32,
}

impl Scripted {
    fn new() -> Arc<Self> {
        Arc::new(Self { health: Health::Answers.into(), calls: AtomicU32::new(0) })
    }

    fn set(&self, health: Health) {
        *self.health.lock().unwrap() = health;
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    fn answer<'a, T: Send + 'a>(&'a self, answer: T) -> StoreFuture<'a, T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match *self.health.lock().unwrap() {
            Health::Answers => Box::pin(ready(Ok(answer))),
            Health::Late(late) => Box::pin(async move {
                tokio::time::sleep(late).await;
                Ok(answer)
            }),
            Health::Never => Box::pin(pending()),
            Health::Fails => Box::pin(ready(Err(BoxError::from("the store is on fire")))),
        }
    }
}

impl SharedStore for Scripted {
    fn acquire<'a>(&'a self, _: &'a Slot, _: &'a AcquireAsk) -> StoreFuture<'a, Acquired> {
        self.answer(Acquired { answer: Answer::Busy(Duration::ZERO), epoch: 1, processes: 1 })
    }
    fn renew<'a>(&'a self, _: &'a Slot, _: &'a RenewAsk) -> StoreFuture<'a, Renewed> {
        self.answer(Renewed::Held)
    }
    fn publish<'a>(&'a self, _: &'a Slot, _: &'a PublishAsk) -> StoreFuture<'a, bool> {
        self.answer(true)
    }
    fn fail<'a>(&'a self, _: &'a Slot, _: &'a FailAsk) -> StoreFuture<'a, Duration> {
        self.answer(Duration::ZERO)
    }
    fn report_retry<'a>(&'a self, _: &'a Slot, _: &'a ReportRetryAsk) -> StoreFuture<'a, Duration> {
        self.answer(Duration::ZERO)
    }
    fn invalidate<'a>(&'a self, _: &'a Slot, _: &'a InvalidateAsk) -> StoreFuture<'a, ()> {
        self.answer(())
    }
    fn exchange<'a>(&'a self, _: &'a Gate, _: &'a ExchangeAsk) -> StoreFuture<'a, Exchanged> {
        self.answer(Exchanged {
            granted: 0,
            ask_again: Duration::ZERO,
            closed: Duration::ZERO,
            epoch: 1,
            others: 0,
            others_for: Duration::ZERO,
            processes: 1,
            limit: 60,
        })
    }
}

fn shared(store: impl SharedStore) -> SharedState {
    SharedState::builder(store, "m2m-client-abc123", &Environment::Sandbox).build().unwrap()
}

async fn call(state: &SharedState) -> bool {
    let (slot, ask) = (Slot::new("client", "secret"), AcquireAsk::new(1));
    state.call("acquire", |store| store.acquire(&slot, &ask)).await.is_some()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_costs_one_deadline_and_then_nothing() {
    let store = Scripted::new();
    let state = shared(Arc::clone(&store));
    assert!(call(&state).await);
    for health in [Health::Never, Health::Late(Duration::from_secs(1)), Health::Fails] {
        store.set(health);
        let (before, started) = (store.calls(), Instant::now());
        assert!(!call(&state).await);
        assert!(started.elapsed() <= DEFAULT_DEADLINE);
        // Without the breaker each of these calls would wait for a deadline of its own.
        let started = Instant::now();
        for _ in 0..1000 {
            assert!(!call(&state).await);
        }
        assert_eq!((started.elapsed(), store.calls()), (Duration::ZERO, before + 1));
        store.set(Health::Answers);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(call(&state).await, "the probe finds the store again");
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_store_costs_a_call_every_half_minute() {
    let store = Scripted::new();
    store.set(Health::Fails);
    let state = shared(Arc::clone(&store));
    for _ in 0..3600 * 4 {
        call(&state).await;
        tokio::time::advance(Duration::from_millis(250)).await;
    }
    // Pauses of 15 s to 30 s after the first few.
    assert!((120..=260).contains(&store.calls()), "{}", store.calls());
}

#[test]
fn settings_that_cannot_work_are_named() {
    let builder = || SharedState::builder(MemoryStore::new(), "m2m-client-abc123", &Environment::Sandbox);
    let seconds = Duration::from_secs;
    for (builder, setting) in [
        (builder().namespace(""), "namespace"),
        (builder().namespace("a b"), "namespace"),
        (builder().namespace("{a}"), "namespace"),
        (builder().namespace("a".repeat(65)), "namespace"),
        (builder().deadline(Duration::ZERO), "deadline"),
        (builder().deadline(seconds(6)), "deadline"),
        (builder().lease(Duration::ZERO), "lease"),
        (builder().lease(seconds(31)), "lease"),
        (builder().expected_processes(0), "expected_processes"),
        (builder().expected_processes(100_001), "expected_processes"),
    ] {
        assert_eq!(builder.build().unwrap_err().setting(), setting);
    }
    assert!(
        builder().namespace("a-b_c.d:e").deadline(seconds(5)).lease(seconds(1)).expected_processes(1).build().is_ok()
    );
}

#[test]
fn processes_have_numbers_of_their_own_and_clients_keys_of_their_own() {
    let (one, other) = (shared(MemoryStore::new()), shared(MemoryStore::new()));
    let numbers = [(); 2].map(|()| random_number());
    assert_ne!(numbers[0], numbers[1]);
    assert!(numbers.iter().all(|number| (1..1 << PROCESS_BITS).contains(number)));
    assert_eq!(one.shared.client, other.shared.client);
    let stranger =
        SharedState::builder(MemoryStore::new(), "m2m-client-abc124", &Environment::Sandbox).build().unwrap();
    let production =
        SharedState::builder(MemoryStore::new(), "m2m-client-abc123", &Environment::Production).build().unwrap();
    assert!(one.shared.client.starts_with("turris:1:{") && one.shared.client.len() == 10 + 32 + 1);
    assert_ne!(one.shared.client, stranger.shared.client);
    assert_ne!(one.shared.client, production.shared.client);
}

#[test]
fn nothing_secret_is_shown() {
    let state = SharedState::builder(MemoryStore::new(), "m2m-client-abc123", &Environment::Sandbox)
        .encryption_key([0xAB; 32])
        .build()
        .unwrap();
    let shown = format!("{state:?}");
    assert!(!shown.contains("171") && !shown.contains("abab") && !shown.contains("m2m-client"), "{shown}");
}
