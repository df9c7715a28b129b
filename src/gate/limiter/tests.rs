use proptest::prelude::*;

use super::*;

mod rate;
mod windows;

const RATE_LIMIT: RateLimit = RateLimit { requests: 60, window: Duration::from_secs(60) };
const MAX_WAIT: Duration = Duration::from_secs(120);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn paced() -> Limiter {
    Limiter::new(RATE_LIMIT, true, MAX_WAIT)
}

/// Sends as many requests as may be sent now.
fn burst(limiter: &mut Limiter, now: Instant) -> u64 {
    let mut sent = 0;
    while limiter.held_until(now).is_none() && sent < 1000 {
        limiter.sent(now);
        sent += 1;
    }
    sent
}

fn answer(limiter: &mut Limiter, outcome: Outcome, times: u64, sent_at: Instant, now: Instant) {
    let mut outcome = outcome;
    for _ in 0..times {
        limiter.returned(&outcome, sent_at, now, || 0.0);
        // Among requests that were sent together only the first refusal counts.
        if let Outcome::Refused { is_first_of_epoch, .. } = &mut outcome {
            *is_first_of_epoch = false;
        }
    }
}

fn accepted() -> Outcome {
    Outcome::Accepted(None)
}

fn refusal(limits: StatedLimits) -> Outcome {
    Outcome::Refused { limits, is_first_of_epoch: true }
}

fn window(limit: u64, remaining: u64, reset: f64) -> StatedLimits {
    StatedLimits {
        limit: Some(limit),
        remaining: Some(remaining),
        reset_after: Some(seconds(reset)),
        reset_margin: seconds(1.0),
        ..StatedLimits::default()
    }
}

#[test]
fn the_documented_limit_is_sent_at_once_and_then_nothing_for_a_window() {
    let (mut limiter, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut limiter, start), 60);
    let answered = start + seconds(0.1);
    answer(&mut limiter, accepted(), 60, start, answered);
    assert_eq!(limiter.held_until(answered), Some(answered + RATE_LIMIT.window));
    assert_eq!(burst(&mut limiter, answered + RATE_LIMIT.window - seconds(0.001)), 0);
    assert_eq!(burst(&mut limiter, answered + RATE_LIMIT.window), 60);
}

#[test]
fn requests_that_were_given_up_count_and_those_that_were_never_sent_do_not() {
    let (mut limiter, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut limiter, start), 60);
    answer(&mut limiter, Outcome::Lost, 40, start, start);
    answer(&mut limiter, Outcome::NotSent, 20, start, start);
    assert_eq!(burst(&mut limiter, start + seconds(1.0)), 20);
}

#[test]
fn the_servers_count_replaces_ours_if_it_is_lower_or_higher() {
    let (mut limiter, start) = (paced(), Instant::now());
    for _ in 0..30 {
        limiter.sent(start);
    }
    answer(&mut limiter, Outcome::Accepted(Some(window(35, 5, 30.0))), 30, start, start);
    assert_eq!(burst(&mut limiter, start), 5);
    answer(&mut limiter, Outcome::Accepted(Some(window(35, 0, 30.0))), 5, start, start);
    // The header may be up to a second too early.
    assert_eq!(limiter.held_until(start), Some(start + seconds(31.0)));
    let end = start + seconds(31.0);
    assert_eq!(burst(&mut limiter, end), 35);
    answer(&mut limiter, Outcome::Accepted(Some(window(200, 165, 60.0))), 35, end, end);
    assert_eq!(burst(&mut limiter, end), 165);
}

#[test]
fn responses_that_overtake_each_other_neither_free_a_slot_twice_nor_lose_a_slot() {
    let (mut limiter, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut limiter, start), 60);
    answer(&mut limiter, accepted(), 50, start, start);
    for remaining in [1, 0, 3, 2, 5, 4, 9, 8, 7, 6] {
        answer(&mut limiter, Outcome::Accepted(Some(window(70, remaining + 10, 20.0))), 1, start, start);
    }
    assert_eq!(burst(&mut limiter, start), 10);
}

#[test]
fn a_stated_limit_is_forgotten_when_it_is_no_longer_stated() {
    let (mut limiter, start) = (paced(), Instant::now());
    limiter.sent(start);
    answer(
        &mut limiter,
        Outcome::Accepted(Some(StatedLimits { limit: Some(7), ..Default::default() })),
        1,
        start,
        start,
    );
    assert_eq!(burst(&mut limiter, start), 6);
    answer(&mut limiter, accepted(), 6, start, start);
    let later = start + RATE_LIMIT.window * 5;
    assert_eq!(burst(&mut limiter, later), 7);
    answer(&mut limiter, Outcome::NotSent, 7, later, later);
    assert_eq!(burst(&mut limiter, start + RATE_LIMIT.window * 6), 60);
}

#[test]
fn a_window_that_other_processes_used_up_is_shared_from_then_on() {
    let (mut limiter, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut limiter, start), 60);
    answer(&mut limiter, Outcome::Accepted(Some(window(60, 0, 30.0))), 15, start, start);
    answer(&mut limiter, refusal(window(60, 0, 30.0)), 45, start, start);
    let end = start + seconds(31.0);
    assert_eq!(limiter.held_until(start), Some(end));
    assert_eq!(burst(&mut limiter, end), 1);
    // The gap is a quarter of the gap that spreads the fifteen requests over the 31 seconds. It
    // then shrinks to the gap of the limit.
    assert_eq!(limiter.held_until(end), Some(end + seconds(31.0) / 15 / 4));
    // A window without other processes ends the sharing.
    let mut now = end;
    for remaining in (0..60).rev() {
        if remaining < 59 {
            let next = limiter.held_until(now).expect("a gap");
            assert!(next - now >= seconds(0.25), "{:?}", next - now);
            now = next;
            assert_eq!(burst(&mut limiter, now), 1);
        }
        answer(&mut limiter, Outcome::Accepted(Some(window(60, remaining, 60.0))), 1, now, now);
    }
    assert!(now - end <= seconds(18.0), "{:?}", now - end);
    let end = limiter.held_until(now).expect("the window is used up");
    assert_eq!(burst(&mut limiter, end), 60);
}

#[test]
fn no_statement_of_the_server_holds_requests_back_for_longer_than_the_bound() {
    let (mut limiter, start) = (paced(), Instant::now());
    for limits in [
        StatedLimits { reset_after: Some(Duration::MAX), ..window(u64::MAX, 0, 0.0) },
        StatedLimits { reset_after: Some(Duration::MAX), ..window(0, 0, 0.0) },
        StatedLimits { retry_after: Some(Duration::MAX), ..Default::default() },
    ] {
        limiter.sent(start);
        answer(&mut limiter, Outcome::Accepted(Some(limits)), 1, start, start);
        limiter.sent(start);
        answer(&mut limiter, refusal(limits), 1, start, start);
        let until = limiter.held_until(start).expect("a refusal holds back");
        assert!(until <= start + MAX_WAIT);
    }
}

/// A server with fixed windows, and requests that take some time in each direction.
#[derive(Clone, Debug)]
struct Server {
    limit: u64,
    /// The offset of windows that follow each other without gaps. If it is `None`, a window begins
    /// with its first request.
    aligned: Option<f64>,
    /// Headers are sent when at most this many requests are left.
    tell_at: u64,
}

/// Sends `requests` one after another, as soon as they may be sent. `latencies` has their times in
/// transit, in turn. Returns how many requests were refused, and when the last request was sent.
fn simulate(server: &Server, arrivals: &[f64], latencies: &[(f64, f64)]) -> (u64, f64) {
    let start = Instant::now();
    let mut limiter = paced();
    // The next events: (when, whether it is the arrival at the server or the response, when the
    // request was sent, its outcome).
    let mut events: Vec<(f64, Option<Outcome>, f64, f64)> = Vec::new();
    let (mut begins, mut count) = (f64::NEG_INFINITY, 0);
    let (mut refused, mut now, mut next) = (0, 0.0f64, 0);
    let at = |time: f64| start + seconds(time);
    loop {
        events.sort_by(|a, b| b.0.total_cmp(&a.0));
        // The limiter is not called for a time after the next event.
        let due = events.last().map_or(f64::INFINITY, |event| event.0);
        let arrival = arrivals.get(next).map(|arrives| now.max(*arrives)).filter(|arrives| *arrives < due);
        let may_leave = arrival.map(|from| {
            let waits = limiter.held_until(at(from));
            waits.map_or(from, |until| until.duration_since(start).as_secs_f64().max(from + 1e-6))
        });
        match (may_leave, events.last().map(|event| event.0)) {
            (None, None) => return (refused, now),
            (Some(leaves), due) if due.is_none_or(|due| leaves < due) => {
                if leaves > now.max(arrivals[next]) {
                    // The limiter is asked again, because its forecast may have changed by then.
                    now = leaves;
                    continue;
                }
                now = leaves;
                limiter.sent(at(now));
                let (there, back) = latencies[next % latencies.len()];
                events.push((now + there, None, now, back));
                next += 1;
            }
            _ => {
                let Some((time, outcome, sent_at, back)) = events.pop() else { return (refused, now) };
                now = now.max(time);
                match outcome {
                    Some(outcome) => drop(limiter.returned(&outcome, at(sent_at), at(now), || 0.0)),
                    None => {
                        if let Some(offset) = server.aligned {
                            let this = ((now - offset) / 60.0).floor() * 60.0 + offset;
                            if this > begins {
                                (begins, count) = (this, 0);
                            }
                        } else if now >= begins + 60.0 {
                            (begins, count) = (now, 0);
                        }
                        let is_refused = count >= server.limit;
                        refused += u64::from(is_refused);
                        count += u64::from(!is_refused);
                        let left = server.limit - count;
                        // Whole seconds of the server's clock, rounded down like its date.
                        let reset = (begins + 60.0 + 1000.0).floor() - (now + 1000.0).floor();
                        let limits = match left <= server.tell_at {
                            true => window(server.limit, left, reset.max(0.0)),
                            false => StatedLimits::default(),
                        };
                        let outcome = if is_refused { refusal(limits) } else { Outcome::Accepted(Some(limits)) };
                        events.push((now + back, Some(outcome), sent_at, 0.0));
                    }
                }
            }
        }
    }
}

fn any_server() -> impl Strategy<Value = Server> {
    (proptest::option::of(0.0..60.0), prop_oneof![Just(0), Just(12), Just(60)]).prop_map(|(aligned, tell_at)| Server {
        limit: 60,
        aligned,
        tell_at,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_documented_limit_is_never_exceeded(
        server in any_server(),
        mut arrivals in proptest::collection::vec(0.0..200.0, 1..250),
        latencies in proptest::collection::vec((0.001..2.0, 0.001..2.0), 1..20),
        at_once: bool,
    ) {
        if at_once {
            arrivals.fill(0.0);
        }
        arrivals.sort_by(f64::total_cmp);
        let (refused, last) = simulate(&server, &arrivals, &latencies);
        prop_assert_eq!(refused, 0);
        // Each window is used up. It begins late by at most the time of a response and the
        // granularity of the header.
        let windows = (arrivals.len() as f64 / 60.0).ceil();
        prop_assert!(last <= 200.0 + windows * (60.0 + 4.0 + 3.0), "{last}");
    }

    #[test]
    fn no_sequence_of_events_panics_or_holds_back_for_longer_than_the_bound(
        paced: bool,
        steps in proptest::collection::vec(
            (0..5u8, 0..30_000u64, proptest::option::of(any::<u64>()), proptest::option::of(0..100u64),
             proptest::option::of(any::<u64>()), proptest::option::of(any::<u64>()), 0.0..1.0f64),
            1..60,
        ),
    ) {
        let mut limiter = Limiter::new(RATE_LIMIT, paced, MAX_WAIT);
        // This limiter applies the effects of time on every call, not only when they are due.
        let mut eager = Limiter::new(RATE_LIMIT, paced, MAX_WAIT);
        let mut now = Instant::now();
        for (step, advance, limit, remaining, reset, retry, share) in steps {
            let before = now;
            now += Duration::from_millis(advance);
            let limits = StatedLimits {
                limit,
                remaining,
                // Whole seconds: small numbers, as real servers state them, and arbitrary numbers.
                reset_after: reset.map(|reset| Duration::from_secs(if reset % 2 == 0 { reset % 100 } else { reset })),
                reset_margin: seconds(f64::from(u8::from(share < 0.3))),
                // From a nanosecond to 36 years.
                window: retry.map(|retry| Duration::from_nanos(1 << (retry % 61))).filter(|_| share > 0.9),
                retry_after: retry.map(Duration::from_secs),
            };
            for limiter in [&mut limiter, &mut eager] {
                match step {
                    0 => limiter.sent(now),
                    1 => drop(limiter.returned(&Outcome::Accepted((share < 0.5).then_some(limits)), before, now, || share)),
                    2 => drop(limiter.returned(&refusal(limits), before, now, || share)),
                    3 => drop(limiter.returned(&Outcome::Lost, before, now, || share)),
                    _ => drop(limiter.returned(&Outcome::NotSent, before, now, || share)),
                }
            }
            eager.windows.unsettle();
            let wait = limiter.held_until(now);
            if let Some(until) = wait {
                prop_assert!(until > now);
                prop_assert!(until <= now + MAX_WAIT);
            }
            prop_assert_eq!(wait, eager.held_until(now));
            eager.windows.unsettle();
            prop_assert_eq!((limiter.is_idle(now), limiter.windows.limit()), (eager.is_idle(now), eager.windows.limit()));
        }
    }
}

/// Any number of requests takes no more memory than some hundred requests.
#[test]
fn slots_that_were_taken_at_about_the_same_time_are_free_together() {
    let (mut limiter, start) = (paced(), Instant::now());
    for taken in [0.0, 0.1, 0.2, 0.3] {
        limiter.sent(start);
        answer(&mut limiter, accepted(), 1, start, start + seconds(taken));
    }
    // The first three requests are sent within one 256th of a window.
    assert_eq!(limiter.windows.first_free_at(), Some(start + seconds(0.2) + RATE_LIMIT.window));
    assert_eq!(limiter.held_until(start + seconds(60.25)), None);
    assert_eq!(limiter.windows.answered(), 1);
}
