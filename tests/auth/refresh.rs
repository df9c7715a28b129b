//! Tests of the early refresh: requests do not notice it, each token has one, and a fleet spreads
//! them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::Response;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};
use turris_auth::{TokenErrorKind, TokenService};

use super::support::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_day_of_requests_waits_for_the_first_token_only() {
    let script = Script::issuing(Duration::from_millis(300));
    let service = layer(&script).layer(Api::accepting_all());
    let mut waited = 0;
    for _ in 0..86_400 {
        let mut call = tokio_test::task::spawn(service.clone().oneshot(get(API)));
        let response = match call.poll() {
            std::task::Poll::Ready(response) => response,
            std::task::Poll::Pending => {
                waited += 1;
                call.await
            }
        };
        assert_eq!(response.unwrap().status(), 200);
        sleep(SECOND).await;
    }
    assert_eq!(waited, 1);
    // A token is used for 53:45 to 55:00 minutes.
    let fetches = script.requests();
    assert!((26..=28).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(start_paused = true)]
async fn an_idle_process_fetches_nothing_and_spawns_nothing() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let service = layer.layer(Api::accepting_all());
    let handle = layer.handle();
    sleep(24 * HOUR).await;
    assert_eq!((script.requests(), metrics.num_alive_tasks()), (0, 0));
    handle.warm_up().await.unwrap();
    carried(&service).await.unwrap();
    settle().await;
    // Nothing is scheduled for the token's expiry or for its refresh.
    for _ in 0..24 {
        assert_eq!((script.requests(), metrics.num_alive_tasks()), (1, 0));
        sleep(HOUR).await;
    }
    assert_eq!((script.requests(), metrics.num_alive_tasks()), (1, 0));
    assert!(handle.status().valid_for().is_none());
    carried(&service).await.unwrap();
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_requests_start_one_refresh_and_none_of_them_waits_for_it() {
    let script = Script::issuing(Duration::from_secs(5));
    let service = layer(&script).layer(Api::accepting_all());
    carried(&service).await.unwrap();
    sleep(Duration::from_secs(56 * 60)).await;
    for _ in 0..4 {
        let begun = Instant::now();
        for result in join_all((0..1_000).map(|_| carried(&service))).await {
            assert_eq!(result.unwrap(), "Bearer token-1");
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        sleep(SECOND).await;
    }
    sleep(SECOND * 2).await;
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-2");
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_ten_times_and_then_works_is_never_noticed() {
    for failing in [Answering::Status(500), Answering::Status(401), Answering::Status(429), Answering::Unreachable] {
        let (script, switch) = Script::switched(Duration::from_millis(100));
        let layer =
            builder().refresh_before(Duration::from_secs(15 * 60)).token_service(script.clone()).build().unwrap();
        let service = layer.layer(Api::accepting_all());
        carried(&service).await.unwrap();
        switch.to(failing);
        let mut last = String::new();
        for second in 0..3_590 {
            let begun = Instant::now();
            last = carried(&service).await.unwrap();
            assert_eq!(begun.elapsed(), Duration::ZERO, "{failing:?} in second {second}");
            if script.requests() > 10 && switch.get() == failing {
                let failure = layer.handle().status();
                assert!(failure.is_healthy() && failure.failure().is_some());
                switch.to(Answering::Tokens);
            }
            sleep(SECOND).await;
        }
        assert_eq!(switch.get(), Answering::Tokens, "{failing:?}: it was asked ten times");
        assert_ne!(last, "Bearer token-1", "{failing:?}");
        assert!(layer.handle().status().failure().is_none());
        assert!(script.most_in_any(Duration::from_secs(60)) <= 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_hangs_keeps_no_request_waiting() {
    let (script, switch) = Script::switched(Duration::ZERO);
    let service = layer(&script).layer(Api::accepting_all());
    carried(&service).await.unwrap();
    switch.to(Answering::Nothing);
    for _ in 0..3_594 {
        let begun = Instant::now();
        assert_eq!(carried(&service).await.unwrap(), "Bearer token-1");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        sleep(SECOND).await;
    }
    assert!(script.requests() > 5);
    // From here on the token could expire in transit.
    sleep(SECOND * 2).await;
    assert_eq!(token_error(carried(&service).await).kind(), TokenErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn layers_of_a_fleet_refresh_at_different_times() {
    let scripts: Vec<_> = (0..50).map(|_| Script::issuing(Duration::ZERO)).collect();
    let services: Vec<_> = scripts.iter().map(|script| layer(script).layer(Api::accepting_all())).collect();
    let begun = Instant::now();
    join_all(services.iter().map(carried)).await;
    sleep(Duration::from_secs(3_200)).await;
    while begun.elapsed() < HOUR {
        join_all(services.iter().map(carried)).await;
        sleep(SECOND).await;
    }
    let refreshed: Vec<_> = scripts.iter().map(|script| (script.instants()[1] - begun).as_secs_f64()).collect();
    // Between 5:00 and 6:15 minutes before the expiry.
    assert!(refreshed.iter().all(|at| (3_225.0..=3_301.0).contains(at)), "{refreshed:?}");
    let spread = refreshed.iter().copied().fold(0.0, f64::max) - refreshed.iter().copied().fold(f64::MAX, f64::min);
    // Fifty draws from 75 s: a spread below 20 s has a chance of one in 10^27.
    assert!(spread > 20.0, "{refreshed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_margin_as_long_as_the_lifetime_takes_a_third_of_it() {
    let script = Script::new(|n| async move { Ok(issued(&format!("token-{n}"), "60")) });
    let layer = builder().refresh_before(HOUR).token_service(script.clone()).build().unwrap();
    let service = layer.layer(Api::accepting_all());
    for _ in 0..6_000 {
        carried(&service).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    // Ten minutes, with a fetch every 35 to 40 seconds.
    let fetches = script.requests();
    assert!((15..=18).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(start_paused = true)]
async fn without_a_margin_a_token_is_used_until_it_expires() {
    let script = Script::issuing(Duration::ZERO);
    let layer = builder().refresh_before(Duration::ZERO).token_service(script.clone()).build().unwrap();
    let service = layer.layer(Api::accepting_all());
    carried(&service).await.unwrap();
    sleep(Duration::from_millis(3_594_999)).await;
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-1");
    settle().await;
    assert_eq!(script.requests(), 1);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(service.oneshot(get(API)).await.unwrap().status(), 200);
    assert_eq!(script.requests(), 2);
}

/// An API that accepts a token from `delay` after its issue on, unless it was revoked.
#[derive(Clone)]
struct Replicas {
    issued: Arc<Mutex<Vec<Instant>>>,
    revoked: Arc<AtomicUsize>,
    delay: Duration,
}

impl Replicas {
    fn new(delay: Duration) -> (Self, Script) {
        let replicas = Self { issued: Arc::default(), revoked: Arc::default(), delay };
        let issued = Arc::clone(&replicas.issued);
        let script = Script::new(move |n| {
            issued.lock().unwrap().push(Instant::now());
            async move { Ok(token(n)) }
        });
        (replicas, script)
    }

    fn respond(&self, seen: &Seen) -> Response<Body> {
        let number: usize = seen.token().unwrap().strip_prefix("token-").unwrap().parse().unwrap();
        let age = self.issued.lock().unwrap()[number - 1].elapsed();
        let good =
            number > self.revoked.load(Ordering::SeqCst) && age >= self.delay && age < Duration::from_secs(3_600);
        status(if good { 200 } else { 401 })
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_token_that_is_not_known_everywhere_yet_costs_no_caller_a_401() {
    for delay in [1, 2, 5, 10, 45] {
        let (replicas, script) = Replicas::new(Duration::from_secs(delay));
        let service = layer(&script).layer(Recorder::new(move |seen| replicas.respond(seen)));
        let begun = Instant::now();
        let mut warm = 0;
        while begun.elapsed() < Duration::from_secs(2 * 3_600) {
            let answer = service.clone().oneshot(get(API)).await.unwrap();
            if begun.elapsed() > Duration::from_secs(240) {
                assert_eq!(answer.status(), 200, "known after {delay} s, at {:?}", begun.elapsed());
                warm += 1;
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert!(warm > 6_000);
        // The cold start has no older token to fall back on.
        let cold = script.instants().iter().filter(|at| **at - begun < Duration::from_secs(240)).count();
        assert_eq!(script.requests() - cold, 2, "two early refreshes, and nothing more");
    }
}

/// Brings a layer to the moment after its early refresh.
async fn after_a_refresh(recorder: &Recorder, script: &Script) -> turris_auth::TurrisAuth<Recorder, TokenService> {
    let service = layer(script).layer(recorder.clone());
    service.clone().oneshot(get(API)).await.unwrap();
    sleep(Duration::from_secs(3_350)).await;
    service.clone().oneshot(get(API)).await.unwrap();
    settle().await;
    assert_eq!(script.requests(), 2);
    service
}

#[tokio::test(start_paused = true)]
async fn a_request_is_retried_with_the_older_token_and_then_with_a_third() {
    let (replicas, script) = Replicas::new(Duration::ZERO);
    let revoked = Arc::clone(&replicas.revoked);
    let recorder = Recorder::new(move |seen| replicas.respond(seen));
    let service = after_a_refresh(&recorder, &script).await;
    revoked.store(2, Ordering::SeqCst);
    let before = recorder.seen().len();
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    let carried: Vec<_> = recorder.tokens().drain(before..).flatten().collect();
    assert_eq!(carried, ["token-2", "token-1", "token-3"]);
    assert_eq!(script.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn after_its_first_minute_a_refused_token_is_replaced() {
    let (replicas, script) = Replicas::new(Duration::ZERO);
    let revoked = Arc::clone(&replicas.revoked);
    let recorder = Recorder::new(move |seen| replicas.respond(seen));
    let service = after_a_refresh(&recorder, &script).await;
    sleep(Duration::from_secs(61)).await;
    revoked.store(2, Ordering::SeqCst);
    let before = recorder.seen().len();
    assert_eq!(service.clone().oneshot(get(API)).await.unwrap().status(), 200);
    let carried: Vec<_> = recorder.tokens().drain(before..).flatten().collect();
    assert_eq!(carried, ["token-2", "token-3"]);
}
