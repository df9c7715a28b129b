//! Tests of the token endpoint's allowance, and of outages.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower::Layer;
use turris_auth::{TokenErrorKind, TokenService, TurrisAuthLayer};
use turris_test_support::cases;

use super::support::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs a day of constant demand on an endpoint that is broken in one way, and then lets the
/// endpoint heal.
async fn outage(broken: Answering, step: Duration, at_least: usize) {
    let (script, switch) = Script::switched(Duration::from_millis(50));
    switch.to(broken);
    let layer = layer(&script);
    let service = layer.layer(Api::accepting_all());
    let begun = Instant::now();
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let (service, handle) = (service.clone(), layer.handle());
            tokio::spawn(async move {
                while begun.elapsed() < DAY {
                    let asked = Instant::now();
                    let error = token_error(carried(&service).await);
                    let wait = handle.status().retry_in().unwrap();
                    assert!(wait <= MINUTE, "{error}");
                    assert_eq!(error.retry_after(), error.kind().is_transient().then_some(wait), "{error}");
                    assert!(asked.elapsed() <= Duration::from_secs(31));
                    sleep(step).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let fetches = script.requests();
    assert!(script.most_in_any(MINUTE) <= 10, "{broken:?}: {} in a minute", script.most_in_any(MINUTE));
    // The layer keeps trying all day: about one fetch a minute.
    assert!(fetches >= at_least && fetches < 24 * 60 * 3, "{broken:?}: {fetches} fetches");

    switch.to(Answering::Tokens);
    let healed = Instant::now();
    while carried(&service).await.is_err() {
        assert!(healed.elapsed() <= MINUTE, "{broken:?} is over, and the longest cool-down too");
        sleep(SECOND).await;
    }
    // The layer has recovered completely.
    assert_eq!(carried(&service).await.unwrap(), carried(&service).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_day_of_server_errors() {
    outage(Answering::Status(500), 4 * SECOND, 24 * 60).await;
}

#[tokio::test(start_paused = true)]
async fn a_day_of_refused_credentials() {
    outage(Answering::Status(401), 4 * SECOND, 24 * 60).await;
}

#[tokio::test(start_paused = true)]
async fn a_day_of_rate_limits() {
    outage(Answering::Status(429), 4 * SECOND, 24 * 60).await;
}

#[tokio::test(start_paused = true)]
async fn a_day_of_no_connection() {
    outage(Answering::Unreachable, 4 * SECOND, 24 * 60).await;
}

#[tokio::test(start_paused = true)]
async fn a_day_of_no_answers() {
    // Each fetch takes 30 s, and the cool-down follows.
    outage(Answering::Nothing, 4 * SECOND, 24 * 60 / 2).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_minute_of_an_outage_stays_within_the_allowance_for_any_number_of_callers() {
    for broken in [Answering::Status(500), Answering::Status(401), Answering::Status(429), Answering::Unreachable] {
        let (script, switch) = Script::switched(Duration::ZERO);
        switch.to(broken);
        let service = layer(&script).layer(Api::accepting_all());
        for _ in 0..2_400 {
            carried(&service).await.unwrap_err();
            sleep(Duration::from_millis(50)).await;
        }
        assert!(script.most_in_any(MINUTE) <= 10, "{broken:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_longer_wait_gets_five_minutes() {
    for (name, value, longest) in
        [("retry-after", "30", 30), ("retry-after", "86400", 300), ("x-ratelimit-reset", "45", 45)]
    {
        let script = Script::new(move |n| async move {
            let mut answer = if n == 1 { status(429) } else { token(n) };
            if n == 1 {
                answer.headers_mut().insert(name, http::HeaderValue::from_static(value));
            }
            Ok(answer)
        });
        let service = layer(&script).layer(Api::accepting_all());
        let error = token_error(carried(&service).await);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(longest)));
        sleep(Duration::from_secs(longest) - Duration::from_millis(1)).await;
        carried(&service).await.unwrap_err();
        assert_eq!(script.requests(), 1, "{name}: {value}");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(carried(&service).await.unwrap(), "Bearer token-2", "{name}: {value}");
    }
}

/// Values that no sane server sends, in each header alone and in each pair, with a refusal and with
/// a token.
#[tokio::test(start_paused = true)]
async fn absurd_values_delay_callers_by_at_most_five_minutes() {
    let values = [
        "-1",
        "60",
        "99999999999999999999999",
        "NaN",
        "5, 99999999999",
        "\u{fe}",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ];
    let names = ["retry-after", "x-ratelimit-reset", "x-ratelimit-remaining", "x-ratelimit-limit", "date"];
    let pairs = names.into_iter().flat_map(|first| names.map(|second| (first, second)));
    for (first, second) in pairs.filter(|(first, second)| cases(first == second || *first == "retry-after", true)) {
        for (one, other) in values.into_iter().flat_map(|one| values.map(|other| (one, other))) {
            for code in [429, 503, 201] {
                let script = Script::new(move |n| async move {
                    let mut answer = if n == 1 && code != 201 { status(code) } else { token(n) };
                    for (name, value) in [(first, one), (second, other)] {
                        answer.headers_mut().append(name, value.parse().unwrap());
                    }
                    Ok(answer)
                });
                let layer = layer(&script);
                // Every response repeats the values, so the second fetch obeys the values of the
                // first response.
                let wait = layer.handle().warm_up().await.err().map(|error| error.retry_after().unwrap());
                let wait = wait.unwrap_or_default();
                assert!(wait <= 5 * MINUTE, "{code}, {first}: {one}, {second}: {other}: {wait:?}");
                sleep(wait).await;
                layer.handle().invalidate();
                if let Err(error) = layer.handle().warm_up().await {
                    let wait = error.retry_after().unwrap();
                    assert!(wait <= 5 * MINUTE, "{code}, {first}: {one}, {second}: {other}: {wait:?}");
                    sleep(wait).await;
                    layer.handle().warm_up().await.unwrap();
                }
                assert!(script.most_in_any(MINUTE) <= 10);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_place_for_another_attempt_the_first_failure_is_returned_at_once() {
    let (script, switch) = Script::switched(Duration::ZERO);
    switch.to(Answering::Status(503));
    let layer = builder().rate_limit(1, MINUTE).token_service(script.clone()).build().unwrap();
    let begun = Instant::now();
    let error = layer.handle().warm_up().await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed()), (TokenErrorKind::Unavailable, Duration::ZERO));
    assert_eq!(script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn attempts_that_failed_give_their_places_back() {
    let script = Script::new(|n| async move { Ok(if n % 2 == 1 { status(503) } else { token(n) }) });
    let handle = layer(&script).handle();
    for flight in 1..=20 {
        handle.invalidate();
        handle.warm_up().await.unwrap();
        assert_eq!(script.requests(), 2 * flight);
        sleep(2 * MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_error_that_states_a_time_is_not_retried_earlier() {
    let script = Script::new(|n| async move {
        let mut answer = if n == 1 { status(503) } else { token(n) };
        answer.headers_mut().insert("retry-after", http::HeaderValue::from_static("20"));
        Ok(answer)
    });
    let handle = layer(&script).handle();
    let error = handle.warm_up().await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (TokenErrorKind::Unavailable, Some(20 * SECOND)));
    sleep(20 * SECOND - Duration::from_millis(1)).await;
    handle.warm_up().await.unwrap_err();
    assert_eq!(script.requests(), 1);
    sleep(Duration::from_millis(1)).await;
    handle.warm_up().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_pauses_between_attempts_grow() {
    // The pauses are random, so the test examines more than a few.
    for _ in 0..30 {
        let (script, switch) = Script::switched(Duration::ZERO);
        switch.to(Answering::Status(503));
        layer(&script).handle().warm_up().await.unwrap_err();
        let seen = script.instants();
        let pauses: Vec<_> = seen.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        assert!(matches!(pauses[..], [200..=401, 400..=801]), "{pauses:?}");
    }
}

/// The client counts the reset from the `Date`, so a `Date` that is behind makes the wait long.
#[tokio::test(start_paused = true)]
async fn a_date_that_is_behind_the_reset_stops_fetches_for_at_most_five_minutes() {
    const RESET: u64 = 1_800_000_000;
    for (behind, wait) in [(284, 284), (86_400, 300), (RESET, 300)] {
        let script = Script::new(move |n| async move {
            let mut answer = if n == 1 { status(429) } else { token(n) };
            if n == 1 {
                let date = std::time::UNIX_EPOCH + Duration::from_secs(RESET - behind);
                let date = httpdate::fmt_http_date(date);
                let said =
                    [("date", date), ("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset", RESET.to_string())];
                for (name, value) in said {
                    answer.headers_mut().insert(name, value.parse().unwrap());
                }
            }
            Ok(answer)
        });
        let service = layer(&script).layer(Api::accepting_all());
        let error = token_error(carried(&service).await);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(wait)), "{behind} s behind");
        sleep(Duration::from_secs(wait) - Duration::from_millis(1)).await;
        carried(&service).await.unwrap_err();
        assert_eq!(script.requests(), 1, "{behind} s behind");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(carried(&service).await.unwrap(), "Bearer token-2", "{behind} s behind");
    }
}

/// Invalidates the token and fetches another, as fast as possible, for this long.
async fn greedy(layer: &TurrisAuthLayer<TokenService>, length: Duration) -> Vec<turris_auth::TokenError> {
    let handle = layer.handle();
    let begun = Instant::now();
    let mut errors = Vec::new();
    while begun.elapsed() < length {
        handle.invalidate();
        if let Err(error) = handle.warm_up().await {
            errors.push(error);
        }
        sleep(Duration::from_millis(100)).await;
    }
    errors
}

#[tokio::test(start_paused = true)]
async fn successes_count_too_and_some_places_are_kept_for_recovery() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let errors = greedy(&layer, 10 * MINUTE).await;
    assert!(errors.iter().all(|error| error.kind() == TokenErrorKind::RateLimited));
    assert!(errors.iter().all(|error| error.retry_after().unwrap() <= MINUTE));
    assert_eq!(script.most_in_any(MINUTE), 8);
    // Places are reused as they become free.
    let fetches = script.requests();
    assert!((72..=88).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(start_paused = true)]
async fn a_401_gets_a_new_token_after_ordinary_fetches_have_used_up_their_part() {
    let script = Script::issuing(Duration::ZERO);
    let layer = layer(&script);
    let service = layer.layer(Api::accepting(|token| token != "token-8"));
    let handle = layer.handle();
    for _ in 0..8 {
        handle.invalidate();
        handle.warm_up().await.unwrap();
    }
    assert_eq!(carried(&service).await.unwrap(), "Bearer token-9");
    assert_eq!(script.requests(), 9);
}

#[tokio::test(start_paused = true)]
async fn the_limit_can_be_set() {
    for limit in [1, 2, 5, 100] {
        for per in [MINUTE, 20 * SECOND, 10 * MINUTE] {
            let script = Script::issuing(Duration::ZERO);
            let layer = builder().rate_limit(limit, per).token_service(script.clone()).build().unwrap();
            greedy(&layer, 3 * per).await;
            let most = script.most_in_any(per);
            assert_eq!(most, (limit - limit / 5) as usize, "{limit} in {per:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_use_by_other_processes_is_learned_from_a_success() {
    // Other processes have used all but two of the window's tokens, and the server says so on every
    // 201.
    let script = Script::new(|n| async move {
        let mut answer = token(n);
        let remaining = 3_usize.saturating_sub(n).to_string();
        answer.headers_mut().insert("x-ratelimit-remaining", remaining.parse().unwrap());
        answer.headers_mut().insert("x-ratelimit-reset", http::HeaderValue::from_static("40"));
        Ok(answer)
    });
    let layer = layer(&script);
    let errors = greedy(&layer, 39 * SECOND).await;
    assert_eq!(script.requests(), 3);
    assert!(errors.iter().all(|error| error.kind() == TokenErrorKind::RateLimited));
    assert!(errors[0].retry_after().unwrap() > 30 * SECOND);
    // The window has ended, so the server's statement no longer counts.
    sleep(3 * SECOND).await;
    layer.handle().warm_up().await.unwrap();
    assert_eq!(script.requests(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_waits_for_the_servers_window() {
    let script = Script::new(|n| async move {
        let mut answer = issued(&format!("token-{n}"), "60");
        answer.headers_mut().insert("x-ratelimit-remaining", http::HeaderValue::from_static("0"));
        answer.headers_mut().insert("x-ratelimit-reset", http::HeaderValue::from_static("55"));
        Ok(answer)
    });
    let service = layer(&script).layer(Api::accepting_all());
    for _ in 0..540 {
        carried(&service).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(script.requests(), 1, "due since the 40th second, and not allowed yet");
    for _ in 0..20 {
        carried(&service).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_cannot_raise_the_configured_limit() {
    let script = Script::new(|n| async move {
        let mut answer = token(n);
        answer.headers_mut().insert("x-ratelimit-remaining", http::HeaderValue::from_static("1000000"));
        Ok(answer)
    });
    let layer = layer(&script);
    greedy(&layer, 3 * MINUTE).await;
    assert_eq!(script.most_in_any(MINUTE), 8);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_taken_until_a_minute_after_the_fetch_ended() {
    // The server may have counted a slow fetch at its end.
    let script = Script::issuing(Duration::from_secs(20));
    let layer =
        builder().rate_limit(1, MINUTE).token_timeout(2 * MINUTE).token_service(script.clone()).build().unwrap();
    let handle = layer.handle();
    handle.warm_up().await.unwrap();
    handle.invalidate();
    sleep(MINUTE - SECOND).await;
    assert_eq!(handle.warm_up().await.unwrap_err().kind(), TokenErrorKind::RateLimited);
    sleep(SECOND).await;
    handle.warm_up().await.unwrap();
    assert_eq!(script.instants()[1] - script.instants()[0], Duration::from_secs(80));
}

/// Returns an endpoint that requests reach late, even after their callers have given up, and the
/// times of arrival.
fn slow_to_arrive(delay: impl Fn(usize) -> Duration + Send + Sync + 'static) -> (Script, Arc<Mutex<Vec<Instant>>>) {
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let arrivals = Arc::clone(&arrived);
    let script = Script::new(move |n| {
        let (arrivals, delay) = (Arc::clone(&arrivals), delay(n));
        // A separate task, because the request is on its way and arrives in any case.
        let request = tokio::spawn(async move {
            sleep(delay).await;
            arrivals.lock().unwrap().push(Instant::now());
        });
        async move {
            request.await?;
            Ok(token(n))
        }
    });
    (script, arrived)
}

async fn most_that_arrive(delay: impl Fn(usize) -> Duration + Send + Sync + 'static, long: Duration) -> usize {
    let (script, arrived) = slow_to_arrive(delay);
    let layer = layer(&script);
    let begun = Instant::now();
    while begun.elapsed() < long {
        let _ = layer.handle().warm_up().await;
        // A token that is refused at once may use all ten places.
        layer.handle().invalidate();
        sleep(Duration::from_millis(500)).await;
    }
    let mut arrived = arrived.lock().unwrap().clone();
    arrived.sort();
    let in_window_from = |first: &Instant| arrived.iter().filter(|at| *at >= first && **at - *first < MINUTE).count();
    arrived.iter().map(in_window_from).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_given_up_keeps_its_place_until_it_can_no_longer_arrive() {
    for (many, stuck) in [(2, 11), (2, 39), (4, 19), (4, 29), (4, 39), (6, 39)] {
        let delay = move |n| if n <= many { Duration::from_secs(stuck) } else { Duration::ZERO };
        let most = most_that_arrive(delay, Duration::from_secs(300)).await;
        assert!((6..=10).contains(&most), "{most} in a minute, with {many} requests that take {stuck} s");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_arrive_late_stay_within_the_allowance() {
    for seed in 0..8 {
        let dice = Mutex::new(fastrand::Rng::with_seed(seed));
        let delay = move |_| {
            let mut dice = dice.lock().unwrap();
            Duration::from_millis(if dice.u8(0..4) == 0 { dice.u64(0..20_000) } else { dice.u64(0..200) })
        };
        let most = most_that_arrive(delay, Duration::from_secs(3_600)).await;
        assert!(most <= 10, "{most} in a minute, seed {seed}");
    }
}
