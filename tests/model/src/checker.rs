//! Runs a scenario through all its interleavings.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Enough for the longest interleaving of any scenario: only a loop that never ends goes beyond it.
const LONGEST: usize = 20_000;

/// Runs `scenario` in every interleaving in which a thread is set aside at most `preemptions` times while it could go on;
/// in every one at all without that. All threads have to end.
pub(crate) fn check(name: &str, preemptions: Option<usize>, scenario: impl Fn() + Send + Sync + 'static) {
    let interleavings = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&interleavings);
    let mut builder = loom::model::Builder::new();
    builder.max_threads = 5;
    builder.max_branches = LONGEST;
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    let bound = builder.preemption_bound;
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        // The jitters have to be the same each time an interleaving is continued.
        fastrand::seed(1);
        scenario();
        crate::runtime::join_tasks();
    });
    let bound = bound.map_or("all of them".to_owned(), |bound| format!("up to {bound} preemptions"));
    println!("{name}: {} interleavings ({bound})", interleavings.load(Ordering::Relaxed));
}
