//! What is still there when nothing should be.

use std::{fs, time::Duration};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use crate::HEAP;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Leftovers {
    /// Bytes that are allocated and not freed.
    pub(crate) heap: usize,
    pub(crate) tasks: usize,
    /// `None` where the system does not tell.
    pub(crate) sockets: Option<usize>,
}

impl Leftovers {
    pub(crate) fn now() -> Self {
        let sockets = open_sockets();
        Self { heap: HEAP.allocated(), tasks: Handle::current().metrics().num_alive_tasks(), sockets }
    }

    /// As soon as no more tasks and sockets are there than `before`; or after `patience`, as it is then.
    ///
    /// A connection's task ends when the runtime next gets around to it, a background refresh with its answer.
    pub(crate) async fn settled(before: &Self, patience: Duration) -> Self {
        let started = Instant::now();
        loop {
            let left = Self::now();
            if (left.tasks <= before.tasks && left.sockets <= before.sockets) || started.elapsed() >= patience {
                return left;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

fn open_sockets() -> Option<usize> {
    let open = fs::read_dir("/proc/self/fd").ok()?;
    let targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Some(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
}

/// What the process has of the machine's memory, freed memory that the allocator keeps included.
pub(crate) fn resident() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "unknown here".to_owned(), |size| size.trim().to_owned())
}
