use proptest::prelude::*;

use super::{DOCUMENTED_WINDOW as WINDOW, *};

#[derive(Clone, Debug)]
enum Step {
    Pass(Duration),
    /// Begins a token request, if a place is free.
    Begin(Purpose),
    /// Ends the token request that began first.
    End,
    Learn {
        remaining: Option<u64>,
        reset_after: Option<Duration>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let seconds = |range: std::ops::Range<u64>| range.prop_map(Duration::from_secs);
    prop_oneof![
        3 => seconds(0..30).prop_map(Step::Pass),
        1 => seconds(30..400).prop_map(Step::Pass),
        6 => prop_oneof![Just(Purpose::Supply), Just(Purpose::Recovery)].prop_map(Step::Begin),
        4 => Just(Step::End),
        1 => (
            prop::option::of(prop_oneof![0_u64..4, Just(u64::MAX)]),
            prop::option::of(prop_oneof![seconds(0..90), Just(Duration::MAX)]),
        )
            .prop_map(|(remaining, reset_after)| Step::Learn { remaining, reset_after }),
    ]
}

proptest! {
    #[test]
    fn no_window_has_more_fetches_than_the_limit(limit in 1_u32..15, steps in prop::collection::vec(step(), 1..200)) {
        let mut allowance = Allowance::new(limit, WINDOW);
        let limit = limit as usize;
        let mut now = Instant::now();
        let mut under_way = VecDeque::new();
        let mut ended: Vec<Instant> = Vec::new();
        let mut forbidden_until = now;
        for step in steps {
            match step {
                Step::Pass(time) => now += time,
                Step::Begin(purpose) => {
                    if !allowance.wait(now, purpose).is_zero() {
                        continue;
                    }
                    prop_assert!(now >= forbidden_until, "the server had none left");
                    allowance.begin(now);
                    under_way.push_back(now);
                    let taken = under_way.len() + ended.iter().filter(|end| **end + WINDOW > now).count();
                    let usable = match purpose {
                        Purpose::Supply => (limit - limit / PLACES_PER_RESERVED).max(1),
                        Purpose::Recovery => limit,
                    };
                    prop_assert!(taken <= usable, "{taken} places of {usable} are taken");
                }
                Step::End => {
                    if under_way.pop_front().is_some() {
                        allowance.end(now);
                        ended.push(now);
                    }
                }
                Step::Learn { remaining, reset_after } => {
                    allowance.learn(now, &StatedLimits { remaining, reset_after, ..StatedLimits::default() });
                    match remaining {
                        Some(0) => forbidden_until = now + reset_after.unwrap_or(WINDOW).min(LONGEST_WINDOW),
                        Some(_) => forbidden_until = now,
                        None => {}
                    }
                }
            }
        }
    }

    #[test]
    fn the_wait_ends_exactly_when_a_place_is_free(
        limit in 1_u32..15,
        fetches in prop::collection::vec((0_u64..20, 0_u64..20), 1..60),
    ) {
        let mut allowance = Allowance::new(limit, WINDOW);
        let mut now = Instant::now();
        for (pause, length) in fetches {
            now += Duration::from_secs(pause);
            let wait = allowance.wait(now, Purpose::Supply);
            prop_assert!(wait <= WINDOW);
            if !wait.is_zero() {
                prop_assert!(!allowance.wait(now + wait - Duration::from_nanos(1), Purpose::Supply).is_zero());
            }
            now += wait;
            prop_assert!(allowance.wait(now, Purpose::Supply).is_zero());
            prop_assert!(allowance.wait(now, Purpose::Recovery).is_zero());
            allowance.begin(now);
            now += Duration::from_secs(length);
            allowance.end(now);
        }
    }
}

#[test]
fn recovery_has_places_of_its_own() {
    let now = Instant::now();
    let mut allowance = Allowance::new(DOCUMENTED_LIMIT, WINDOW);
    for _ in 0..8 {
        assert!(allowance.wait(now, Purpose::Supply).is_zero());
        allowance.begin(now);
        allowance.end(now);
    }
    assert_eq!(allowance.wait(now, Purpose::Supply), WINDOW);
    for _ in 0..2 {
        assert!(allowance.wait(now, Purpose::Recovery).is_zero());
        allowance.begin(now);
        allowance.end(now);
    }
    assert_eq!(allowance.wait(now, Purpose::Recovery), WINDOW);
}

#[test]
fn a_server_whose_window_is_a_day_is_asked_again_after_five_minutes() {
    let now = Instant::now();
    let mut allowance = Allowance::new(DOCUMENTED_LIMIT, WINDOW);
    let day = Some(Duration::from_secs(24 * 60 * 60));
    allowance.learn(now, &StatedLimits { remaining: Some(1), reset_after: day, ..StatedLimits::default() });
    assert!(allowance.wait(now, Purpose::Supply).is_zero());
    allowance.learn(now, &StatedLimits { remaining: Some(0), reset_after: day, ..StatedLimits::default() });
    assert_eq!(allowance.wait(now, Purpose::Recovery), Duration::from_secs(5 * 60));
    assert!(allowance.wait(now + Duration::from_secs(5 * 60), Purpose::Recovery).is_zero());
}

#[test]
fn the_free_places_are_the_lesser_of_our_count_and_the_servers_count() {
    let now = Instant::now();
    let mut allowance = Allowance::new(DOCUMENTED_LIMIT, WINDOW);
    assert_eq!(allowance.free(now), 10);
    allowance.begin(now);
    allowance.end(now);
    allowance.begin(now);
    assert_eq!(allowance.free(now), 8);
    for (remaining, free) in [(5, 5), (50, 8), (0, 0)] {
        allowance.learn(now, &StatedLimits { remaining: Some(remaining), ..StatedLimits::default() });
        assert_eq!(allowance.free(now), free);
    }
    assert_eq!(allowance.free(now + WINDOW), 9);
}

#[test]
fn a_request_under_way_keeps_its_place_until_it_ends() {
    let now = Instant::now();
    let mut allowance = Allowance::new(1, WINDOW);
    allowance.begin(now);
    let hours_later = now + Duration::from_secs(10_000);
    assert_eq!(allowance.wait(hours_later, Purpose::Recovery), WINDOW);
    allowance.end(hours_later);
    assert_eq!(allowance.wait(hours_later + WINDOW / 2, Purpose::Recovery), WINDOW / 2);
}
