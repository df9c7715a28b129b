//! Shows what a fleet of eight processes with one client id costs the server. The processes share a
//! store in a real Redis or Valkey server, and an embedded Turris counts their requests.
//!
//! `cargo run --release -p fleet`. With `-- --json` it prints one JSON object instead of text. The
//! exit status is 1 if an expectation was not met, and 2 if the demonstration could not run.

mod counted;
mod figures;
mod phases;
mod report;
mod store;
mod worker;

use std::{process::ExitCode, time::Duration};

use report::Phase;
use turris_auth::BoxError;

const HELP: &str = "\
Shows what turris-auth does for eight processes with one client id, on an embedded Turris and a real Redis or Valkey.

Usage: cargo run --release -p fleet [-- OPTIONS]

  --json              print one JSON object with the numbers of every phase, and nothing else
  --window SECONDS    the window in which the server allows 60 POSTs; 60 by default, as Turris has it. The bulk job takes
                      four windows
  --figures           measure fleets of 1 to 1,000 processes instead, with a store and without one, and print the table of
                      `benches/README.md`
  --help              this text
";

/// The documented window of the API.
const WINDOW: Duration = Duration::from_secs(60);

struct Options {
    json: bool,
    figures: bool,
    window: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == worker::ARGUMENT) {
        return match worker::run().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("a process of the fleet ends: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let options = match parse(&arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    // Several times the usual duration, so that the program ends even if a request hangs.
    let time_limit = options.window * 10 + Duration::from_secs(120);
    let late = |_| Err(format!("it was not over within {} s", time_limit.as_secs()).into());
    match tokio::time::timeout(time_limit, demonstrate(&options)).await.unwrap_or_else(late) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            problems.iter().for_each(|problem| eprintln!("problem: {problem}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the demonstration could not be run: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns `None` if the user asked for help.
fn parse(arguments: &[String]) -> Result<Option<Options>, String> {
    let mut options = Options { json: false, figures: false, window: WINDOW };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = true,
            "--figures" => options.figures = true,
            "--help" => return Ok(None),
            "--window" => {
                let seconds = arguments.next().and_then(|seconds| seconds.parse().ok());
                let seconds = seconds.filter(|seconds| (1..=600).contains(seconds));
                options.window = Duration::from_secs(seconds.ok_or("`--window` needs a number from 1 to 600")?);
            }
            other => return Err(format!("unusable argument `{other}`")),
        }
    }
    Ok(Some(options))
}

/// Shows all phases and their numbers, and returns the expectations that were not met.
async fn demonstrate(options: &Options) -> Result<Vec<String>, BoxError> {
    let tell = |text: &str| {
        if !options.json {
            println!("{text}");
        }
    };
    if options.figures {
        println!("{}", figures::run().await?);
        return Ok(Vec::new());
    }
    let phases = phases::run(options.window, tell).await?;
    match options.json {
        true => println!("{}", report::json(&phases)?),
        false => println!("\n{}", report::table(&phases)),
    }
    Ok(phases.iter().flat_map(Phase::problems).cloned().collect())
}
