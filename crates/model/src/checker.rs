//! Runs a scenario in all its interleavings.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The largest number of steps of an interleaving. Only an endless loop exceeds it.
const LONGEST: usize = 20_000;

/// Runs `scenario` in every interleaving with at most `preemptions` preemptions: switches away from
/// a thread that could continue. When a thread waits, all other threads are tried without such a
/// bound. `LOOM_MAX_PREEMPTIONS` sets another bound for all scenarios. All threads have to end.
pub(crate) fn check(name: &str, preemptions: usize, scenario: impl Fn() + Send + Sync + 'static) {
    let interleavings = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&interleavings);
    let mut builder = loom::model::Builder::new();
    builder.max_threads = 5;
    builder.max_branches = LONGEST;
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    let bound = builder.preemption_bound.unwrap_or_default();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        // The jitter has to be the same each time an interleaving is repeated.
        fastrand::seed(1);
        scenario();
        crate::runtime::join_tasks();
        crate::history::check_all();
    });
    let interleavings = interleavings.load(Ordering::Relaxed);
    println!("{name}: {interleavings} interleavings with up to {bound} preemptions");
    assert!(interleavings > 10, "too few interleavings to say anything: the threads do not meet");
}
