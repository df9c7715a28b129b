use proptest::prelude::*;

use super::*;

const TOKEN: HeaderValue = HeaderValue::from_static("Bearer token");

/// Returns the state after `generation` was fetched because of a 401.
fn forced(generation: u64) -> Refusals {
    let mut refusals = Refusals::default();
    force(&mut refusals, generation);
    refusals
}

fn force(refusals: &mut Refusals, generation: u64) {
    refusals.refuse(TOKEN);
    assert!(refusals.is_pending());
    assert!(refusals.publish(generation));
    assert!(!refusals.is_pending());
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_generation_becomes_ineffective_once() {
    let now = Instant::now();
    let mut refusals = forced(2);
    assert!(refusals.record_retry_failed(2, now));
    assert!(!refusals.record_retry_failed(2, now));
    assert_eq!(refusals.pause_left(now), seconds(1));
    force(&mut refusals, 3);
    assert!(!refusals.record_retry_failed(2, now), "an older generation no longer counts");
    assert!(refusals.record_retry_failed(3, now));
    assert_eq!(refusals.pause_left(now), seconds(2));
}

#[test]
fn an_effective_refresh_is_final_and_ends_the_pause() {
    let now = Instant::now();
    let mut refusals = forced(2);
    assert!(refusals.record_retry_failed(2, now));
    refusals.record_retry_succeeded(1);
    assert_eq!(refusals.pause_left(now), seconds(1), "the retry of another generation says nothing about this one");
    refusals.record_retry_succeeded(2);
    assert_eq!(refusals.pause_left(now), Duration::ZERO);
    assert!(!refusals.record_retry_failed(2, now));
    force(&mut refusals, 3);
    assert!(refusals.record_retry_failed(3, now));
    assert_eq!(refusals.pause_left(now), seconds(1), "the count began anew");
}

#[test]
fn a_token_that_was_not_forced_cannot_be_ineffective() {
    let now = Instant::now();
    let mut refusals = Refusals::default();
    assert!(!refusals.publish(1));
    assert!(!refusals.record_retry_failed(1, now));
    refusals.start_forced_refresh(1, false, now);
    assert_eq!(refusals.pause_left(now), Duration::ZERO);
}

#[test]
fn the_effect_of_a_forced_generation_does_not_delay_the_replacement_of_a_later_generation() {
    let mut refusals = forced(1);
    refusals.publish(2);
    let now = Instant::now();
    refusals.start_forced_refresh(2, true, now);
    assert!(refusals.pause_left(now).is_zero());
}

#[test]
fn a_cleared_refusal_forces_nothing() {
    let mut refusals = Refusals::default();
    refusals.refuse(TOKEN);
    assert!(refusals.is_refused(&TOKEN));
    refusals.clear();
    assert!(!refusals.is_refused(&TOKEN) && !refusals.publish(2));
}

#[test]
fn replacing_a_forced_generation_pauses_from_then_on() {
    let now = Instant::now();
    let left = |refusals: &mut Refusals, repeatable| {
        refusals.start_forced_refresh(2, repeatable, now);
        refusals.pause_left(now)
    };
    // The effect of the generation is not known yet.
    assert_eq!(left(&mut forced(2), true), seconds(1));
    assert_eq!(left(&mut forced(2), false), seconds(1));
    // After `Effective` there is no pause if a retry can show the effect of the next token. If no
    // retry can, there is a pause.
    let mut refusals = forced(2);
    refusals.record_retry_succeeded(2);
    assert_eq!(left(&mut refusals, true), Duration::ZERO);
    assert_eq!(left(&mut refusals, false), seconds(1));
    // The pause after the pause of an ineffective token has the same length. It is not doubled yet.
    let mut refusals = forced(2);
    refusals.record_retry_failed(2, now);
    let later = now + seconds(5);
    refusals.start_forced_refresh(2, true, later);
    assert_eq!(refusals.pause_left(later), seconds(1));
    force(&mut refusals, 3);
    assert!(refusals.record_retry_failed(3, later));
    assert_eq!(refusals.pause_left(later), seconds(2));
}

proptest! {
    #[test]
    fn ineffective_forced_refreshes_have_pauses_that_never_shrink(
        steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u64..10), 1..60),
    ) {
        let mut refusals = forced(1);
        let mut generation = 1;
        let mut now = Instant::now();
        let mut last = Duration::ZERO;
        for (repeatable, is_tried, delay) in steps {
            now += refusals.pause_left(now);
            refusals.start_forced_refresh(generation, repeatable, now);
            let pause = refusals.pause_left(now);
            prop_assert!(pause >= last && pause >= MIN_PAUSE && pause <= MAX_PAUSE);
            last = pause;
            generation += 1;
            force(&mut refusals, generation);
            if is_tried {
                now += seconds(delay);
                prop_assert!(refusals.record_retry_failed(generation, now));
                last = refusals.pause_left(now);
            }
        }
    }
}
