//! A simulated network of client processes and servers with random faults, for thousands of seeds.
//!
//! Time is simulated, and every random choice comes from the seed, so a seed that fails once fails
//! again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, unreachable_pub)]

mod caller;
mod checker;
mod connection;
mod faults;
mod net;
mod plan;
mod process;
mod records;
mod server;
mod world;

use std::{
    env,
    ops::Range,
    panic::catch_unwind,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use checker::Run;
use turris_test_support::cases;

/// The seeds to run: a single seed (`42`), or a range without its end (`0..5000`).
const SEEDS: &str = "SIMULATION_SEEDS";
/// `.ci/run` runs ten times as many.
const BY_DEFAULT: Range<u64> = 0..50;

fn seeds() -> Range<u64> {
    let Ok(text) = env::var(SEEDS) else { return BY_DEFAULT };
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{SEEDS} is no seed or range: {text}"));
    let seeds = match text.split_once("..") {
        Some((first, last)) => number(first)..number(last),
        None => number(&text)..number(&text) + 1,
    };
    assert!(!seeds.is_empty(), "{SEEDS} names no seed: {text}");
    seeds
}

/// Runs a seed. Returns the failures and the command to run the seed again.
fn failure(seed: u64, log: bool) -> Option<String> {
    let failed = match catch_unwind(|| world::run(seed)) {
        Ok(Run { log: events, violations, .. }) => {
            if log {
                events.iter().for_each(|event| println!("{event}"));
            }
            violations.join("\n")
        }
        Err(_) => "a panic".to_owned(),
    };
    let again = format!("{SEEDS}={seed} cargo test --test in_memory -- --nocapture every_guarantee");
    (!failed.is_empty()).then(|| format!("seed {seed}:\n{failed}\nrun it again, with all that happens:\n{again}\n"))
}

#[test]
fn every_guarantee_holds_at_each_step_of_each_seed() {
    let (seeds, failures) = (seeds(), std::sync::Mutex::new(Vec::new()));
    let (next, log) = (AtomicU64::new(seeds.start), seeds.end - seeds.start == 1);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        break;
                    }
                    failures.lock().unwrap().extend(failure(seed, log));
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {seeds:?} failed; the first:\n{}",
        failures.len(),
        failures[..failures.len().min(5)].join("\n")
    );
}

/// Without this property a failed seed could not be run again.
#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..cases(5, 40) {
        let (first, second) = (world::run(seed), world::run(seed));
        let differ = first.log.iter().zip(&second.log).find(|(first, second)| first != second);
        assert_eq!((first.hash, differ), (second.hash, None), "seed {seed}");
        assert!(first.log.len() > 20, "seed {seed} is a run of {} events", first.log.len());
    }
}
