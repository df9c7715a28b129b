use http::{HeaderValue, header::HeaderName};
use proptest::prelude::*;

use super::*;
use crate::api::encode;

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the example of RFC 9110.
const EXAMPLE: u64 = 784_111_777;
/// A time in November 2025, in seconds since 1970.
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

fn read(pairs: &[(&'static str, &str)]) -> StatedLimits {
    StatedLimits::read(&headers(pairs), at(NOW))
}

#[test]
fn no_headers_say_nothing() {
    assert_eq!(read(&[]), StatedLimits::default());
    assert_eq!(read(&[("date", &http_date(NOW))]), StatedLimits::default());
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
fn the_date_of_the_response_counts_and_not_the_local_clock() {
    let headers = headers(&[
        ("date", &http_date(NOW)),
        ("x-ratelimit-reset", &(NOW + 30).to_string()),
        ("retry-after", &http_date(NOW + 20)),
    ]);
    let days = Duration::from_secs(3 * 86_400);
    for now in [at(NOW), at(NOW) + days, at(NOW) - days, UNIX_EPOCH, UNIX_EPOCH - days] {
        let limits = StatedLimits::read(&headers, now);
        assert_eq!(limits.reset_after, Some(Duration::from_secs(30)));
        assert_eq!(limits.retry_after, Some(Duration::from_secs(20)));
    }
}

#[test]
fn without_a_date_the_local_clock_stands_in_and_the_wait_is_bounded() {
    let wait = |now| {
        let limits = StatedLimits::read(&headers(&[("x-ratelimit-reset", &(NOW + 30).to_string())]), now);
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
fn several_policies_are_paired_by_position_and_the_tightest_is_obeyed() {
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
    // The items are paired by position: a limit of 60 with 5 left for 12 s, a limit of 10 with none
    // left for 7 s, and another limit of 60 without further statements.
    let expected = StatedLimits {
        limit: Some(10),
        remaining: Some(0),
        reset_after: Some(Duration::from_secs(7)),
        retry_after: Some(Duration::from_secs(9)),
        ..StatedLimits::default()
    };
    assert_eq!(limits, expected);
}

#[test]
fn values_that_are_no_numbers_are_left_out() {
    let date = http_date(NOW);
    for value in [
        "",
        " ",
        "-1",
        "+1",
        "1.",
        ".5",
        "1.5.2",
        "-0.5",
        "1e3",
        "0x10",
        "ten",
        "NaN",
        "inf",
        ";w=60",
        "1 2",
        "\u{663}",
        "Sun, 06 Nov",
    ] {
        let limits = read(&[
            ("date", &date),
            ("x-ratelimit-limit", value),
            ("x-ratelimit-remaining", value),
            ("x-ratelimit-reset", value),
            ("retry-after", value),
        ]);
        // The comma in an incomplete date does not make the date a list.
        assert_eq!(limits, StatedLimits::default(), "{value}");
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
    let expected = StatedLimits {
        limit: Some(u64::MAX),
        remaining: Some(u64::MAX),
        reset_after: Some(LONGEST_WITHOUT_DATE),
        reset_margin: GRANULARITY,
        retry_after: Some(Duration::from_secs(u64::MAX)),
        window: None,
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

fn reset(value: &str) -> Option<(Duration, Duration)> {
    let limits = read(&[("date", &http_date(NOW)), ("x-ratelimit-reset", value)]);
    limits.reset_after.map(|after| (after, limits.reset_margin))
}

#[test]
fn a_second_or_more_with_a_fraction_is_rounded_up_and_less_is_taken_as_it_is() {
    let cases = [
        ("9.53", 10_000),
        ("1.0", 1_000),
        ("1.000000000", 1_000),
        ("1.0000000001", 2_000),
        ("0.25", 250),
        ("0.999999999", 999),
        ("0.0", 0),
        ("00.5", 500),
    ];
    for (value, milliseconds) in cases {
        let limits = read(&[("retry-after", value), ("x-ratelimit-reset", value)]);
        for wait in [limits.retry_after, limits.reset_after] {
            let wait = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap());
            assert_eq!(wait, Some(milliseconds), "{value}");
        }
    }
    assert_eq!(read(&[("retry-after", "0.0000000001")]).retry_after, Some(Duration::from_nanos(1)));
}

#[test]
fn a_reset_may_be_a_time_in_each_form_and_is_a_second_uncertain() {
    // 2025-11-13T02:13:20Z
    let in_42 = Duration::from_secs(42);
    for value in [
        "1763000042",
        "1763000042000",
        "Thu, 13 Nov 2025 02:14:02 GMT",
        "Thursday, 13-Nov-25 02:14:02 GMT",
        "Thu Nov 13 02:14:02 2025",
        "2025-11-13T02:14:02Z",
        "2025-11-13t02:14:02.000z",
        "2025-11-13 02:14:02+00:00",
        "2025-11-13T03:14:02+01:00",
        "2025-11-13T03:14:02+0100",
        "2025-11-13T03:14:02+01",
        "2025-11-12T20:44:02-05:30",
    ] {
        assert_eq!(reset(value), Some((in_42, GRANULARITY)), "{value}");
    }
    for value in ["1763000042.5", "2025-11-13T02:14:02.5Z"] {
        assert_eq!(reset(value), Some((in_42 + Duration::from_millis(500), GRANULARITY)), "{value}");
    }
    assert_eq!(reset("2025-11-13T02:14Z"), Some((Duration::from_secs(40), GRANULARITY)));
    assert_eq!(reset("2025-11-13T02:13:60Z"), Some((Duration::from_secs(40), GRANULARITY)), "a leap second");
    assert_eq!(reset("1969-12-31T23:59:59Z"), Some((Duration::ZERO, GRANULARITY)));
    assert_eq!(reset("2025-02-29T00:00:00Z"), Some((Duration::ZERO, GRANULARITY)), "the day after the 28th");
}

#[test]
fn values_that_are_no_times_are_left_out() {
    for value in [
        "2025-11-13T02:14:02",
        "2025-11-13",
        "2025-13-13T02:14:02Z",
        "2025-00-13T02:14:02Z",
        "2025-11-32T02:14:02Z",
        "2025-11-13T25:14:02Z",
        "2025-11-13T02:60:02Z",
        "2025-11-13T02:14:61Z",
        "2025-11-13T2:14:02Z",
        "2025-11-13T02:14:02+1:00",
        "2025-11-13T02:14:02+01:0",
        "2025-11-13T02:14:02UTC",
        "+025-11-13T02:14:02Z",
        "T02:14:02Z",
        "Thu, 13 Nov 2025 02:14:02",
    ] {
        assert_eq!(reset(value), None, "{value}");
    }
}

#[test]
fn every_spelling_of_the_three_fields_is_read() {
    for [limit, remaining, reset] in [
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
        ["x-rate-limit-limit", "x-rate-limit-remaining", "x-rate-limit-reset"],
        ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
    ] {
        let headers = headers(&[(limit, "10, 10;w=1, 600;w=60"), (remaining, "7"), (reset, "1")]);
        let expected = StatedLimits {
            limit: Some(10),
            remaining: Some(7),
            reset_after: Some(Duration::from_secs(1)),
            ..StatedLimits::default()
        };
        assert_eq!(StatedLimits::read(&headers, at(NOW)), expected, "{limit}");
        assert!(StatedLimits::are_in(&headers), "{limit}");
    }
    assert!(!StatedLimits::are_in(&headers(&[("retry-after", "1"), ("x-request-id", "1"), ("rate", "1")])));
}

#[test]
fn every_draft_of_the_structured_fields_is_read() {
    let full = |window| StatedLimits {
        limit: Some(100),
        remaining: Some(50),
        reset_after: Some(Duration::from_secs(30)),
        window,
        ..StatedLimits::default()
    };
    let minute = Some(Duration::from_secs(60));
    let cases: [(&[(&'static str, &str)], _); 8] = [
        (&[("ratelimit", "limit=100, remaining=50, reset=30")], full(None)),
        (&[("ratelimit-policy", "100;w=60"), ("ratelimit", "limit=100, remaining=50, reset=30")], full(minute)),
        (
            &[("ratelimit-policy", "100;w=60;comment=\"q=5, w=9\""), ("ratelimit", "limit=100,remaining=50,reset=30")],
            full(minute),
        ),
        (
            &[
                ("ratelimit-policy", "100;w=60"),
                ("ratelimit-limit", "100"),
                ("ratelimit-remaining", "50"),
                ("ratelimit-reset", "30"),
            ],
            full(minute),
        ),
        (&[("ratelimit-policy", "\"default\";q=100;w=60"), ("ratelimit", "\"default\";r=50;t=30")], full(minute)),
        (&[("ratelimit-policy", "default;q=100;w=60"), ("ratelimit", "default; r=50; t=30")], full(minute)),
        (
            &[
                ("ratelimit-policy", "\"a;b,c\\\"d\";q=100;w=60;qu=\"requests\";pk=:Zm9v:"),
                ("ratelimit", "\"a;b,c\\\"d\";r=50;t=30"),
            ],
            full(minute),
        ),
        // A quota of bytes says nothing about requests.
        (
            &[
                ("ratelimit-policy", "\"b\";q=9;qu=\"content-bytes\";w=60, \"r\";q=100;w=60"),
                ("ratelimit", "\"r\";r=50;t=30"),
            ],
            full(minute),
        ),
    ];
    for (fields, expected) in cases {
        assert_eq!(read(fields), expected, "{fields:?}");
    }
    // A policy alone states the number of requests in a window, and the length of the window.
    let policy = StatedLimits { limit: Some(100), window: minute, ..StatedLimits::default() };
    assert_eq!(read(&[("ratelimit-policy", "\"default\";q=100;w=60")]), policy);
    assert_eq!(read(&[("ratelimit-policy", "\"default\";q=100;w=0")]).window, None);
}

#[test]
fn several_policies_are_paired_by_name_or_else_by_position() {
    let policies = "\"burst\";q=10;w=1, \"day\";q=5000;w=86400";
    let tightest = |service_limits: &str| {
        let limits = read(&[("ratelimit-policy", policies), ("ratelimit", service_limits)]);
        (
            limits.limit,
            limits.remaining,
            limits.reset_after.map(|reset| reset.as_secs()),
            limits.window.map(|window| window.as_secs()),
        )
    };
    let burst = |left, reset| (Some(10), Some(left), Some(reset), Some(1));
    let day = |left, reset| (Some(5_000), Some(left), Some(reset), Some(86_400));
    assert_eq!(tightest("\"burst\";r=3;t=1, \"day\";r=4000;t=3600"), burst(3, 1));
    assert_eq!(tightest("\"day\";r=4000;t=3600, \"burst\";r=3;t=1"), burst(3, 1));
    assert_eq!(tightest("\"day\";r=2;t=3600, \"burst\";r=3;t=1"), day(2, 3_600));
    // Both policies have no requests left, so the policy that ends last counts.
    assert_eq!(tightest("\"burst\";r=0;t=1, \"day\";r=0;t=3600"), day(0, 3_600));
    assert_eq!(tightest("\"burst\";r=0;t=1, \"day\";r=1;t=3600"), burst(0, 1));
    // No policy has these names, so the items are paired by position.
    assert_eq!(tightest("\"one\";r=3;t=1, \"two\";r=4000;t=3600"), burst(3, 1));
    assert_eq!(tightest("\"one\";r=9;t=1, \"two\";r=2;t=3600"), day(2, 3_600));
    // Only the long policy has a number left. The short policy has at most its whole limit left,
    // which is less.
    assert_eq!(tightest("\"day\";r=4000;t=3600"), (Some(10), None, None, Some(1)));
    assert_eq!(tightest("\"day\";r=4;t=3600"), day(4, 3_600));
}

#[test]
fn milliseconds_are_read() {
    assert_eq!(read(&[("retry-after-ms", "1500")]).retry_after, Some(Duration::from_millis(1_500)));
    assert_eq!(
        read(&[("retry-after-ms", "1500"), ("retry-after", "1")]).retry_after,
        Some(Duration::from_millis(1_500))
    );
    assert_eq!(read(&[("retry-after-ms", "1500"), ("retry-after", "2")]).retry_after, Some(Duration::from_secs(2)));
    assert_eq!(read(&[("retry-after-ms", "soon")]).retry_after, None);
}

/// RFC 9111, section 5.1: a response from a cache was made as long ago as its `Age` says.
#[test]
fn a_response_is_as_old_as_its_age_says() {
    let date = http_date(NOW);
    let waits = |age: &str, dated: bool| {
        let (reset, time) = ((NOW + 30).to_string(), http_date(NOW + 30));
        let mut fields = vec![
            ("age", age),
            ("retry-after", "30"),
            ("x-ratelimit-reset", reset.as_str()),
            ("retry-after-ms", "1000"),
            ("ratelimit-reset", "30"),
        ];
        if dated {
            fields.push(("date", &date));
        }
        let limits = read(&fields);
        let at_a_time = read(&[("age", age), ("date", &date), ("retry-after", &time)]).retry_after;
        [limits.retry_after, limits.reset_after, at_a_time].map(|wait| wait.unwrap().as_secs())
    };
    assert_eq!(waits("0", true), [30, 30, 30]);
    assert_eq!(waits("10", true), [20, 20, 20]);
    assert_eq!(waits("31", true), [0, 0, 0]);
    assert_eq!(waits("99999999999999999999999", true), [0, 0, 0]);
    assert_eq!(waits("old", true), [30, 30, 30]);
    // Without a `Date` the local clock is used. It includes the age already, so the age is not
    // subtracted again.
    let local = read(&[("age", "10"), ("x-ratelimit-reset", &(NOW + 30).to_string())]);
    assert_eq!(local.reset_after, Some(Duration::from_secs(30)));
}

const NAMES: [&str; 16] = [
    "date",
    "age",
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-rate-limit-limit",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "ratelimit",
    "ratelimit-policy",
    "grpc-retry-pushback-ms",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    let seconds = 0u64..253_402_300_800;
    prop_oneof![
        any::<Vec<u8>>(),
        any::<u64>().prop_map(|number| number.to_string().into()),
        seconds.prop_map(|seconds| http_date(seconds).into()),
        "[0-9]{1,30}(;w=[0-9]+)?(, ?[0-9]{1,30}){0,3}".prop_map(Into::into),
        "[0-9]{0,25}[.][0-9]{0,25}".prop_map(Into::into),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{0,12})?)?(Z|[+-][0-9]{0,2}:?[0-9]{0,2})"
            .prop_map(Into::into),
        "(\"?[a-z,;\\\\\"]{0,6}\"?(;[qwrtu]{1,2}=\"?[0-9a-z.]{0,22}\"?){0,4},? ?){0,5}".prop_map(Into::into),
        "((limit|remaining|reset)=[0-9.]{0,22}[,;]? ?){0,5}".prop_map(Into::into),
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
        let limits = StatedLimits::read(&headers, if now < 0 { UNIX_EPOCH - offset } else { UNIX_EPOCH + offset });
        prop_assert_ne!(limits.window, Some(Duration::ZERO));
        prop_assert!(limits.reset_margin <= GRANULARITY);
        // A wait of a second or more is a whole number of seconds, unless it comes from a time with
        // a fraction or from milliseconds.
        let is_coarse = |wait: Duration| wait < Duration::from_secs(1) || wait.subsec_nanos() == 0;
        prop_assert!(limits.reset_margin > Duration::ZERO || limits.reset_after.is_none_or(is_coarse));
        forbids_retry(&headers);
    }

    /// All forms that a server can choose lead to the same wait.
    #[test]
    fn a_wait_is_the_same_in_every_form(now in FIRST_EPOCH_SECOND..4_000_000_000, wait in 1u64..1_000_000, days in -9i64..9) {
        let (date, then) = (http_date(now), now + wait);
        let iso = |seconds: u64| {
            let seconds_of_day = seconds % 86_400;
            let (hour, minute, second) = (seconds_of_day / 3_600, seconds_of_day / 60 % 60, seconds_of_day % 60);
            let date = http_date(seconds);
            let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            let month = 1 + months.iter().position(|month| *month == &date[8..11]).unwrap();
            format!("{}-{month:02}-{}T{hour:02}:{minute:02}:{second:02}Z", &date[12..16], &date[5..7])
        };
        let forms = [
            ("retry-after", wait.to_string()),
            ("retry-after", http_date(then)),
            ("retry-after-ms", (wait * 1_000).to_string()),
            ("x-ratelimit-reset", wait.to_string()),
            ("x-ratelimit-reset", then.to_string()),
            ("x-rate-limit-reset", (then * 1_000).to_string()),
            ("x-ratelimit-reset", http_date(then)),
            ("x-ratelimit-reset", iso(then)),
            ("ratelimit-reset", wait.to_string()),
            ("ratelimit", format!("remaining=0, reset={wait}")),
            ("ratelimit", format!("\"default\";r=0;t={wait}")),
        ];
        // The local clock is days off.
        let local = at(now.saturating_add_signed(days * 86_400));
        for (name, value) in forms {
            let limits = StatedLimits::read(&headers(&[("date", &date), (name, &value)]), local);
            let read = limits.retry_after.or(limits.reset_after);
            prop_assert_eq!(read, Some(Duration::from_secs(wait)), "{}: {}", name, value);
        }
    }

    /// The order in which policies are named makes no difference.
    #[test]
    fn the_tightest_of_named_policies_is_obeyed_in_any_order(
        policies in prop::collection::btree_map("[a-z]{1,8}", (1u64..1_000, 0u64..1_000, 1u64..1_000), 1..6),
        turned in any::<prop::sample::Index>(),
    ) {
        let mut stated: Vec<_> = policies.iter().map(|(name, (limit, ..))| format!("\"{name}\";q={limit};w=60")).collect();
        let left: Vec<_> = policies.iter().map(|(name, (_, left, reset))| format!("\"{name}\";r={left};t={reset}")).collect();
        let middle = turned.index(stated.len());
        stated.rotate_left(middle);
        let limits = read(&[("ratelimit-policy", &stated.join(", ")), ("ratelimit", &left.join(", "))]);
        let least = policies.values().map(|(_, left, _)| *left).min();
        prop_assert_eq!(limits.remaining, least);
        let of_least = policies.values().filter(|(_, left, _)| Some(*left) == least);
        if least == Some(0) {
            let latest = of_least.map(|(.., reset)| Duration::from_secs(*reset)).max();
            prop_assert_eq!(limits.reset_after, latest);
        } else {
            let obeyed = (limits.limit, limits.reset_after);
            let mut of_least = of_least.map(|(limit, _, reset)| (Some(*limit), Some(Duration::from_secs(*reset))));
            prop_assert!(of_least.any(|policy| policy == obeyed), "{:?}", obeyed);
        }
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
        let expected = StatedLimits {
            limit: Some(limit),
            remaining: Some(remaining),
            reset_after: Some(Duration::from_secs(window)),
            reset_margin: GRANULARITY,
            ..StatedLimits::default()
        };
        prop_assert_eq!(StatedLimits::read(&headers, at(NOW)), expected);
    }
}
