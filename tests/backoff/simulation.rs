//! The simulations of `examples/simulation`, with generous margins.

#[path = "../../examples/simulation/src/matrix.rs"]
mod matrix;
#[path = "../../examples/simulation/src/scenarios.rs"]
mod scenarios;
#[path = "../../examples/simulation/src/servers.rs"]
mod servers;

use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::Full;
use scenarios::{Client, Outcome, Scenario};
use servers::{Counting, RateLimit, Server, Statement};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, util::BoxCloneSyncService};
use turris_auth::backoff::TurrisBackoffLayer;
use turris_test_support::cases;

async fn run(scenario: Scenario) -> Outcome {
    let outcome =
        scenarios::run(scenario, |client: Client| BoxCloneSyncService::new(TurrisBackoffLayer::new().layer(client)))
            .await;
    assert!(Scenario::ALL.contains(&scenario) && outcome.longest <= outcome.makespan);
    assert_eq!(outcome.failed, 0, "{outcome:?}");
    assert_eq!(outcome.overtakers, 0, "{outcome:?}");
    outcome
}

fn assert_makespan(scenario: Scenario, outcome: &Outcome, most: f64) {
    let over = outcome.makespan_over(scenario.ideal());
    assert!((1.0..=most).contains(&over), "{over}: {outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn three_hundred_requests_at_once_use_up_the_limit_without_a_429() {
    for scenario in [Scenario::Burst, Scenario::ClockAhead, Scenario::ClockBehind, Scenario::Mix] {
        let outcome = run(scenario).await;
        assert!(outcome.refused_share() <= 0.01, "{outcome:?}");
        assert_makespan(scenario, &outcome, 1.05);
        assert!(outcome.longest_get.as_millis() < 100, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn four_layers_on_one_client_id_share_its_allowance() {
    let outcome = run(Scenario::SharedClient).await;
    // 180 refusals are unavoidable. After them a few requests are refused in every window.
    assert!(outcome.refused <= 180 + 5 * 8, "{outcome:?}");
    assert_makespan(Scenario::SharedClient, &outcome, 1.15);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_not_stated_is_found_out() {
    let outcome = run(Scenario::NoHeaders).await;
    // 40 refusals are unavoidable.
    assert!(outcome.refused <= 40 + 20, "{outcome:?}");
    assert_makespan(Scenario::NoHeaders, &outcome, 1.10);
}

#[tokio::test(start_paused = true)]
async fn windows_that_are_much_shorter_than_documented_are_used() {
    let outcome = run(Scenario::ShortWindows).await;
    assert!(outcome.refused_share() <= 0.05, "{outcome:?}");
    // The headers count whole seconds, which is coarse here.
    assert_makespan(Scenario::ShortWindows, &outcome, 2.5);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_lowered_is_followed() {
    let outcome = run(Scenario::LowerLimit).await;
    // 30 refusals are unavoidable.
    assert!(outcome.refused <= 30 + 5, "{outcome:?}");
    assert_makespan(Scenario::LowerLimit, &outcome, 1.10);
}

const A_MINUTE: RateLimit = RateLimit::new(60, 60);

fn post() -> Request<servers::Body> {
    Request::post("https://public.api.live.turrisfi.com/v1/agents").body(Full::from("{}")).unwrap()
}

/// Sends the given number of `POST`s at once. Returns how long they took.
async fn send_all(client: &servers::Client, requests: usize) -> Duration {
    let start = Instant::now();
    let sent = (0..requests).map(|_| tokio::spawn(client.clone().oneshot(post())));
    for answer in join_all(sent).await {
        assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
    }
    start.elapsed()
}

/// Returns the servers of the next two tests, which differ in how they count and in what they
/// state.
fn servers_of_sixty_a_minute() -> impl Iterator<Item = Server> {
    let countings = [Counting::Fixed { phase: 0.3 }, Counting::Sliding];
    let statements = [Statement::Nothing, Statement::RetryAfterWhole, Statement::ResetEpoch, Statement::Draft8];
    countings
        .into_iter()
        .flat_map(move |counting| statements.map(|statement| Server::new(A_MINUTE, counting, statement)))
}

/// The server counts a request when it arrives, and answers later.
#[tokio::test(start_paused = true)]
async fn slow_answers_do_not_slow_down_a_job() {
    let mut slow = Vec::new();
    for (seconds, server) in [10, 30, 60, 120]
        .into_iter()
        .flat_map(|seconds| servers_of_sixty_a_minute().map(move |server| (seconds, server)))
    {
        let server = Server { back: Duration::from_secs(seconds), ..server };
        let client = BoxCloneSyncService::new(TurrisBackoffLayer::new().layer(server.start().client()));
        let (took, ideal) = (send_all(&client, 300).await, server.ideal(300, Some(A_MINUTE)));
        if took > ideal.mul_f64(1.3) {
            slow.push(format!("{seconds} s, {}, {}: {took:?} of {ideal:?}", server.counting, server.statement));
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}

/// A process sends a request every ten seconds, and shares the limit with a busy process. Then it
/// has many requests, and the limit to itself.
#[tokio::test(start_paused = true)]
async fn a_process_that_has_stopped_is_forgotten_within_two_windows() {
    let mut slow = Vec::new();
    for server in servers_of_sixty_a_minute() {
        let running = server.start();
        let [busy, light] = [(); 2].map(|()| -> servers::Client {
            BoxCloneSyncService::new(TurrisBackoffLayer::new().layer(running.client()))
        });
        let busy = tokio::spawn(async move { send_all(&busy, 300).await });
        while !busy.is_finished() {
            // The result does not matter: the busy process uses up the limit, so this request may
            // be refused in the end.
            let _ = light.clone().oneshot(post()).await.unwrap();
            sleep(Duration::from_secs(10)).await;
        }
        busy.await.unwrap();
        let (took, ideal) = (send_all(&light, 180).await, server.ideal(180, Some(A_MINUTE)));
        if took > ideal + 2 * A_MINUTE.window {
            slow.push(format!("{}, {}: {took:?} of {ideal:?}", server.counting, server.statement));
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}

/// The quick part of the matrix. `cargo run -p simulation` runs the whole matrix and checks
/// its bounds.
#[tokio::test(start_paused = true)]
async fn bulk_jobs_end_in_time_however_a_server_counts_and_whichever_headers_it_sends() {
    let is_quick = |job: &matrix::Job| job.requests <= 120;
    let jobs: Vec<_> = matrix::Job::all().into_iter().filter(is_quick).collect();
    assert!(jobs.len() >= 180 && jobs.len() <= matrix::MIN_GOOD);
    let mut slow = Vec::new();
    // Every fifth job: each limit meets each of the 18 pairs of headers and method once. The pairs
    // repeat for each way to count, and 5 and 18 have no common factor.
    for job in jobs.into_iter().step_by(cases(10, 1)) {
        let outcome = job.run().await;
        assert_eq!(outcome.failed, 0, "{job} {outcome}");
        assert!(outcome.is_tolerable(), "{job} {outcome}");
        if !outcome.is_good() {
            slow.push(format!("{job} {outcome}"));
        }
    }
    assert!(slow.len() <= 4, "{slow:#?}");
}
