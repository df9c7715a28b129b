//! Tests that unusable settings are refused. The error names the setting, its value and the
//! accepted values.

use std::time::Duration;

use turris_auth::{ConfigError, auth::TurrisAuthLayerBuilder};

use super::support::*;

fn refused(change: impl Fn(TurrisAuthLayerBuilder) -> TurrisAuthLayerBuilder) -> ConfigError {
    let error = change(builder()).build().unwrap_err();
    // The result does not depend on a separate token service, nor on the order of the calls.
    assert_eq!(change(builder()).token_service(Script::issuing(Duration::ZERO)).build().unwrap_err(), error);
    error
}

fn accepted(change: impl Fn(TurrisAuthLayerBuilder) -> TurrisAuthLayerBuilder) {
    change(builder()).build().unwrap();
    change(builder()).token_service(Script::issuing(Duration::ZERO)).build().unwrap();
}

fn assert_names(error: &ConfigError, setting: &str, value: &str, expected: &str) {
    assert_eq!(error.setting(), setting);
    let shown = error.to_string();
    assert!(shown.contains(setting) && shown.contains(value) && shown.contains(expected), "{shown}");
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const INSTANT: Duration = Duration::from_nanos(1);

#[test]
fn a_refresh_margin_longer_than_a_day_is_refused() {
    for (margin, shown) in
        [(DAY + INSTANT, "86400.000000001s"), (DAY * 3 * 365, "94608000s"), (Duration::MAX, "18446744073709551615")]
    {
        assert_names(&refused(|builder| builder.refresh_before(margin)), "refresh_before", shown, "at most 24 hours");
    }
    accepted(|builder| builder.refresh_before(DAY));
    accepted(|builder| builder.refresh_before(Duration::ZERO));
}

#[test]
fn a_token_timeout_of_zero_or_of_more_than_an_hour_is_refused() {
    for (timeout, shown) in
        [(Duration::ZERO, "0ns"), (HOUR + INSTANT, "3600.000000001s"), (Duration::MAX, "18446744073709551615")]
    {
        let error = refused(|builder| builder.token_timeout(timeout));
        assert_names(&error, "token_timeout", shown, "more than zero and at most one hour");
    }
    accepted(|builder| builder.token_timeout(INSTANT));
    accepted(|builder| builder.token_timeout(HOUR));
}

#[test]
fn an_allowance_outside_the_accepted_range_is_refused() {
    for (limit, shown) in [(0, "`0`"), (1_001, "`1001`"), (u64::MAX, "`18446744073709551615`")] {
        let error = refused(|builder| builder.rate_limit(limit, MINUTE));
        assert_names(&error, "rate_limit", shown, "from 1 to 1000 fetches");
    }
    for (per, shown) in [
        (Duration::ZERO, "`0ns`"),
        (SECOND - INSTANT, "`999.999999ms`"),
        (HOUR + INSTANT, "`3600.000000001s`"),
        (Duration::MAX, "18446744073709551615"),
    ] {
        let error = refused(|builder| builder.rate_limit(10, per));
        assert_names(&error, "rate_limit", shown, "a period from 1 second to 1 hour");
    }
    accepted(|builder| builder.rate_limit(1, SECOND));
    accepted(|builder| builder.rate_limit(1_000, HOUR));
    accepted(|builder| builder.rate_limit(1, MINUTE));
    accepted(|builder| builder.rate_limit(1_000, MINUTE));
}

#[test]
fn an_invalid_origin_is_refused() {
    let cases = [
        "",
        "uploads.example",
        "uploads.example:443",
        "/uploads",
        "https://",
        "https://uploads.example/path",
        "https://uploads.example:0",
        "https://uploads.example:99999",
        "http://uploads.example",
        "ftp://uploads.example",
        "https://b\u{fc}cher.example",
        "https://*.example",
    ];
    for origin in cases {
        let error = refused(|builder| builder.allow_origin(origin));
        assert_names(&error, "allow_origin", origin, "an origin such as `https://files.example:8443`");
        assert!(error.to_string().contains("loopback"), "{error}");
    }
    accepted(|builder| builder.allow_origin("https://uploads.example/").allow_origin("http://localhost:1"));
}

#[test]
fn a_refused_origin_shows_no_password_and_no_key() {
    for origin in [
        "https://user:hunter2@uploads.example",
        "https://uploads.example/?key=hunter2",
        "https://uploads.example#hunter2",
    ] {
        let error = refused(|builder| builder.allow_origin(origin));
        assert_eq!(error.setting(), "allow_origin");
        assert!(!error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn the_first_of_several_errors_is_returned() {
    let both = |builder: TurrisAuthLayerBuilder| builder.token_timeout(Duration::ZERO).rate_limit(0, MINUTE);
    assert_eq!(refused(both).setting(), "token_timeout");
    // A later valid value does not repair an invalid one, because such a caller has made a mistake.
    let twice = |builder: TurrisAuthLayerBuilder| builder.token_timeout(Duration::ZERO).token_timeout(HOUR);
    assert_eq!(refused(twice).setting(), "token_timeout");
}

#[tokio::test(start_paused = true)]
async fn a_smaller_allowance_is_not_exceeded() {
    let script = Script::issuing(Duration::ZERO);
    let handle = builder().rate_limit(3, MINUTE).token_service(script.clone()).build().unwrap().handle();
    for _ in 0..10 {
        handle.invalidate();
        let _ = handle.warm_up().await;
    }
    assert_eq!(script.requests(), 3);
}
