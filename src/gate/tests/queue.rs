//! Tests of the queue, for cases that the model (`model.rs`) meets too rarely or does not check.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refusal_of_an_uncounted_request_closes_a_gate_that_was_closed_before() {
    let gate = unpaced();
    let refusal = gate.refused(send(&gate), &retry_after(5));
    gate.join(refusal.position, Waker::noop());
    let again = send_when_allowed(&gate, refusal.position).await;
    gate.returned(again, &accepted());
    let record = send(&gate);
    assert!(record.counted.is_none());
    // A refusal that states no time counts only if it is the first refusal of its epoch.
    gate.refused(record, &StatedLimits::default());
    assert_eq!(gate.lock().cooldown.refusals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_polled_but_never_sends_is_passed_after_the_timeout() {
    let gate = paced(1);
    let record = send(&gate);
    let [front, behind] = [enqueue(&gate), enqueue(&gate)];
    gate.returned(record, &accepted());
    tokio::time::sleep(WINDOW).await;
    let start = Instant::now();
    loop {
        let now = Instant::now();
        assert_eq!(gate.check(front, now, Waker::noop()), WaiterStatus::Send);
        if gate.check(behind, now, Waker::noop()) == WaiterStatus::Send {
            break;
        }
        assert!(start.elapsed() < HEAD_TIMEOUT, "{:?}", start.elapsed());
        tokio::time::sleep(HEAD_TIMEOUT / 4).await;
    }
    assert_eq!(start.elapsed(), HEAD_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_one_burst_that_state_the_same_time_close_the_gate_once() {
    let gate = unpaced();
    let burst: Vec<_> = (0..100).map(|_| send(&gate)).collect();
    let closings = burst.into_iter().map(|record| {
        gate.refused(record, &retry_after(20));
        let cooldown = &gate.lock().cooldown;
        (cooldown.epoch(), cooldown.closed_until(Instant::now()))
    });
    let closings: Vec<_> = closings.collect();
    assert_eq!(closings, vec![closings[0]; 100]);
}

#[tokio::test(start_paused = true)]
async fn waiters_further_back_look_at_the_head_later() {
    let gate = unpaced();
    gate.refused(send(&gate), &retry_after(5));
    let places: Vec<_> = (0..100).map(|_| enqueue(&gate)).collect();
    let closed_until = until(&gate, places[0]);
    for (n, position) in (1..).zip(&places[1..]) {
        assert_eq!(until(&gate, *position), closed_until + HEAD_TIMEOUT + HEAD_TIMEOUT / 8 * n.min(64));
    }
}

/// A waiter that looks whenever it is woken or its timer has fired, as a task does.
struct Polled {
    position: QueuePosition,
    woken: Arc<Woken>,
    due: Instant,
}

impl Polled {
    fn new(position: QueuePosition) -> Self {
        Self { position, woken: Arc::new(Woken(AtomicU64::new(1))), due: Instant::now() }
    }

    /// Sends, if this waiter may.
    fn poll(&mut self, gate: &Gate) -> Option<SendRecord> {
        let now = Instant::now();
        if self.woken.0.swap(0, Ordering::Relaxed) == 0 && now < self.due {
            return None;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        match gate.check(self.position, now, &waker) {
            WaiterStatus::Wait(until) => {
                assert!(until > now, "it would spin");
                self.due = until;
                None
            }
            WaiterStatus::Send | WaiterStatus::Evicted => gate.try_send(self.position, now, &waker),
        }
    }

    /// Returns how long it takes until the request is sent.
    async fn sends(&mut self, gate: &Gate) -> Duration {
        let start = Instant::now();
        while self.poll(gate).is_none() {
            assert!(start.elapsed() < 2 * WINDOW, "it never sends");
            tokio::time::advance(Duration::from_millis(5)).await;
        }
        start.elapsed()
    }
}

/// Returns a gate whose slots are all in flight, so that only the response shows when the next
/// request may be sent.
fn used_up() -> (Gate, SendRecord, SendRecord) {
    let gate = paced(2);
    let records = (send(&gate), send(&gate));
    (gate, records.0, records.1)
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_not_polled_delays_the_next_waiter_by_a_second_after_a_response() {
    let (gate, first, _in_flight) = used_up();
    let absent = enqueue(&gate);
    // The request was polled once, and is not polled again.
    until(&gate, absent);
    let mut present = Polled::new(enqueue(&gate));
    assert!(present.poll(&gate).is_none());
    tokio::time::advance(Duration::from_millis(100)).await;
    gate.not_sent(first);
    let waited = present.sends(&gate).await;
    assert!(waited <= HEAD_TIMEOUT * 5 / 4, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_waiters_that_are_not_polled_delay_the_next_waiter_by_seconds_after_a_response() {
    let (gate, first, _in_flight) = used_up();
    let absent: Vec<_> = (0..100).map(|_| enqueue(&gate)).collect();
    for position in absent {
        until(&gate, position);
    }
    let mut present = Polled::new(enqueue(&gate));
    assert!(present.poll(&gate).is_none());
    gate.not_sent(first);
    let waited = present.sends(&gate).await;
    // Ten seconds until the waiter looks, and a few milliseconds for each waiter that is not
    // polled.
    assert!(waited <= 12 * HEAD_TIMEOUT, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_not_polled_when_a_slot_becomes_free_delays_the_next_waiter_by_a_second() {
    let gate = paced(1);
    gate.returned(send(&gate), &accepted());
    let absent = enqueue(&gate);
    let free_at = until(&gate, absent);
    // The time of the notice comes first.
    tokio::time::advance(2 * HEAD_TIMEOUT).await;
    assert!(until(&gate, absent) > free_at);
    let mut present = Polled::new(enqueue(&gate));
    let waited = present.sends(&gate).await + 2 * HEAD_TIMEOUT;
    assert!(waited <= WINDOW + HEAD_TIMEOUT * 5 / 4, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_free_slot_wakes_the_head_and_the_next_waiter() {
    let (gate, first, second) = used_up();
    let places = [enqueue(&gate), enqueue(&gate), enqueue(&gate)];
    let woken: [Arc<Woken>; 3] = Default::default();
    let look = || {
        for (position, woken) in places.iter().zip(&woken) {
            gate.check(*position, Instant::now(), &Waker::from(Arc::clone(woken)));
        }
    };
    let counts = || woken.each_ref().map(|woken| woken.0.swap(0, Ordering::Relaxed));
    look();
    // The gate admits no request, so only the head looks again.
    gate.returned(first, &accepted());
    assert_eq!(counts(), [1, 0, 0]);
    look();
    gate.not_sent(second);
    assert_eq!(counts(), [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn requests_with_times_out_of_order_are_all_counted() {
    let gate = paced(2);
    // Two threads: the thread that reads the clock first gets the lock last.
    let earlier = Instant::now();
    tokio::time::advance(Duration::from_secs(1)).await;
    let later = Instant::now();
    let sent = [later, earlier].map(|now| match gate.admit_counted(now) {
        CountedAdmission::Send(record) => record,
        CountedAdmission::Wait(_) => panic!("the request may be sent"),
    });
    for record in sent.into_iter().rev() {
        gate.returned(record, &accepted());
    }
    let position = enqueue(&gate);
    // Both slots are free a window after the responses.
    tokio::time::advance(WINDOW).await;
    let next = send_when_allowed(&gate, position).await;
    assert_eq!(Instant::now(), later + WINDOW);
    gate.returned(next, &accepted());
    send(&gate);
}

#[tokio::test(start_paused = true)]
async fn a_found_rate_that_was_not_used_for_long_delays_no_burst_of_writes() {
    let gate = paced(60);
    gate.returned(send(&gate), &accepted());
    let refused = gate.refused(send(&gate), &StatedLimits::default()).position;
    gate.join(refused, Waker::noop());
    gate.returned(send_when_allowed(&gate, refused).await, &accepted());
    let mut is_held = false;
    // The found rate delays a burst now. After a long time without requests it no longer does.
    let entered: Vec<_> = (0..4).map(|_| admit(&gate)).collect();
    for entered in entered {
        if let CountedAdmission::Wait(position) = entered {
            gate.leave(position);
            is_held = true;
        }
    }
    assert!(is_held);
    tokio::time::advance(20 * WINDOW).await;
    assert!((0..50).all(|_| matches!(admit(&gate), CountedAdmission::Send(_))));
}
