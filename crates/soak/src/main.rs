//! The soak test: many callers, real sockets and random faults for an hour, after which nothing may
//! be left behind.
//!
//! `cargo run --release -p turris-auth-soak -- --help` shows the options. The exit status is 1 if
//! there was a problem.
//!
//! Two API clients, one over HTTP/1.1 and one over HTTP/2, have 250 callers and one server each. A
//! server is an emulator on a loopback port. Time is compressed: tokens live for seconds, and the
//! server's windows last one second. A run consists of rounds. In each round, the callers send
//! requests while [`faults`] creates faults. Then all faults are cleared, the callers finish, and
//! every request has to succeed again. Finally the leftovers are counted: heap, tasks, sockets and
//! permits. The layers live as long as the run. The connection pools below them live for a round.
//!
//! The seed decides the faults and the requests of the callers. The scheduler and the sockets
//! decide their timing. So a seed repeats the same plan, but not the same interleaving.

mod allowance;
mod caller;
mod client;
mod faults;
mod lane;
mod latency;
mod leftovers;
mod options;
mod outcome;
mod report;
mod server;
mod stage;
mod tally;

use std::{alloc::System, process::ExitCode, time::Duration};

use cap::Cap;
use tokio::time::Instant;

use crate::{lane::Lane, leftovers::Leftovers, options::Options, report::Report};

/// Counts the allocated bytes, without a limit.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// The smallest number of rounds for a check of the heap. A round with a slow recovery can take
/// much longer than planned.
const MIN_ROUNDS: usize = 4;

fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let problems = match runtime {
        Ok(runtime) => runtime.block_on(soak(&options)),
        Err(error) => vec![format!("there is no runtime to run it on: {error}")],
    };
    if problems.is_empty() {
        println!("\nNothing was left behind, and all outcomes were expected.");
        return ExitCode::SUCCESS;
    }
    eprintln!("\nProblems:");
    problems.iter().for_each(|problem| eprintln!("- {problem}"));
    eprintln!("To repeat this plan: --minutes {} --seed {}", options.minutes, options.seed);
    ExitCode::FAILURE
}

async fn soak(options: &Options) -> Vec<String> {
    let started = Instant::now();
    let round_length = options.round_length();
    println!(
        "{} callers for {} min, in rounds of {} s. Seed {}.\n",
        2 * lane::CALLERS,
        options.minutes,
        round_length.as_secs_f64(),
        options.seed
    );
    let before = Leftovers::now();
    let mut report = Report::new(before, options.max_rounds());
    let mut lanes = match tokio::try_join!(Lane::start(false, options.seed), Lane::start(true, options.seed)) {
        Ok((http1, http2)) => [http1, http2],
        Err(error) => return vec![format!("it could not be started: {error}")],
    };
    report::print_head();
    while (started.elapsed() < options.length() || report.rounds() < MIN_ROUNDS) && !report.is_hopeless() {
        let [http1, http2] = &mut lanes;
        let round = report.rounds();
        tokio::join!(http1.round(round, round_length), http2.round(round, round_length));
        // Both rounds are over, so every live resource was left behind.
        let left = Leftovers::settled(&before, Duration::from_secs(10)).await;
        report.round_ended(left, &mut lanes);
    }
    report.finish(started.elapsed(), &lanes)
}
