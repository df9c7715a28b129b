//! A model checker for the slot: every order of the calls of two processes, up to a bounded number
//! of steps.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use super::*;

/// Longer than a lease, and shorter than the window of the allowance.
const STEP: u64 = 4_000;
const DEPTH: u32 = 7;
/// A limit of one can be exceeded in few steps. A limit of three permits more orders.
const LIMITS: [u32; 2] = [1, 3];
const WINDOW: Duration = Duration::from_secs(60);

/// One process, as the store sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Process {
    have: u64,
    /// The lease that the process believes it holds: its fence, and whether its request was sent.
    lease: Option<(u64, bool)>,
    /// The generation that the process uses: the last that it published or adopted.
    uses: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Acquire { refused: bool },
    Send,
    Publish,
    Fail,
    Die,
    Invalidate,
    ReportRetry { effective: bool },
}

const ACTIONS: [Action; 9] = [
    Action::Acquire { refused: false },
    Action::Acquire { refused: true },
    Action::Send,
    Action::Publish,
    Action::Fail,
    Action::Die,
    Action::Invalidate,
    Action::ReportRetry { effective: true },
    Action::ReportRetry { effective: false },
];

#[derive(Clone, Debug)]
struct World {
    limit: u32,
    slot: SlotState,
    allowance: Allowance,
    now: u64,
    processes: [Process; 2],
    /// The last lease, as its process and its end. `None` after it was given back, or after an
    /// invalidation ended it.
    lease: Option<(usize, u64)>,
    /// The largest fence that was ever given, and the times at which requests were sent.
    largest_fence: u64,
    sent_at: Vec<u64>,
    /// Generations up to this one were invalidated.
    invalidated: u64,
    /// Generations whose refusal was accepted.
    refused: BTreeSet<u64>,
}

impl World {
    /// All state that decides what can happen next.
    fn fingerprint(&self) -> String {
        format!(
            "{:?}",
            (&self.slot, &self.allowance, self.now, &self.processes, self.lease, self.invalidated, &self.refused)
        )
    }

    /// Returns whether the action was possible.
    fn act(&mut self, who: usize, action: Action) -> bool {
        let number = who as u64 + 1;
        let process = self.processes[who].clone();
        let mut ask = AcquireAsk::new(number);
        (ask.limit, ask.window, ask.have) = (self.limit, WINDOW, process.have);
        match (action, process.lease) {
            (Action::Acquire { refused }, None) => {
                if refused && process.uses.is_none() {
                    return false;
                }
                ask.refused = refused;
                let answer = self.slot.acquire(&mut self.allowance, &ask, self.now).answer;
                if refused && !matches!(answer, Answer::Paused(_)) {
                    self.refused.insert(process.have);
                }
                self.answered(who, answer);
            }
            (Action::Send, Some((fence, false))) => {
                self.sent_at.push(self.now);
                self.processes[who].lease = Some((fence, true));
                let in_window = self.sent_at.iter().filter(|at| **at + millis(WINDOW) > self.now).count();
                assert!(in_window <= self.limit as usize, "{in_window} requests in a window: {self:#?}");
            }
            (Action::Publish, Some((fence, true))) => {
                let lifetime = Duration::from_secs(3600);
                let record =
                    Record { generation: fence, sealed: vec![1], lifetime, remaining: lifetime, forced: false };
                let newest = self.slot.record.as_ref().map_or(0, |record| record.generation);
                let is_stored = self.slot.publish(&mut self.allowance, &PublishAsk::of(&ask, record), self.now);
                assert_eq!(is_stored, fence > newest.max(self.invalidated), "{self:#?}");
                self.gave_back(who);
                self.processes[who] = Process { have: fence, lease: None, uses: Some(fence) };
            }
            (Action::Fail, Some((fence, sent))) => {
                let mut fail = FailAsk::of(&ask, fence);
                fail.request_number = u32::from(sent);
                fail.failure = Some(Failure::default());
                self.slot.fail(&mut self.allowance, &fail, self.now);
                self.gave_back(who);
                self.processes[who].lease = None;
            }
            // The process forgets everything, and the store does not notice.
            (Action::Die, _) => self.processes[who] = Process::default(),
            (Action::Invalidate, _) => {
                self.slot.invalidate(&InvalidateAsk::new(process.have), self.now);
                self.invalidated = self.largest_fence.max(process.have);
                self.processes[who].uses = None;
                self.lease = None;
                assert!(self.slot.record.is_none() && self.slot.lease.is_none(), "{self:#?}");
            }
            (Action::ReportRetry { effective }, None) => {
                let Some(generation) = process.uses else { return false };
                self.slot.report_retry(&ReportRetryAsk::new(generation, effective), self.now);
            }
            _ => return false,
        }
        true
    }

    fn gave_back(&mut self, who: usize) {
        self.lease.take_if(|(holder, _)| *holder == who);
    }

    fn answered(&mut self, who: usize, answer: Answer) {
        match answer {
            Answer::Lease { fence, .. } => {
                assert!(fence > self.largest_fence, "a fence runs back: {self:#?}");
                let is_free = self.lease.is_none_or(|(holder, end)| holder == who || end <= self.now);
                assert!(is_free, "two leases: {self:#?}");
                self.lease = Some((who, self.now + millis(AcquireAsk::new(1).lease)));
                self.largest_fence = fence;
                self.processes[who].lease = Some((fence, false));
            }
            Answer::Token(record) => {
                let have = self.processes[who].have;
                assert!(record.generation > have, "a token that is not newer: {self:#?}");
                assert!(record.generation > self.invalidated, "an invalidated token: {self:#?}");
                assert!(!self.refused.contains(&record.generation), "a refused token: {self:#?}");
                self.processes[who] = Process { have: record.generation, lease: None, uses: Some(record.generation) };
            }
            Answer::Busy(wait) => assert!(wait <= Duration::from_secs(3), "{wait:?}"),
            Answer::CoolingDown(wait, _) | Answer::Paused(wait) => assert!(wait <= WINDOW, "{wait:?}"),
            Answer::AllowanceUsedUp(wait) => assert!(wait <= WINDOW + Duration::from_secs(30), "{wait:?}"),
        }
    }
}

#[test]
fn no_order_of_the_calls_of_two_processes_breaks_the_allowance_or_returns_an_invalidated_token() {
    let states: usize = LIMITS.map(states).iter().sum();
    assert!(states > 10_000, "{states} states");
}

/// Visits all states, and returns how many there are.
fn states(limit: u32) -> usize {
    let start = World {
        limit,
        slot: SlotState::default(),
        allowance: Allowance::default(),
        now: 1_000_000,
        processes: Default::default(),
        lease: None,
        largest_fence: 0,
        sent_at: Vec::new(),
        invalidated: 0,
        refused: BTreeSet::new(),
    };
    let (mut seen, mut worlds) = (HashSet::new(), vec![start]);
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for world in &worlds {
            let mut later = world.clone();
            later.now += STEP;
            let acted = (0..2).flat_map(|who| ACTIONS.map(|action| (who, action))).filter_map(|(who, action)| {
                let mut world = world.clone();
                world.act(who, action).then_some(world)
            });
            next.extend(acted.chain([later]).filter(|world| seen.insert(world.fingerprint())));
        }
        worlds = next;
    }
    seen.len()
}
