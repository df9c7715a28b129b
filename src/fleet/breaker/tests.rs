use proptest::prelude::*;

use super::*;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Fails one call at `now`, without jitter.
fn fail(breaker: &Breaker, now: Instant) -> Change {
    breaker.try_acquire(now).expect("the call goes through").failed(now, 0.0)
}

#[test]
fn a_failure_opens_the_breaker_and_each_failed_probe_doubles_the_pause_up_to_half_a_minute() {
    let (breaker, mut now) = (Breaker::default(), Instant::now());
    assert_eq!(fail(&breaker, now), Change::Opened);
    for pause in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
        assert!(breaker.try_acquire(now + millis(pause - 1)).is_none());
        now += millis(pause);
        assert_eq!(fail(&breaker, now), Change::None);
    }
}

#[test]
fn one_probe_goes_through_and_its_success_closes_the_breaker() {
    let (breaker, now) = (Breaker::default(), Instant::now());
    fail(&breaker, now);
    let probe = breaker.try_acquire(now + millis(100)).expect("a probe");
    assert!(breaker.try_acquire(now + millis(1099)).is_none(), "a second probe");
    assert!(!breaker.is_closed());
    assert_eq!(probe.succeeded(), Change::Closed);
    let (one, other) = (breaker.try_acquire(now), breaker.try_acquire(now));
    assert!(one.is_some() && other.is_some() && breaker.is_closed());
    // The next loss begins with the shortest pause again.
    assert_eq!(fail(&breaker, now), Change::Opened);
    assert!(breaker.try_acquire(now + millis(100)).is_some());
}

#[test]
fn after_a_dropped_probe_the_next_call_is_the_probe() {
    let (breaker, now) = (Breaker::default(), Instant::now());
    fail(&breaker, now);
    drop(breaker.try_acquire(now + millis(100)).expect("a probe"));
    assert!(breaker.try_acquire(Instant::now() + millis(1)).is_some());
}

#[test]
fn after_a_probe_on_a_runtime_that_is_not_driven_the_next_call_is_the_probe() {
    let (breaker, now) = (Breaker::new(millis(250)), Instant::now());
    fail(&breaker, now);
    let stuck = breaker.try_acquire(now + millis(100)).expect("a probe");
    assert!(breaker.try_acquire(now + millis(100 + 1249)).is_none(), "a second probe");
    let next = breaker.try_acquire(now + millis(100 + 1250)).expect("the first probe should have ended");
    assert!(breaker.try_acquire(now + millis(100 + 1251)).is_none(), "a third probe");
    // The breaker has failed once before, so the pause doubles once. The late end of the first
    // probe changes nothing.
    assert_eq!(next.failed(now + millis(1400), 0.0), Change::None);
    assert_eq!(stuck.failed(now + millis(1500), 0.0), Change::None);
    assert!(breaker.try_acquire(now + millis(1599)).is_none());
    assert!(breaker.try_acquire(now + millis(1600)).is_some());
}

#[test]
fn calls_that_fail_together_count_once_and_a_success_closes_the_breaker() {
    let (breaker, now) = (Breaker::default(), Instant::now());
    let calls: Vec<_> = (0..10).filter_map(|_| breaker.try_acquire(now)).collect();
    let mut changes: Vec<_> = calls.into_iter().map(|call| call.failed(now, 0.0)).collect();
    assert_eq!((changes.remove(0), changes), (Change::Opened, vec![Change::None; 9]));
    assert!(breaker.try_acquire(now + millis(99)).is_none());

    let late = CallPermit { breaker: &breaker, probe: false };
    assert_eq!(late.succeeded(), Change::Closed);
}

proptest! {
    #[test]
    fn jitter_shortens_a_pause_by_a_half_at_most(jitter in -1.0..2.0_f64) {
        let (breaker, now) = (Breaker::default(), Instant::now());
        breaker.try_acquire(now).expect("a call").failed(now, jitter);
        prop_assert!(breaker.try_acquire(now + millis(49)).is_none());
        prop_assert!(breaker.try_acquire(now + millis(100)).is_some());
    }
}
