//! Tests of how long a refusal delays requests.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tower::ServiceExt;
use turris_auth::backoff::TurrisBackoffLayer;
use turris_test_support::cases;

use super::support::*;

/// Returns how long the second attempt of a refused `GET` waited.
async fn waited(headers: &[(&'static str, &str)]) -> Duration {
    let server = Server::new([refused(headers)]);
    let response = server.layered(&TurrisBackoffLayer::new()).oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let times = server.times();
    assert_eq!(times.len(), 2);
    times[1] - times[0]
}

fn assert_between(waited: Duration, least: f64, most: f64) {
    // The response itself takes 10 ms.
    assert!((seconds(least)..=seconds(most + 0.02)).contains(&waited), "{waited:?} is not in {least} to {most}");
}

fn date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

fn epoch(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_read_in_seconds_and_as_a_date() {
    assert_between(waited(&[("retry-after", "30")]).await, 30.0, 31.0);
    let now = SystemTime::now();
    let at = date(now + seconds(30.0));
    assert_between(waited(&[("date", &date(now)), ("retry-after", &at)]).await, 30.0, 31.0);
}

#[tokio::test(start_paused = true)]
async fn times_count_from_the_date_of_the_response_and_not_from_the_local_clock() {
    for year in [0.0, 1e8, 1e9, 6e9] {
        let server_time = SystemTime::UNIX_EPOCH + seconds(year);
        let at = date(server_time + seconds(30.0));
        assert_between(waited(&[("date", &date(server_time)), ("retry-after", &at)]).await, 30.0, 31.0);
    }
    for skew in [1e6, 1e9] {
        let server_time = SystemTime::now() + seconds(skew);
        let at = (epoch(server_time) + 40).to_string();
        assert_between(waited(&[("date", &date(server_time)), ("x-ratelimit-reset", &at)]).await, 40.0, 42.0);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_retry_after_the_reset_header_is_read() {
    let now = SystemTime::now();
    let (date, reset) = (date(now), (epoch(now) + 50).to_string());
    assert_between(waited(&[("date", &date), ("x-ratelimit-reset", &reset)]).await, 50.0, 52.0);
    let both = [("date", &*date), ("x-ratelimit-reset", &*reset), ("retry-after", "3")];
    assert_between(waited(&both).await, 3.0, 3.3);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_zero_means_a_second() {
    assert_between(waited(&[("retry-after", "0")]).await, 1.0, 1.1);
    let past = date(SystemTime::now() - seconds(1000.0));
    assert_between(waited(&[("retry-after", &past)]).await, 1.0, 1.1);
}

#[tokio::test(start_paused = true)]
async fn without_a_time_the_delay_doubles_with_full_jitter() {
    let mut sums = [0.0; 3];
    for _ in 0..200 {
        let server = Server::new([refused(&[]), refused(&[("retry-after", "soon")]), refused(&[])]);
        server.layered(&TurrisBackoffLayer::new()).oneshot(get("/")).await.unwrap();
        let times = server.times();
        for (n, pair) in times.windows(2).enumerate() {
            let waited = (pair[1] - pair[0]).as_secs_f64();
            assert!(waited <= f64::from(1 << n) + 0.02, "{waited}");
            sums[n] += waited / 200.0;
        }
    }
    // Full jitter has a mean of half the step. A fixed delay or no delay would have another mean.
    for (n, mean) in sums.into_iter().enumerate() {
        let step = f64::from(1 << n);
        assert!((0.35 * step..0.65 * step + 0.02).contains(&mean), "{mean} of {step}");
    }
}

#[tokio::test(start_paused = true)]
async fn processes_of_a_fleet_come_back_at_different_times() {
    let mut waits = Vec::new();
    for _ in 0..50 {
        waits.push(waited(&[("retry-after", "20")]).await);
    }
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 40, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_429_that_asks_for_more_than_the_longest_wait_is_returned_at_once() {
    let year_9999 = "Fri, 31 Dec 9999 23:59:59 GMT";
    for (name, value) in [
        ("retry-after", "122"),
        ("retry-after", "18446744073709551615"),
        ("retry-after", "99999999999999999999999999999999"),
        ("retry-after", year_9999),
        ("x-ratelimit-reset", "18446744073709551615"),
        ("x-ratelimit-reset", "9223372036854775807"),
    ] {
        for local in [true, false] {
            let start = tokio::time::Instant::now();
            let mut headers = vec![(name, value)];
            if local {
                headers.push(("date", "Tue, 15 Nov 1994 08:12:31 GMT"));
            }
            let server = Server::new([refused(&headers)]);
            let request = if local { get("/") } else { post("/") };
            let response = server.layered(&TurrisBackoffLayer::new()).oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{name}: {value}");
            assert_eq!(response.headers()[name], value);
            assert!(report(&response).is_none());
            assert_eq!(server.times().len(), 1);
            assert!(start.elapsed() < seconds(0.1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_in_the_headers_states_no_time() {
    for value in ["-1", "1e9", "NaN", "Infinity", "\u{fe}", "Thu, 99 Foo 2024 99:99:99 GMT", "0x10", ""] {
        assert_between(waited(&[("retry-after", value)]).await, 0.0, 1.0);
    }
}

/// Values that no sane server sends, in each header alone, in each pair, and twice in one header.
#[tokio::test(start_paused = true)]
async fn absurd_values_delay_a_request_by_at_most_the_longest_wait() {
    let values = [
        "-1",
        "-9223372036854775808",
        "0",
        "1",
        "60",
        "18446744073709551615",
        "99999999999999999999999",
        "1e308",
        "-1e308",
        "NaN",
        "-0",
        "inf",
        "0x7f",
        "1,2",
        "5, 99999999999",
        "",
        " ",
        "\u{fe}",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Mon, 30 Feb 2026 25:61:61 GMT",
    ];
    let names = ["retry-after", "x-ratelimit-reset", "x-ratelimit-remaining", "x-ratelimit-limit", "date"];
    let pairs = names.into_iter().flat_map(|first| names.map(|second| (first, second)));
    for (first, second) in pairs.filter(|(first, second)| cases(first == second || *first == "retry-after", true)) {
        for (one, other) in values.into_iter().flat_map(|one| values.map(|other| (one, other))) {
            let server = Server::new([refused(&[(first, one), (second, other)])]);
            let service = server.layered(&TurrisBackoffLayer::new());
            let start = tokio::time::Instant::now();
            let status = service.clone().oneshot(get("/")).await.unwrap().status();
            assert!(start.elapsed() <= seconds(120.1), "{first}: {one}, {second}: {other}: {:?}", start.elapsed());
            // The 429 goes to the caller at once, or the request waits and is sent again.
            let sent = if status == StatusCode::OK { 2 } else { 1 };
            assert_eq!(server.times().len(), sent, "{first}: {one}, {second}: {other}: {status}");
            // In both cases the 429 delays no other request for longer.
            let status = service.oneshot(get("/")).await.unwrap().status();
            assert_eq!(status, StatusCode::OK);
            assert!(start.elapsed() <= seconds(240.2), "{first}: {one}, {second}: {other}: {:?}", start.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_wait_can_be_set() {
    let server = Server::new([refused(&[("retry-after", "20")]), refused(&[("retry-after", "21")])]);
    let layer = TurrisBackoffLayer::builder().max_wait(seconds(20.0)).build().unwrap();
    let response = server.layered(&layer).oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "21");
    let times = server.times();
    assert_eq!(times.len(), 2);
    assert_between(times[1] - times[0], 20.0, 20.0);
}

#[tokio::test(start_paused = true)]
async fn an_absurd_wait_delays_other_requests_by_the_longest_wait_and_no_longer() {
    let server = Server::new([refused(&[("retry-after", "86400")])]);
    let service = server.layered(&TurrisBackoffLayer::new());
    service.clone().oneshot(get("/")).await.unwrap();
    let response = service.oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let times = server.times();
    assert_between(times[1] - times[0], 119.0, 120.0);
    assert_eq!(report(&response).unwrap().attempts(), 1);
}
