use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Wake,
    time::Duration,
};

mod idle;
mod model;
mod queue;

use super::{queue::HEAD_TIMEOUT, *};

const MAX_WAIT: Duration = Duration::from_secs(120);
const WINDOW: Duration = Duration::from_secs(60);

fn retry_after(seconds: u64) -> StatedLimits {
    StatedLimits { retry_after: Some(Duration::from_secs(seconds)), ..Default::default() }
}

fn accepted() -> Outcome {
    Outcome::Accepted(None)
}

fn unpaced() -> Gate {
    Gate::new(RequestClass::WRITES, Arc::new(LimitSettings { pacing: false, ..LimitSettings::default() }))
}

fn paced(requests: u64) -> Gate {
    let rate_limit = RateLimit { requests, window: WINDOW };
    Gate::new(RequestClass::WRITES, Arc::new(LimitSettings { rate_limit, ..LimitSettings::default() }))
}

fn admit(gate: &Gate) -> CountedAdmission {
    match gate.admit_uncounted() {
        Some(record) => CountedAdmission::Send(record),
        None => gate.admit_counted(Instant::now()),
    }
}

fn send(gate: &Gate) -> SendRecord {
    match admit(gate) {
        CountedAdmission::Send(record) => record,
        CountedAdmission::Wait(_) => panic!("the request has to wait"),
    }
}

fn enqueue(gate: &Gate) -> QueuePosition {
    match admit(gate) {
        CountedAdmission::Wait(position) => position,
        CountedAdmission::Send(_) => panic!("the request may be sent"),
    }
}

fn until(gate: &Gate, position: QueuePosition) -> Instant {
    match gate.check(position, Instant::now(), Waker::noop()) {
        WaiterStatus::Wait(until) => until,
        status => panic!("{status:?}"),
    }
}

async fn send_when_allowed(gate: &Gate, position: QueuePosition) -> SendRecord {
    for _ in 0..10 {
        match gate.check(position, Instant::now(), Waker::noop()) {
            WaiterStatus::Wait(until) => tokio::time::sleep_until(until).await,
            WaiterStatus::Send | WaiterStatus::Evicted => {
                return gate.try_send(position, Instant::now(), Waker::noop()).expect("the request may be sent");
            }
        }
    }
    panic!("the request may never be sent");
}

#[tokio::test(start_paused = true)]
async fn a_gate_counts_requests_only_from_a_refusal_to_the_next_success() {
    let gate = unpaced();
    let first = send(&gate);
    assert!(first.counted.is_none());
    let refusal = gate.refused(first, &retry_after(5));
    gate.join(refusal.position, Waker::noop());
    let again = send_when_allowed(&gate, refusal.position).await;
    assert!(again.counted.is_some());
    gate.returned(again, &accepted());
    assert!(send(&gate).counted.is_none());
    assert!(gate.is_idle(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_closes_the_gate_for_the_stated_time_and_up_to_a_second_more() {
    let (gate, start) = (unpaced(), Instant::now());
    let record = send(&gate);
    gate.refused(record, &retry_after(20));
    let waits = until(&gate, enqueue(&gate)) - start;
    assert!((Duration::from_secs(20)..=Duration::from_secs(21)).contains(&waits), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn the_refusals_of_one_burst_close_the_gate_once() {
    let gate = unpaced();
    let burst: Vec<_> = (0..100).map(|_| send(&gate)).collect();
    let start = Instant::now();
    for record in burst {
        gate.refused(record, &StatedLimits::default());
    }
    // The refusals count as one: the delay is the first step of the exponential delay, with a
    // single jitter.
    let position = enqueue(&gate);
    assert!(until(&gate, position) - start <= Duration::from_secs(1));
    assert_eq!(gate.lock().cooldown.refusals(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_later_refusal_may_lengthen_the_closure_but_not_shorten_it() {
    let (gate, start) = (unpaced(), Instant::now());
    let [first, second, third] = [send(&gate), send(&gate), send(&gate)];
    gate.refused(first, &retry_after(20));
    gate.refused(second, &retry_after(60));
    gate.refused(third, &retry_after(5));
    let waits = until(&gate, enqueue(&gate)) - start;
    assert!((Duration::from_secs(60)..=Duration::from_secs(61)).contains(&waits), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn refusals_in_a_row_double_the_delay_and_a_success_resets_it() {
    let gate = unpaced();
    let mut record = send(&gate);
    for n in 0..12 {
        let start = Instant::now();
        let position = gate.refused(record, &StatedLimits::default()).position;
        gate.join(position, Waker::noop());
        record = send_when_allowed(&gate, position).await;
        assert!(start.elapsed() <= Duration::from_secs((1u64 << n).min(60)) + Duration::from_millis(1));
        assert_eq!(gate.lock().cooldown.refusals(), n + 1);
    }
    gate.returned(record, &accepted());
    assert_eq!(gate.lock().cooldown.refusals(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stated_time_above_the_longest_wait_is_reported_and_closes_the_gate_for_the_longest_wait() {
    let (gate, start) = (unpaced(), Instant::now());
    let [first, second] = [send(&gate), send(&gate)];
    assert!(!gate.refused(first, &retry_after(120)).too_long);
    assert!(gate.refused(second, &retry_after(u64::MAX)).too_long);
    assert_eq!(until(&gate, enqueue(&gate)) - start, MAX_WAIT);
}

#[tokio::test(start_paused = true)]
async fn refused_requests_go_first_and_in_their_old_order() {
    let gate = paced(3);
    let [first, second, third] = [send(&gate), send(&gate), send(&gate)];
    let newcomer = enqueue(&gate);
    let third = gate.refused(third, &retry_after(5)).position;
    let first = gate.refused(first, &retry_after(5)).position;
    let second = gate.refused(second, &retry_after(5)).position;
    assert!(first < second && second < third && third < newcomer);
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_the_gate_opens_by_degrees() {
    let gate = unpaced();
    let record = send(&gate);
    let refused = gate.refused(record, &retry_after(5)).position;
    gate.join(refused, Waker::noop());
    let places: Vec<_> = (0..6).map(|_| enqueue(&gate)).collect();
    let first = send_when_allowed(&gate, refused).await;
    // No other request is sent until this request has a response, or until its response is late.
    let left = Instant::now();
    assert_eq!(until(&gate, places[0]), left + HEAD_TIMEOUT);
    gate.returned(first, &accepted());
    let now = || Instant::now();
    let second = gate.try_send(places[0], now(), Waker::noop()).expect("the request may be sent");
    let third = gate.try_send(places[1], now(), Waker::noop()).expect("the request may be sent");
    assert!(gate.try_send(places[2], now(), Waker::noop()).is_none());
    gate.returned(second, &accepted());
    gate.returned(third, &accepted());
    for position in &places[2..] {
        assert!(gate.try_send(*position, now(), Waker::noop()).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_does_not_keep_the_gate_shut() {
    let gate = unpaced();
    let record = send(&gate);
    let refused = gate.refused(record, &retry_after(5)).position;
    gate.join(refused, Waker::noop());
    let next = enqueue(&gate);
    let hangs = send_when_allowed(&gate, refused).await;
    let left = Instant::now();
    send_when_allowed(&gate, next).await;
    assert_eq!(left.elapsed(), HEAD_TIMEOUT);
    gate.returned(hangs, &Outcome::Lost);
}

#[tokio::test(start_paused = true)]
async fn waiters_that_are_not_polled_delay_others_briefly_and_go_first_when_they_are_polled_again() {
    let gate = paced(1);
    let record = send(&gate);
    let absent = [enqueue(&gate), enqueue(&gate), enqueue(&gate)];
    let present = enqueue(&gate);
    gate.returned(record, &accepted());
    let start = Instant::now();
    let record = send_when_allowed(&gate, present).await;
    // The bound: a window, a second for each absent waiter, and the time between two looks.
    assert!(start.elapsed() <= WINDOW + 6 * HEAD_TIMEOUT, "{:?}", start.elapsed());
    gate.returned(record, &accepted());
    let late = enqueue(&gate);
    for position in absent {
        assert_eq!(gate.check(position, Instant::now(), Waker::noop()), WaiterStatus::Evicted);
        assert!(gate.try_send(position, Instant::now(), Waker::noop()).is_none(), "no slot is free");
        let record = send_when_allowed(&gate, position).await;
        gate.returned(record, &accepted());
    }
    send_when_allowed(&gate, late).await;
}

/// A waker that counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_becomes_the_head_is_woken() {
    let gate = paced(1);
    let record = send(&gate);
    let places = [enqueue(&gate), enqueue(&gate), enqueue(&gate)];
    let woken: [Arc<Woken>; 3] = Default::default();
    for (position, woken) in places.iter().zip(&woken) {
        gate.check(*position, Instant::now(), &Waker::from(Arc::clone(woken)));
    }
    let count = |n: usize| woken[n].0.swap(0, Ordering::Relaxed);
    gate.leave(places[0]);
    assert_eq!([count(0), count(1), count(2)], [0, 1, 0]);
    gate.check(places[1], Instant::now(), &Waker::from(Arc::clone(&woken[1])));
    gate.returned(record, &accepted());
    assert_eq!([count(0), count(1), count(2)], [0, 1, 0]);
    tokio::time::sleep(WINDOW).await;
    assert!(gate.try_send(places[1], Instant::now(), Waker::noop()).is_some());
    assert_eq!([count(0), count(1), count(2)], [0, 0, 1]);
}

/// A waker that reports, when it is dropped, whether the gate's lock is held.
struct LastWaker(std::sync::Weak<Gate>, Arc<AtomicU64>);

impl Wake for LastWaker {
    fn wake(self: Arc<Self>) {}
}

impl Drop for LastWaker {
    fn drop(&mut self) {
        let gate = self.0.upgrade().expect("the gate outlives its wakers");
        let held = gate.parts.try_lock().is_err();
        self.1.fetch_add(if held { 1_000 } else { 1 }, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn no_waker_is_dropped_under_the_lock() {
    // The last waker of a task can drop the task. Its guard then leaves the queue, which takes the
    // lock.
    let gate = Arc::new(paced(1));
    let dropped = Arc::new(AtomicU64::new(0));
    let waker = || Waker::from(Arc::new(LastWaker(Arc::downgrade(&gate), Arc::clone(&dropped))));
    let record = send(&gate);
    let places = [enqueue(&gate), enqueue(&gate), enqueue(&gate), enqueue(&gate)];
    for _ in 0..2 {
        // Each position joins twice, so that the second waker replaces the first.
        for position in places {
            gate.check(position, Instant::now(), &waker());
        }
    }
    gate.leave(places[3]);
    gate.returned(record, &accepted());
    tokio::time::sleep(WINDOW).await;
    // The first waiter does not send. It is woken, and removed from the queue.
    gate.check(places[1], Instant::now(), Waker::noop());
    tokio::time::sleep(HEAD_TIMEOUT).await;
    assert_eq!(gate.check(places[1], Instant::now(), Waker::noop()), WaiterStatus::Send);
    assert!(gate.try_send(places[1], Instant::now(), &waker()).is_some());
    gate.leave(places[2]);
    let refused = QueuePosition { newcomer: false, number: 99 };
    gate.join(refused, &waker());
    gate.leave(refused);
    assert_eq!(dropped.load(Ordering::Relaxed), 10);
}
