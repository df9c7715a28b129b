//! Jobs against an emulated Turris in paused time: what this crate makes of them, and what others do.
//!
//! `cargo run --release --example simulation` prints the table. The server answers after 50 ms, and its windows begin
//! with their first request. The ideal is the time of the last window that the load needs. Overtakers were
//! answered before a request that had come earlier.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

mod peers;
mod scenarios;

use std::time::Duration;

use scenarios::{Outcome, Scenario};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    for scenario in Scenario::ALL {
        let ideal = scenario.ideal();
        println!("{scenario}: ideal {} s", ideal.as_secs());
        println!(
            "  {:<24}{:>7}{:>7}{:>9}{:>10}{:>10}{:>10}{:>12}{:>12}",
            "", "failed", "429s", "refused", "makespan", "of ideal", "longest", "longest GET", "overtakers"
        );
        for contender in &peers::ALL {
            print(contender.name, &scenarios::run(scenario, contender.wrap).await, ideal);
        }
        println!();
    }
}

fn print(name: &str, outcome: &Outcome, ideal: Duration) {
    let Outcome { failed, refused, makespan, longest, longest_get, overtakers, .. } = outcome;
    let seconds = |time: &Duration| format!("{:.1} s", time.as_secs_f64());
    println!(
        "  {name:<24}{failed:>7}{refused:>7}{:>9}{:>10}{:>10}{:>10}{:>12}{overtakers:>12}",
        format!("{:.1} %", 100.0 * outcome.refused_share()),
        seconds(makespan),
        if *failed > 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * outcome.makespan_over(ideal)) },
        seconds(longest),
        if longest_get.is_zero() { "-".to_owned() } else { seconds(longest_get) },
    );
}
