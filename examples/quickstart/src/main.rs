//! A demonstration on an embedded Turris, over real loopback HTTP, of this crate's work for a
//! client under load.
//!
//! `cargo run -p quickstart`. With `-- --json` it prints one JSON object instead of text.
//! The exit status is 1 if there was a problem.

mod load;
mod phases;
mod report;
mod stack;
#[cfg(test)]
mod tests;

use std::{process::ExitCode, time::Duration};

use phases::Demo;
use report::Phase;
use tokio::{runtime::Runtime, time::timeout};
use turris_auth::BoxError;

const HELP: &str = "\
Shows what turris-auth does for a client under load, on an embedded Turris.

Usage: cargo run -p quickstart [-- OPTIONS]

  --json    print one JSON object with the numbers of every phase, and nothing else
  --help    this text
";

/// Several times the usual duration, so that the program ends even if a request hangs.
const TIME_LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let json = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [option] if option == "--json" => true,
        [option] if option == "--help" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        options => {
            eprintln!("unusable arguments `{}`\n\n{HELP}", options.join(" "));
            return ExitCode::from(2);
        }
    };
    match in_time(json) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            problems.iter().for_each(|problem| eprintln!("problem: {problem}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the demonstration could not be run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demonstration for at most [`TIME_LIMIT`].
fn in_time(json: bool) -> Result<Vec<String>, BoxError> {
    // Your program can use `#[tokio::main]`. Here the compilation of tokio would wait for its macros.
    Runtime::new()?.block_on(async {
        let late = |_| format!("it was not over within {} s", TIME_LIMIT.as_secs());
        timeout(TIME_LIMIT, demonstrate(json)).await.map_err(late)?
    })
}

/// Shows all phases and their numbers, and returns the problems.
async fn demonstrate(json: bool) -> Result<Vec<String>, BoxError> {
    let phases = run(json).await?;
    match json {
        true => println!("{}", report::json(&phases)?),
        false => println!("\n{}", report::table(&phases)),
    }
    Ok(phases.iter().flat_map(Phase::problems).cloned().collect())
}

/// Runs the phases in sequence. Unless `quiet` is set, describes each.
async fn run(quiet: bool) -> Result<Vec<Phase>, BoxError> {
    let demo = Demo::start().await?;
    let tell = |phase: Phase| {
        if !quiet {
            println!("{}: {}", phase.name, phase.story);
        }
        phase
    };
    if !quiet {
        println!("An embedded Turris serves at {}. All requests go over its sockets.\n", demo.emulator.base_url());
    }
    Ok(vec![
        tell(demo.cold(1_000).await?),
        tell(demo.revoked(1_000).await?),
        tell(demo.outage(100).await?),
        tell(demo.expiry(Duration::from_secs(4)).await?),
        tell(Demo::rate_limited(3 * phases::ALLOWANCE as usize).await?),
    ])
}
