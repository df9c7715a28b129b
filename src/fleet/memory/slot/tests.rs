use std::time::Duration;

use super::*;
use crate::fleet::SentTokenRequest;

const HOUR: Duration = Duration::from_secs(3600);

/// A slot and its allowance, at a time that the test moves.
#[derive(Default)]
struct At {
    slot: SlotState,
    allowance: Allowance,
    now: u64,
}

impl At {
    fn new() -> Self {
        Self { now: 1_000_000, ..Self::default() }
    }

    fn acquire(&mut self, ask: &AcquireAsk) -> Answer {
        self.slot.acquire(&mut self.allowance, ask, self.now).answer
    }

    fn lease(&mut self, ask: &AcquireAsk) -> u64 {
        match self.acquire(ask) {
            Answer::Lease { fence, .. } => fence,
            other => panic!("{other:?}"),
        }
    }

    fn publish(&mut self, ask: &AcquireAsk, generation: u64, forced: bool) -> bool {
        let record = Record { generation, sealed: vec![1], lifetime: HOUR, remaining: HOUR, forced };
        self.slot.publish(&mut self.allowance, &PublishAsk::of(ask, record), self.now)
    }

    fn fail(&mut self, ask: &AcquireAsk, fence: u64) -> u64 {
        let mut fail = FailAsk::of(ask, fence);
        fail.request_number = 1;
        fail.failure = Some(Failure { kind: "unavailable".to_owned(), ..Failure::default() });
        self.slot.fail(&mut self.allowance, &fail, self.now)
    }

    /// A refusal of `generation`, and the forced refresh that follows it.
    fn force(&mut self, process: u64, generation: u64) -> Result<u64, Answer> {
        let mut ask = AcquireAsk::new(process);
        ask.have = generation;
        ask.refused = true;
        match self.acquire(&ask) {
            Answer::Lease { fence, forced: true } => {
                assert!(self.publish(&ask, fence, true));
                Ok(fence)
            }
            other => Err(other),
        }
    }
}

#[test]
fn the_lease_of_a_dead_process_passes_on_within_three_seconds_and_its_token_is_not_published() {
    // If a lease lasted as long as the patience of the waiting processes, all of them would fail.
    let (mut at, one, other) = (At::new(), AcquireAsk::new(1), AcquireAsk::new(2));
    let dead = at.lease(&one);
    at.now += 2999;
    assert_eq!(at.acquire(&other), Answer::Busy(Duration::from_millis(1)));
    at.now += 1;
    let fence = at.lease(&other);
    assert!(at.publish(&other, fence, false));
    assert!(!at.publish(&one, dead, false), "an older fence replaces a newer token");
}

#[test]
fn a_renewed_lease_lasts_and_a_lost_lease_cannot_be_renewed() {
    let (mut at, one, other) = (At::new(), AcquireAsk::new(1), AcquireAsk::new(2));
    let fence = at.lease(&one);
    let renewal = RenewAsk::of(&one, fence);
    for _ in 0..20 {
        at.now += 1000;
        assert_eq!(at.slot.renew(&mut at.allowance, &renewal, at.now), Renewed::Held);
        assert!(matches!(at.acquire(&other), Answer::Busy(_)));
    }
    at.now += 3000;
    at.lease(&other);
    assert_eq!(at.slot.renew(&mut at.allowance, &renewal, at.now), Renewed::Lost);
}

#[test]
fn a_fence_never_falls_if_the_clock_steps_back_or_the_store_has_lost_its_contents() {
    let (mut at, mut ask) = (At::new(), AcquireAsk::new(1));
    let fence = at.lease(&ask);
    at.publish(&ask, fence, false);
    at.now = 5;
    ask.have = fence;
    assert!(at.lease(&ask) > fence);
    let mut forgetful = At { now: 5, ..At::default() };
    assert!(forgetful.lease(&ask) > fence);
}

#[test]
fn the_allowance_is_never_exceeded_and_a_fifth_is_kept_for_recovery() {
    let (mut at, mut ask) = (At::new(), AcquireAsk::new(1));
    for place in 0..8 {
        let fence = at.lease(&ask);
        assert!(at.publish(&ask, fence, false), "{place}");
        ask.have = fence;
        at.now += 1;
    }
    assert!(matches!(at.acquire(&ask), Answer::AllowanceUsedUp(_)));
    ask.refused = true;
    for _ in 0..2 {
        let Answer::Lease { fence, forced: true } = at.acquire(&ask) else { panic!("places are kept for recovery") };
        at.publish(&ask, fence, false);
        ask.have = fence;
    }
    let Answer::AllowanceUsedUp(wait) = at.acquire(&ask) else { panic!("an eleventh fetch in a minute") };
    at.now += millis(wait) - 1;
    assert!(matches!(at.acquire(&ask), Answer::AllowanceUsedUp(_)));
    at.now += 1;
    at.lease(&ask);
}

#[test]
fn a_dead_holders_place_stays_taken_until_its_fetch_can_no_longer_be_counted() {
    let (mut at, mut ask) = (At::new(), AcquireAsk::new(1));
    ask.limit = 1;
    at.lease(&ask);
    at.now += 89_999;
    assert_eq!(at.acquire(&ask), Answer::AllowanceUsedUp(Duration::from_millis(1)));
    at.now += 1;
    at.lease(&ask);
}

#[test]
fn a_store_that_forgot_waits_for_reports_before_it_grants_and_counts_them() {
    // A store that has lost its contents must not grant a used allowance again.
    let (mut at, mut ask) = (At::new(), AcquireAsk::new(1));
    ask.epoch = 17;
    ask.limit = 1;
    ask.requests =
        vec![SentTokenRequest { fence: 3, number: 1, age: Duration::from_secs(50), may_arrive_for: Duration::ZERO }];
    assert_eq!(at.acquire(&ask), Answer::Busy(Duration::from_secs(1)));
    at.now += 1000;
    assert_eq!(
        at.acquire(&AcquireAsk { epoch: 0, process: 2, requests: vec![], ..ask }),
        Answer::AllowanceUsedUp(Duration::from_secs(9))
    );
}

#[test]
fn a_store_that_forgot_waits_once_for_a_thousand_processes_with_nothing_to_report() {
    let mut at = At::new();
    let mut next = AcquireAsk::new(0);
    next.epoch = 17;
    let mut ask = |at: &mut At| {
        next.process += 1;
        at.acquire(&next)
    };
    assert_eq!(ask(&mut at), Answer::Busy(Duration::from_secs(1)));
    // The processes refresh over 75 s.
    for _ in 0..13 {
        at.now += 75;
        assert!(matches!(ask(&mut at), Answer::Busy(_)));
    }
    at.now += 75;
    assert!(matches!(ask(&mut at), Answer::Lease { .. }), "the wait is over");
}

#[test]
fn a_failure_cools_down_the_whole_fleet_for_longer_each_time_and_a_token_ends_it() {
    let mut at = At::new();
    for (process, wait) in (1..).zip([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]) {
        let ask = AcquireAsk { limit: 100, ..AcquireAsk::new(process) };
        let fence = at.lease(&ask);
        assert_eq!(at.fail(&ask, fence), wait);
        let Answer::CoolingDown(left, failure) = at.acquire(&AcquireAsk::new(99)) else { panic!("no cool-down") };
        assert_eq!((millis(left), failure.kind.as_str()), (wait, "unavailable"));
        at.now += wait;
    }
    let ask = AcquireAsk { limit: 100, ..AcquireAsk::new(1) };
    let fence = at.lease(&ask);
    at.publish(&ask, fence, false);
    let newer = AcquireAsk { have: fence, ..ask };
    let fence = at.lease(&newer);
    assert_eq!(at.fail(&newer, fence), 1000);
}

#[test]
fn a_401_costs_one_fetch_for_the_fleet_and_a_late_401_none() {
    let (mut at, one) = (At::new(), AcquireAsk::new(1));
    let first = at.lease(&one);
    at.publish(&one, first, false);
    at.now += 10_000;
    let forced = at.force(1, first).expect("the first 401 forces a refresh");
    for process in 2..50 {
        let refused = AcquireAsk { have: first, refused: true, ..AcquireAsk::new(process) };
        assert!(matches!(at.acquire(&refused), Answer::Token(record) if record.generation == forced && record.forced));
    }
}

#[test]
fn ineffective_refreshes_are_paused_for_all_and_an_effective_one_ends_the_pause() {
    let (mut at, one) = (At::new(), AcquireAsk { limit: 100, ..AcquireAsk::new(1) });
    let mut generation = at.lease(&one);
    at.publish(&one, generation, false);
    for pause in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
        at.now += 60_000;
        generation = at.force(1, generation).expect("a forced refresh");
        assert_eq!(at.slot.report_retry(&ReportRetryAsk::new(generation, false), at.now), pause);
        assert_eq!(at.slot.report_retry(&ReportRetryAsk::new(generation, false), at.now), pause, "one report a record");
        assert_eq!(at.force(2, generation), Err(Answer::Paused(duration(pause))));
    }
    assert_eq!(at.slot.report_retry(&ReportRetryAsk::new(generation, true), at.now), 0);
    assert!(at.force(2, generation).is_ok());
}

#[test]
fn an_invalidation_removes_the_token_and_refuses_the_token_of_an_earlier_fetch() {
    let (mut at, one) = (At::new(), AcquireAsk::new(1));
    let fence = at.lease(&one);
    at.publish(&one, fence, false);
    let newer = AcquireAsk { have: fence, ..AcquireAsk::new(2) };
    let under_way = at.lease(&newer);
    at.slot.invalidate(&InvalidateAsk::new(fence), at.now);
    assert!(!at.publish(&newer, under_way, false));
    let fence = at.lease(&AcquireAsk::new(3));
    assert!(fence > under_way);
    assert!(at.publish(&AcquireAsk::new(3), fence, false));
}

#[test]
fn the_servers_statement_of_the_allowance_holds_for_all_processes() {
    let (mut at, one) = (At::new(), AcquireAsk::new(1));
    let fence = at.lease(&one);
    let record = Record { generation: fence, sealed: vec![1], lifetime: HOUR, remaining: HOUR, forced: false };
    let mut ask = PublishAsk::of(&one, record);
    ask.stated = Some(Stated { remaining: 0, reset: Duration::from_secs(30) });
    assert!(at.slot.publish(&mut at.allowance, &ask, at.now));
    let other = AcquireAsk { have: fence, ..AcquireAsk::new(2) };
    assert_eq!(at.acquire(&other), Answer::AllowanceUsedUp(Duration::from_secs(30)));
}

#[test]
fn a_clock_that_steps_back_prolongs_no_lifetime() {
    let (mut at, one) = (At::new(), AcquireAsk::new(1));
    let fence = at.lease(&one);
    at.publish(&one, fence, false);
    at.now -= 500_000;
    assert!(matches!(at.acquire(&AcquireAsk::new(2)), Answer::Token(record) if record.remaining == HOUR));
}
