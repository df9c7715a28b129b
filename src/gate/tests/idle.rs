//! Tests of the reasons for which a gate is not idle. Each reason is enough.

use super::*;

fn is_idle(gate: &Gate) -> bool {
    gate.is_idle(Instant::now())
}

#[tokio::test(start_paused = true)]
async fn a_gate_with_a_waiter_is_not_idle() {
    let gate = unpaced();
    assert!(is_idle(&gate));
    let position = QueuePosition { newcomer: false, number: 0 };
    gate.join(position, Waker::noop());
    assert!(!is_idle(&gate));
    gate.leave(position);
    assert!(is_idle(&gate));
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_is_not_idle() {
    let gate = unpaced();
    gate.refused(send(&gate), &retry_after(5));
    assert!(!is_idle(&gate));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(is_idle(&gate));
}

#[tokio::test(start_paused = true)]
async fn a_gate_without_a_success_since_a_refusal_that_stated_no_time_is_not_idle() {
    let gate = unpaced();
    gate.refused(send(&gate), &StatedLimits::default());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!is_idle(&gate));
    gate.returned(send(&gate), &accepted());
    assert!(is_idle(&gate));
}

#[tokio::test(start_paused = true)]
async fn a_gate_with_a_used_slot_is_not_idle() {
    let gate = paced(3);
    assert!(is_idle(&gate));
    gate.returned(send(&gate), &accepted());
    assert!(!is_idle(&gate));
    tokio::time::sleep(WINDOW).await;
    assert!(is_idle(&gate));
}
