//! Tests with servers that refuse requests and state no limit. The limiter sees only which requests
//! they accept.

use std::collections::VecDeque;

use super::*;

/// How a silent server counts.
#[derive(Clone, Copy, Debug)]
enum Counting {
    Fixed { limit: u64, window: f64 },
    Sliding { limit: u64, window: f64 },
    Bucket { burst: f64, per_second: f64 },
}

struct Silent {
    counting: Counting,
    log: VecDeque<f64>,
    level: f64,
    at: f64,
}

impl Silent {
    fn new(counting: Counting) -> Self {
        let level = if let Counting::Bucket { burst, .. } = counting { burst } else { 0.0 };
        Self { counting, log: VecDeque::new(), level, at: 0.0 }
    }

    fn accepts(&mut self, now: f64) -> bool {
        match self.counting {
            Counting::Fixed { limit, window } => {
                let begins = (now / window).floor() * window;
                self.log.retain(|time| *time >= begins);
                self.log_if(now, limit)
            }
            Counting::Sliding { limit, window } => {
                self.log.retain(|time| *time > now - window);
                self.log_if(now, limit)
            }
            Counting::Bucket { burst, per_second } => {
                self.level = (self.level + (now - self.at) * per_second).min(burst);
                self.at = now;
                let accepts = self.level >= 1.0 - 1e-9;
                self.level -= f64::from(accepts);
                accepts
            }
        }
    }

    fn log_if(&mut self, now: f64, limit: u64) -> bool {
        let accepts = (self.log.len() as u64) < limit;
        if accepts {
            self.log.push_back(now);
        }
        accepts
    }

    /// Returns how long `requests` requests take for a client that knows the server's rule.
    fn ideal(&self, requests: u64) -> f64 {
        match self.counting {
            Counting::Fixed { limit, window } | Counting::Sliding { limit, window } => {
                (requests.div_ceil(limit) - 1) as f64 * window
            }
            Counting::Bucket { burst, per_second } => (requests as f64 - burst).max(0.0) / per_second,
        }
    }

    /// Returns the time after which the server certainly accepts requests again.
    fn period(&self) -> f64 {
        match self.counting {
            Counting::Fixed { window, .. } | Counting::Sliding { window, .. } => window,
            Counting::Bucket { per_second, .. } => 1.0 / per_second,
        }
    }
}

/// Sends a backlog of `requests` through the limiter, one after another. If the limiter knows no
/// time after a refusal, a cool-down that doubles takes its place. Returns how long the backlog
/// took, how many requests were refused, and when the limiter admitted the last request.
fn drain(server: &mut Silent, requests: u64) -> (f64, u64) {
    const LATENCY: f64 = 0.02;
    let start = Instant::now();
    let at = |time: f64| start + seconds(time);
    let mut limiter = Limiter::new(RATE_LIMIT, false, MAX_WAIT);
    let (mut now, mut accepted_count, mut refused, mut step) = (0.0, 0, 0, 1.0);
    while accepted_count < requests {
        if let Some(until) = limiter.held_until(at(now)) {
            now = (until - start).as_secs_f64() + 1e-6;
            continue;
        }
        limiter.sent(at(now));
        let (sent_at, accepts) = (now, server.accepts(now));
        now += LATENCY;
        if accepts {
            limiter.returned(&accepted(), at(sent_at), at(now), || 0.5);
            (accepted_count, step) = (accepted_count + 1, 1.0);
            continue;
        }
        refused += 1;
        let found = limiter.returned(&refusal(StatedLimits::default()), at(sent_at), at(now), || 0.5);
        now = match found {
            Some(found) => (found - start).as_secs_f64().max(now) + 1e-6,
            None => now + step / 2.0,
        };
        step = (step * 2.0f64).min(60.0);
    }
    (now, refused)
}

fn any_counting() -> impl Strategy<Value = Counting> {
    let limit = 1..100u64;
    prop_oneof![
        (limit.clone(), 5.0..100.0f64).prop_map(|(limit, window)| Counting::Fixed { limit, window }),
        (limit, 5.0..100.0f64).prop_map(|(limit, window)| Counting::Sliding { limit, window }),
        (1..30u64, 0.2..5.0f64).prop_map(|(burst, per_second)| Counting::Bucket { burst: burst as f64, per_second }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_rate_of_a_silent_server_is_found(counting in any_counting(), times in 4..12u64) {
        let mut server = Silent::new(counting);
        let requests = times * match counting {
            Counting::Fixed { limit, .. } | Counting::Sliding { limit, .. } => limit,
            Counting::Bucket { burst, .. } => burst as u64 + 10,
        };
        let (took, _) = drain(&mut server, requests);
        // The requests are sent one after another, so that a window is not used up at once.
        let own = requests as f64 * 0.02;
        prop_assert!(took <= 1.5 * server.ideal(requests) + 2.0 * server.period() + own + 5.0, "{took} {}", server.ideal(requests));
    }
}

#[test]
fn a_rate_that_is_found_is_kept_with_few_refusals() {
    for (counting, requests, most) in [
        (Counting::Fixed { limit: 20, window: 60.0 }, 400, 60),
        (Counting::Sliding { limit: 20, window: 60.0 }, 400, 60),
        (Counting::Bucket { burst: 1.0, per_second: 1.0 }, 400, 100),
        (Counting::Bucket { burst: 9.0, per_second: 1.0 }, 400, 100),
    ] {
        let (_, refused) = drain(&mut Silent::new(counting), requests);
        assert!(refused <= most, "{counting:?}: {refused}");
    }
}

#[test]
fn a_single_refusal_holds_nothing_back_for_long() {
    for paced in [false, true] {
        let (mut limiter, start) = (Limiter::new(RATE_LIMIT, paced, MAX_WAIT), Instant::now());
        limiter.sent(start);
        answer(&mut limiter, refusal(StatedLimits::default()), 1, start, start);
        let probed = start + seconds(0.5);
        assert_eq!(limiter.held_until(probed), None);
        limiter.sent(probed);
        answer(&mut limiter, accepted(), 1, probed, probed);
        assert_eq!(burst(&mut limiter, probed), if paced { 59 } else { 1000 });
    }
}

#[test]
fn a_pulse_has_as_many_requests_as_the_previous_pulse_and_comes_a_period_later() {
    let (mut limiter, start) = (Limiter::new(RATE_LIMIT, false, MAX_WAIT), Instant::now());
    let bare = || refusal(StatedLimits::default());
    limiter.sent(start);
    answer(&mut limiter, bare(), 1, start, start);
    // Ten seconds later the server accepts three requests and refuses one.
    let first = start + seconds(10.0);
    assert_eq!(burst(&mut limiter, first), 1000);
    answer(&mut limiter, accepted(), 3, first, first);
    let found = limiter.returned(&bare(), first, first, || 0.0);
    answer(&mut limiter, Outcome::NotSent, 996, first, first);
    // The limiter tries half of the time that was long enough, which turns out to be too short.
    assert_eq!(found, Some(first + seconds(5.0)));
    let second = first + seconds(5.0);
    limiter.sent(second);
    let found = limiter.returned(&bare(), second, second, || 0.0);
    assert_eq!(found, Some(first + seconds(7.5)));
    let third = first + seconds(7.5);
    assert_eq!(burst(&mut limiter, third), 1);
    answer(&mut limiter, accepted(), 1, third, third);
    // The burst, and one more request, which tries a larger burst.
    let rest = burst(&mut limiter, third);
    assert_eq!(rest, 2);
    answer(&mut limiter, accepted(), 2, third, third);
    assert!(burst(&mut limiter, third) <= 1);
}

#[test]
fn requests_that_were_never_sent_hold_no_others_back() {
    let (mut limiter, start) = (Limiter::new(RATE_LIMIT, false, MAX_WAIT), Instant::now());
    let bare = || refusal(StatedLimits::default());
    limiter.sent(start);
    answer(&mut limiter, bare(), 1, start, start);
    let first = start + seconds(10.0);
    for _ in 0..4 {
        limiter.sent(first);
    }
    answer(&mut limiter, accepted(), 3, first, first);
    answer(&mut limiter, bare(), 1, first, first);
    // The first request of a pulse is sent alone. A thousand such requests, one after another, are
    // not sent, because they get no token.
    let second = first + seconds(10.0);
    for _ in 0..1000 {
        assert_eq!(burst(&mut limiter, second), 1);
        answer(&mut limiter, Outcome::NotSent, 1, second, second);
    }
}

#[test]
fn a_statement_of_the_server_ends_the_search() {
    let (mut limiter, start) = (Limiter::new(RATE_LIMIT, false, MAX_WAIT), Instant::now());
    limiter.sent(start);
    answer(&mut limiter, refusal(StatedLimits::default()), 1, start, start);
    limiter.sent(start);
    answer(&mut limiter, Outcome::Accepted(Some(window(50, 49, 60.0))), 1, start, start);
    assert!(limiter.rate.is_none());
    assert_eq!(burst(&mut limiter, start), 49);
}

#[test]
fn a_found_rate_is_forgotten_when_nothing_is_refused() {
    let (mut limiter, start) = (Limiter::new(RATE_LIMIT, false, MAX_WAIT), Instant::now());
    limiter.sent(start);
    answer(&mut limiter, refusal(StatedLimits::default()), 1, start, start);
    assert!(!limiter.is_unlimited(start + seconds(9.0)));
    assert!(limiter.is_unlimited(start + seconds(11.0)));
}

/// Returns the limiter of a class whose first request was accepted, and whose later requests were
/// refused for three minutes.
fn starved(max_wait: Duration, start: Instant) -> (Limiter, Instant) {
    let mut limiter = Limiter::new(RATE_LIMIT, false, max_wait);
    limiter.sent(start);
    answer(&mut limiter, accepted(), 1, start, start);
    let mut now = start;
    for pause in [1.0, 10.0, 50.0, 60.0, 60.0] {
        limiter.sent(now);
        answer(&mut limiter, refusal(StatedLimits::default()), 1, now, now);
        now += seconds(pause);
    }
    (limiter, now)
}

#[test]
fn a_server_that_accepts_again_after_minutes_is_asked_for_more_at_once() {
    let (mut limiter, now) = starved(MAX_WAIT, Instant::now());
    limiter.sent(now);
    answer(&mut limiter, accepted(), 1, now, now);
    let mut more = Vec::new();
    for _ in 0..6 {
        let sent = burst(&mut limiter, now);
        answer(&mut limiter, accepted(), sent, now, now);
        more.push(sent);
    }
    assert_eq!(more, [1, 2, 4, 8, 16, 32]);
}

#[test]
fn no_pulse_waits_for_longer_than_the_longest_wait() {
    for max_wait in [seconds(5.0), MAX_WAIT] {
        let (mut limiter, now) = starved(max_wait, Instant::now());
        limiter.sent(now);
        answer(&mut limiter, accepted(), 1, now, now);
        let sent = burst(&mut limiter, now);
        answer(&mut limiter, accepted(), sent, now, now);
        let found = limiter.returned(&refusal(StatedLimits::default()), now, now, || 0.9);
        assert!(found <= Some(now + max_wait.mul_f64(1.1)), "{:?}", found.map(|found| found - now));
        limiter.sent(now + max_wait);
        assert!(limiter.held_until(now + max_wait) <= Some(now + 2 * max_wait));
    }
}

/// Returns a limiter that has found the rate of a bucket with room for one request a second.
fn found(start: Instant) -> (Limiter, Instant) {
    let mut limiter = Limiter::new(RATE_LIMIT, false, MAX_WAIT);
    let mut now = start;
    for _ in 0..4 {
        limiter.sent(now);
        answer(&mut limiter, accepted(), 1, now, now);
        limiter.sent(now);
        answer(&mut limiter, refusal(StatedLimits::default()), 1, now, now);
        now += seconds(1.0);
    }
    (limiter, now)
}

/// Returns how long the next request has to wait.
fn waits(limiter: &mut Limiter, now: Instant) -> Duration {
    limiter.held_until(now).map_or(Duration::ZERO, |until| until - now)
}

#[test]
fn an_outage_makes_the_time_between_two_pulses_no_longer() {
    let (mut limiter, mut now) = found(Instant::now());
    // For ten minutes requests wait for their turn, are sent, and are lost.
    let end = now + seconds(600.0);
    while now < end {
        now += waits(&mut limiter, now);
        limiter.sent(now);
        now += seconds(0.1);
        answer(&mut limiter, Outcome::Lost, 1, now - seconds(0.1), now);
    }
    // The server is available again, and refuses once more.
    now += waits(&mut limiter, now);
    limiter.sent(now);
    let found = limiter.returned(&refusal(StatedLimits::default()), now, now, || 0.5);
    assert!(found.is_some_and(|found| found - now < seconds(3.0)), "{:?}", found.map(|found| found - now));
    now += seconds(3.0);
    let start = now;
    for _ in 0..20 {
        now += waits(&mut limiter, now);
        limiter.sent(now);
        now += seconds(0.1);
        answer(&mut limiter, accepted(), 1, now - seconds(0.1), now);
    }
    assert!(now - start < seconds(60.0), "{:?}", now - start);
}

#[test]
fn a_rate_that_holds_requests_back_is_not_forgotten() {
    let start = Instant::now();
    let mut server = Silent::new(Counting::Bucket { burst: 1.0, per_second: 1.0 });
    let (mut limiter, mut now) = found(start);
    // The requests are sent one after another.
    for _ in 0..200 {
        limiter.forget_unused(now);
        assert!(limiter.rate.is_some());
        now += waits(&mut limiter, now) + seconds(0.02);
        limiter.sent(now);
        if server.accepts((now - start).as_secs_f64()) {
            answer(&mut limiter, accepted(), 1, now, now);
        } else {
            let found = limiter.returned(&refusal(StatedLimits::default()), now, now, || 0.5);
            now = found.unwrap_or(now + seconds(0.5));
        }
    }
    limiter.forget_unused(now + seconds(11.0));
    assert!(limiter.rate.is_none());
}
