//! Tests of the statements of responses about a window, and of the end of a window.

use super::*;
use crate::gate::limiter::slots::UsedSlots;

#[test]
fn slots_are_freed_one_by_one_in_a_window_that_has_turned_out_to_be_short() {
    let start = Instant::now();
    let mut slots = UsedSlots::new(seconds(60.0));
    slots.set_length(seconds(1.0));
    for sent_at in [start, start + seconds(0.1)] {
        slots.sent(sent_at);
        slots.returned(sent_at, true, sent_at);
    }
    assert_eq!(slots.first_free_at(), Some(start + seconds(1.0)));
}

#[test]
fn a_response_without_limits_uses_a_slot_of_the_stated_window() {
    let (mut limiter, start) = (paced(), Instant::now());
    for _ in 0..4 {
        limiter.sent(start);
    }
    answer(&mut limiter, Outcome::Accepted(Some(window(35, 5, 30.0))), 1, start, start);
    answer(&mut limiter, accepted(), 1, start, start);
    answer(
        &mut limiter,
        Outcome::Accepted(Some(StatedLimits { limit: Some(35), ..Default::default() })),
        1,
        start,
        start,
    );
    answer(&mut limiter, Outcome::Lost, 1, start, start);
    assert_eq!(burst(&mut limiter, start), 2);
}

#[test]
fn a_reset_of_zero_states_how_many_requests_are_left_and_no_end_of_the_window() {
    let (mut limiter, start) = (paced(), Instant::now());
    limiter.sent(start);
    answer(&mut limiter, Outcome::Accepted(Some(window(35, 5, 20.0))), 1, start, start);
    limiter.sent(start);
    answer(&mut limiter, Outcome::Accepted(Some(window(35, 2, 0.0))), 1, start, start);
    assert_eq!(burst(&mut limiter, start), 2);
    assert_eq!(limiter.held_until(start), Some(start + seconds(21.0)));
    // A later response that states more requests left frees no place.
    answer(&mut limiter, Outcome::Accepted(Some(window(35, 9, 0.0))), 2, start, start);
    assert_eq!(limiter.held_until(start), Some(start + seconds(21.0)));
}

#[test]
fn slots_that_were_certainly_answered_in_a_shared_window_are_free_at_its_end() {
    let (mut limiter, start) = (paced(), Instant::now());
    for _ in 0..10 {
        limiter.sent(start);
    }
    answer(&mut limiter, accepted(), 9, start, start);
    // Thirty of the sixty requests are used up. Twenty of them were not ours, so the window may
    // have begun before our first request.
    answer(&mut limiter, Outcome::Accepted(Some(window(60, 30, 30.0))), 1, start, start);
    for (sent, answers) in [(5, 27.5), (7, 28.5)] {
        let now = start + seconds(answers);
        for _ in 0..sent {
            limiter.sent(now);
        }
        answer(&mut limiter, accepted(), sent, now, now);
    }
    // The header may be up to two seconds too late, so the last seven requests may count in the
    // next window.
    assert_eq!(burst(&mut limiter, start + seconds(31.0)), 53);
}

#[test]
fn a_limit_of_zero_is_ignored() {
    let (mut limiter, start) = (paced(), Instant::now());
    limiter.sent(start);
    answer(
        &mut limiter,
        Outcome::Accepted(Some(StatedLimits { limit: Some(0), ..Default::default() })),
        1,
        start,
        start,
    );
    assert_eq!(burst(&mut limiter, start), 59);
}

#[test]
fn a_window_that_is_all_ours_ends_when_its_first_slot_is_free() {
    // The stated end may be up to a second before the true end, or up to two seconds after it. If
    // it differs more, it describes another window.
    for (reset, ends) in [(20.0, 60.0), (21.0, 60.0), (22.0, 60.0), (23.0, 64.0)] {
        let (mut limiter, start) = (paced(), Instant::now());
        for _ in 0..10 {
            limiter.sent(start);
        }
        answer(&mut limiter, accepted(), 10, start, start);
        let now = start + seconds(40.0);
        limiter.sent(now);
        answer(&mut limiter, Outcome::Accepted(Some(window(11, 0, reset))), 1, now, now);
        assert_eq!(limiter.held_until(now), Some(start + seconds(ends)), "{reset}");
    }
}

#[test]
fn a_response_describes_the_window_whose_end_is_near_the_stated_end() {
    let (mut limiter, start) = (paced(), Instant::now());
    let mut tell = |limits| {
        limiter.sent(start);
        answer(&mut limiter, Outcome::Accepted(Some(limits)), 1, start, start);
        let sent = burst(&mut limiter, start);
        answer(&mut limiter, Outcome::NotSent, sent, start, start);
        (sent, limiter.windows.ends().map(|ends| ends - start))
    };
    assert_eq!(tell(window(100, 3, 4.0)), (3, Some(seconds(5.0))));
    // The server is in a new window already.
    assert_eq!(tell(window(100, 80, 60.0)), (80, Some(seconds(61.0))));
    // A late response from the previous window.
    assert_eq!(tell(window(100, 2, 3.0)), (80, Some(seconds(61.0))));
    // The same window, with a stated end a little later.
    assert_eq!(tell(window(100, 79, 58.0)), (79, Some(seconds(59.0))));
}

#[test]
fn a_refusal_that_states_when_to_retry_ends_the_window_then_or_before() {
    let refused = |seconds| refusal(StatedLimits { retry_after: Some(seconds), ..Default::default() });
    let (started, told) = (Instant::now(), |reset| Outcome::Accepted(Some(window(60, 40, reset))));
    // A stated end, the wait that a refusal asks for, and the resulting end. A second is added to a
    // stated end, because a header may be a second too early.
    for (first, asked, ends) in [(told(20.0), 50.0, 21.0), (told(50.0), 10.0, 10.0)] {
        let mut limiter = paced();
        limiter.sent(started);
        answer(&mut limiter, first, 1, started, started);
        limiter.sent(started);
        answer(&mut limiter, refused(seconds(asked)), 1, started, started);
        assert_eq!(limiter.held_until(started), Some(started + seconds(ends)));
    }
    // The server's statement replaces an end that we only assume.
    let mut limiter = paced();
    for outcome in [accepted(), refusal(StatedLimits::default()), refused(seconds(90.0))] {
        limiter.sent(started);
        answer(&mut limiter, outcome, 1, started, started);
    }
    assert_eq!(limiter.held_until(started), Some(started + seconds(90.0)));
}

#[test]
fn without_a_limit_a_window_that_was_not_used_up_holds_no_request_back() {
    for (remaining, sent) in [(5, 1000), (0, 1)] {
        let (mut limiter, start) = (Limiter::new(RATE_LIMIT, false, MAX_WAIT), Instant::now());
        limiter.sent(start);
        let limits = StatedLimits { limit: None, ..window(0, remaining, 20.0) };
        answer(&mut limiter, Outcome::Accepted(Some(limits)), 1, start, start);
        assert_eq!(burst(&mut limiter, start + seconds(21.0)), sent);
    }
}

#[test]
fn a_shared_window_stays_shared_if_it_was_not_used_up() {
    let (mut limiter, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut limiter, start), 60);
    answer(&mut limiter, Outcome::Accepted(Some(window(60, 0, 30.0))), 15, start, start);
    answer(&mut limiter, refusal(window(60, 0, 30.0)), 45, start, start);
    let next = start + seconds(31.0);
    assert_eq!(burst(&mut limiter, next), 1);
    answer(&mut limiter, Outcome::Accepted(Some(window(60, 40, 60.0))), 1, next, next);
    assert_eq!(burst(&mut limiter, next + seconds(61.0)), 1);
}

#[test]
fn a_slot_that_was_free_before_the_response_may_have_counted_in_a_shared_window() {
    for (sent_at, ends) in [(59.0, 101.0), (60.5, 100.0)] {
        let (mut limiter, start) = (paced(), Instant::now());
        for taken in [0.0, 40.0] {
            let now = start + seconds(taken);
            limiter.sent(now);
            answer(&mut limiter, accepted(), 1, now, now);
        }
        let (sent_at, now) = (start + seconds(sent_at), start + seconds(61.0));
        limiter.sent(sent_at);
        answer(&mut limiter, Outcome::Accepted(Some(window(2, 0, 39.0))), 1, sent_at, now);
        assert_eq!(limiter.held_until(now), Some(start + seconds(ends)));
    }
}

#[test]
fn a_window_that_was_all_ours_never_counts_as_shared() {
    for asked in [None, Some(60.0), Some(60.1)] {
        let (mut limiter, start) = (paced(), Instant::now());
        assert_eq!(burst(&mut limiter, start), 60);
        for remaining in (0..60).rev() {
            limiter.returned(&Outcome::Accepted(Some(window(60, remaining, 60.0))), start, start, || 0.9);
        }
        // The server has counted only our requests, so its window ends when our first place is
        // free.
        if let Some(asked) = asked {
            assert_eq!(limiter.held_until(start + seconds(asked)), Some(start + seconds(60.225)));
        }
        assert_eq!(burst(&mut limiter, start + seconds(60.5)), 60, "{asked:?}");
    }
}

#[test]
fn late_responses_do_not_shorten_the_windows() {
    let (mut limiter, start) = (paced(), Instant::now());
    for _ in 0..10 {
        limiter.sent(start);
    }
    answer(&mut limiter, Outcome::Accepted(Some(window(60, 53, 2.0))), 7, start, start);
    // The requests of the other processes were counted in the window that has ended, of which a
    // second was left.
    for late in 1..=3 {
        let now = start + seconds(f64::from(late) * 4.0);
        answer(&mut limiter, Outcome::Accepted(Some(window(60, 50, 1.0))), 1, start, now);
    }
    let now = start + seconds(80.0);
    let sent = burst(&mut limiter, now);
    answer(&mut limiter, accepted(), sent, now, now);
    assert_eq!(sent, 60);
    assert!(limiter.held_until(now + seconds(30.0)) >= Some(now + seconds(60.0)));
}

#[test]
fn a_window_has_the_length_that_the_server_states() {
    for length in [1.0, 10.0, 90.0] {
        let (mut limiter, start) = (paced(), Instant::now());
        let stated = StatedLimits { limit: Some(3), window: Some(seconds(length)), ..Default::default() };
        for _ in 0..3 {
            assert_eq!(limiter.held_until(start), None);
            limiter.sent(start);
            answer(&mut limiter, Outcome::Accepted(Some(stated)), 1, start, start);
        }
        assert_eq!(limiter.held_until(start), Some(start + seconds(length)));
        assert_eq!(burst(&mut limiter, start + seconds(length)), 3);
    }
}

#[test]
fn a_stated_window_holds_reads_back_for_the_longest_wait_at_most() {
    for window in [None, Some(seconds(315_360_000.0))] {
        let (mut limiter, start) = (Limiter::new(RATE_LIMIT, false, seconds(1.0)), Instant::now());
        limiter.sent(start);
        let stated = StatedLimits { limit: Some(1), window, ..Default::default() };
        answer(&mut limiter, Outcome::Accepted(Some(stated)), 1, start, start);
        assert_eq!(limiter.held_until(start), Some(start + seconds(1.0)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_request_that_returns_is_no_longer_in_flight(
        length in prop_oneof![Just(0u64), Just(1), Just(100), Just(1_000_000), Just(60_000_000_000)],
        steps in proptest::collection::vec((any::<bool>(), any::<usize>(), any::<bool>(), 0..3u32), 1..200),
    ) {
        let length = Duration::from_nanos(length);
        let mut slots = slots::UsedSlots::new(length);
        let (mut now, mut in_flight, mut answered) = (Instant::now(), Vec::new(), 0);
        for (sends, which, counts, advance) in steps {
            now += (length / 512).max(Duration::from_nanos(1)) * advance;
            if sends || in_flight.is_empty() {
                slots.sent(now);
                in_flight.push(now);
            } else {
                slots.returned(in_flight.swap_remove(which % in_flight.len()), counts, now);
                answered += u64::from(counts);
            }
            prop_assert_eq!((slots.in_flight(), slots.answered()), (in_flight.len() as u64, answered));
        }
    }
}
