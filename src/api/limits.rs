//! [`StatedLimits`]: what a response says about rate limits, in every form that real servers send.
//!
//! | field | forms |
//! | --- | --- |
//! | `Retry-After` | seconds, seconds with a fraction, an HTTP date |
//! | `Retry-After-Ms`, `grpc-retry-pushback-ms` | milliseconds |
//! | `X-RateLimit-Limit`, `-Remaining`, `-Reset`, also spelled `X-Rate-Limit-…` | numbers; the reset is a delta, an epoch in seconds or milliseconds, with or without a fraction, or an HTTP or ISO 8601 date |
//! | `RateLimit-Limit`, `-Remaining`, `-Reset` (IETF draft 6 and before) | the same |
//! | `RateLimit` and `RateLimit-Policy` (drafts 6 to 10) | `limit=…, remaining=…, reset=…`, or policies with the parameters `q`, `w`, `r`, `t` |
//! | `Date`, `Age` | the time of the server, and the age of the response |
//!
//! A response may state several policies. Their fields are paired by name, or by position. The
//! tightest policy counts:
//!
//! - if some policies have no requests left: of these, the policy that ends last,
//! - otherwise the policy with the fewest requests left.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{
    HeaderMap, HeaderName,
    header::{AGE, DATE, RETRY_AFTER},
};

pub(crate) const X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(crate) const X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(crate) const X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// gRPC's counterpart of `Retry-After`, in milliseconds.
pub(crate) const GRPC_RETRY_PUSHBACK_MS: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The three fields for limit, remaining and reset, in each spelling.
const TRIPLES: [[HeaderName; 3]; 3] = [
    [X_RATE_LIMIT_LIMIT, X_RATE_LIMIT_REMAINING, X_RATE_LIMIT_RESET],
    [
        HeaderName::from_static("x-rate-limit-limit"),
        HeaderName::from_static("x-rate-limit-remaining"),
        HeaderName::from_static("x-rate-limit-reset"),
    ],
    [
        HeaderName::from_static("ratelimit-limit"),
        HeaderName::from_static("ratelimit-remaining"),
        HeaderName::from_static("ratelimit-reset"),
    ],
];

/// A reset below this value is a delta (of up to 31 years). As a time it would lie before September
/// 2001.
const FIRST_EPOCH_SECOND: u64 = 1_000_000_000;

/// A reset from this value on is a time in milliseconds, after March 1973. In seconds it would lie
/// after the year 5138.
const FIRST_EPOCH_MILLISECOND: u64 = 100_000_000_000;

/// The longest wait that is computed from a time of the server's clock and the local clock.
///
/// The two clocks may differ by any amount, and the documented windows are a minute long.
const LONGEST_WITHOUT_DATE: Duration = Duration::from_secs(60 * 60);

/// A time of the server's clock and the `Date` have whole seconds. So their difference may be up to
/// a second too short.
const GRANULARITY: Duration = Duration::from_secs(1);

/// The largest number of policies that are read. Real responses have one to three.
const MAX_POLICIES: usize = 16;

/// The rate-limit fields of one response. A field is `None` if it is missing or makes no sense.
///
/// All times count from the arrival of the response. They saturate, and are not checked otherwise:
/// a server can ask for a wait of years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatedLimits {
    /// The number of requests in a window.
    pub(crate) limit: Option<u64>,
    /// The number of requests left in the present window.
    pub(crate) remaining: Option<u64>,
    /// The time until the window ends.
    pub(crate) reset_after: Option<Duration>,
    /// How much later than `reset_after` the window may end, because the server's clock counts
    /// whole seconds.
    pub(crate) reset_margin: Duration,
    /// The length of a window.
    pub(crate) window: Option<Duration>,
    /// The time that the server asks the client to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl StatedLimits {
    /// Reads the fields of a response that arrived at `now` by the local clock. If the response has
    /// no `Date`, `now` takes its place.
    ///
    /// - Values that make no sense are left out.
    /// - A time that has passed is a wait of zero.
    /// - A wait of a second or more is rounded up to whole seconds. A shorter wait is not rounded.
    /// - If `Retry-After` and its counterparts state several waits, the longest counts.
    /// - If there is no `Date`, a time is a wait of an hour at most. A delta is not bounded.
    pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        let clock = Clock::of(headers, now);
        let mut policies = Vec::new();
        add_structured(headers, &clock, &mut policies);
        for names in &TRIPLES {
            add_triple(headers, names, &clock, &mut policies);
        }
        let tightest = policies.into_iter().map(|named| named.policy).reduce(tighter).unwrap_or_default();
        let until_date = |text| http_date(text).map(|date| clock.until(date));
        let retry_after = texts(headers, &RETRY_AFTER)
            .filter_map(until_date)
            .chain(items(headers, &RETRY_AFTER).filter_map(|item| clock.delta(split_item(item).0)))
            .chain(milliseconds(headers, &RETRY_AFTER_MS, &clock))
            .chain(milliseconds(headers, &GRPC_RETRY_PUSHBACK_MS, &clock))
            .max();
        Self {
            limit: tightest.limit,
            remaining: tightest.remaining,
            reset_after: tightest.reset.map(|reset| reset.after),
            reset_margin: tightest.reset.map_or(Duration::ZERO, |reset| reset.margin),
            window: tightest.window,
            retry_after,
        }
    }

    /// Whether a response that is not a refusal states limits. The check is cheap, because most
    /// responses state none.
    #[inline]
    pub(crate) fn are_in(headers: &HeaderMap) -> bool {
        headers.keys().any(|name| {
            let name = name.as_str().as_bytes();
            name.starts_with(b"x-rate") || name.starts_with(b"ratelimit")
        })
    }
}

/// Whether a gRPC server forbids sending a call again. It does so with a pushback that is not a
/// whole number of milliseconds.
pub(crate) fn forbids_retry(headers: &HeaderMap) -> bool {
    let mut pushbacks = headers.get_all(&GRPC_RETRY_PUSHBACK_MS).iter();
    pushbacks.any(|pushback| pushback.to_str().ok().and_then(whole_number).is_none())
}

/// One policy. A field is `None` if it was not stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Policy {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Reset>,
    window: Option<Duration>,
}

/// The end of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reset {
    after: Duration,
    /// How much later the window may end.
    margin: Duration,
}

impl Reset {
    fn exact(after: Duration) -> Self {
        Self { after, margin: Duration::ZERO }
    }
}

/// Returns the policy that leaves fewer requests.
fn tighter(one: Policy, other: Policy) -> Policy {
    let is_used_up = |policy: &Policy| policy.remaining == Some(0);
    // A policy that states only its limit has all its requests left.
    let left = |policy: &Policy| (policy.remaining.or(policy.limit).unwrap_or(u64::MAX), policy.remaining.is_none());
    let other_is_tighter = match (is_used_up(&one), is_used_up(&other)) {
        (true, true) => other.reset > one.reset,
        (one_is, other_is) => other_is || !one_is && left(&other) < left(&one),
    };
    if other_is_tighter { other } else { one }
}

struct Named<'a> {
    name: &'a str,
    policy: Policy,
}

/// Adds the policies of `RateLimit-Policy` and `RateLimit`.
fn add_structured<'a>(headers: &'a HeaderMap, clock: &Clock, policies: &mut Vec<Named<'a>>) {
    for item in texts(headers, &RATE_LIMIT_POLICY).flat_map(|text| outside_quotes(text, ',')) {
        let (name, parameters) = split_item(item);
        let parameter = |key| parameter(parameters, key);
        // A quota of bytes, or of requests at the same time, is not a quota of requests.
        if parameter("qu").is_some_and(|unit| unit.trim_matches('"') != "requests") {
            continue;
        }
        // Before draft 8 the item was the quota in place of a name.
        let limit = parameter("q").and_then(whole_number).or_else(|| whole_number(name));
        let policy = Policy { limit, window: parameter("w").and_then(window), ..Policy::default() };
        if policy != Policy::default() && policies.len() < MAX_POLICIES {
            policies.push(Named { name, policy });
        }
    }
    // In draft 7 the field is a dictionary with the parameters of a single policy.
    let mut present = Policy::default();
    for (position, item) in texts(headers, &RATE_LIMIT).flat_map(|text| outside_quotes(text, ',')).enumerate() {
        let (name, parameters) = split_item(item);
        match name.split_once('=').map(|(key, value)| (key.trim(), value)) {
            Some(("limit", value)) => present.limit = whole_number(value),
            Some(("remaining", value)) => present.remaining = whole_number(value),
            Some(("reset", value)) => present.reset = clock.delta(value).map(Reset::exact),
            Some(_) => {}
            None => {
                let remaining = parameter(parameters, "r").and_then(whole_number);
                let reset = parameter(parameters, "t").and_then(|text| clock.delta(text)).map(Reset::exact);
                if remaining.is_some() || reset.is_some() {
                    add_service_limit(policies, name, position, remaining, reset);
                }
            }
        }
    }
    if present != Policy::default() {
        complete(policies, present);
    }
}

/// Adds an item of `RateLimit` to the policy with its name. If no policy has that name, the policy
/// in the same position gets it.
fn add_service_limit<'a>(
    policies: &mut Vec<Named<'a>>,
    name: &'a str,
    position: usize,
    remaining: Option<u64>,
    reset: Option<Reset>,
) {
    let by_name = policies.iter().position(|known| known.name == name);
    let open = |known: &Named<'_>| known.policy.remaining.is_none() && known.policy.reset.is_none();
    let by_position = || policies.get(position).is_some_and(open).then_some(position);
    let known = by_name.or_else(by_position);
    if let Some(known) = known.and_then(|known| policies.get_mut(known)) {
        (known.policy.remaining, known.policy.reset) = (remaining, reset);
    } else if policies.len() < MAX_POLICIES {
        policies.push(Named { name, policy: Policy { remaining, reset, ..Policy::default() } });
    }
}

/// Adds the statement about a window to the policy with the same limit, or as a policy of its own.
fn complete(policies: &mut Vec<Named<'_>>, present: Policy) {
    let is_open = |known: &Named<'_>| known.policy.remaining.is_none() && known.policy.reset.is_none();
    let is_same = |known: &Named<'_>| present.limit.is_none() || known.policy.limit == present.limit;
    if let Some(Named { policy, .. }) = policies.iter_mut().find(|known| is_open(known) && is_same(known)) {
        let (limit, window) = (policy.limit.or(present.limit), policy.window.or(present.window));
        *policy = Policy { limit, window, ..present };
    } else if policies.len() < MAX_POLICIES {
        policies.push(Named { name: "", policy: present });
    }
}

/// Adds the policies of three fields of one spelling. The items of the three lists are paired by
/// position. An item that makes no sense keeps its position.
fn add_triple(headers: &HeaderMap, names: &[HeaderName; 3], clock: &Clock, policies: &mut Vec<Named<'_>>) {
    let [limits, remaining, resets] = names;
    let (mut limits, mut remaining) = (items(headers, limits), items(headers, remaining));
    let mut resets = resets_of(headers, resets, clock);
    for _ in 0..MAX_POLICIES {
        let (limit, remaining, reset) = (limits.next(), remaining.next(), resets.next());
        if limit.is_none() && remaining.is_none() && reset.is_none() {
            return;
        }
        let (limit, parameters) = limit.map_or(("", ""), split_item);
        let limit = whole_number(limit);
        let policy = Policy {
            limit,
            remaining: remaining.and_then(|text| whole_number(split_item(text).0)),
            reset: reset.flatten(),
            window: limit.and(parameter(parameters, "w")).and_then(window),
        };
        if policy != Policy::default() {
            complete(policies, policy);
        }
    }
}

/// Returns the items of all lists in a field.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    texts(headers, name).flat_map(|text| text.split(','))
}

/// Returns the resets in a field. A value is either an HTTP date, which contains a comma, or a list
/// of other forms.
fn resets_of<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    clock: &'a Clock,
) -> impl Iterator<Item = Option<Reset>> + use<'a> {
    texts(headers, name).flat_map(move |text| {
        let date = http_date(text);
        let list = date.is_none().then(|| text.split(',').map(|item| clock.reset(split_item(item).0)));
        date.map(|date| Some(clock.time(date))).into_iter().chain(list.into_iter().flatten())
    })
}

fn milliseconds(headers: &HeaderMap, name: &HeaderName, clock: &Clock) -> impl Iterator<Item = Duration> {
    items(headers, name).filter_map(whole_number).map(|number| clock.aged(Duration::from_millis(number)))
}

/// The time at which a response was made, and its age.
struct Clock {
    since_epoch: Duration,
    longest_wait: Duration,
    age: Duration,
    /// The response has a `Date`, so its age is subtracted from waits that end at a stated time
    /// too.
    is_dated: bool,
}

impl Clock {
    fn of(headers: &HeaderMap, now: SystemTime) -> Self {
        let age = texts(headers, &AGE).filter_map(whole_number).min().map_or(Duration::ZERO, Duration::from_secs);
        match texts(headers, &DATE).find_map(http_date) {
            Some(date) => Self { since_epoch: date, longest_wait: Duration::MAX, age, is_dated: true },
            None => Self { since_epoch: since_epoch(now), longest_wait: LONGEST_WITHOUT_DATE, age, is_dated: false },
        }
    }

    /// Returns the wait until a time of the server's clock. Without a `Date` the local clock is
    /// used, which includes the age already.
    fn until(&self, epoch: Duration) -> Duration {
        let wait = epoch.saturating_sub(self.since_epoch);
        if self.is_dated { self.aged(wait) } else { wait.min(self.longest_wait) }
    }

    fn time(&self, epoch: Duration) -> Reset {
        Reset { after: self.until(epoch), margin: GRANULARITY }
    }

    fn aged(&self, wait: Duration) -> Duration {
        wait.saturating_sub(self.age)
    }

    fn delta(&self, text: &str) -> Option<Duration> {
        Some(self.aged(rounded_up(decimal(text)?)))
    }

    fn reset(&self, text: &str) -> Option<Reset> {
        let Some(number) = decimal(text) else { return iso_date(text).map(|date| self.time(date)) };
        Some(match number.as_secs() {
            ..FIRST_EPOCH_SECOND => Reset::exact(self.aged(rounded_up(number))),
            FIRST_EPOCH_SECOND..FIRST_EPOCH_MILLISECOND => self.time(number),
            milliseconds => self.time(Duration::from_millis(milliseconds)),
        })
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// Returns the parts of a text between separators. A separator in a quoted string does not count.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let is_escaped = std::mem::take(&mut escaped);
        match character {
            '\\' if quoted && !is_escaped => escaped = true,
            '"' if !is_escaped => quoted = !quoted,
            _ => {}
        }
        !quoted && character == separator
    })
}

/// Splits an item from its parameters.
fn split_item(text: &str) -> (&str, &str) {
    let item = outside_quotes(text, ';').next().unwrap_or_default();
    (item.trim(), text.get(item.len()..).unwrap_or_default())
}

/// Returns the value of a parameter.
fn parameter<'a>(parameters: &'a str, key: &str) -> Option<&'a str> {
    outside_quotes(parameters, ';')
        .filter_map(|parameter| parameter.split_once('='))
        .find_map(|(name, value)| (name.trim() == key).then_some(value.trim()))
}

/// Returns the length of a window. Zero is not a length.
fn window(text: &str) -> Option<Duration> {
    decimal(text).filter(|window| !window.is_zero())
}

fn http_date(text: &str) -> Option<Duration> {
    httpdate::parse_http_date(text.trim()).ok().map(since_epoch)
}

/// Reads a number that consists of digits only. It saturates.
fn whole_number(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Reads seconds with or without a fraction. The fraction is rounded up to nanoseconds.
fn decimal(text: &str) -> Option<Duration> {
    let text = text.trim();
    let Some((whole, fraction)) = text.split_once('.') else { return whole_number(text).map(Duration::from_secs) };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let (counted, rest) = fraction.split_at_checked(9).unwrap_or((fraction, ""));
    let nanos = format!("{counted:0<9}").parse::<u64>().ok()?;
    let nanos = nanos + u64::from(rest.bytes().any(|byte| byte != b'0'));
    Some(Duration::from_secs(whole_number(whole)?).saturating_add(Duration::from_nanos(nanos)))
}

/// Rounds a time of a second or more up to whole seconds.
fn rounded_up(time: Duration) -> Duration {
    if time < Duration::from_secs(1) || time.subsec_nanos() == 0 {
        return time;
    }
    Duration::from_secs(time.as_secs().saturating_add(1))
}

/// Reads a date such as `2026-01-31T09:30:00Z`, as the time since 1970. Seconds, their fraction,
/// and the minutes of the offset are optional. A date before 1970 counts as 1970.
fn iso_date(text: &str) -> Option<Duration> {
    let (date, time) = text.trim().split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?, digits(date.next()?, 2)?);
    let (time, zone) = time.split_at_checked(time.find(['Z', 'z', '+', '-'])?)?;
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    let second = match time.next() {
        Some(second) => decimal(second).filter(|_| second.find('.').unwrap_or(second.len()) == 2)?,
        None => Duration::ZERO,
    };
    // A leap second counts as the first second of the next minute.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 24 || minute > 59 || second.as_secs() > 60 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 - offset(zone)?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).saturating_add(second))
}

/// Reads an offset from UTC, in seconds.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes() {
        [b'Z' | b'z'] => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..3).zip(zone.get(3..))?;
    let minutes = match minutes.strip_prefix(':').unwrap_or(minutes) {
        "" => 0,
        minutes => digits(minutes, 2)?,
    };
    Some(sign * (digits(hours, 2)? * 3_600 + minutes * 60))
}

/// Reads a number of exactly `count` digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let number = text.trim_end().len() == text.len() && text.len() == count;
    number.then(|| whole_number(text)).flatten().and_then(|number| i64::try_from(number).ok())
}

/// Returns the number of days since 1970 in the proleptic Gregorian calendar. The years of the
/// computation begin in March, so that a leap day is the last day of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    // 719,468 days lie between 1 March of the year 0 and 1970.
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests;
