use http::{HeaderValue, header::HeaderName};
use proptest::prelude::*;

use super::*;
use crate::api::encode;

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the example of RFC 9110.
const EXAMPLE: u64 = 784_111_777;
/// A time of these years.
const NOW: u64 = 1_763_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn http_date(seconds: u64) -> String {
    httpdate::fmt_http_date(at(seconds))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).fold(
        HeaderMap::new(),
        |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        },
    )
}

fn read(pairs: &[(&'static str, &str)]) -> RateLimits {
    RateLimits::read(&headers(pairs), at(NOW))
}

#[test]
fn no_headers_say_nothing() {
    assert_eq!(read(&[]), RateLimits::default());
    assert_eq!(read(&[("date", &http_date(NOW))]), RateLimits::default());
}

#[test]
fn retry_after_is_seconds_or_a_date_in_any_of_the_three_forms() {
    let date = http_date(EXAMPLE - 90);
    for value in
        ["90", "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", " 90 "]
    {
        let limits = read(&[("date", &date), ("retry-after", value)]);
        assert_eq!(limits.retry_after, Some(Duration::from_secs(90)), "{value}");
    }
}

#[test]
fn the_date_itself_may_have_any_of_the_three_forms() {
    for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
        let limits = read(&[("date", date), ("retry-after", &http_date(EXAMPLE + 7))]);
        assert_eq!(limits.retry_after, Some(Duration::from_secs(7)), "{date}");
    }
}

#[test]
fn a_reset_is_epoch_seconds_or_epoch_milliseconds_or_a_delta() {
    let cases = [
        ("0", Duration::ZERO),
        ("42", Duration::from_secs(42)),
        ("999999999", Duration::from_secs(999_999_999)),
        ("1000000000", Duration::ZERO),
        ("1763000042", Duration::from_secs(42)),
        ("1762999999", Duration::ZERO),
        ("99999999999", Duration::from_secs(99_999_999_999 - NOW)),
        ("100000000000", Duration::ZERO),
        ("1763000042500", Duration::from_millis(42_500)),
        ("1762999999999", Duration::ZERO),
        ("18446744073709551615", Duration::from_millis(u64::MAX) - Duration::from_secs(NOW)),
        ("99999999999999999999999999", Duration::from_millis(u64::MAX) - Duration::from_secs(NOW)),
    ];
    for (value, expected) in cases {
        let limits = read(&[("date", &http_date(NOW)), ("x-ratelimit-reset", value)]);
        assert_eq!(limits.reset_after, Some(expected), "{value}");
    }
}

#[test]
fn the_clock_of_the_answer_counts_and_not_the_local_one() {
    let headers = headers(&[
        ("date", &http_date(NOW)),
        ("x-ratelimit-reset", &(NOW + 30).to_string()),
        ("retry-after", &http_date(NOW + 20)),
    ]);
    let days = Duration::from_secs(3 * 86_400);
    for now in [at(NOW), at(NOW) + days, at(NOW) - days, UNIX_EPOCH, UNIX_EPOCH - days] {
        let limits = RateLimits::read(&headers, now);
        assert_eq!(limits.reset_after, Some(Duration::from_secs(30)));
        assert_eq!(limits.retry_after, Some(Duration::from_secs(20)));
    }
}

#[test]
fn without_a_date_the_local_clock_stands_in_and_the_wait_is_bounded() {
    let wait = |now| {
        let limits = RateLimits::read(&headers(&[("x-ratelimit-reset", &(NOW + 30).to_string())]), now);
        limits.reset_after.unwrap()
    };
    assert_eq!(wait(at(NOW)), Duration::from_secs(30));
    assert_eq!(wait(at(NOW + 86_400)), Duration::ZERO);
    assert_eq!(wait(at(NOW - 86_400)), Duration::from_secs(60 * 60));
    assert_eq!(wait(at(NOW - 1_000)), Duration::from_secs(1_030));
    assert_eq!(wait(UNIX_EPOCH - Duration::from_secs(1)), LONGEST_WITHOUT_DATE);
    let unreadable_date = read(&[("date", "yesterday"), ("retry-after", &http_date(NOW + 86_400))]);
    assert_eq!(unreadable_date.retry_after, Some(LONGEST_WITHOUT_DATE));
    // A delta does not depend on a clock.
    assert_eq!(read(&[("retry-after", "86400")]).retry_after, Some(Duration::from_secs(86_400)));
}

#[test]
fn of_several_values_the_most_careful_one_counts() {
    let limits = read(&[
        ("x-ratelimit-limit", "60"),
        ("x-ratelimit-limit", "10, 60;w=60"),
        ("x-ratelimit-remaining", "5"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "12"),
        ("x-ratelimit-reset", "7,junk,31"),
        ("retry-after", "3"),
        ("retry-after", &http_date(NOW + 9)),
        ("retry-after", "5"),
    ]);
    let expected = RateLimits {
        limit: Some(10),
        remaining: Some(0),
        reset_after: Some(Duration::from_secs(31)),
        retry_after: Some(Duration::from_secs(9)),
    };
    assert_eq!(limits, expected);
}

#[test]
fn what_is_not_a_whole_number_is_left_out() {
    let date = http_date(NOW);
    for value in
        ["", " ", "-1", "+1", "1.5", "1e3", "0x10", "ten", "NaN", "inf", ";w=60", "1 2", "\u{663}", "Sun, 06 Nov"]
    {
        let limits = read(&[
            ("date", &date),
            ("x-ratelimit-limit", value),
            ("x-ratelimit-remaining", value),
            ("x-ratelimit-reset", value),
            ("retry-after", value),
        ]);
        // The comma in a date that is cut short does not make a list of it.
        assert_eq!(limits, RateLimits::default(), "{value}");
    }
    assert_eq!(read(&[("x-ratelimit-limit", "60;w=60")]).limit, Some(60));
}

#[test]
fn numbers_saturate() {
    let huge = "9".repeat(1_000);
    let limits = read(&[
        ("x-ratelimit-limit", &huge),
        ("x-ratelimit-remaining", &huge),
        ("x-ratelimit-reset", &huge),
        ("retry-after", &huge),
    ]);
    let expected = RateLimits {
        limit: Some(u64::MAX),
        remaining: Some(u64::MAX),
        reset_after: Some(LONGEST_WITHOUT_DATE),
        retry_after: Some(Duration::from_secs(u64::MAX)),
    };
    assert_eq!(limits, expected);
}

#[test]
fn a_pushback_is_a_wait_in_milliseconds() {
    let wait = |values: &[(&'static str, &str)]| read(values).retry_after;
    assert_eq!(wait(&[("grpc-retry-pushback-ms", "250")]), Some(Duration::from_millis(250)));
    assert_eq!(wait(&[("grpc-retry-pushback-ms", "0")]), Some(Duration::ZERO));
    assert_eq!(wait(&[("grpc-retry-pushback-ms", "2500"), ("retry-after", "2")]), Some(Duration::from_millis(2_500)));
    assert_eq!(wait(&[("grpc-retry-pushback-ms", &"9".repeat(99))]), Some(Duration::from_millis(u64::MAX)));
    for none in ["-1", "soon", ""] {
        assert_eq!(wait(&[("grpc-retry-pushback-ms", none)]), None, "{none:?}");
        assert!(forbids_retry(&headers(&[("grpc-retry-pushback-ms", none)])), "{none:?}");
    }
    assert!(!forbids_retry(&headers(&[("retry-after", "-1")])));
}

const NAMES: [&str; 6] = [
    "date",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "grpc-retry-pushback-ms",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    let seconds = 0u64..253_402_300_800;
    prop_oneof![
        any::<Vec<u8>>(),
        any::<u64>().prop_map(|number| number.to_string().into()),
        seconds.prop_map(|seconds| http_date(seconds).into()),
        "[0-9]{1,30}(;w=[0-9]+)?(, ?[0-9]{1,30}){0,3}".prop_map(Into::into),
        "(Sun|Mon|Sunday), ?[0-9]{2}[ -][A-Z][a-z]{2}[ -][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
            .prop_map(Into::into),
        "(Sun|Mon) [A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}".prop_map(Into::into),
    ]
}

proptest! {
    #[test]
    fn no_header_value_panics(
        values in prop::collection::vec((prop::sample::select(&NAMES), value()), 0..12),
        now in any::<i32>(),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
        }
        let offset = Duration::from_secs(now.unsigned_abs().into());
        RateLimits::read(&headers, if now < 0 { UNIX_EPOCH - offset } else { UNIX_EPOCH + offset });
    }

    #[test]
    fn what_is_encoded_decodes_to_itself(
        limit in any::<u64>(),
        remaining in any::<u64>(),
        date in FIRST_EPOCH_SECOND..4_000_000_000,
        window in 0u64..86_400,
    ) {
        let mut headers = headers(&[("date", &http_date(date))]);
        encode::rate_limit_headers(&mut headers, limit, remaining, date + window);
        let expected = RateLimits {
            limit: Some(limit),
            remaining: Some(remaining),
            reset_after: Some(Duration::from_secs(window)),
            retry_after: None,
        };
        prop_assert_eq!(RateLimits::read(&headers, at(NOW)), expected);
    }
}
