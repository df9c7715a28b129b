//! The server's statements about limits, and the waits that follow from them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AGE, DATE, RETRY_AFTER},
};

use turris_auth::{
    ResponseClass,
    fuzz_bridge::{Limits, exponential_wait, forbids_retry},
};

use super::{lines, split_at_first};

/// Checks lines of `name: value`. A line with `@` has the local clock, in seconds since 1970.
pub fn rate_limits(data: &[u8]) {
    let (headers, now) = answer(data);
    let limits = Limits::read(&headers, now);
    assert_is_as_careful_as_each_header(&headers, now, &limits);

    if !headers.contains_key(DATE) {
        // The server can state a delta of up to 31 years. A longer wait can only come from a time,
        // which would be compared with the local clock.
        let is_bounded = |wait: Duration| wait.as_secs() < 1_000_000_000;
        assert!(limits.reset_after().is_none_or(is_bounded), "{limits:?}");
    }
    if forbids_retry(&headers) {
        assert_ne!(ResponseClass::of(StatusCode::OK, &headers), ResponseClass::RateLimited);
    }
    assert_eq!(ResponseClass::of(StatusCode::TOO_MANY_REQUESTS, &headers), ResponseClass::RateLimited);

    let share = f64::from(data.first().copied().unwrap_or_default()) / 256.0;
    for max_wait in [Duration::ZERO, Duration::from_secs(60), Duration::from_secs(24 * 60 * 60), Duration::MAX] {
        if let Some((asked, wait)) = limits.asked_wait(max_wait, share) {
            assert!(!asked.is_zero());
            assert!(wait >= asked.min(max_wait) && wait <= max_wait, "{asked:?} became {wait:?}");
            assert!(wait.saturating_sub(asked) <= Duration::from_secs(1), "{asked:?} became {wait:?}");
        }
        let refusals = limits.limit().map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
        assert!(
            exponential_wait(refusals, Duration::from_secs(1), max_wait, share)
                <= max_wait.min(Duration::from_secs(60))
        );
    }
}

fn answer(data: &[u8]) -> (HeaderMap, SystemTime) {
    let (mut headers, mut now) = (HeaderMap::new(), UNIX_EPOCH + Duration::from_secs(1_763_000_000));
    for line in lines(data) {
        if let Some(seconds) = line.strip_prefix(b"@").and_then(|text| str::from_utf8(text).ok()?.parse().ok()) {
            // A time that is too large for `SystemTime` stands for a clock before 1970, which is
            // possible.
            now = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH - Duration::from_secs(1));
        } else if let Some((name, value)) = split_at_first(line, b':')
            && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()))
        {
            headers.append(name, value);
        }
    }
    (headers, now)
}

/// Asserts that the whole response asks for at least the wait of each `Retry-After` alone.
fn assert_is_as_careful_as_each_header(headers: &HeaderMap, now: SystemTime, limits: &Limits) {
    let around: Vec<_> = headers.iter().filter(|(name, _)| **name == DATE || **name == AGE).collect();
    for value in headers.get_all(RETRY_AFTER) {
        let mut single = HeaderMap::from_iter([(RETRY_AFTER, value.clone())]);
        for (name, value) in &around {
            single.append((*name).clone(), (*value).clone());
        }
        assert!(limits.retry_after() >= Limits::read(&single, now).retry_after());
    }
}
