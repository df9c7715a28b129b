use proptest::prelude::*;

use super::*;
use crate::TokenErrorKind;

fn error(retry_after: Option<Duration>) -> TokenError {
    TokenError::new(TokenErrorKind::Unavailable, "for a test").with_retry_after(retry_after)
}

proptest! {
    #[test]
    fn no_sequence_of_failures_exceeds_the_bounds(
        failures in prop::collection::vec((prop::option::of(any::<Duration>()), -1.0_f64..2.0), 1..100),
    ) {
        let mut cooldown = Cooldown::default();
        let now = Instant::now();
        for (asked_for, jitter) in failures {
            let wait = cooldown.start(now, error(asked_for), jitter).retry_after().unwrap_or_default();
            prop_assert_eq!(cooldown.wait(now), wait);
            let believed = asked_for.unwrap_or_default().min(Duration::from_secs(5 * 60));
            prop_assert!(wait >= MIN_COOLDOWN / 2 && wait >= believed);
            prop_assert!(wait <= MAX_COOLDOWN.max(believed));
            prop_assert!(cooldown.wait(now + wait).is_zero());
            prop_assert!(cooldown.is_failing() && cooldown.error().is_some());
        }
        cooldown.end();
        prop_assert!(cooldown.wait(now).is_zero() && !cooldown.is_failing() && cooldown.error().is_none());
    }
}

#[test]
fn the_cooldown_doubles_up_to_a_minute() {
    let mut cooldown = Cooldown::default();
    let now = Instant::now();
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        assert_eq!(cooldown.start(now, error(None), 0.0).retry_after(), Some(Duration::from_secs(seconds)));
    }
    for _ in 0..100 {
        assert_eq!(cooldown.start(now, error(None), 1.0).retry_after(), Some(MAX_COOLDOWN / 2));
    }
}
