//! Jobs in paused time: against an emulated Turris, compared with alternatives, and against 450
//! servers of other kinds.
//!
//! `cargo run --release -p simulation` prints two tables. All servers answer after 50 ms. The ideal
//! is the time of a client that knows the server's limit and keeps to it.
//!
//! - The first table has the jobs against Turris, whose windows begin with their first request.
//!   Overtakers are requests that were answered before an earlier request.
//! - The second table has bulk jobs of three to six times the limit. The servers count in fixed
//!   windows, in a sliding log or in token buckets, and state it in nine ways. The table has a line
//!   for each job that took long, or, with the argument `all`, for every job. The exit code is 1 if
//!   a bound is missed.
//! - A `POST` keeps to the documented 60 a minute if the server does not state a limit. The last
//!   line counts the jobs for which the server would have allowed more.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

mod matrix;
mod peers;
mod scenarios;
mod servers;

use std::{process::ExitCode, time::Duration};

use scenarios::{Outcome, Scenario};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> ExitCode {
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
    if run_matrix(std::env::args().any(|argument| argument == "all")).await {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the matrix and prints it. Returns whether all jobs keep to their bounds.
async fn run_matrix(all: bool) -> bool {
    println!("Bulk jobs: quota, counting, statement, method, requests; makespan, ideal, ratio, refused, failed");
    let jobs = matrix::Job::all();
    let (mut good, mut tolerable, mut held, mut good_beside_own) = (0, 0, 0, 0);
    for job in &jobs {
        let outcome = job.run().await;
        good += usize::from(outcome.is_good());
        tolerable += usize::from(outcome.is_tolerable());
        held += usize::from(job.is_held_to_the_documentation());
        good_beside_own += usize::from(outcome.is_good_beside(job.server.ideal(job.requests, None)));
        if all || !outcome.is_good() {
            println!("{job} {outcome}");
        }
    }
    let count = jobs.len();
    println!(
        "{good} of {count} within 1.5 of the ideal, a window and 5 s; {tolerable} within 4, a window and a minute"
    );
    println!(
        "{held} kept to the documented minute at a silent server that allows more. Compared with a client that knows the \
         server's limit, {good_beside_own} are within 1.5, a window and 5 s"
    );
    good >= matrix::MIN_GOOD && tolerable == count
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
