//! `cargo run --release -p turris-auth-peers`: compares the layers with their alternatives.

mod figures;
mod hot;
mod many;
mod metered;
mod peers;
mod statistics;

use std::process::ExitCode;

use lexopt::{Arg, ValueExt};
use turris_auth_instructions::{callgrind::Error, contenders, work};
use turris_auth_scenarios as scenarios;

#[global_allocator]
static ALLOCATOR: metered::Metered = metered::Metered;

const HELP: &str = "\
Compares the layers with their alternatives, and prints tables.

  hot        one request after another: time, instructions (valgrind), allocations
  many       threads, cold callers, failures, renewals, loopback
  loopback   the last part of `many` alone
  figures    measures the values of the figures, and draws them into benches/figures

Without an argument: hot and many.

  --run CONTENDER   only sends requests, for use under a profiler; with --requests NUMBER
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let (mut words, mut contender, mut requests) = (Vec::new(), None, 1_000_000);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(word) => words.push(word.string()?),
            Arg::Long("run") => contender = Some(arguments.value()?.string()?),
            Arg::Long("requests") => requests = arguments.value()?.parse()?,
            Arg::Long("help") | Arg::Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(name) = contender {
        return hot::run(&name, requests);
    }
    if words.is_empty() {
        words = vec!["hot".to_owned(), "many".to_owned()];
    }
    for word in words {
        match word.as_str() {
            "hot" => hot::print()?,
            "many" => many::print()?,
            "loopback" => many::print_loopback(),
            "figures" => figures::draw()?,
            other => return Err(format!("{other:?} is not hot, many, loopback or figures").into()),
        }
    }
    Ok(())
}
