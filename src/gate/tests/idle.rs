//! Tests of gates that are not idle. One reason is enough for a gate to stay.

use super::*;

fn is_idle(gate: &Gate) -> bool {
    gate.is_idle(Instant::now())
}

#[tokio::test(start_paused = true)]
async fn somebody_stands_in_line() {
    let gate = unpaced();
    assert!(is_idle(&gate));
    let position = QueuePosition { newcomer: false, number: 0 };
    gate.join(position, Waker::noop());
    assert!(!is_idle(&gate));
    gate.leave(position);
    assert!(is_idle(&gate));
}

#[tokio::test(start_paused = true)]
async fn it_is_closed() {
    let gate = unpaced();
    gate.refused(send(&gate), &retry_after(5));
    assert!(!is_idle(&gate));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(is_idle(&gate));
}

#[tokio::test(start_paused = true)]
async fn nothing_has_succeeded_since_a_refusal_without_a_word() {
    let gate = unpaced();
    gate.refused(send(&gate), &StatedLimits::default());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!is_idle(&gate));
    gate.returned(send(&gate), &accepted());
    assert!(is_idle(&gate));
}

#[tokio::test(start_paused = true)]
async fn a_place_of_its_window_is_taken() {
    let gate = paced(3);
    assert!(is_idle(&gate));
    gate.returned(send(&gate), &accepted());
    assert!(!is_idle(&gate));
    tokio::time::sleep(WINDOW).await;
    assert!(is_idle(&gate));
}
