//! Tables for many callers.

use std::time::Duration;

use tower::Layer;
use turris_auth::{TokenService, TurrisAuth};
use turris_auth_instructions::{
    callgrind::{self, Error},
    contenders::{Contender, Run, Runner},
};

use crate::{
    contenders::{self, static_header},
    metered::live_bytes,
    peers,
    scenarios::{
        self, Caller,
        cold::{self, Cold},
        end_to_end::{self, Protocol, Throughput},
        expiry::{self, Expiry},
        refused,
        source::Source,
        storm::{self, CancelledLeader, Storm},
        threads::{self, Cloned},
    },
    statistics::{median, p10, quantile},
    work::Inner,
};

pub fn print() -> Result<(), Error> {
    print_cold_instructions()?;
    // Printed first, because the following scenarios leave the freed blocks of 100,000 callers to
    // the allocator.
    print_storm();
    print_cancelled_leader();
    print_cold();
    print_threads();
    print_tasks();
    print_expiry();
    print_burst();
    print_loopback();
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Prints the share of the throughput of two separate threads that is left when both run at once. 1
/// is perfect.
fn print_threads() {
    const ROUNDS: usize = 31;
    const REQUESTS: u64 = 10_000;
    println!(
        "\n| 2 threads, share of twice 1 thread | cloned | scaling, median | p10 to p90 | to add_authorization's |"
    );
    println!("| --- | --- | ---: | ---: | ---: |");
    for cloned in [Cloned::PerThread, Cloned::PerRequest] {
        let floor = static_header().layer(Inner);
        let (without, with) = (contenders::auth(false).layer(Inner), contenders::auth(true).layer(Inner));
        let mut samples = [Vec::new(), Vec::new(), Vec::new()];
        let share = |run: &dyn Fn(usize) -> Duration| run(1).as_secs_f64() / run(2).as_secs_f64();
        for _ in 0..ROUNDS {
            samples[0].push(share(&|count| threads::threads(&floor, cloned, count, REQUESTS)));
            samples[1].push(share(&|count| threads::threads(&without, cloned, count, REQUESTS)));
            samples[2].push(share(&|count| threads::threads(&with, cloned, count, REQUESTS)));
        }
        for (name, own) in ["add_authorization", "auth_without_retry", "auth"].iter().zip(&samples) {
            let ratios: Vec<_> = own.iter().zip(&samples[0]).map(|(own, floor)| own / floor).collect();
            println!(
                "| {name} | {cloned:?} | {:.2} | {:.2} to {:.2} | {:.2} |",
                median(own),
                p10(own),
                quantile(own, 0.9),
                median(&ratios)
            );
        }
    }
}

/// The same on a multi-thread runtime, in microseconds per request of all tasks together.
fn print_tasks() {
    const ROUNDS: usize = 31;
    const TASKS: usize = 64;
    const REQUESTS: u64 = 500;
    let floor = static_header().layer(Inner);
    let auth = contenders::auth(true).layer(Inner);
    let each = |took: Duration| took.as_secs_f64() * 1e6 / (TASKS as u64 * REQUESTS) as f64;
    let (mut samples, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floors.push(each(threads::tasks(&floor, TASKS, REQUESTS)));
        samples.push(each(threads::tasks(&auth, TASKS, REQUESTS)));
    }
    let ratios: Vec<_> = samples.iter().zip(&floors).map(|(own, floor)| own / floor).collect();
    println!("\n| 64 tasks on 2 workers | us per request, p10 | median | to add_authorization, median of pairs |");
    println!("| --- | ---: | ---: | ---: |");
    println!("| add_authorization | {:.2} | {:.2} | 1.00 |", p10(&floors), median(&floors));
    println!("| auth | {:.2} | {:.2} | {:.2} |", p10(&samples), median(&samples), median(&ratios));
}

/// Measurements of the floor and of the layers, taken in turn. Each ratio compares a pair that ran
/// one after the other.
pub struct ColdPair {
    pub callers: usize,
    pub floor: Vec<Cold>,
    /// The floor for the layer with retry: callers make the same call, with a copy for a retry, and
    /// the layer has its token.
    pub warm: Vec<Cold>,
    pub auth: Vec<Cold>,
    pub without_retry: Vec<Cold>,
}

pub fn cold() -> Vec<ColdPair> {
    let sizes = [(1, 21), (100, 21), (10_000, 21), (100_000, 11)];
    sizes
        .map(|(callers, rounds)| {
            let none = Vec::new;
            let mut pair = ColdPair { callers, floor: none(), warm: none(), auth: none(), without_retry: none() };
            for _ in 0..rounds {
                pair.floor.push(cold::parked(callers, live_bytes, static_header().layer(Inner)));
                pair.warm.push(cold::parked(callers, live_bytes, contenders::auth(true).layer(Inner)));
                pair.auth.push(cold::waiting(callers, live_bytes, scenarios::auth));
                pair.without_retry.push(cold::waiting(callers, live_bytes, |source: &Source| {
                    scenarios::builder(source).retry_unauthorized(false).build().expect("a valid layer").layer(Inner)
                }));
            }
            pair
        })
        .into()
}

const COLD_FLOOR: &str = "cold_notify";

/// The whole life of a waiting caller: start, wait, release, end.
pub fn cold_contenders() -> [Contender; 3] {
    const NO_SIZES: Run = Run { service_size: 0, future_size: 0 };
    fn run(scenario: fn(usize) -> Cold) -> Runner {
        Box::new(move |callers| {
            scenario(callers as usize);
            NO_SIZES
        })
    }
    [
        Contender {
            name: COLD_FLOOR,
            floor: COLD_FLOOR,
            prepare: || run(|callers| cold::parked(callers, || 0, static_header().layer(Inner))),
        },
        Contender {
            name: "cold_auth",
            floor: COLD_FLOOR,
            prepare: || run(|callers| cold::waiting(callers, || 0, scenarios::auth)),
        },
        Contender {
            name: "cold_auth_without_retry",
            floor: COLD_FLOOR,
            prepare: || run(|callers| cold::waiting(callers, || 0, without_retry)),
        },
    ]
}

fn without_retry(source: &Source) -> TurrisAuth<Inner, TokenService> {
    scenarios::builder(source).retry_unauthorized(false).build().expect("a valid layer").layer(Inner)
}

/// Prints instruction counts, which do not depend on other work of the machine. They cover the
/// whole life of a caller and not only its release.
fn print_cold_instructions() -> Result<(), Error> {
    println!("\n| the life of one waiting caller | instructions | to Notify |");
    println!("| --- | ---: | ---: |");
    let mut floor = None;
    for Contender { name, .. } in cold_contenders() {
        let own = callgrind::instructions(name)?;
        println!("| {name} | {own} | {:.2} |", own as f64 / *floor.get_or_insert(own) as f64);
    }
    Ok(())
}

fn print_cold() {
    println!(
        "\n| callers without a token | source calls | release per caller, ns, p10 | median | to Notify, p10 | median of pairs | to the same call, p10 | median of pairs | heap per caller | to Notify |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for pair in cold() {
        let callers = pair.callers as f64;
        let per_caller =
            |runs: &[Cold]| -> Vec<f64> { runs.iter().map(|cold| cold.release.as_nanos() as f64 / callers).collect() };
        let heap = |runs: &[Cold]| median(&runs.iter().map(|cold| cold.heap as f64 / callers).collect::<Vec<_>>());
        let (floor, warm) = (per_caller(&pair.floor), per_caller(&pair.warm));
        let rows = [
            ("Notify", &pair.floor),
            ("Notify, then auth with a token", &pair.warm),
            ("auth", &pair.auth),
            ("auth_without_retry", &pair.without_retry),
        ];
        for (name, runs) in rows {
            let own = per_caller(runs);
            let ratios =
                |floor: &[f64]| median(&own.iter().zip(floor).map(|(own, floor)| own / floor).collect::<Vec<_>>());
            println!(
                "| {name}, {} | {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {:.3} |",
                pair.callers,
                runs.iter().map(|cold| cold.source_calls).max().unwrap_or(0),
                p10(&own),
                median(&own),
                p10(&own) / p10(&floor),
                ratios(&floor),
                p10(&own) / p10(&warm),
                ratios(&warm),
                heap(runs),
                heap(runs) / heap(&pair.floor)
            );
        }
    }
}

/// All contenders that accept a source that fails.
pub fn storms(callers: usize) -> Vec<(&'static str, Storm)> {
    vec![
        ("auth", storm::storm(callers, scenarios::auth)),
        ("moka", storm::storm(callers, peers::moka)),
        ("aws_smithy", storm::storm(callers, peers::aws)),
        ("azure_core", storm::storm(callers, peers::azure)),
        ("tokio_mutex_filter", storm::storm(callers, peers::tokio_mutex)),
        ("tokio_rwlock", storm::storm(callers, peers::tokio_rwlock)),
        ("std_rwlock", storm::storm(callers, peers::std_rwlock)),
        ("arc_swap_by_hand", storm::storm(callers, peers::arc_swap)),
    ]
}

fn print_storm() {
    // Some contenders make a fetch for each caller, one after another. With 1,000 callers they
    // would take over 20 s.
    for callers in [100, storm::CALLERS] {
        println!(
            "\n| {callers} callers, a source that fails after 20 ms | source calls | failed | first error, ms | last error, ms |"
        );
        println!("| --- | ---: | ---: | ---: | ---: |");
        let storms = match callers {
            storm::CALLERS => vec![("auth", storm::storm(callers, scenarios::auth))],
            _ => storms(callers),
        };
        for (name, storm) in storms {
            println!(
                "| {name} | {} | {} | {:.1} | {:.1} |",
                storm.source_calls,
                storm.failed,
                milliseconds(storm.first_error),
                milliseconds(storm.last_error)
            );
        }
    }
}

fn print_cancelled_leader() {
    println!("\n| first of 1,000 dropped at 10 ms of 50 | source calls | of 999 succeeded | last answer, ms |");
    println!("| --- | ---: | ---: | ---: |");
    let print = |name: &str, leader: CancelledLeader| {
        let CancelledLeader { source_calls, succeeded, last_answer } = leader;
        println!("| {name} | {source_calls} | {succeeded} | {:.1} |", milliseconds(last_answer));
    };
    print("auth", storm::cancelled_leader(scenarios::auth));
    print("moka", storm::cancelled_leader(peers::moka));
    print("aws_smithy", storm::cancelled_leader(peers::aws));
    print("azure_core", storm::cancelled_leader(peers::azure));
    print("tokio_mutex_filter", storm::cancelled_leader(peers::tokio_mutex));
    print("tokio_rwlock", storm::cancelled_leader(peers::tokio_rwlock));
    print("arc_swap_by_hand", storm::cancelled_leader(peers::arc_swap));
}

/// azure_core and aws_smithy are left out, because they are not made for tokens that live for a
/// second.
pub fn expiries() -> Vec<(&'static str, Expiry)> {
    const LASTING: Duration = Duration::from_secs(5);
    fn run<S: Caller>(make: fn(&Source) -> S) -> Expiry {
        expiry::expiry(LASTING, make)
    }
    vec![
        ("auth", run(scenarios::auth)),
        ("moka", run(peers::moka)),
        ("tokio_mutex_filter", run(peers::tokio_mutex)),
        ("tokio_rwlock", run(peers::tokio_rwlock)),
        ("arc_swap_by_hand", run(peers::arc_swap)),
    ]
}

fn print_expiry() {
    println!(
        "\n| 200 steady callers, 5 s of tokens that live 1 s | source calls | requests | waited | longest wait, ms |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, expiry) in expiries() {
        let longest = expiry.waits.iter().map(|(_, wait)| *wait).max().unwrap_or_default();
        println!(
            "| {name} | {} | {} | {} | {:.1} |",
            expiry.source_calls,
            expiry.requests,
            expiry.waited,
            milliseconds(longest)
        );
    }
}

fn print_burst() {
    let refused::Burst { source_calls, succeeded, last_answer } = refused::burst();
    println!(
        "\n| 1,000 requests refused with one token, source of 50 ms | source calls | succeeded | last answer after the 401, ms |"
    );
    println!("| --- | ---: | ---: | ---: |");
    println!("| auth | {source_calls} | {succeeded} | {:.1} |", milliseconds(last_answer));
}

pub fn print_loopback() {
    const ROUNDS: usize = 7;
    const EACH: usize = 150;
    let server = end_to_end::server(end_to_end::ANSWER);
    println!("\n| loopback, 32 callers | requests/s | to the client alone | p50, us | p99, us | p99.9, us |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let client = || end_to_end::client(protocol);
        let backoff = contenders::backoff().build().expect("a valid layer");
        let mut runs: [Vec<Throughput>; 4] = Default::default();
        for _ in 0..ROUNDS {
            runs[0].push(end_to_end::throughput(client(), server, EACH));
            runs[1].push(end_to_end::throughput(static_header().layer(client()), server, EACH));
            let auth = || end_to_end::auth(server).layer(client());
            runs[2].push(end_to_end::throughput(auth(), server, EACH));
            runs[3].push(end_to_end::throughput(backoff.layer(auth()), server, EACH));
        }
        for (name, own) in ["client alone", "add_authorization", "auth", "backoff over auth"].iter().zip(&runs) {
            let per_second: Vec<_> = own.iter().map(Throughput::per_second).collect();
            let ratios: Vec<_> =
                own.iter().zip(&runs[0]).map(|(own, alone)| own.per_second() / alone.per_second()).collect();
            let at = |share| median(&own.iter().map(|run| run.quantile(share).as_secs_f64() * 1e6).collect::<Vec<_>>());
            println!(
                "| {name}, {protocol:?} | {:.0} | {:.3} | {:.0} | {:.0} | {:.0} |",
                median(&per_second),
                median(&ratios),
                at(0.5),
                at(0.99),
                at(0.999)
            );
        }
    }
}
