//! Tests that unusable settings are refused at once.

use std::time::Duration;

use tower::Layer;
use turris_auth::backoff::TurrisBackoffLayer;

#[test]
fn settings_at_their_bounds_are_accepted() {
    let builder = TurrisBackoffLayer::builder;
    let day = Duration::from_secs(24 * 60 * 60);
    for builder in [
        builder(),
        builder().max_retries(0),
        builder().max_retries(100),
        builder().max_wait(Duration::from_secs(1)),
        builder().max_wait(day),
        builder().rate_limit(1, Duration::from_millis(10)),
        builder().rate_limit(1_000_000_000, day),
        builder().pacing(false),
    ] {
        builder.build().unwrap();
    }
}

#[test]
fn an_unusable_setting_is_refused_with_its_name_its_value_and_the_accepted_values() {
    let builder = TurrisBackoffLayer::builder;
    for (builder, message) in [
        (builder().max_retries(101), "unusable max_retries `101`: expected at most 100"),
        (builder().max_wait(Duration::ZERO), "unusable max_wait `0ns`: expected 1 second to 24 hours"),
        (builder().max_wait(Duration::from_millis(120)), "unusable max_wait `120ms`: expected 1 second to 24 hours"),
        (
            builder().max_wait(Duration::from_secs(24 * 60 * 60 + 1)),
            "unusable max_wait `86401s`: expected 1 second to 24 hours",
        ),
        (
            builder().rate_limit(0, Duration::from_secs(60)),
            "unusable rate_limit `0`: expected 1 to 1,000,000,000 requests",
        ),
        (builder().rate_limit(60, Duration::ZERO), "unusable rate_limit `0ns`: expected a period of 10 ms to 24 hours"),
        (
            builder().rate_limit(60, Duration::MAX).pacing(false),
            "unusable rate_limit `18446744073709551615.999999999s`: expected a period of 10 ms to 24 hours",
        ),
    ] {
        assert_eq!(builder.build().unwrap_err().to_string(), message);
    }
}

#[test]
fn debug_output_shows_the_settings() {
    let builder = TurrisBackoffLayer::builder().max_retries(77).max_wait(Duration::from_secs(55));
    let layer = builder.clone().build().unwrap();
    for shown in [format!("{builder:?}"), format!("{layer:?}"), format!("{:?}", layer.layer(()))] {
        assert!(shown.contains("max_retries: 77") && shown.contains("max_wait: 55s"), "{shown}");
    }
}
