//! The token fetches of one API client, counted where they leave the library.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The window of the documented allowance, and the library's. It is not compressed: no setting of the library shortens it.
const WINDOW: Duration = Duration::from_secs(60);

/// The fetches of the last window, and the most that any window had.
pub(crate) struct Fetches {
    counted: Mutex<Counted>,
}

#[derive(Clone, Default)]
struct Counted {
    recent: VecDeque<Instant>,
    total: u64,
    most: usize,
}

impl Fetches {
    pub(crate) fn new(limit: u32) -> Self {
        // With room for twice the allowance, so that counting is not what makes the heap grow.
        let recent = VecDeque::with_capacity(2 * limit as usize);
        Self { counted: Mutex::new(Counted { recent, ..Counted::default() }) }
    }

    /// A fetch is sent now.
    pub(crate) fn sent(&self) {
        let now = Instant::now();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        while counted.recent.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            counted.recent.pop_front();
        }
        counted.recent.push_back(now);
        counted.total += 1;
        counted.most = counted.most.max(counted.recent.len());
    }

    pub(crate) fn total(&self) -> u64 {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// The most in any window.
    pub(crate) fn most(&self) -> usize {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).most
    }
}
