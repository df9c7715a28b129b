use proptest::prelude::*;

use super::{sharing::EASED, *};

mod windows;

const ALLOWANCE: Allowance = Allowance { requests: 60, window: Duration::from_secs(60) };
const MAX_WAIT: Duration = Duration::from_secs(120);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn paced() -> Pace {
    Pace::new(ALLOWANCE, true, MAX_WAIT)
}

/// Sends as many as may leave now.
fn burst(pace: &mut Pace, now: Instant) -> u64 {
    let mut sent = 0;
    while pace.wait(false, now).is_none() && sent < 1000 {
        pace.sent(now);
        sent += 1;
    }
    sent
}

fn answer(pace: &mut Pace, outcome: Outcome, times: u64, sent_at: Instant, now: Instant) {
    for _ in 0..times {
        pace.returned(outcome, sent_at, now, || 0.0);
    }
}

fn accepted() -> Outcome {
    Outcome::Accepted(None)
}

fn window(limit: u64, remaining: u64, reset: f64) -> RateLimits {
    RateLimits { limit: Some(limit), remaining: Some(remaining), reset_after: Some(seconds(reset)), retry_after: None }
}

#[test]
fn the_documented_allowance_leaves_at_once_and_then_nothing_for_a_window() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    let answered = start + seconds(0.1);
    answer(&mut pace, accepted(), 60, start, answered);
    assert_eq!(pace.wait(false, answered), Some(answered + ALLOWANCE.window));
    assert_eq!(burst(&mut pace, answered + ALLOWANCE.window - seconds(0.001)), 0);
    assert_eq!(burst(&mut pace, answered + ALLOWANCE.window), 60);
}

#[test]
fn requests_that_were_given_up_count_and_those_that_were_never_sent_do_not() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    answer(&mut pace, Outcome::Lost, 40, start, start);
    answer(&mut pace, Outcome::NotSent, 20, start, start);
    assert_eq!(burst(&mut pace, start + seconds(1.0)), 20);
}

#[test]
fn the_servers_count_replaces_ours_down_and_up() {
    let (mut pace, start) = (paced(), Instant::now());
    for _ in 0..30 {
        pace.sent(start);
    }
    answer(&mut pace, Outcome::Accepted(Some(window(35, 5, 30.0))), 30, start, start);
    assert_eq!(burst(&mut pace, start), 5);
    answer(&mut pace, Outcome::Accepted(Some(window(35, 0, 30.0))), 5, start, start);
    // The header may be a second short of the truth.
    assert_eq!(pace.wait(false, start), Some(start + seconds(31.0)));
    let end = start + seconds(31.0);
    assert_eq!(burst(&mut pace, end), 35);
    answer(&mut pace, Outcome::Accepted(Some(window(200, 165, 60.0))), 35, end, end);
    assert_eq!(burst(&mut pace, end), 165);
}

#[test]
fn answers_that_overtake_each_other_do_not_give_a_place_twice_nor_lose_one() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    answer(&mut pace, accepted(), 50, start, start);
    for remaining in [1, 0, 3, 2, 5, 4, 9, 8, 7, 6] {
        answer(&mut pace, Outcome::Accepted(Some(window(70, remaining + 10, 20.0))), 1, start, start);
    }
    assert_eq!(burst(&mut pace, start), 10);
}

#[test]
fn a_stated_limit_is_forgotten_when_it_is_no_longer_stated() {
    let (mut pace, start) = (paced(), Instant::now());
    pace.sent(start);
    answer(&mut pace, Outcome::Accepted(Some(RateLimits { limit: Some(7), ..Default::default() })), 1, start, start);
    assert_eq!(burst(&mut pace, start), 6);
    answer(&mut pace, accepted(), 6, start, start);
    assert_eq!(burst(&mut pace, start + ALLOWANCE.window * MEMORY), 7);
    answer(&mut pace, Outcome::NotSent, 7, start, start);
    assert_eq!(burst(&mut pace, start + ALLOWANCE.window * (MEMORY + 1)), 60);
}

#[test]
fn a_refusal_without_a_word_makes_what_was_carried_the_limit_until_it_is_raised_again() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    answer(&mut pace, accepted(), 20, start, start);
    answer(&mut pace, Outcome::Refused(RateLimits::default()), 40, start, start);
    assert_eq!(pace.wait(false, start), Some(start + ALLOWANCE.window));
    // A probe may leave, and finds the window still used up.
    assert_eq!(pace.wait(true, start), None);
    pace.sent(start);
    answer(&mut pace, Outcome::Refused(RateLimits::default()), 1, start, start);

    let count_window = |pace: &mut Pace, mut now: Instant| {
        let (mut carried, end) = (0, now + ALLOWANCE.window);
        loop {
            match pace.wait(false, now) {
                Some(until) if until >= end => return carried,
                Some(until) => now = until,
                None => {
                    pace.sent(now);
                    pace.returned(accepted(), now, now, || 0.0);
                    carried += 1;
                }
            }
        }
    };
    let mut carried = Vec::new();
    for n in 1..20 {
        carried.push(count_window(&mut pace, start + ALLOWANCE.window * n));
    }
    assert_eq!(carried[..5], [20; 5]);
    assert!(carried.iter().all(|carried| (20..=60).contains(carried)), "{carried:?}");
    assert_eq!(carried.last(), Some(&60), "{carried:?}");
}

#[test]
fn a_probe_that_succeeds_disproves_the_window() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    answer(&mut pace, accepted(), 20, start, start);
    answer(&mut pace, Outcome::Refused(RateLimits::default()), 40, start, start);
    let probed = start + seconds(0.5);
    assert_eq!(pace.wait(true, probed), None);
    pace.sent(probed);
    answer(&mut pace, accepted(), 1, probed, probed);
    // The others follow with a gap: four times the even rate.
    let gap = seconds(0.25);
    assert_eq!(burst(&mut pace, probed), 1);
    assert_eq!(pace.wait(false, probed), Some(probed + gap));
    assert_eq!(pace.wait(false, probed + gap), None);
}

#[test]
fn a_window_that_others_used_up_is_shared_from_then_on() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    answer(&mut pace, Outcome::Accepted(Some(window(60, 0, 30.0))), 15, start, start);
    answer(&mut pace, Outcome::Refused(window(60, 0, 30.0)), 45, start, start);
    let end = start + seconds(31.0);
    assert_eq!(pace.wait(false, start), Some(end));
    assert_eq!(burst(&mut pace, end), 1);
    assert_eq!(pace.wait(false, end), Some(end + seconds(0.25)));
    // Having a window to itself ends it.
    let mut now = end;
    for remaining in (0..60).rev() {
        if remaining < 59 {
            now += seconds(0.25);
            assert_eq!(burst(&mut pace, now), 1);
        }
        answer(&mut pace, Outcome::Accepted(Some(window(60, remaining, 60.0))), 1, now, now);
    }
    let end = pace.wait(false, now).expect("the window is used up");
    assert_eq!(burst(&mut pace, end), 60);
}

#[test]
fn classes_without_a_limit_are_held_back_by_refusals_only_and_not_for_long() {
    let (mut pace, start) = (Pace::new(ALLOWANCE, false, MAX_WAIT), Instant::now());
    assert!(pace.is_unlimited(start));
    assert_eq!(burst(&mut pace, start), 1000);
    answer(&mut pace, Outcome::NotSent, 999, start, start);
    answer(&mut pace, Outcome::Refused(RateLimits::default()), 1, start, start);
    assert!(!pace.is_unlimited(start));
    let (mut sent, mut now) = (0, start);
    while sent < EASED {
        match pace.wait(false, now) {
            Some(until) => now = until,
            None => {
                pace.sent(now);
                pace.returned(accepted(), now, now, || 0.0);
                sent += 1;
            }
        }
    }
    assert!(now - start < seconds(2.5), "{:?}", now - start);
    assert_eq!(burst(&mut pace, now), 1000);
}

#[test]
fn nothing_the_server_says_holds_requests_back_for_longer_than_the_bound() {
    let (mut pace, start) = (paced(), Instant::now());
    for limits in [
        RateLimits { reset_after: Some(Duration::MAX), ..window(u64::MAX, 0, 0.0) },
        RateLimits { reset_after: Some(Duration::MAX), ..window(0, 0, 0.0) },
        RateLimits { retry_after: Some(Duration::MAX), ..Default::default() },
    ] {
        pace.sent(start);
        answer(&mut pace, Outcome::Accepted(Some(limits)), 1, start, start);
        pace.sent(start);
        answer(&mut pace, Outcome::Refused(limits), 1, start, start);
        let until = pace.wait(false, start).expect("a refusal holds back");
        assert!(until <= start + MAX_WAIT);
    }
}

/// A server with fixed windows, and requests that take their time to it and back.
#[derive(Clone, Debug)]
struct Server {
    limit: u64,
    /// The offset of windows that follow each other without gaps; without it a window begins with its first request.
    aligned: Option<f64>,
    /// Headers are sent when no more than this is left.
    tell_at: u64,
}

/// Sends `requests` one after another as they may leave, each taking as long as `latencies` has it in turn. Returns how
/// many were refused, and when the last one left.
fn simulate(server: &Server, arrivals: &[f64], latencies: &[(f64, f64)]) -> (u64, f64) {
    let start = Instant::now();
    let mut pace = paced();
    // What happens next: (when, whether it is the arrival at the server or the answer, when it left, what comes of it).
    let mut events: Vec<(f64, Option<Outcome>, f64, f64)> = Vec::new();
    let (mut begins, mut count) = (f64::NEG_INFINITY, 0);
    let (mut refused, mut now, mut next) = (0, 0.0f64, 0);
    let at = |time: f64| start + seconds(time);
    loop {
        events.sort_by(|a, b| b.0.total_cmp(&a.0));
        let may_leave = (next < arrivals.len()).then(|| {
            let from = now.max(arrivals[next]);
            let waits = pace.wait(false, at(from));
            waits.map_or(from, |until| until.duration_since(start).as_secs_f64().max(from + 1e-6))
        });
        match (may_leave, events.last().map(|event| event.0)) {
            (None, None) => return (refused, now),
            (Some(leaves), due) if due.is_none_or(|due| leaves < due) => {
                if leaves > now.max(arrivals[next]) {
                    // Only looked at again: what was true of the future need not be true then.
                    now = leaves;
                    continue;
                }
                now = leaves;
                pace.sent(at(now));
                let (there, back) = latencies[next % latencies.len()];
                events.push((now + there, None, now, back));
                next += 1;
            }
            _ => {
                let Some((time, outcome, sent_at, back)) = events.pop() else { return (refused, now) };
                now = now.max(time);
                match outcome {
                    Some(outcome) => pace.returned(outcome, at(sent_at), at(now), || 0.0),
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
                        // Whole seconds, of the server's clock, rounded down like its date.
                        let reset = (begins + 60.0 + 1000.0).floor() - (now + 1000.0).floor();
                        let limits = match left <= server.tell_at {
                            true => window(server.limit, left, reset.max(0.0)),
                            false => RateLimits::default(),
                        };
                        let outcome =
                            if is_refused { Outcome::Refused(limits) } else { Outcome::Accepted(Some(limits)) };
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
    fn the_documented_limit_is_never_hit(
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
        // Each window is used up, and begins late by no more than an answer and the header's granularity.
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
        let mut pace = Pace::new(ALLOWANCE, paced, MAX_WAIT);
        // It works out what time changes whenever it is asked anything, not only when that is due.
        let mut eager = Pace::new(ALLOWANCE, paced, MAX_WAIT);
        let mut now = Instant::now();
        for (step, advance, limit, remaining, reset, retry, share) in steps {
            let before = now;
            now += Duration::from_millis(advance);
            let limits = RateLimits {
                limit,
                remaining,
                // Whole seconds, small ones as a server says them, and any.
                reset_after: reset.map(|reset| Duration::from_secs(if reset % 2 == 0 { reset % 100 } else { reset })),
                retry_after: retry.map(Duration::from_secs),
            };
            for pace in [&mut pace, &mut eager] {
                match step {
                    0 => pace.sent(now),
                    1 => pace.returned(Outcome::Accepted((share < 0.5).then_some(limits)), before, now, || share),
                    2 => pace.returned(Outcome::Refused(limits), before, now, || share),
                    3 => pace.returned(Outcome::Lost, before, now, || share),
                    _ => pace.returned(Outcome::NotSent, before, now, || share),
                }
            }
            eager.settled_until = None;
            let wait = pace.wait(false, now);
            if let Some(until) = wait {
                prop_assert!(until > now);
                prop_assert!(until <= now + MAX_WAIT);
            }
            prop_assert_eq!(wait, eager.wait(false, now));
            eager.settled_until = None;
            prop_assert_eq!((pace.is_idle(now), pace.limit), (eager.is_idle(now), eager.limit));
        }
    }
}

/// However many they are, they take no more memory than some hundred.
#[test]
fn places_that_were_taken_at_about_the_same_time_are_free_together() {
    let (mut pace, start) = (paced(), Instant::now());
    for taken in [0.0, 0.1, 0.2, 0.3] {
        pace.sent(start);
        answer(&mut pace, accepted(), 1, start, start + seconds(taken));
    }
    // The first three are within one part in 256 of a window.
    assert_eq!(pace.answered.first_free_at(), Some(start + seconds(0.2) + ALLOWANCE.window));
    assert_eq!(pace.wait(false, start + seconds(60.25)), None);
    assert_eq!(pace.answered.count(), 1);
}
