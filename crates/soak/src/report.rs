//! The printed report and the result of the check.

use std::time::Duration;

use crate::{
    caller::LONGEST_WAIT,
    faults::Chosen,
    lane::{CALLERS, Lane},
    leftovers::{self, Leftovers},
    outcome::Kind,
    tally::Tally,
};

/// The number of problems after which the run ends.
const MAX_PROBLEMS: usize = 20;
/// The largest permitted growth of the heap. The heap varies by less than a kilobyte in the long
/// run. In runs of a few rounds some buffers reach their final size late, which takes up to 10 KiB.
/// A leak of 64 bytes for each caller that gives up exceeds this bound within five minutes.
const MAX_GROWTH: usize = 32 * 1024;

pub(crate) struct Report {
    before: Leftovers,
    /// The heap after each round.
    heap: Vec<usize>,
    /// Requests with an unexpected outcome.
    unexpected: u64,
    problems: Vec<String>,
}

pub(crate) fn print_head() {
    println!(
        "{:>5}  {:>9}  {:>9}  {:>11}  {:>9}  {:>12}  {:>8}  {:>5}  {:>7}",
        "round", "requests", "answered", "fetches", "longest", "recovered", "heap", "tasks", "sockets"
    );
}

impl Report {
    pub(crate) fn new(before: Leftovers, max_rounds: usize) -> Self {
        Self {
            before,
            heap: Vec::with_capacity(max_rounds + 1),
            unexpected: 0,
            problems: Vec::with_capacity(MAX_PROBLEMS),
        }
    }

    pub(crate) fn rounds(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    pub(crate) fn round_ended(&mut self, left: Leftovers, lanes: &mut [Lane; 2]) {
        let total = together(lanes);
        let [first, second] = &*lanes;
        println!(
            "{:>5}  {:>9}  {:>9}  {:>5} {:>5}  {:>7.1} s  {:>4.1} {:>5.1} s  {:>4} KiB  {:>5}  {:>7}",
            self.rounds(),
            total.total(),
            total.count(Kind::Answered),
            first.fetches().0,
            second.fetches().0,
            total.latency.longest().as_secs_f64(),
            first.recovery.as_secs_f64(),
            second.recovery.as_secs_f64(),
            left.heap / 1024,
            left.tasks,
            left.sockets.map_or_else(|| "?".to_owned(), |sockets| sockets.to_string()),
        );
        let round = self.rounds();
        self.heap.push(left.heap);
        for lane in lanes {
            self.problems.append(&mut lane.take_problems());
        }
        if left.tasks > self.before.tasks {
            self.problems.push(format!("round {round}: {} tasks were left", left.tasks - self.before.tasks));
        }
        if left.sockets > self.before.sockets {
            self.problems.push(format!("round {round}: sockets were left: {:?}", left.sockets));
        }
        let unexpected = total.unexpected();
        if unexpected > self.unexpected {
            self.problems
                .push(format!("round {round}: {} requests ended in a forbidden way", unexpected - self.unexpected));
            self.unexpected = unexpected;
        }
    }
}

fn together(lanes: &[Lane; 2]) -> Tally {
    let mut together = Tally::new();
    lanes.iter().for_each(|lane| together.merge(lane.tally.clone()));
    together
}

impl Report {
    /// Prints the sums, and returns the problems.
    pub(crate) fn finish(mut self, took: Duration, lanes: &[Lane; 2]) -> Vec<String> {
        let total = together(lanes);
        println!("\n{} requests of {} callers in {:.0} s:", total.total(), 2 * CALLERS, took.as_secs_f64());
        for kind in Kind::ALL.iter().filter(|kind| kind.is_expected() || total.count(**kind) > 0) {
            let share = 100.0 * total.count(*kind) as f64 / total.total().max(1) as f64;
            let expectation = if kind.is_expected() { "expected" } else { "NOT EXPECTED" };
            println!("  {:<30} {:>9}  {share:>5.1} %  {expectation}: {}", kind.name(), total.count(*kind), kind.why());
        }
        self.problems.extend(total.samples().iter().cloned());
        println!(
            "\nWaits for an answer's head: half within {:.1?}, 99 % within {:.1?}, the longest {:.1?} ({LONGEST_WAIT:?} allowed).",
            total.latency.quantile(0.5),
            total.latency.quantile(0.99),
            total.latency.longest(),
        );
        for lane in lanes {
            let (fetches, most) = lane.fetches();
            let seen = &lane.seen;
            println!(
                "{}: {fetches} token fetches, {most} in the fullest minute ({} allowed); the server saw {} \
                 of them, issued {} tokens, got {} requests over {} connections, spoilt {} and was started {} times.",
                lane.name,
                lane.fetches_per_minute(),
                seen.token_requests,
                seen.tokens,
                seen.requests,
                seen.connections,
                seen.faults,
                seen.starts
            );
        }
        println!("Faults, with their numbers: {}.", listed(lanes));
        self.check_heap();
        self.problems
    }

    /// Checks the growth of the heap: after all work has ended, it may not exceed its earlier size.
    ///
    /// Buffers, tables and logs reach their final size in the first third, which is left out. The
    /// rest is split in two halves, and their medians are compared, so that one unusual round
    /// decides nothing.
    fn check_heap(&mut self) {
        let settled = self.heap.get(self.heap.len().div_ceil(3)..).unwrap_or_default();
        let (early, late) = settled.split_at(settled.len() / 2);
        let (Some(early), Some(late)) = (median(early), median(late)) else {
            self.problems.push("too few rounds to check the heap: a longer run is needed".to_owned());
            return;
        };
        let kib = |bytes: usize| bytes as f64 / 1024.0;
        println!(
            "Heap when all had ended: {:.1} KiB after the first round, {:.1} KiB in the second third, {:.1} KiB in the last \
             ({MAX_GROWTH} B more allowed). Resident: {}.",
            self.heap.first().map_or(0.0, |first| kib(*first)),
            kib(early),
            kib(late),
            leftovers::resident(),
        );
        if late > early.saturating_add(MAX_GROWTH) {
            self.problems.push(format!("the heap grows: {:?} bytes after each round", self.heap));
        }
    }
}

fn median(values: &[usize]) -> Option<usize> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

fn listed(lanes: &[Lane; 2]) -> String {
    let mut sums = Chosen::new();
    for (name, times) in lanes.iter().flat_map(|lane| &lane.chosen) {
        *sums.entry(name).or_default() += times;
    }
    sums.iter().map(|(name, times)| format!("{name} {times}")).collect::<Vec<_>>().join(", ")
}
