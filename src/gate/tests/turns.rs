//! Tests of turns in the queue, for cases that the model (`model.rs`) meets too rarely or does not
//! check.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_that_was_not_counted_closes_a_gate_that_has_been_closed_before() {
    let gate = unpaced();
    let refusal = gate.refused(leave(&gate), &retry_after(5));
    gate.join(refusal.position, Waker::noop());
    let again = go(&gate, refusal.position).await;
    gate.returned(again, accepted());
    let record = leave(&gate);
    assert!(record.counted.is_none());
    // A refusal that states no time counts only if it is the first refusal of its epoch.
    gate.refused(record, &RateLimits::default());
    assert_eq!(gate.lock().cooldown.refusals(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_again_and_again_and_never_goes_holds_nobody_up_for_longer() {
    let gate = paced(1);
    let record = leave(&gate);
    let [front, behind] = [stand(&gate), stand(&gate)];
    gate.returned(record, accepted());
    tokio::time::sleep(WINDOW).await;
    let start = Instant::now();
    loop {
        let now = Instant::now();
        assert_eq!(gate.turn(front, now, Waker::noop()), Turn::Send);
        if gate.turn(behind, now, Waker::noop()) == Turn::Send {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        tokio::time::sleep(PATIENCE / 4).await;
    }
    assert_eq!(start.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_is_told_the_same_time_to_come_back_closes_the_gate_once() {
    let gate = unpaced();
    let burst: Vec<_> = (0..100).map(|_| leave(&gate)).collect();
    let closings = burst.into_iter().map(|record| {
        gate.refused(record, &retry_after(20));
        let cooldown = &gate.lock().cooldown;
        (cooldown.epoch(), cooldown.closed_until())
    });
    let closings: Vec<_> = closings.collect();
    assert_eq!(closings, vec![closings[0]; 100]);
}

#[tokio::test(start_paused = true)]
async fn those_behind_look_at_the_front_the_more_rarely_the_further_back_they_stand() {
    let gate = unpaced();
    gate.refused(leave(&gate), &retry_after(5));
    let places: Vec<_> = (0..100).map(|_| stand(&gate)).collect();
    let closed_until = until(&gate, places[0]);
    for (n, position) in (1..).zip(&places[1..]) {
        assert_eq!(until(&gate, *position), closed_until + PATIENCE + PATIENCE / 8 * n.min(64));
    }
}
