//! Tests with runtimes that are shut down, not driven, without timers, or absent.
//!
//! Two runtimes cannot share one paused clock, so these tests use real time. They assert events and
//! never durations.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};
use tower::{Layer, ServiceExt};
use turris_auth::{CredentialsFuture, CredentialsProvider, Environment, TokenErrorKind, TurrisAuthLayer};

use super::support::*;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The first fetch hangs, and later fetches succeed.
fn first_hangs() -> Script {
    Script::new(|n| async move { if n == 1 { pending().await } else { Ok(token(n)) } })
}

#[test]
fn a_waiter_on_another_runtime_fetches_when_the_runtime_of_the_fetch_is_shut_down() {
    let script = first_hangs();
    // So long that only the shutdown can end the wait.
    let layer = builder().token_timeout(Duration::from_secs(3_600)).token_service(script.clone()).build().unwrap();
    let service = layer.layer(Api::accepting_all());
    let first = runtime();
    first.block_on(async {
        tokio::spawn(service.clone().oneshot(get(API)));
        settle().await;
    });
    assert_eq!(script.requests(), 1);
    runtime().block_on(async {
        let mut waiter = tokio_test::task::spawn(service.clone().oneshot(get(API)));
        assert!(waiter.poll().is_pending());
        assert_eq!(script.requests(), 1, "it waits for the flight of the other runtime");
        first.shutdown_background();
        assert!(waiter.is_woken(), "the waiter is told");
        assert_eq!(text(waiter.await.unwrap()).await, "Bearer token-2");
    });
    assert_eq!(script.requests(), 2);
}

#[test]
fn a_runtime_that_is_alive_and_not_driven_does_not_delay_other_runtimes() {
    // The flight is spawned on the runtime that is not driven, so it is never polled.
    let script = Script::issuing(Duration::ZERO);
    let layer = builder().token_timeout(Duration::from_millis(200)).token_service(script.clone()).build().unwrap();
    let service = layer.layer(Api::accepting_all());
    let undriven = runtime();
    let mut left_behind = tokio_test::task::spawn(service.clone().oneshot(get(API)));
    undriven.block_on(async { assert!(left_behind.poll().is_pending()) });
    assert_eq!(script.requests(), 0);

    let carried = runtime().block_on(carried(&service));
    assert_eq!((carried.unwrap().as_str(), script.requests()), ("Bearer token-1", 1));

    // When the runtime is driven again, the superseded flight sends nothing. Its waiter gets the
    // token of the other flight.
    let late = undriven.block_on(async {
        settle().await;
        text(left_behind.await.unwrap()).await
    });
    assert_eq!((late.as_str(), script.requests()), ("Bearer token-1", 1));
}

#[test]
fn a_fetch_that_was_sent_on_a_runtime_that_is_not_driven_is_superseded() {
    let script = Script::issuing(Duration::from_millis(10));
    let layer = builder().token_timeout(Duration::from_millis(200)).token_service(script.clone()).build().unwrap();
    let service = layer.layer(Api::accepting_all());
    let undriven = runtime();
    let left_behind = undriven.spawn(service.clone().oneshot(get(API)));
    undriven.block_on(async {
        while script.requests() == 0 {
            tokio::task::yield_now().await;
        }
    });
    let elsewhere = runtime();
    assert_eq!(elsewhere.block_on(carried(&service)).unwrap(), "Bearer token-2");
    // The token of the superseded fetch replaces no other token.
    assert_eq!(undriven.block_on(async { text(left_behind.await.unwrap().unwrap()).await }), "Bearer token-2");
    assert_eq!(elsewhere.block_on(carried(&service)).unwrap(), "Bearer token-2");
    assert_eq!(script.requests(), 2);
}

#[test]
fn a_waiter_that_moves_to_another_runtime_is_not_left_behind() {
    let script = Script::issuing(Duration::ZERO);
    let layer = builder().token_timeout(Duration::from_millis(200)).token_service(script.clone()).build().unwrap();
    let service = layer.layer(Api::accepting_all());
    let undriven = runtime();
    let mut moving = tokio_test::task::spawn(service.oneshot(get(API)));
    undriven.block_on(async { assert!(moving.poll().is_pending()) });
    assert_eq!(runtime().block_on(async { text(moving.await.unwrap()).await }), "Bearer token-1");
}

#[test]
fn a_waiter_that_moves_on_from_a_second_runtime_is_not_left_behind_either() {
    let script = Script::issuing(Duration::ZERO);
    let layer = builder().token_timeout(Duration::from_millis(200)).token_service(script.clone()).build().unwrap();
    let service = layer.layer(Api::accepting_all());
    let (first, second, third) = (runtime(), runtime(), runtime());
    let mut waiter = tokio_test::task::spawn(carried(&service));
    first.block_on(async { assert!(waiter.poll().is_pending()) });
    second.block_on(async { assert!(waiter.poll().is_pending()) });
    // Neither of the two runtimes is driven any longer.
    let carried = third.block_on(async { tokio::time::timeout(Duration::from_secs(60), waiter).await.unwrap() });
    assert_eq!(carried.unwrap(), "Bearer token-1");
}

#[test]
fn a_superseded_fetch_that_ends_late_changes_nothing() {
    for late in [Answering::Tokens, Answering::Status(401), Answering::Unreachable] {
        // The first fetch blocks its thread, so that it cannot be aborted before it ends.
        let (release, released) = mpsc::channel();
        let released = Mutex::new(Some(released));
        let script = Script::new(move |n| {
            let released = (n == 1).then(|| released.lock().unwrap().take().unwrap());
            async move {
                if let Some(released) = released {
                    released.recv().unwrap();
                    match late {
                        Answering::Status(code) => return Ok(status(code)),
                        Answering::Unreachable => return Err("connection refused".into()),
                        Answering::Tokens | Answering::Nothing => {}
                    }
                }
                Ok(token(n))
            }
        });
        let layer = builder().token_timeout(Duration::from_millis(200)).token_service(script.clone()).build().unwrap();
        let service = layer.layer(Api::accepting_all());
        let blocked = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let left_behind = blocked.spawn(service.clone().oneshot(get(API)));
        while script.requests() == 0 {
            std::thread::yield_now();
        }
        let elsewhere = runtime();
        assert_eq!(elsewhere.block_on(carried(&service)).unwrap(), "Bearer token-2");
        release.send(()).unwrap();
        let late_answer = elsewhere.block_on(left_behind).unwrap().unwrap();
        assert_eq!(elsewhere.block_on(text(late_answer)), "Bearer token-2", "{late:?}");
        drop(blocked);
        assert_eq!(elsewhere.block_on(carried(&service)).unwrap(), "Bearer token-2", "{late:?}");
        let status = layer.handle().status();
        assert!(status.failure().is_none() && !status.is_fetching(), "{late:?}: {status}");
        assert_eq!(script.requests(), 2);
    }
}

/// A provider that blocks the thread of the first call until it is released.
struct Blocking {
    asked: AtomicUsize,
    released: Mutex<mpsc::Receiver<()>>,
}

impl CredentialsProvider for Blocking {
    fn credentials(&self) -> CredentialsFuture<'_> {
        Box::pin(async {
            if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
                self.released.lock().unwrap().recv().unwrap();
            }
            Ok(credentials())
        })
    }
}

#[test]
fn a_superseded_flight_that_continues_sends_nothing() {
    let (release, released) = mpsc::channel();
    let provider = Arc::new(Blocking { asked: AtomicUsize::new(0), released: Mutex::new(released) });
    let script = Script::issuing(Duration::ZERO);
    let layer = TurrisAuthLayer::builder(Arc::clone(&provider), Environment::Production)
        .token_timeout(Duration::from_millis(200))
        .token_service(script.clone())
        .build()
        .unwrap();
    let service = layer.layer(Api::accepting_all());
    let blocked = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let left_behind = blocked.spawn(service.clone().oneshot(get(API)));
    while provider.asked.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let elsewhere = runtime();
    assert_eq!(elsewhere.block_on(carried(&service)).unwrap(), "Bearer token-1");
    // The blocked fetch continues in the middle of a poll, where an abort has no effect.
    release.send(()).unwrap();
    let late_answer = elsewhere.block_on(left_behind).unwrap().unwrap();
    assert_eq!(elsewhere.block_on(text(late_answer)), "Bearer token-1");
    drop(blocked);
    assert_eq!(script.requests(), 1);
}

#[test]
fn many_threads_and_runtimes_share_one_fetch() {
    let script = Script::issuing(Duration::from_millis(100));
    let service = layer(&script).layer(Api::accepting_all());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
                    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(service.clone().oneshot(get(API)))).collect();
                    for call in calls {
                        assert_eq!(text(call.await.unwrap().unwrap()).await, "Bearer token-1");
                    }
                });
            });
        }
    });
    assert_eq!(script.requests(), 1);
}

#[test]
fn a_runtime_that_has_been_shut_down_is_an_error() {
    let script = Script::issuing(Duration::ZERO);
    let service = layer(&script).layer(Api::accepting_all());
    let gone = runtime();
    let handle = gone.handle().clone();
    gone.shutdown_background();
    let entered = handle.enter();
    let mut call = tokio_test::task::spawn(carried(&service));
    let std::task::Poll::Ready(result) = call.poll() else { unreachable!("it must not wait") };
    assert_eq!(token_error(result).kind(), TokenErrorKind::Runtime);
    drop(entered);
    // No cool-down and no flight are left.
    assert_eq!(runtime().block_on(carried(&service)).unwrap(), "Bearer token-1");
}

#[test]
fn no_runtime_is_an_error_and_not_a_panic() {
    let script = Script::issuing(Duration::ZERO);
    let service = layer(&script).layer(Api::accepting_all());
    let mut call = tokio_test::task::spawn(carried(&service));
    let std::task::Poll::Ready(result) = call.poll() else { unreachable!("there is nothing to wait for") };
    let error = token_error(result);
    assert_eq!(error.kind(), TokenErrorKind::Runtime);
    assert!(error.to_string().contains("tokio runtime"), "{error}");
    assert_eq!(script.requests(), 0);
    // A token that has been fetched needs no runtime.
    assert_eq!(runtime().block_on(carried(&service)).unwrap(), "Bearer token-1");
    let std::task::Poll::Ready(result) = tokio_test::task::spawn(carried(&service)).poll() else {
        unreachable!("there is nothing to wait for")
    };
    assert_eq!(result.unwrap(), "Bearer token-1");
}

#[test]
fn without_a_runtime_a_request_that_was_refused_still_finds_a_newer_token() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let handle = layer.handle();
    let runtime = runtime();
    runtime.block_on(handle.warm_up()).unwrap();
    // The first attempt is answered after another caller has fetched a newer token.
    let recorder = Recorder::new(move |seen| match seen.token() {
        Some("token-1") => {
            handle.invalidate();
            runtime.block_on(handle.warm_up()).unwrap();
            status(401)
        }
        _ => http::Response::new(Body::default()),
    });
    let mut call = tokio_test::task::spawn(layer.layer(recorder.clone()).oneshot(get(API)));
    let std::task::Poll::Ready(result) = call.poll() else { unreachable!("there is nothing to wait for") };
    assert_eq!(result.unwrap().status(), 200);
    assert_eq!(recorder.tokens(), [Some("token-1".into()), Some("token-2".into())]);
}

#[test]
fn a_runtime_without_timers_is_an_error_and_not_a_hang() {
    let script = Script::new(|n| async move { Ok(token(n)) });
    let service = layer(&script).layer(Api::accepting_all());
    let without_timers = Builder::new_current_thread().build().unwrap();
    for _ in 0..2 {
        let error = token_error(without_timers.block_on(carried(&service)));
        assert_eq!(error.kind(), TokenErrorKind::Runtime);
        assert!(error.to_string().contains("enable_time"), "{error}");
    }
    // The error says nothing about the endpoint, so a caller on a better runtime need not wait.
    assert_eq!(runtime().block_on(carried(&service)).unwrap(), "Bearer token-1");
    assert_eq!(without_timers.block_on(carried(&service)).unwrap(), "Bearer token-1");
}

#[test]
fn a_waiter_without_timers_gets_an_error_while_the_fetch_runs_on_another_runtime() {
    let script = first_hangs();
    let service = layer(&script).layer(Api::accepting_all());
    let first = runtime();
    let mut leader = tokio_test::task::spawn(service.clone().oneshot(get(API)));
    first.block_on(async { assert!(leader.poll().is_pending()) });
    let without_timers = Builder::new_current_thread().build().unwrap();
    assert_eq!(token_error(without_timers.block_on(carried(&service))).kind(), TokenErrorKind::Runtime);
}
