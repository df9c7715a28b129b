use proptest::prelude::*;

use super::*;

fn token(sent_at: Instant, lifetime: Duration, margin: Duration, jitter: f64) -> Token {
    let issued = IssuedToken {
        authorization: HeaderValue::from_static("Bearer secret"),
        lifetime,
        sent_at,
        request_id: None,
        fleet_generation: 0,
        adopted: false,
    };
    Token::new(issued, 7, false, margin, jitter)
}

/// Returns the age of a token at which `is` becomes true, exact to the nanosecond.
fn age_when(sent_at: Instant, is: impl Fn(Instant) -> bool) -> Duration {
    let (mut before, mut after) = (0_u64, 90_000_000_000_000);
    while before < after {
        let middle = before + (after - before) / 2;
        match is(sent_at + Duration::from_nanos(middle)) {
            true => after = middle,
            false => before = middle + 1,
        }
    }
    Duration::from_nanos(after)
}

proptest! {
    #[test]
    fn every_lifetime_gives_a_sensible_life(
        lifetime in prop_oneof![
            any::<Duration>(),
            (0_u64..2_000_000_000).prop_map(Duration::from_nanos),
            (0_u64..100_000).prop_map(Duration::from_secs),
        ],
        margin in prop_oneof![any::<Duration>(), (0_u64..5_000).prop_map(Duration::from_secs)],
        jitter in -1.0_f64..2.0,
    ) {
        // The builder refuses longer margins.
        let margin = margin.min(Duration::from_secs(24 * 60 * 60));
        let sent_at = Instant::now();
        let token = token(sent_at, lifetime, margin, jitter);
        let clamped = lifetime.clamp(Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
        prop_assert_eq!(token.expires_in(sent_at), clamped);
        let valid_for = token.valid_for(sent_at);
        let last_moments = clamped.saturating_sub(valid_for);
        prop_assert!(last_moments <= Duration::from_secs(5));
        prop_assert!(last_moments <= clamped / 20 + Duration::from_nanos(1));
        prop_assert_eq!(age_when(sent_at, |now| !token.is_valid(now)), valid_for);
        let refresh = age_when(sent_at, |now| !token.is_fresh(now));
        prop_assert!(refresh <= valid_for);
        prop_assert!(refresh >= clamped * 7 / 12 - Duration::from_nanos(100), "{:?} of {:?}", refresh, clamped);
        prop_assert!(clamped.saturating_sub(refresh) <= (margin + margin / 4).max(last_moments) + Duration::from_nanos(100));
    }
}

#[test]
fn an_hour_with_the_default_margin() {
    let now = Instant::now();
    let margin = Duration::from_secs(300);
    for (jitter, refresh) in [(0.0, 3_300), (1.0, 3_225)] {
        let token = token(now, Duration::from_secs(3_600), margin, jitter);
        assert_eq!(token.valid_for(now), Duration::from_secs(3_595));
        assert_eq!(age_when(now, |now| !token.is_fresh(now)), Duration::from_secs(refresh));
    }
}

#[test]
fn a_clock_that_is_behind_the_sending_does_no_harm() {
    let now = Instant::now();
    let token = token(now + Duration::from_secs(10), Duration::from_secs(3_600), Duration::ZERO, 0.0);
    assert!(token.is_valid(now) && token.is_fresh(now));
}

#[test]
fn a_refresh_is_claimed_once_and_can_be_put_off() {
    let now = Instant::now();
    let token = token(now, Duration::from_secs(3_600), Duration::from_secs(300), 0.0);
    let due = now + Duration::from_secs(3_300);
    assert!(!token.claim_refresh(now));
    assert!(token.claim_refresh(due));
    assert!(!token.claim_refresh(due) && !token.claim_refresh(due + Duration::from_secs(10_000)));
    token.put_off_refresh(due + Duration::from_secs(2));
    assert!(!token.claim_refresh(due + Duration::from_secs(1)));
    assert!(token.claim_refresh(due + Duration::from_secs(2)));
}

#[test]
fn debug_does_not_show_the_token() {
    let shown = format!("{:?}", token(Instant::now(), Duration::ZERO, Duration::ZERO, 0.0));
    assert!(shown.contains('7') && !shown.contains("secret"), "{shown}");
}
