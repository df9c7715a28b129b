use proptest::prelude::*;

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn retry_after_precedes_the_reset_and_without_both_no_wait_is_stated() {
    let both = StatedLimits {
        retry_after: Some(seconds(7)),
        reset_after: Some(seconds(40)),
        reset_margin: seconds(1),
        ..Default::default()
    };
    assert_eq!(asked_wait(&both), Some(seconds(7)));
    assert_eq!(asked_wait(&StatedLimits { retry_after: None, ..both }), Some(seconds(41)));
    assert_eq!(asked_wait(&StatedLimits::default()), None);
}

#[test]
fn a_stated_wait_of_zero_becomes_a_second() {
    assert_eq!(asked_wait(&StatedLimits { retry_after: Some(seconds(0)), ..Default::default() }), Some(seconds(1)));
    assert_eq!(asked_wait(&StatedLimits { reset_after: Some(seconds(0)), ..Default::default() }), Some(seconds(1)));
}

#[test]
fn the_jitter_is_a_tenth_of_the_stated_wait_and_a_second_at_the_most() {
    let wait = |asked, share| with_jitter(Duration::from_millis(asked), seconds(120), share).as_millis();
    assert_eq!(
        [(3_000, 0.0), (3_000, 0.5), (3_000, 1.0)].map(|(asked, share)| wait(asked, share)),
        [3_000, 3_150, 3_300]
    );
    assert_eq!(
        [(60_000, 1.0), (119_500, 1.0), (130_000, 0.0)].map(|(asked, share)| wait(asked, share)),
        [61_000, 120_000, 120_000]
    );
}

#[test]
fn the_exponential_delay_doubles_to_a_minute() {
    let most = |refusals| exponential(refusals, BASE, seconds(1000), 1.0).as_secs();
    assert_eq!([0, 1, 2, 3, 5, 6, 31, 32, u32::MAX].map(most), [1, 2, 4, 8, 32, 60, 60, 60, 60]);
    assert_eq!(exponential(9, BASE, seconds(5), 1.0), seconds(5));
    assert_eq!(exponential(9, BASE, seconds(5), 0.0), seconds(0));
}

#[test]
fn the_exponential_delay_stays_in_proportion_to_the_time_of_the_refusals() {
    let mut cooldown = Cooldown::default();
    let start = Instant::now();
    let mut now = start;
    // The jitter is close to zero for ten refusals, and at its maximum for the next ones.
    for share in [0.001; 10].into_iter().chain([1.0; 3]) {
        let (tag, _) = cooldown.sent(now);
        let wait = cooldown.refused(tag, None, None, seconds(120), now, share).wait.unwrap();
        assert!(wait <= (2 * (now - start)).max(seconds(4)), "{wait:?} after {:?}", now - start);
        now += wait;
    }
    assert!(now - start > seconds(30));
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (any::<u64>(), 0..1_000_000_000u32).prop_map(|(s, n)| Duration::new(s, n)),
        (0..200u64, 0..1_000_000_000u32).prop_map(|(s, n)| Duration::new(s, n)),
    ]
}

proptest! {
    #[test]
    fn a_wait_is_never_below_the_stated_wait_nor_above_the_bounds(
        retry_after in proptest::option::of(any_duration()),
        reset_after in proptest::option::of(any_duration()),
        max_wait in any_duration(),
        refusals: u32,
        share in 0.0..1.0f64,
    ) {
        let limits = StatedLimits { retry_after, reset_after, ..Default::default() };
        if let Some(asked) = asked_wait(&limits) {
            let wait = with_jitter(asked, max_wait, share);
            prop_assert!(wait <= max_wait);
            if asked <= max_wait {
                prop_assert!(wait >= asked);
                prop_assert!(wait >= retry_after.or(reset_after).unwrap());
                prop_assert!(wait <= asked.saturating_add(MAX_JITTER));
            }
        }
        let wait = exponential(refusals, BASE, max_wait, share);
        prop_assert!(wait <= max_wait.min(LONGEST_STEP));
    }
}
