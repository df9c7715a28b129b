//! `cargo bench --bench contention`: times of the layers, alone, on several threads, and when many callers want one token.
//!
//! `benches/README.md` says what each figure means. What is not a time (calls, heap, percentiles), and the comparison with
//! what a user could take instead, is printed by `benches/peers`.
#![allow(
    dead_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "the modules are shared with the other benchmarks, each of which uses a part"
)]

#[path = "instructions/src/contenders.rs"]
mod contenders;
mod scenarios;
#[path = "instructions/src/work.rs"]
mod work;

use std::time::{Duration, Instant};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use tower::Layer;

use self::{
    contenders::{CONTENDERS, static_header},
    scenarios::{
        cold,
        end_to_end::{self, Protocol},
        refused, storm,
        threads::{self, Cloned},
    },
    work::Inner,
};

criterion_main!(benches);
criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500));
    targets = hot, on_threads, on_runtime, cold, failing, over_loopback
}

fn hot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hot");
    for contender in CONTENDERS {
        let mut send = (contender.prepare)();
        group.bench_function(contender.name, |bencher| {
            bencher.iter_custom(|requests| timed(|| _ = send(requests)));
        });
    }
}

fn on_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("threads");
    for cloned in [Cloned::PerThread, Cloned::PerRequest] {
        for count in [1, 2] {
            group.throughput(Throughput::Elements(count as u64));
            let id = |name: &str| BenchmarkId::new(name, format!("{count}, cloned {cloned:?}"));
            let service = static_header().layer(Inner);
            group.bench_function(id("add_authorization"), |bencher| {
                bencher.iter_custom(|requests| threads::threads(&service, cloned, count, requests));
            });
            for (name, retry) in [("auth_without_retry", false), ("auth", true)] {
                let service = contenders::auth(retry).layer(Inner);
                group.bench_function(id(name), |bencher| {
                    bencher.iter_custom(|requests| threads::threads(&service, cloned, count, requests));
                });
            }
        }
    }
}

fn on_runtime(criterion: &mut Criterion) {
    const TASKS: usize = 64;
    let mut group = criterion.benchmark_group("multi-thread runtime");
    group.throughput(Throughput::Elements(TASKS as u64));
    let service = static_header().layer(Inner);
    group.bench_function("add_authorization", |bencher| {
        bencher.iter_custom(|requests| threads::tasks(&service, TASKS, requests));
    });
    let service = contenders::auth(true).layer(Inner);
    group.bench_function("auth", |bencher| {
        bencher.iter_custom(|requests| threads::tasks(&service, TASKS, requests));
    });
}

/// The time from the end of the fetch until the last caller is through.
fn cold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cold, release");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for callers in [1, 100, 10_000, 100_000] {
        group.throughput(Throughput::Elements(callers as u64));
        each(&mut group, BenchmarkId::new("notify", callers), || {
            cold::parked(callers, || 0, static_header().layer(Inner)).release
        });
        each(&mut group, BenchmarkId::new("auth", callers), || cold::waiting(callers, || 0, scenarios::auth).release);
    }
}

fn failing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("1,000 callers");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    each(&mut group, BenchmarkId::from_parameter("storm, first error to last"), || {
        let storm = storm::storm(storm::CALLERS, scenarios::auth);
        storm.last_error - storm.first_error
    });
    each(&mut group, BenchmarkId::from_parameter("cancelled leader, all of 50 ms"), || {
        storm::cancelled_leader(scenarios::auth).last_answer
    });
    each(&mut group, BenchmarkId::from_parameter("401 for all, fetch of 50 ms"), || refused::burst().last_answer);
}

/// 32 callers, the time per request.
fn over_loopback(criterion: &mut Criterion) {
    const EACH: usize = 100;
    let server = end_to_end::server(end_to_end::ANSWER);
    let mut group = criterion.benchmark_group("loopback");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let per_request = |throughput: end_to_end::Throughput| {
            throughput.took / u32::try_from(throughput.latencies.len()).unwrap_or(u32::MAX)
        };
        each(&mut group, BenchmarkId::new("client alone", format!("{protocol:?}")), || {
            per_request(end_to_end::throughput(end_to_end::client(protocol), server, EACH))
        });
        each(&mut group, BenchmarkId::new("auth", format!("{protocol:?}")), || {
            let service = end_to_end::auth(server).layer(end_to_end::client(protocol));
            per_request(end_to_end::throughput(service, server, EACH))
        });
    }
}

/// One run of a scenario is one iteration, and it says itself how long it took.
fn each(group: &mut BenchmarkGroup<'_, WallTime>, id: BenchmarkId, mut run: impl FnMut() -> Duration) {
    group.bench_function(id, |bencher| bencher.iter_custom(|times| (0..times).map(|_| run()).sum()));
}

fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}
