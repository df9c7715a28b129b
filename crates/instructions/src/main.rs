//! `cargo run --release -p turris-auth-instructions`: prints the cost of a request in each layer,
//! and checks the limits.

use std::process::ExitCode;

use lexopt::{Arg, ValueExt};
use turris_auth_instructions::{
    callgrind::{self, Error},
    contenders::{CONTENDERS, Contender, contender},
    counting::Counting,
    measure, targets,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HELP: &str = "\
Counts instructions with valgrind's callgrind, and allocations. Fails if a limit is exceeded, and if a ratio is
more than 3 % above baseline.json.

  --bless                also makes the result the new baseline.json
  --annotate CONTENDER   shows the cost of each function beyond the bare service instead
  --run CONTENDER        only sends requests, for use under a profiler; with --requests NUMBER
";

enum Mode {
    Check { bless: bool },
    Annotate(String),
    Run(String),
}

fn main() -> ExitCode {
    match parse().and_then(|(mode, requests)| run(mode, requests)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Result<(Mode, u64), Error> {
    let mut mode = Mode::Check { bless: false };
    let mut requests = 1_000_000;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("bless") => mode = Mode::Check { bless: true },
            Arg::Long("annotate") => mode = Mode::Annotate(arguments.value()?.string()?),
            Arg::Long("run") => mode = Mode::Run(arguments.value()?.string()?),
            Arg::Long("requests") => requests = arguments.value()?.parse()?,
            Arg::Long("help") | Arg::Short('h') => {
                print!("{HELP}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok((mode, requests))
}

fn run(mode: Mode, requests: u64) -> Result<ExitCode, Error> {
    match mode {
        Mode::Check { bless } => return check(bless),
        Mode::Annotate(name) => {
            annotate(known(&name)?)?;
        }
        Mode::Run(name) => drop((known(&name)?.prepare)()(requests)),
    }
    Ok(ExitCode::SUCCESS)
}

fn known(name: &str) -> Result<&'static Contender, Error> {
    contender(name).ok_or_else(|| {
        let names: Vec<_> = CONTENDERS.iter().map(|contender| contender.name).collect();
        format!("there is no contender {name:?}; there are: {}", names.join(", ")).into()
    })
}

fn annotate(contender: &Contender) -> Result<(), Error> {
    for (inclusive, title) in [(false, "each function itself"), (true, "each function with its callees")] {
        let (with, without) =
            (callgrind::functions(contender.name, inclusive)?, callgrind::functions(contender.floor, inclusive)?);
        let in_floor = |function: &str| without.get(function).copied().unwrap_or(0);
        let gone = without.keys().filter(|function| !with.contains_key(*function)).map(|function| (function, 0));
        let mut rows: Vec<_> = with
            .iter()
            .map(|(function, count)| (function, *count))
            .chain(gone)
            .map(|(function, count)| (count.cast_signed() - in_floor(function).cast_signed(), count, function))
            .filter(|(own, ..)| *own != 0)
            .collect();
        rows.sort_by_key(|(own, ..)| std::cmp::Reverse(*own));
        println!("{title}: instructions per request beyond {:?}, and in all\n", contender.floor);
        rows.iter().for_each(|(own, all, function)| println!("{own:>7} {all:>7}  {function}"));
        println!();
    }
    Ok(())
}

fn check(bless: bool) -> Result<ExitCode, Error> {
    let table = measure::all(CONTENDERS)?;
    measure::print(CONTENDERS, &table);
    println!();
    let mut is_well = true;
    for target in targets::targets(&table) {
        println!("{} {:<67} {:>6.3}, at most {:.2}", target.verdict(), target.what, target.measured, target.at_most);
        is_well &= target.is_met();
    }
    if bless {
        targets::bless(&table)?;
    }
    for rise in targets::rises(&table)? {
        println!("ROSE   {rise}");
        is_well = false;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
