//! Early refresh: unseen by requests, once per token, and not by everybody at once.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};
use turris_auth::TokenErrorKind;

use crate::support::*;

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
    // Nothing is scheduled for the token's expiry, or for its refresh.
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
    // From here on the token would expire on its way.
    sleep(SECOND * 2).await;
    assert_eq!(token_error(carried(&service).await).kind(), TokenErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_does_not_refresh_as_one() {
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
    // Fifty draws from 75 s: less than 20 s would be a chance of one in 10^27.
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
    // Ten minutes, and a fetch in 35 to 40 seconds.
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
