//! Random partitions between the processes and their store, for many seeds. Time is simulated, and
//! every random choice comes from the seed.

use std::{collections::HashSet, sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::time::{Instant, sleep, sleep_until};
use turris_auth::fleet::MemoryStore;
use turris_emulator::{Emulator, Endpoint, Fault};
use turris_test_support::{EmulatorExt, cases};

use super::support::{Process, all_work};

const MINUTE: Duration = Duration::from_secs(60);
const CHAOS: Duration = Duration::from_secs(20 * 60);

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Calls of the process to the store are lost.
    Cut(usize),
    /// Calls reach the store, and the answers are lost.
    LoseAnswers(usize),
    Mend(usize),
    /// The process is killed, and another process replaces it.
    Replace(usize),
    Forget,
}

fn events(rng: &mut Rng, processes: usize) -> Vec<(Duration, Event)> {
    let mut events: Vec<_> = (0..rng.usize(1..=12))
        .map(|_| {
            let process = rng.usize(..processes);
            let event = match rng.u8(..9) {
                0..3 => Event::Cut(process),
                3 => Event::LoseAnswers(process),
                4..7 => Event::Mend(process),
                7 => Event::Replace(process),
                _ => Event::Forget,
            };
            (CHAOS.mul_f64(rng.f64()), event)
        })
        .collect();
    events.sort_by_key(|(at, _)| *at);
    events
}

async fn run(seed: u64) {
    let rng = &mut Rng::with_seed(seed);
    let lifetime = Duration::from_secs(rng.u64(4 * 60..=60 * 60));
    let turris = Emulator::builder().token_lifetime(lifetime).build().unwrap();
    turris.fault(Endpoint::prefix("/"), Fault::delay(Duration::from_millis(rng.u64(0..=300))));
    let store = Arc::new(MemoryStore::new());
    let count = rng.usize(2..=5);
    let start = || {
        let expected = u32::try_from(count).unwrap();
        Process::start_with(&turris, &store, turris.credentials(), |builder| builder.expected_processes(expected))
    };
    let mut processes: Vec<_> = (0..count).map(|_| start()).collect();
    let events = events(rng, count);
    let (started, mut events) = (Instant::now(), events.into_iter().peekable());
    while started.elapsed() < CHAOS {
        while let Some((_, event)) = events.next_if(|(at, _)| started + *at <= Instant::now()) {
            match event {
                Event::Cut(process) => processes[process].network.cut(),
                Event::LoseAnswers(process) => processes[process].network.lose_answers(),
                Event::Mend(process) => processes[process].network.mend(),
                Event::Replace(process) => processes[process] = start(),
                Event::Forget => store.clear(),
            }
        }
        // No request fails, or waits for longer than a lease, a fetch and a few deadlines.
        let asked = Instant::now();
        all_work(&processes).await;
        assert!(asked.elapsed() < Duration::from_secs(6), "seed {seed}: {:?}", asked.elapsed());
        sleep_until(asked + Duration::from_secs(rng.u64(1..=40))).await;
    }
    let counters = turris.counters();
    assert_eq!((counters.unauthorized, counters.token_requests_refused), (0, 0), "seed {seed}: {counters:?}");

    // The store is back. Within the lifetime of a token all processes share one token again, so
    // that a revocation costs one fetch.
    processes.iter().for_each(|process| process.network.mend());
    let mended = Instant::now();
    loop {
        all_work(&processes).await;
        sleep(MINUTE / 4).await;
        let mut tokens = HashSet::new();
        for process in &processes {
            tokens.insert(process.handle.token().await.unwrap().as_str().to_owned());
        }
        if tokens.len() == 1 && mended.elapsed() > MINUTE {
            break;
        }
        assert!(mended.elapsed() < lifetime + 2 * MINUTE, "seed {seed}: {} tokens", tokens.len());
    }
    let before = turris.counters().token_requests;
    turris.revoke_all_tokens();
    all_work(&processes).await;
    assert_eq!(turris.counters().token_requests, before + 1, "seed {seed}: a fetch for all after a revocation");
}

#[test]
fn a_store_that_is_cut_off_from_some_processes_and_comes_back_fails_no_request() {
    for seed in 0..cases(15, 150) {
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(seed));
    }
}
