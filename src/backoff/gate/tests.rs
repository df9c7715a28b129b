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
mod turns;

use super::{line::PATIENCE, *};
use crate::backoff::pace::Allowance;

const MAX_WAIT: Duration = Duration::from_secs(120);
const WINDOW: Duration = Duration::from_secs(60);

fn retry_after(seconds: u64) -> RateLimits {
    RateLimits { retry_after: Some(Duration::from_secs(seconds)), ..Default::default() }
}

fn accepted() -> Outcome {
    Outcome::Accepted(None)
}

fn unpaced() -> Gate {
    Gate::new(None, Arc::default())
}

fn paced(requests: u64) -> Gate {
    Gate::new(Some(Pace::new(Allowance { requests, window: WINDOW }, true, MAX_WAIT)), Arc::default())
}

fn leave(gate: &Gate) -> Departure {
    match gate.enter() {
        Entry::Leave(departure) => departure,
        Entry::Stand(_) => panic!("it has to stand in line"),
    }
}

fn stand(gate: &Gate) -> Place {
    match gate.enter() {
        Entry::Stand(place) => place,
        Entry::Leave(_) => panic!("it may leave"),
    }
}

fn until(gate: &Gate, place: Place) -> Instant {
    match gate.turn(place, Instant::now(), Waker::noop()) {
        Turn::Wait(until) => until,
        turn => panic!("{turn:?}"),
    }
}

async fn go(gate: &Gate, place: Place) -> Departure {
    for _ in 0..10 {
        match gate.turn(place, Instant::now(), Waker::noop()) {
            Turn::Wait(until) => tokio::time::sleep_until(until).await,
            Turn::Leave | Turn::Missed => {
                return gate.leave(place, false, Instant::now(), Waker::noop()).expect("its turn");
            }
        }
    }
    panic!("it is never its turn");
}

#[tokio::test(start_paused = true)]
async fn an_open_gate_counts_nothing_and_becomes_so_again() {
    let gate = unpaced();
    let first = leave(&gate);
    assert!(first.counted.is_none());
    let refusal = gate.refused(first, &retry_after(5));
    gate.stand(refusal.place, false, Waker::noop());
    let again = go(&gate, refusal.place).await;
    assert!(again.counted.is_some());
    gate.returned(again, accepted);
    assert!(leave(&gate).counted.is_none());
    assert!(gate.is_idle(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_closes_the_gate_for_what_was_asked_plus_a_little() {
    let (gate, start) = (unpaced(), Instant::now());
    let departure = leave(&gate);
    gate.refused(departure, &retry_after(20));
    let waits = until(&gate, stand(&gate)) - start;
    assert!((Duration::from_secs(20)..=Duration::from_secs(21)).contains(&waits), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn the_refusals_of_one_burst_close_the_gate_once() {
    let gate = unpaced();
    let burst: Vec<_> = (0..100).map(|_| leave(&gate)).collect();
    let start = Instant::now();
    for departure in burst {
        gate.refused(departure, &RateLimits::default());
    }
    // The first step of the exponential delay, not the hundredth, and its jitter is not drawn again.
    let place = stand(&gate);
    assert!(until(&gate, place) - start <= Duration::from_secs(1));
    assert_eq!(gate.lock().refusals, 1);
}

#[tokio::test(start_paused = true)]
async fn a_later_refusal_that_asks_for_more_is_heeded_and_one_that_asks_for_less_is_not() {
    let (gate, start) = (unpaced(), Instant::now());
    let [first, second, third] = [leave(&gate), leave(&gate), leave(&gate)];
    gate.refused(first, &retry_after(20));
    gate.refused(second, &retry_after(60));
    gate.refused(third, &retry_after(5));
    let waits = until(&gate, stand(&gate)) - start;
    assert!((Duration::from_secs(60)..=Duration::from_secs(61)).contains(&waits), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn refusals_in_a_row_double_the_delay_and_a_success_resets_it() {
    let gate = unpaced();
    let mut departure = leave(&gate);
    for n in 0..12 {
        let start = Instant::now();
        let place = gate.refused(departure, &RateLimits::default()).place;
        gate.stand(place, false, Waker::noop());
        departure = go(&gate, place).await;
        assert!(start.elapsed() <= Duration::from_secs((1u64 << n).min(60)) + Duration::from_millis(1));
        assert_eq!(gate.lock().refusals, n + 1);
    }
    gate.returned(departure, accepted);
    assert_eq!(gate.lock().refusals, 0);
}

#[tokio::test(start_paused = true)]
async fn more_than_the_longest_wait_is_said_so_and_closes_the_gate_for_the_longest_wait() {
    let (gate, start) = (unpaced(), Instant::now());
    let [first, second] = [leave(&gate), leave(&gate)];
    assert!(!gate.refused(first, &retry_after(120)).too_long);
    assert!(gate.refused(second, &retry_after(u64::MAX)).too_long);
    assert_eq!(until(&gate, stand(&gate)) - start, MAX_WAIT);
}

#[tokio::test(start_paused = true)]
async fn the_refused_go_first_and_in_their_old_order() {
    let gate = paced(3);
    let [first, second, third] = [leave(&gate), leave(&gate), leave(&gate)];
    let newcomer = stand(&gate);
    let third = gate.refused(third, &retry_after(5)).place;
    let first = gate.refused(first, &retry_after(5)).place;
    let second = gate.refused(second, &retry_after(5)).place;
    assert!(first < second && second < third && third < newcomer);
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_the_gate_opens_by_degrees() {
    let gate = unpaced();
    let departure = leave(&gate);
    let refused = gate.refused(departure, &retry_after(5)).place;
    gate.stand(refused, false, Waker::noop());
    let places: Vec<_> = (0..6).map(|_| stand(&gate)).collect();
    let first = go(&gate, refused).await;
    // Nobody follows until it has an answer, or is late with it.
    let left = Instant::now();
    assert_eq!(until(&gate, places[0]), left + PATIENCE);
    gate.returned(first, accepted);
    let now = || Instant::now();
    let second = gate.leave(places[0], false, now(), Waker::noop()).expect("its turn");
    let third = gate.leave(places[1], false, now(), Waker::noop()).expect("its turn");
    assert!(gate.leave(places[2], false, now(), Waker::noop()).is_none());
    gate.returned(second, accepted);
    gate.returned(third, accepted);
    for place in &places[2..] {
        assert!(gate.leave(*place, false, now(), Waker::noop()).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_does_not_keep_the_gate_shut() {
    let gate = unpaced();
    let departure = leave(&gate);
    let refused = gate.refused(departure, &retry_after(5)).place;
    gate.stand(refused, false, Waker::noop());
    let next = stand(&gate);
    let hangs = go(&gate, refused).await;
    let left = Instant::now();
    go(&gate, next).await;
    assert_eq!(left.elapsed(), PATIENCE);
    gate.returned(hangs, || Outcome::Lost);
}

#[tokio::test(start_paused = true)]
async fn one_that_misses_its_turn_holds_nobody_up_for_long_and_goes_first_when_it_is_back() {
    let gate = paced(1);
    let departure = leave(&gate);
    let absent = [stand(&gate), stand(&gate), stand(&gate)];
    let present = stand(&gate);
    gate.returned(departure, accepted);
    let start = Instant::now();
    let departure = go(&gate, present).await;
    // A window, a second for each of the absent, and what comes of looking only now and then.
    assert!(start.elapsed() <= WINDOW + 6 * PATIENCE, "{:?}", start.elapsed());
    gate.returned(departure, accepted);
    let late = stand(&gate);
    for place in absent {
        assert_eq!(gate.turn(place, Instant::now(), Waker::noop()), Turn::Missed);
        assert!(gate.leave(place, false, Instant::now(), Waker::noop()).is_none(), "there is no place to be had");
        let departure = go(&gate, place).await;
        gate.returned(departure, accepted);
    }
    go(&gate, late).await;
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_to_the_front_is_woken() {
    let gate = paced(1);
    let departure = leave(&gate);
    let places = [stand(&gate), stand(&gate), stand(&gate)];
    let woken: [Arc<Woken>; 3] = Default::default();
    for (place, woken) in places.iter().zip(&woken) {
        gate.turn(*place, Instant::now(), &Waker::from(Arc::clone(woken)));
    }
    let count = |n: usize| woken[n].0.swap(0, Ordering::Relaxed);
    gate.abandon(places[0]);
    assert_eq!([count(0), count(1), count(2)], [0, 1, 0]);
    gate.turn(places[1], Instant::now(), &Waker::from(Arc::clone(&woken[1])));
    gate.returned(departure, accepted);
    assert_eq!([count(0), count(1), count(2)], [0, 1, 0]);
    tokio::time::sleep(WINDOW).await;
    assert!(gate.leave(places[1], false, Instant::now(), Waker::noop()).is_some());
    assert_eq!([count(0), count(1), count(2)], [0, 0, 1]);
}

/// Reports, when it is dropped, whether the gate's lock was held by then.
struct LastWaker(std::sync::Weak<Gate>, Arc<AtomicU64>);

impl Wake for LastWaker {
    fn wake(self: Arc<Self>) {}
}

impl Drop for LastWaker {
    fn drop(&mut self) {
        let gate = self.0.upgrade().expect("the gate outlives its wakers");
        let held = gate.line.try_lock().is_err();
        self.1.fetch_add(if held { 1_000 } else { 1 }, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn no_waker_is_dropped_under_the_lock_since_a_task_that_is_dropped_with_it_gives_its_own_place_up() {
    let gate = Arc::new(paced(1));
    let dropped = Arc::new(AtomicU64::new(0));
    let waker = || Waker::from(Arc::new(LastWaker(Arc::downgrade(&gate), Arc::clone(&dropped))));
    let departure = leave(&gate);
    let places = [stand(&gate), stand(&gate), stand(&gate), stand(&gate)];
    for _ in 0..2 {
        // Twice, so that one takes the place of another.
        for place in places {
            gate.turn(place, Instant::now(), &waker());
        }
    }
    gate.abandon(places[3]);
    gate.returned(departure, accepted);
    tokio::time::sleep(WINDOW).await;
    // The first one does not come. It is woken, and put out of the line.
    gate.turn(places[1], Instant::now(), Waker::noop());
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(gate.turn(places[1], Instant::now(), Waker::noop()), Turn::Leave);
    assert!(gate.leave(places[1], false, Instant::now(), &waker()).is_some());
    gate.abandon(places[2]);
    let refused = Place { newcomer: false, number: 99 };
    gate.stand(refused, false, &waker());
    gate.abandon(refused);
    assert_eq!(dropped.load(Ordering::Relaxed), 10);
}
