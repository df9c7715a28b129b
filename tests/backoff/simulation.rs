//! The simulations of `examples/simulation`, with generous margins.

#[path = "../../examples/simulation/matrix.rs"]
mod matrix;
#[path = "../../examples/simulation/scenarios.rs"]
mod scenarios;
#[path = "../../examples/simulation/servers.rs"]
mod servers;

use scenarios::{Client, Outcome, Scenario};
use tower::{Layer, util::BoxCloneSyncService};
use turris_auth::backoff::TurrisBackoffLayer;

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
async fn three_hundred_at_once_meet_the_limit_without_hitting_it() {
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
    // 180 refusals are unavoidable. After them there are a few in every window.
    assert!(outcome.refused <= 180 + 5 * 8, "{outcome:?}");
    assert_makespan(Scenario::SharedClient, &outcome, 1.15);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_nobody_states_is_found_out() {
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

/// The quick part of the matrix. `cargo run --example simulation` runs the whole matrix and checks
/// its bounds.
#[tokio::test(start_paused = true)]
async fn bulk_jobs_end_in_time_however_a_server_counts_and_whatever_it_says() {
    let is_quick = |job: &matrix::Job| job.requests <= 120;
    let jobs: Vec<_> = matrix::Job::all().into_iter().filter(is_quick).collect();
    assert!(jobs.len() >= 180 && jobs.len() <= matrix::LEAST_GOOD);
    let mut slow = Vec::new();
    for job in jobs {
        let outcome = job.run().await;
        assert_eq!(outcome.failed, 0, "{job} {outcome}");
        assert!(outcome.is_tolerable(), "{job} {outcome}");
        if !outcome.is_good() {
            slow.push(format!("{job} {outcome}"));
        }
    }
    assert!(slow.len() <= 4, "{slow:#?}");
}
