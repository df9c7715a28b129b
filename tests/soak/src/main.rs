//! Many callers, real sockets, random faults, for an hour: and then nothing may be left of it.
//!
//! `cargo run --release --manifest-path tests/soak/Cargo.toml -- --help` tells the options. The exit status is 1 when
//! something was not as it should be.
//!
//! Two API clients, one over HTTP/1.1 and one over HTTP/2, have 250 callers each and a server each, which is an emulator on
//! a loopback port. Time is compressed: tokens live for seconds, the server's windows last one. A run is made of rounds. In
//! each, the callers call while [`faults`] breaks things; then all is healed, the callers finish, every request has to
//! succeed again, and what is left is counted: heap, tasks, sockets, permits. The layers live as long as the run; the
//! connection pools below them live for a round.
//!
//! The seed decides what goes wrong and what callers do. When they meet is up to the scheduler and the sockets, so that a
//! seed runs the same plan again, not the same interleaving.

mod allowance;
mod caller;
mod client;
mod faults;
mod judgement;
mod lane;
mod latency;
mod leftovers;
mod options;
mod report;
mod server;
mod stage;
mod tally;

use std::{alloc::System, process::ExitCode, time::Duration};

use cap::Cap;
use tokio::time::Instant;

use crate::{lane::Lane, leftovers::Leftovers, options::Options, report::Report};

/// Counts what is allocated; no limit.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// To judge the heap by. A round can take much longer than its share where a recovery does.
const FEWEST_ROUNDS: usize = 4;

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
        println!("\nNothing was left behind, and nothing happened that was not expected.");
        return ExitCode::SUCCESS;
    }
    eprintln!("\nNot as it should be:");
    problems.iter().for_each(|problem| eprintln!("- {problem}"));
    eprintln!("The same plan again: --minutes {} --seed {}", options.minutes, options.seed);
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
    let mut report = Report::new(before, options.most_rounds());
    let mut lanes = match tokio::try_join!(Lane::start(false, options.seed), Lane::start(true, options.seed)) {
        Ok((http1, http2)) => [http1, http2],
        Err(error) => return vec![format!("it could not be started: {error}")],
    };
    report::print_head();
    while (started.elapsed() < options.length() || report.rounds() < FEWEST_ROUNDS) && !report.is_hopeless() {
        let [http1, http2] = &mut lanes;
        let round = report.rounds();
        tokio::join!(http1.round(round, round_length), http2.round(round, round_length));
        // Both are over: whatever is alive now was left behind.
        let left = Leftovers::settled(&before, Duration::from_secs(10)).await;
        report.round_ended(left, &mut lanes);
    }
    report.finish(started.elapsed(), &lanes)
}
