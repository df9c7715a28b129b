//! Test of the circuit breaker around the store.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, advance};
use turris_auth::{SharedState, fleet::MemoryStore};
use turris_emulator::Emulator;
use turris_test_support::EmulatorExt;

use super::support::{Network, Process};

const DEADLINE: Duration = Duration::from_millis(100);

/// Sends the first request of a process, and returns how long it took.
async fn duration_of_first_request(process: &Process) -> Duration {
    let started = Instant::now();
    process.works().await;
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_one_request_per_pause_waits_for_it() {
    let (turris, store) = (Emulator::builder().build().unwrap(), Arc::new(MemoryStore::new()));
    let network = Network::to(&store);
    let builder = SharedState::builder(network.clone(), turris.client_id(), &turris.environment());
    let fleet = builder.deadline(DEADLINE).build().unwrap();
    // The layers share one breaker. The first request of each asks the store for a token.
    let layer = || Process::with(&turris, network.clone(), turris.credentials(), &fleet);
    network.cut();

    assert_eq!(duration_of_first_request(&layer()).await, DEADLINE);
    assert_eq!(network.calls(), 1);
    // The pause of 50 to 100 ms.
    for _ in 0..2 {
        assert_eq!(duration_of_first_request(&layer()).await, Duration::ZERO);
    }
    assert_eq!(network.calls(), 1);

    advance(Duration::from_millis(100)).await;
    let (probing, skipping) = (layer(), layer());
    let (probe, other) = tokio::join!(duration_of_first_request(&probing), duration_of_first_request(&skipping));
    assert_eq!((probe, other), (DEADLINE, Duration::ZERO));
    assert_eq!(network.calls(), 2);
    // The pause is twice as long now: 100 to 200 ms.
    advance(Duration::from_millis(99)).await;
    assert_eq!(duration_of_first_request(&layer()).await, Duration::ZERO);
    assert_eq!(network.calls(), 2);

    network.mend();
    advance(Duration::from_millis(101)).await;
    layer().works().await;
    let token_requests = turris.counters().token_requests;
    layer().works().await;
    assert_eq!(turris.counters().token_requests, token_requests, "the store is used again");
}
