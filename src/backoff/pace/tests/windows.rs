//! What answers and refusals tell of a window, and what follows at its end.

use super::*;

#[test]
fn an_answer_that_says_nothing_uses_a_place_of_the_window_that_another_told() {
    let (mut pace, start) = (paced(), Instant::now());
    for _ in 0..4 {
        pace.sent(start);
    }
    answer(&mut pace, Outcome::Accepted(Some(window(35, 5, 30.0))), 1, start, start);
    answer(&mut pace, accepted(), 1, start, start);
    answer(&mut pace, Outcome::Accepted(Some(RateLimits { limit: Some(35), ..Default::default() })), 1, start, start);
    answer(&mut pace, Outcome::Lost, 1, start, start);
    assert_eq!(burst(&mut pace, start), 2);
}

#[test]
fn a_reset_of_nothing_tells_what_is_left_and_not_when_the_window_ends() {
    let (mut pace, start) = (paced(), Instant::now());
    pace.sent(start);
    answer(&mut pace, Outcome::Accepted(Some(window(35, 5, 20.0))), 1, start, start);
    pace.sent(start);
    answer(&mut pace, Outcome::Accepted(Some(window(35, 2, 0.0))), 1, start, start);
    assert_eq!(burst(&mut pace, start), 2);
    assert_eq!(pace.wait(false, start), Some(start + seconds(21.0)));
    // Nor does one that says more take a place back.
    answer(&mut pace, Outcome::Accepted(Some(window(35, 9, 0.0))), 2, start, start);
    assert_eq!(pace.wait(false, start), Some(start + seconds(21.0)));
}

#[test]
fn what_was_surely_answered_in_a_window_is_free_at_its_end_although_others_share_it() {
    let (mut pace, start) = (paced(), Instant::now());
    for _ in 0..10 {
        pace.sent(start);
    }
    answer(&mut pace, accepted(), 9, start, start);
    // Thirty of the sixty are gone: twenty were not ours, so that the window may have begun before our first.
    answer(&mut pace, Outcome::Accepted(Some(window(60, 30, 30.0))), 1, start, start);
    for (sent, answers) in [(5, 27.5), (7, 28.5)] {
        let now = start + seconds(answers);
        for _ in 0..sent {
            pace.sent(now);
        }
        answer(&mut pace, accepted(), sent, now, now);
    }
    // The header may be two seconds beyond the truth: the last seven may count in the next window.
    assert_eq!(burst(&mut pace, start + seconds(31.0)), 53);
}

#[test]
fn a_limit_of_nothing_is_not_believed() {
    let (mut pace, start) = (paced(), Instant::now());
    pace.sent(start);
    answer(&mut pace, Outcome::Accepted(Some(RateLimits { limit: Some(0), ..Default::default() })), 1, start, start);
    assert_eq!(burst(&mut pace, start), 59);
}

#[test]
fn a_window_that_is_all_ours_ends_when_its_first_place_is_free() {
    // The header may be a second short of the truth, or two seconds beyond it; further off it tells another window.
    for (reset, ends) in [(20.0, 60.0), (21.0, 60.0), (22.0, 60.0), (23.0, 64.0)] {
        let (mut pace, start) = (paced(), Instant::now());
        for _ in 0..10 {
            pace.sent(start);
        }
        answer(&mut pace, accepted(), 10, start, start);
        let now = start + seconds(40.0);
        pace.sent(now);
        answer(&mut pace, Outcome::Accepted(Some(window(11, 0, reset))), 1, now, now);
        assert_eq!(pace.wait(false, now), Some(start + seconds(ends)), "{reset}");
    }
}

#[test]
fn an_answer_tells_of_the_window_whose_end_is_near_the_one_it_says() {
    let (mut pace, start) = (paced(), Instant::now());
    let mut tell = |limits| {
        pace.sent(start);
        answer(&mut pace, Outcome::Accepted(Some(limits)), 1, start, start);
        let sent = burst(&mut pace, start);
        answer(&mut pace, Outcome::NotSent, sent, start, start);
        (sent, pace.window.map(|window| window.ends - start))
    };
    assert_eq!(tell(window(100, 3, 4.0)), (3, Some(seconds(5.0))));
    // The server is in a new window already.
    assert_eq!(tell(window(100, 80, 60.0)), (80, Some(seconds(61.0))));
    // One that comes late from the window before.
    assert_eq!(tell(window(100, 2, 3.0)), (80, Some(seconds(61.0))));
    // The same window, told a little later.
    assert_eq!(tell(window(100, 79, 58.0)), (79, Some(seconds(59.0))));
}

#[test]
fn a_refusal_that_says_when_to_ask_again_ends_the_window_then_or_before() {
    let refused = |seconds| Outcome::Refused(RateLimits { retry_after: Some(seconds), ..Default::default() });
    let (started, told) = (Instant::now(), |reset| Outcome::Accepted(Some(window(60, 40, reset))));
    // An end that was told before, with the second that a header may be short of the truth, and what follows from both.
    for (first, asked, ends) in [(told(20.0), 50.0, 21.0), (told(50.0), 10.0, 10.0)] {
        let mut pace = paced();
        pace.sent(started);
        answer(&mut pace, first, 1, started, started);
        pace.sent(started);
        answer(&mut pace, refused(seconds(asked)), 1, started, started);
        assert_eq!(pace.wait(true, started), Some(started + seconds(ends)));
    }
    // An end that is only our assumption does not count against what the server says.
    let mut pace = paced();
    for outcome in [accepted(), Outcome::Refused(RateLimits::default()), refused(seconds(90.0))] {
        pace.sent(started);
        answer(&mut pace, outcome, 1, started, started);
    }
    assert_eq!(pace.wait(true, started), Some(started + seconds(90.0)));
}

#[test]
fn at_an_end_that_is_only_assumed_no_place_is_free_before_its_time() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    answer(&mut pace, accepted(), 20, start, start);
    let later = start + seconds(30.0);
    answer(&mut pace, accepted(), 10, start, later);
    answer(&mut pace, Outcome::Refused(RateLimits::default()), 30, start, later);
    let end = start + ALLOWANCE.window;
    assert_eq!(pace.wait(false, later), Some(end));
    assert_eq!(pace.wait(false, end), None);
    assert_eq!(pace.answered.count(), 10);
}

#[test]
fn places_beyond_what_a_window_carries_were_those_of_the_window_before() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    answer(&mut pace, accepted(), 2, start, start);
    answer(&mut pace, Outcome::Refused(RateLimits::default()), 58, start, start);
    assert_eq!(pace.wait(false, start + ALLOWANCE.window), None);
    // Two are what a window carries. After five more, three are tried.
    let tried = start + ALLOWANCE.window * (MEMORY + 1);
    for (n, outcome) in
        [(1, accepted()), (2, accepted()), (3, accepted()), (4, Outcome::Refused(RateLimits::default()))]
    {
        let now = tried + Duration::from_secs(n);
        pace.sent(now);
        answer(&mut pace, outcome, 1, now, now);
    }
    let refused = tried + seconds(4.0);
    assert_eq!(pace.wait(false, refused), Some(tried + seconds(2.0) + ALLOWANCE.window));
}

#[test]
fn a_limit_that_was_inferred_is_raised_after_a_while_and_forgotten_after_twice_that() {
    for (windows, carries) in [(MEMORY, 20), (MEMORY + 1, 25), (2 * MEMORY, 25), (2 * MEMORY + 1, 60)] {
        let (mut pace, start) = (paced(), Instant::now());
        assert_eq!(burst(&mut pace, start), 60);
        answer(&mut pace, accepted(), 20, start, start);
        answer(&mut pace, Outcome::Refused(RateLimits::default()), 40, start, start);
        let inferred = start + ALLOWANCE.window;
        assert_eq!(pace.wait(false, inferred), None);
        let now = inferred + ALLOWANCE.window * windows;
        pace.wait(false, now);
        assert_eq!(pace.limit, Some(carries), "after {windows}");
        // Asked more than once, it makes up for the windows that nobody has asked in.
        if windows % MEMORY == 1 {
            assert_eq!(burst(&mut pace, now), carries, "after {windows}");
        }
    }
}

#[test]
fn without_a_limit_a_window_that_was_not_used_up_holds_nobody_back() {
    for (remaining, sent) in [(5, 1000), (0, 1)] {
        let (mut pace, start) = (Pace::new(ALLOWANCE, false, MAX_WAIT), Instant::now());
        pace.sent(start);
        let limits = RateLimits { limit: None, ..window(0, remaining, 20.0) };
        answer(&mut pace, Outcome::Accepted(Some(limits)), 1, start, start);
        assert_eq!(burst(&mut pace, start + seconds(21.0)), sent);
    }
}

#[test]
fn a_shared_window_stays_shared_when_nobody_has_used_it_up() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    answer(&mut pace, Outcome::Accepted(Some(window(60, 0, 30.0))), 15, start, start);
    answer(&mut pace, Outcome::Refused(window(60, 0, 30.0)), 45, start, start);
    let next = start + seconds(31.0);
    assert_eq!(burst(&mut pace, next), 1);
    answer(&mut pace, Outcome::Accepted(Some(window(60, 40, 60.0))), 1, next, next);
    assert_eq!(burst(&mut pace, next + seconds(61.0)), 1);
}

#[test]
fn a_refusal_without_a_word_does_not_replace_a_limit_that_was_stated() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    answer(&mut pace, Outcome::Accepted(Some(RateLimits { limit: Some(50), ..Default::default() })), 20, start, start);
    answer(&mut pace, Outcome::Refused(RateLimits::default()), 40, start, start);
    let end = start + ALLOWANCE.window;
    assert_eq!(pace.wait(true, start), Some(end));
    assert_eq!((pace.wait(false, end), pace.limit), (None, Some(50)));
}

#[test]
fn a_window_of_which_no_place_is_left_is_no_limit_of_nothing() {
    let (mut pace, start) = (paced(), Instant::now());
    assert_eq!(burst(&mut pace, start), 60);
    answer(&mut pace, accepted(), 20, start, start);
    for _ in 0..40 {
        pace.returned(Outcome::Refused(RateLimits::default()), start, start, || 0.9);
    }
    // Its places are free by themselves while its end is put off by chance.
    let end = start + ALLOWANCE.window;
    let opens = end + MOST_WINDOW_JITTER.mul_f64(0.9);
    assert_eq!(pace.wait(false, end), Some(opens));
    assert_eq!(pace.wait(false, opens), None);
}

#[test]
fn a_place_that_was_free_before_the_answer_may_have_counted_in_a_window_that_is_not_all_ours() {
    for (sent_at, ends) in [(59.0, 101.0), (60.5, 100.0)] {
        let (mut pace, start) = (paced(), Instant::now());
        for taken in [0.0, 40.0] {
            let now = start + seconds(taken);
            pace.sent(now);
            answer(&mut pace, accepted(), 1, now, now);
        }
        let (sent_at, now) = (start + seconds(sent_at), start + seconds(61.0));
        pace.sent(sent_at);
        answer(&mut pace, Outcome::Accepted(Some(window(2, 0, 39.0))), 1, sent_at, now);
        assert_eq!(pace.wait(false, now), Some(start + seconds(ends)));
    }
}

#[test]
fn without_a_limit_four_successes_halve_the_gap_and_twenty_four_end_it() {
    let (mut pace, mut now) = (Pace::new(ALLOWANCE, false, MAX_WAIT), Instant::now());
    pace.sent(now);
    answer(&mut pace, Outcome::Refused(RateLimits::default()), 1, now, now);
    for successes in 0..EASED {
        assert_eq!(burst(&mut pace, now), 1, "after {successes}");
        let gap = seconds(0.25) / (1 << (successes / 4));
        assert_eq!(pace.wait(false, now), Some(now + gap), "after {successes}");
        answer(&mut pace, accepted(), 1, now, now);
        now += gap;
    }
    assert_eq!(burst(&mut pace, now), 1000);
}

#[test]
fn without_a_limit_a_refusal_is_forgotten_after_five_windows_whenever_somebody_asks() {
    let (mut pace, start) = (Pace::new(ALLOWANCE, false, MAX_WAIT), Instant::now());
    pace.sent(start);
    answer(&mut pace, Outcome::Refused(RateLimits::default()), 1, start, start);
    let end = start + ALLOWANCE.window * MEMORY;
    for (now, sent) in [(start + seconds(1.0), 1), (end - seconds(1.0), 1), (end + seconds(1.0), 1000)] {
        assert_eq!(burst(&mut pace, now), sent);
        answer(&mut pace, Outcome::NotSent, sent, now, now);
    }
}

#[test]
fn what_a_window_carried_is_the_same_whenever_it_is_asked_for() {
    for asked in [None, Some(60.0), Some(60.1)] {
        let (mut pace, start) = (paced(), Instant::now());
        assert_eq!(burst(&mut pace, start), 60);
        answer(&mut pace, accepted(), 10, start, start);
        answer(&mut pace, accepted(), 10, start, start + seconds(1.0));
        for _ in 0..40 {
            pace.returned(Outcome::Refused(RateLimits::default()), start, start + seconds(1.0), || 0.9);
        }
        // It is taken to end when the first place is free, and is over a little later.
        if let Some(asked) = asked {
            assert_eq!(pace.wait(false, start + seconds(asked)), Some(start + seconds(60.225)));
        }
        assert_eq!(pace.wait(false, start + seconds(60.5)), None);
        assert_eq!(pace.limit, Some(20), "{asked:?}");
    }
}

#[test]
fn a_window_that_was_all_ours_is_not_seen_as_shared_whenever_it_is_asked_for() {
    for asked in [None, Some(60.0), Some(60.1)] {
        let (mut pace, start) = (paced(), Instant::now());
        assert_eq!(burst(&mut pace, start), 60);
        for remaining in (0..60).rev() {
            pace.returned(Outcome::Accepted(Some(window(60, remaining, 60.0))), start, start, || 0.9);
        }
        // The server has counted nothing but ours: its window ends when the first place is free.
        if let Some(asked) = asked {
            assert_eq!(pace.wait(false, start + seconds(asked)), Some(start + seconds(60.225)));
        }
        assert_eq!(burst(&mut pace, start + seconds(60.5)), 60, "{asked:?}");
    }
}

#[test]
fn what_the_window_before_carried_is_not_counted_whenever_it_is_asked_for() {
    for asked in [None, Some(60.0), Some(60.9)] {
        let (mut pace, start) = (paced(), Instant::now());
        assert_eq!(burst(&mut pace, start), 60);
        answer(&mut pace, accepted(), 20, start, start);
        answer(&mut pace, Outcome::Refused(RateLimits::default()), 40, start, start);
        assert_eq!(pace.wait(false, start + ALLOWANCE.window), None);
        // Five windows later a raise of that limit of twenty is tried, by a quarter.
        let start = start + ALLOWANCE.window * 6 + seconds(1.0);
        assert_eq!(burst(&mut pace, start), 25);
        answer(&mut pace, accepted(), 4, start, start);
        answer(&mut pace, accepted(), 20, start, start + seconds(1.0));
        answer(&mut pace, Outcome::Refused(RateLimits::default()), 1, start, start + seconds(1.0));
        if let Some(asked) = asked {
            assert_eq!(pace.wait(false, start + seconds(asked)), Some(start + seconds(61.0)));
        }
        assert_eq!(pace.wait(false, start + seconds(61.0)), None);
        assert_eq!(pace.limit, Some(20), "{asked:?}");
    }
}

#[test]
fn a_place_whose_time_is_over_does_not_stand_in_for_one_of_the_window_that_an_answer_tells() {
    // One that left before the window was assumed, and a probe.
    for (sent, ours) in [(0.0, 2), (60.1, 3)] {
        let (mut pace, start) = (paced(), Instant::now());
        assert_eq!(burst(&mut pace, start), 60);
        answer(&mut pace, accepted(), 1, start, start);
        for _ in 0..57 {
            pace.returned(Outcome::Refused(RateLimits::default()), start, start, || 0.9);
        }
        let (sent_at, now) = (start + seconds(sent), start + seconds(60.15));
        if sent > 0.0 {
            assert_eq!(pace.wait(true, sent_at), None);
            pace.sent(sent_at);
        }
        // The one that was accepted first was counted in a window before, and somebody else's in this one.
        answer(&mut pace, Outcome::Accepted(Some(window(ours + 1, 0, 1.0))), 1, sent_at, now);
        assert_eq!(pace.wait(false, now), Some(now + seconds(2.0)), "sent at {sent}");
    }
}
