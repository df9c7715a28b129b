//! Tests that a dropped request affects no other request, and that an unneeded fetch is aborted.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;
use tower::{Layer, ServiceExt};

use super::support::*;

/// An endpoint with several await points, each 10 ms apart.
fn in_steps() -> Script {
    Script::new(|n| async move {
        for _ in 0..5 {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(token(n))
    })
}

#[tokio::test(start_paused = true)]
async fn a_drop_of_the_first_caller_at_any_await_point_neither_stops_nor_repeats_the_fetch() {
    for polls in 0..9 {
        let script = in_steps();
        let service = layer(&script).layer(Api::accepting_all());
        let mut leader = tokio_test::task::spawn(service.clone().oneshot(get(API)));
        for _ in 0..polls {
            if leader.poll().is_ready() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        drop(leader);
        assert_eq!(carried(&service).await.unwrap(), "Bearer token-1", "after {polls} polls");
        assert_eq!(script.requests(), 1, "after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_at_any_point_of_its_recovery_affects_no_other_request() {
    for polls in 0..14 {
        let script = in_steps();
        let api = Api::accepting(|token| token != "token-1");
        let service = layer(&script).layer(api);
        let mut leader = tokio_test::task::spawn(service.clone().oneshot(get(API)));
        let followers: Vec<_> = (0..3).map(|_| tokio::spawn(service.clone().oneshot(get(API)))).collect();
        for _ in 0..polls {
            if leader.poll().is_ready() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        drop(leader);
        for follower in followers {
            assert_eq!(text(follower.await.unwrap().unwrap()).await, "Bearer token-2", "after {polls} polls");
        }
        assert_eq!(script.requests(), 2, "after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_still_arrives_when_all_callers_are_dropped() {
    let script = Script::issuing(Duration::from_millis(200));
    let service = layer(&script).layer(Api::accepting_all());
    // Two groups of twenty callers that wait for less than the fetch takes.
    for _ in 0..2 {
        let calls = (0..20).map(|_| tokio::time::timeout(Duration::from_millis(90), carried(&service)));
        for result in futures_util::future::join_all(calls).await {
            assert!(result.is_err());
        }
    }
    sleep(Duration::from_millis(50)).await;
    let before = tokio::time::Instant::now();
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-1");
    assert_eq!((script.requests(), before.elapsed()), (1, Duration::ZERO));
}

/// Counts its own drops.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A fetch that hangs, and the number of its dropped futures.
fn hanging() -> (Script, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&dropped);
    let script = Script::new(move |_| {
        let guard = Guard(Arc::clone(&counter));
        async move {
            pending::<()>().await;
            drop(guard);
            Ok(token(1))
        }
    });
    (script, dropped)
}

#[tokio::test(start_paused = true)]
async fn the_fetch_is_aborted_when_its_last_owner_is_dropped_and_not_before() {
    for kept in 0..4 {
        let (script, dropped) = hanging();
        let layer = layer(&script);
        let service = layer.layer(Api::accepting_all());
        let handle = layer.handle();
        let mut future = tokio_test::task::spawn(service.clone().oneshot(get(API)));
        assert!(future.poll().is_pending());
        settle().await;
        assert_eq!(script.requests(), 1);

        let (mut layer, mut service, mut handle, mut future) = (Some(layer), Some(service), Some(handle), Some(future));
        if kept != 0 {
            layer = None;
        }
        if kept != 1 {
            service = None;
        }
        if kept != 2 {
            handle = None;
        }
        if kept != 3 {
            future = None;
        }
        settle().await;
        assert_eq!(dropped.load(Ordering::SeqCst), 0, "owner {kept} keeps the fetch");
        drop((layer, service, handle, future));
        settle().await;
        assert_eq!(dropped.load(Ordering::SeqCst), 1, "owner {kept} was the last owner");
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_oneshot_whose_service_is_consumed_gets_its_token() {
    let script = Script::issuing(Duration::from_millis(50));
    let future = layer(&script).layer(Api::accepting_all()).oneshot(get(API));
    assert_eq!(text(future.await.unwrap()).await, "Bearer token-1");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_polled_again_much_later_carries_the_token_that_is_valid_then() {
    let script = Script::issuing(Duration::from_millis(10));
    let layer = layer(&script);
    let mut late = tokio_test::task::spawn(layer.layer(Recorder::echo()).oneshot(get(API)));
    tokio_test::assert_pending!(late.poll());
    layer.handle().warm_up().await.unwrap();
    // The awaited token has come, and expires before the waiter is polled.
    tokio::time::sleep(Duration::from_secs(2 * 60 * 60)).await;
    layer.handle().warm_up().await.unwrap();
    assert_eq!(text(late.await.unwrap()).await, "token-2");
}
