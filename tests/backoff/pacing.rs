//! Tests that the layer keeps a limit without exceeding it.

use std::sync::Mutex;

use http::{Method, StatusCode};
use turris_auth::backoff::TurrisBackoffLayer;

use super::support::*;

async fn run(server: &Server, layer: &TurrisBackoffLayer, method: Method, requests: usize) {
    let service = server.layered(layer);
    let tasks: Vec<_> = (0..requests).map(|_| spawn(&service, request(method.clone(), "/"))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), StatusCode::OK);
    }
}

fn before(server: &Server, seconds_: f64) -> usize {
    server.times().iter().filter(|at| **at < seconds(seconds_)).count()
}

#[tokio::test(start_paused = true)]
async fn mutating_requests_start_from_the_documented_sixty_a_minute() {
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let server = Server::new([]);
        run(&server, &TurrisBackoffLayer::new(), method, 130).await;
        assert_eq!([before(&server, 1.0), before(&server, 60.0), before(&server, 61.0)], [60, 60, 120]);
        assert!(before(&server, 122.0) == 130);
    }
}

#[tokio::test(start_paused = true)]
async fn reading_requests_are_not_paced() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let server = Server::new([]);
        run(&server, &TurrisBackoffLayer::new(), method, 1000).await;
        assert_eq!(before(&server, 0.1), 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn pacing_can_be_turned_off_and_its_first_limit_can_be_set() {
    let server = Server::new([]);
    run(&server, &TurrisBackoffLayer::builder().pacing(false).build().unwrap(), Method::POST, 200).await;
    assert_eq!(before(&server, 0.1), 200);
    let server = Server::new([]);
    let layer = TurrisBackoffLayer::builder().rate_limit(5, seconds(2.0)).build().unwrap();
    run(&server, &layer, Method::POST, 15).await;
    assert_eq!([before(&server, 1.0), before(&server, 3.0), before(&server, 5.0)], [5, 10, 15]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_the_server_states_replaces_the_documented_limit() {
    // 25 requests in windows of 30 seconds, stated in every response.
    let server = Server::answering(move |seen| {
        let mut response = ok();
        let now = 1_000_000_000.0 + seen.at.as_secs_f64();
        let window = (seen.at.as_secs_f64() / 30.0).floor();
        let reset = 1_000_000_000.0 + (window + 1.0) * 30.0;
        let headers = response.headers_mut();
        let date = std::time::SystemTime::UNIX_EPOCH + seconds(now);
        headers.insert("date", httpdate::fmt_http_date(date).parse().unwrap());
        headers.insert("x-ratelimit-limit", 25.into());
        headers.insert("x-ratelimit-reset", (reset as u64).into());
        // The script numbers the requests by their times of arrival.
        headers.insert("x-ratelimit-remaining", 0.into());
        response
    });
    // Nothing is left after the first response, so all other requests wait for the end of the
    // window.
    let service = server.layered(&TurrisBackoffLayer::new());
    spawn(&service, post("/")).await.unwrap().unwrap();
    spawn(&service, post("/")).await.unwrap().unwrap();
    let times = server.times();
    assert!((seconds(30.0)..seconds(31.3)).contains(&times[1]), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_that_arrive_just_before_the_next_window_are_sent_when_it_begins() {
    // 60 requests in windows of a minute. Every response states the rest.
    let counts = Mutex::new([0_u32; 2]);
    let server = Server::answering(move |seen| {
        let mut response = ok();
        let (second, window) = (seen.at.as_secs(), usize::from(seen.at >= seconds(60.0)));
        let mut counts = counts.lock().unwrap();
        counts[window] += 1;
        let headers = response.headers_mut();
        let date = std::time::SystemTime::UNIX_EPOCH + seconds(1_000_000_000.0 + second as f64);
        headers.insert("date", httpdate::fmt_http_date(date).parse().unwrap());
        headers.insert("x-ratelimit-limit", 60.into());
        headers.insert("x-ratelimit-reset", (1_000_000_000 + 60 * (window as u64 + 1)).into());
        headers.insert("x-ratelimit-remaining", (60 - counts[window]).into());
        response
    });
    let service = server.layered(&TurrisBackoffLayer::new());
    let mut tasks: Vec<_> = (0..60).map(|_| spawn(&service, post("/"))).collect();
    tokio::time::sleep(seconds(59.5)).await;
    // The gate opens at most a quarter of a second later than necessary.
    for _ in 0..60 {
        tasks.push(spawn(&service, post("/")));
        tokio::time::sleep(seconds(0.015)).await;
    }
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!([before(&server, 1.0), before(&server, 60.0), before(&server, 61.0)], [60, 60, 120]);
}

#[tokio::test(start_paused = true)]
async fn the_report_says_that_a_request_was_held_back() {
    let server = Server::new([]);
    let layer = TurrisBackoffLayer::builder().rate_limit(1, seconds(30.0)).build().unwrap();
    let service = server.layered(&layer);
    assert!(report(&spawn(&service, post("/")).await.unwrap().unwrap()).is_none());
    let report = report(&spawn(&service, post("/")).await.unwrap().unwrap()).unwrap();
    assert_eq!(report.attempts(), 1);
    assert!((seconds(29.9)..=seconds(30.1)).contains(&report.waited()), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_given_up_in_flight_counts_as_sent() {
    let server = Server::new([]);
    let layer = TurrisBackoffLayer::builder().rate_limit(2, seconds(60.0)).build().unwrap();
    let service = server.layered(&layer);
    let given_up = spawn(&service, post("/given-up"));
    tokio::task::yield_now().await;
    given_up.abort();
    for _ in 0..2 {
        spawn(&service, post("/")).await.unwrap().unwrap();
    }
    let times = server.times();
    assert_eq!(times.len(), 3);
    assert!(times[1] < seconds(1.0) && times[2] >= seconds(60.0), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_429_that_states_no_time_the_gate_is_probed_soon_and_at_no_cost_of_retries() {
    for max_retries in [1, 2, 3] {
        let server = Server::answering(|seen| if seen.at < seconds(9.0) { refused(&[]) } else { ok() });
        let layer = TurrisBackoffLayer::builder().max_retries(max_retries).build().unwrap();
        let service = server.layered(&layer);
        for method in [Method::POST, Method::GET] {
            assert_eq!(spawn(&service, request(method, "/")).await.unwrap().unwrap().status(), StatusCode::OK);
        }
        let times = server.times();
        assert!(times[1] < seconds(1.1), "{max_retries}: {times:?}");
        assert!(times.len() > 3 && times.last().unwrap() < &seconds(30.0), "{max_retries}: {times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_found_rate_is_forgotten_while_no_request_is_sent() {
    let accepted = Mutex::new(Vec::new());
    let server = Server::answering(move |seen| {
        let mut accepted = accepted.lock().unwrap();
        accepted.retain(|at| seen.at.saturating_sub(*at) < seconds(60.0));
        if seen.at < seconds(300.0) && accepted.len() >= 20 {
            return refused(&[]);
        }
        accepted.push(seen.at);
        ok()
    });
    let (layer, start) = (TurrisBackoffLayer::new(), tokio::time::Instant::now());
    run(&server, &layer, Method::POST, 30).await;
    assert!(server.times().last().unwrap() > &seconds(59.0), "a rate was found");
    tokio::time::sleep_until(start + seconds(3_600.0)).await;
    run(&server, &layer, Method::POST, 60).await;
    let last = *server.times().last().unwrap();
    assert!(last < seconds(3_602.0), "{last:?}");
}
