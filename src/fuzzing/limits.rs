//! What the server says of limits, and the waits that come of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{DATE, RETRY_AFTER},
};

use super::{lines, split_at_first};
use crate::{
    ResponseClass,
    api::limits::{RateLimits, forbids_retry},
    backoff::policy,
};

/// Lines of `name: value`, and with `@` the seconds since 1970 that the local clock shows.
pub fn rate_limits(data: &[u8]) {
    let (headers, now) = answer(data);
    let limits = RateLimits::read(&headers, now);
    assert_is_as_careful_as_each_header(&headers, now, &limits);

    if !headers.contains_key(DATE) {
        // A delta of up to 31 years is the server's word; a time that is held against the local clock is not.
        let is_bounded = |wait: Duration| wait.as_secs() < 1_000_000_000;
        assert!(limits.reset_after.is_none_or(is_bounded), "{limits:?}");
    }
    if forbids_retry(&headers) {
        assert_ne!(ResponseClass::of(StatusCode::OK, &headers), ResponseClass::RateLimited);
    }
    assert_eq!(ResponseClass::of(StatusCode::TOO_MANY_REQUESTS, &headers), ResponseClass::RateLimited);

    let share = f64::from(data.first().copied().unwrap_or_default()) / 256.0;
    for max_wait in [Duration::ZERO, Duration::from_secs(60), Duration::from_secs(24 * 60 * 60), Duration::MAX] {
        if let Some(asked) = policy::asked(&limits) {
            assert!(asked >= Duration::from_secs(1));
            let wait = policy::with_jitter(asked, max_wait, share);
            assert!(wait >= asked.min(max_wait) && wait <= max_wait, "{asked:?} became {wait:?}");
            assert!(wait.saturating_sub(asked) <= Duration::from_secs(1), "{asked:?} became {wait:?}");
        }
        let refusals = limits.limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
        assert!(policy::exponential(refusals, max_wait, share) <= max_wait.min(Duration::from_secs(60)));
    }
}

fn answer(data: &[u8]) -> (HeaderMap, SystemTime) {
    let (mut headers, mut now) = (HeaderMap::new(), UNIX_EPOCH + Duration::from_secs(1_763_000_000));
    for line in lines(data) {
        if let Some(seconds) = line.strip_prefix(b"@").and_then(|text| str::from_utf8(text).ok()?.parse().ok()) {
            // No clock shows what it cannot hold; one that is set before 1970 can be.
            now = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH - Duration::from_secs(1));
        } else if let Some((name, value)) = split_at_first(line, b':')
            && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()))
        {
            headers.append(name, value);
        }
    }
    (headers, now)
}

/// The items of a list, each as a value of its own. A `Retry-After` is none: dates have commas.
fn items(name: &HeaderName, value: &HeaderValue) -> Vec<HeaderValue> {
    match value.to_str() {
        Ok(text) if *name != RETRY_AFTER => {
            text.split(',').filter_map(|item| HeaderValue::from_str(item.trim()).ok()).collect()
        }
        _ => vec![value.clone()],
    }
}

/// Whatever the order is, the answer says what its headers say one by one: the fewest requests and the longest wait.
fn assert_is_as_careful_as_each_header(headers: &HeaderMap, now: SystemTime, limits: &RateLimits) {
    let dates: Vec<_> = headers.get_all(DATE).iter().collect();
    let mut together = RateLimits::default();
    let others = headers.iter().filter(|(name, _)| *name != DATE);
    for (name, value) in others.flat_map(|(name, value)| items(name, value).into_iter().map(move |item| (name, item))) {
        let mut single = HeaderMap::from_iter([(name.clone(), value)]);
        for date in &dates {
            single.append(DATE, (*date).clone());
        }
        let single = RateLimits::read(&single, now);
        together.limit = together.limit.into_iter().chain(single.limit).min();
        together.remaining = together.remaining.into_iter().chain(single.remaining).min();
        together.reset_after = together.reset_after.max(single.reset_after);
        together.retry_after = together.retry_after.max(single.retry_after);
    }
    assert_eq!(*limits, together);
}
