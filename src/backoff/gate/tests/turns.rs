//! Who may go when: cases that the model (`model.rs`) comes by too seldom, or does not see.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_that_was_not_counted_closes_a_gate_that_has_been_closed_before() {
    let gate = unpaced();
    let refusal = gate.refused(leave(&gate), &retry_after(5));
    gate.stand(refusal.place, false, Waker::noop());
    let again = go(&gate, refusal.place).await;
    gate.returned(again, accepted);
    let departure = leave(&gate);
    assert!(departure.counted.is_none());
    // One who says nothing is heeded only where it tells news.
    gate.refused(departure, &RateLimits::default());
    assert_eq!(gate.lock().refusals, 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_again_and_again_and_never_goes_holds_nobody_up_for_longer() {
    let gate = paced(1);
    let departure = leave(&gate);
    let [front, behind] = [stand(&gate), stand(&gate)];
    gate.returned(departure, accepted);
    tokio::time::sleep(WINDOW).await;
    let start = Instant::now();
    loop {
        let now = Instant::now();
        assert_eq!(gate.turn(front, now, Waker::noop()), Turn::Leave);
        if gate.turn(behind, now, Waker::noop()) == Turn::Leave {
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
    let closings = burst.into_iter().map(|departure| {
        gate.refused(departure, &retry_after(20));
        let line = gate.lock();
        (line.epoch, line.opens)
    });
    let closings: Vec<_> = closings.collect();
    assert_eq!(closings, vec![closings[0]; 100]);
}

#[tokio::test(start_paused = true)]
async fn those_behind_look_at_the_front_the_more_rarely_the_further_back_they_stand() {
    let gate = unpaced();
    gate.refused(leave(&gate), &retry_after(5));
    let places: Vec<_> = (0..100).map(|_| stand(&gate)).collect();
    let opens = until(&gate, places[0]);
    for (n, place) in (1..).zip(&places[1..]) {
        assert_eq!(until(&gate, *place), opens + PATIENCE + PATIENCE / 8 * n.min(64));
    }
}
