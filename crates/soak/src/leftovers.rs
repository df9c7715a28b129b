//! Resources that are still in use at the end of a round.

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
    /// `None` if the system does not report it.
    pub(crate) sockets: Option<usize>,
}

impl Leftovers {
    pub(crate) fn now() -> Self {
        let sockets = open_sockets();
        Self { heap: HEAP.allocated(), tasks: Handle::current().metrics().num_alive_tasks(), sockets }
    }

    /// Waits until the number of tasks and sockets is back at `before`, or for `time_limit`, and
    /// returns the final state.
    ///
    /// A connection's task ends when the runtime next runs it. A background refresh ends with its
    /// response.
    pub(crate) async fn settled(before: &Self, time_limit: Duration) -> Self {
        let started = Instant::now();
        loop {
            let left = Self::now();
            if (left.tasks <= before.tasks && left.sockets <= before.sockets) || started.elapsed() >= time_limit {
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

/// Counts the open sockets that are connected to this port of `127.0.0.1`. Zero if the system does
/// not report them.
pub(crate) fn connections_to(port: u16) -> usize {
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap_or_default();
    let (server, closed) = (format!("0100007F:{port:04X}"), "0");
    let is_one = |line: &&str| {
        // The fields of each line are the number, the local end, the remote end, the state, queues,
        // timer, retransmissions, user, timeout, and the inode. A closed socket has no inode.
        let mut fields = line.split_whitespace();
        fields.nth(2) == Some(&server) && fields.nth(6).is_some_and(|inode| inode != closed)
    };
    table.lines().filter(is_one).count()
}

/// Returns the process's resident memory, including freed memory that the allocator keeps.
pub(crate) fn resident() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "unknown here".to_owned(), |size| size.trim().to_owned())
}
