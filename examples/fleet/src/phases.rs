//! The phases of the demonstration.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::future::{join_all, try_join};
use tokio::time::sleep;
use turris_auth::BoxError;
use turris_emulator::{Emulator, Endpoint, Fault, Limits};

use crate::{
    report::Phase,
    store::Store,
    worker::{Done, Load, Worker},
};

pub(crate) const PROCESSES: u32 = 8;
/// The documented limit of `POST`s in a window.
pub(crate) const LIMIT: u32 = 60;

/// Time of the server for a token. It is long enough for all processes to need a token before the
/// first arrives.
const FETCH: Duration = Duration::from_millis(200);
const GETS: Load = Load { posts: false, requests: 25, every: Duration::ZERO };

/// The bulk job: four processes with 75 `POST`s each, together five full windows.
const BULK_PROCESSES: usize = 4;
const BULK_POSTS: u32 = 75;
/// Extra time for each further window, in addition to the 3 %, if the window is shorter than
/// Turris' own.
const SLACK: Duration = Duration::from_millis(500);

/// Duration of the steady load, during which the store is lost and comes back. A process sends no
/// more `POST`s than its share of the limit.
const STEADY: Duration = Duration::from_secs(12);
const STEADY_GETS: Load = Load { posts: false, requests: 120, every: Duration::from_millis(100) };
const STEADY_POSTS: Load = Load { posts: true, requests: 6, every: Duration::from_secs(2) };
const LOST_AFTER: Duration = Duration::from_secs(3);
const LOST_FOR: Duration = Duration::from_secs(5);
/// Longest wait for the store to be used again: longer than a process's breaker stays open.
const LONGEST_BREAK: Duration = Duration::from_secs(45);

/// Eight processes, and the server that counts their requests.
struct Fleet {
    emulator: Emulator,
    workers: Vec<Worker>,
}

impl Fleet {
    async fn start(store: &Store, window: Duration) -> Result<Self, BoxError> {
        let limits = Limits::default().mutating_requests(LIMIT).window(window);
        let emulator = Emulator::builder().limits(limits).start().await?;
        let workers = (0..PROCESSES)
            .map(|_| Worker::start(&emulator, Some(&store.url()), window, PROCESSES))
            .collect::<Result<_, _>>()?;
        Ok(Self { emulator, workers })
    }

    /// Lets the first `processes` send `loads`.
    async fn send(&mut self, processes: usize, loads: &[Load]) -> Result<(Done, Duration), BoxError> {
        let started = Instant::now();
        let all = join_all(self.workers.iter_mut().take(processes).map(|worker| worker.send(loads))).await;
        let all = all.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok((all.into_iter().fold(Done::default(), Done::and), started.elapsed()))
    }

    /// Sends requests until a process has used the store again. A process tries a lost store again
    /// after 30 s at the latest.
    async fn use_again(&mut self, store: &Store) -> Result<bool, BoxError> {
        let started = Instant::now();
        while started.elapsed() < LONGEST_BREAK {
            if store.keys().await? > 0 {
                return Ok(true);
            }
            sleep(Duration::from_secs(1)).await;
            self.send(1, &[Load { posts: true, requests: 1, every: Duration::ZERO }]).await?;
        }
        // The last request may have waited for longer, until the process used the store.
        Ok(store.keys().await? > 0)
    }

    async fn phase(
        &mut self,
        name: &'static str,
        processes: usize,
        loads: &[Load],
        ideal: Duration,
    ) -> Result<Phase, BoxError> {
        let before = self.emulator.counters();
        let (done, makespan) = self.send(processes, loads).await?;
        let after = self.emulator.counters();
        Ok(Phase::new(name, processes, done, (before, after), makespan, ideal))
    }
}

pub(crate) async fn run(window: Duration, tell: impl Fn(&str)) -> Result<Vec<Phase>, BoxError> {
    let mut store = Store::start().await?;
    let all = PROCESSES as usize;
    tell(&format!(
        "{PROCESSES} processes share a store in `{}`; an embedded Turris counts their requests.\n",
        store.program
    ));

    let mut fleet = Fleet::start(&store, window).await?;
    fleet.emulator.fault(Endpoint::Token, Fault::delay(FETCH));
    tell("cold: all processes start at once, and none has a token.");
    let cold = fleet.phase("cold", all, &[GETS], FETCH).await?.expect_fetches(1);

    tell("revoked: the server revokes the token that all processes use.");
    fleet.emulator.revoke_all_tokens();
    let revoked = fleet.phase("revoked", all, &[GETS], FETCH).await?.expect_fetches(1);
    fleet.emulator.clear_faults();

    let posts = LIMIT * 5;
    let ideal = window * (posts.div_ceil(LIMIT) - 1);
    tell(&format!(
        "bulk: {BULK_PROCESSES} processes send {BULK_POSTS} POSTs each, of which the server allows {LIMIT} in {} s. This takes \
         {} s.",
        window.as_secs(),
        ideal.as_secs()
    ));
    let job = Load { posts: true, requests: BULK_POSTS, every: Duration::ZERO };
    let slack = if window < crate::WINDOW { SLACK * 4 } else { Duration::ZERO };
    let bulk = fleet.phase("bulk", BULK_PROCESSES, &[job], ideal).await?.expect_no_429().expect_near_ideal(slack);
    drop(fleet);

    tell("store_lost: all processes send at a steady pace. The store is killed, and starts again empty.");
    // A new server, whose windows are unused.
    let mut fleet = Fleet::start(&store, window).await?;
    fleet.send(all, &[Load { requests: 1, ..GETS }]).await?;
    let outage = async {
        sleep(LOST_AFTER).await;
        store.kill().await?;
        sleep(LOST_FOR).await;
        store.restart().await
    };
    let steady = fleet.phase("store_lost", all, &[STEADY_GETS, STEADY_POSTS], STEADY);
    let (store_lost, ()) = try_join(pin!(steady), pin!(outage)).await?;
    let is_used = fleet.use_again(&store).await?;
    let store_lost = store_lost.expect_no_429().expect(is_used, "the processes to use the store again");

    Ok(vec![cold, revoked, bulk, store_lost])
}
