//! A model checker for the slot: every order of the calls of two processes, up to a bounded number of steps.

use std::{collections::HashSet, time::Duration};

use super::*;

/// Longer than a lease, and shorter than the window of the allowance.
const STEP: u64 = 4_000;
const DEPTH: u32 = 7;
const LIMIT: u32 = 3;
const WINDOW: Duration = Duration::from_secs(60);

/// One process, as the store sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Process {
    have: u64,
    /// The lease that the process believes to hold: its fence, and whether its request was sent.
    lease: Option<(u64, bool)>,
    /// The last generation that was published or adopted, if it is in use.
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
    Judge { cured: bool },
}

const ACTIONS: [Action; 9] = [
    Action::Acquire { refused: false },
    Action::Acquire { refused: true },
    Action::Send,
    Action::Publish,
    Action::Fail,
    Action::Die,
    Action::Invalidate,
    Action::Judge { cured: true },
    Action::Judge { cured: false },
];

#[derive(Clone, Debug)]
struct World {
    slot: Slot,
    quota: Quota,
    now: u64,
    processes: [Process; 2],
    /// Every fence that was ever given, and the moments of the requests that were sent.
    largest_fence: u64,
    sent_at: Vec<u64>,
    /// Generations up to this one were invalidated.
    invalidated: u64,
}

impl World {
    /// What decides about the future.
    fn fingerprint(&self) -> String {
        format!("{:?}", (&self.slot, &self.quota, self.now, &self.processes, self.invalidated))
    }

    /// Returns whether the action was possible.
    fn act(&mut self, who: usize, action: Action) -> bool {
        let number = who as u64 + 1;
        let process = self.processes[who].clone();
        let mut ask = AcquireAsk::new(number);
        (ask.limit, ask.window, ask.have) = (LIMIT, WINDOW, process.have);
        match (action, process.lease) {
            (Action::Acquire { refused }, None) => {
                if refused && process.uses.is_none() {
                    return false;
                }
                ask.refused = refused;
                let answer = self.slot.acquire(&mut self.quota, &ask, self.now).answer;
                self.answered(who, answer);
            }
            (Action::Send, Some((fence, false))) => {
                self.sent_at.push(self.now);
                self.processes[who].lease = Some((fence, true));
                let in_window = self.sent_at.iter().filter(|at| **at + millis(WINDOW) > self.now).count();
                assert!(in_window <= LIMIT as usize, "{in_window} requests in a window: {self:#?}");
            }
            (Action::Publish, Some((fence, true))) => {
                let lifetime = Duration::from_secs(3600);
                let record =
                    Record { generation: fence, sealed: vec![1], lifetime, remaining: lifetime, forced: false };
                let newest = self.slot.record.as_ref().map_or(0, |record| record.generation);
                let is_stored = self.slot.publish(&mut self.quota, &PublishAsk::of(&ask, record), self.now);
                assert_eq!(is_stored, fence > newest.max(self.invalidated), "{self:#?}");
                self.processes[who] = Process { have: fence, lease: None, uses: Some(fence) };
            }
            (Action::Fail, Some((fence, sent))) => {
                let mut fail = FailAsk::of(&ask, fence);
                fail.fetch = u32::from(sent);
                fail.failure = Some(Failure::default());
                self.slot.fail(&mut self.quota, &fail, self.now);
                self.processes[who].lease = None;
            }
            // It forgets everything, and the store hears nothing of it.
            (Action::Die, _) => self.processes[who] = Process::default(),
            (Action::Invalidate, _) => {
                self.slot.invalidate(&InvalidateAsk::new(process.have), self.now);
                self.invalidated = self.largest_fence.max(process.have);
                self.processes[who].uses = None;
                assert!(self.slot.record.is_none() && self.slot.lease.is_none(), "{self:#?}");
            }
            (Action::Judge { cured }, None) => {
                let Some(generation) = process.uses else { return false };
                self.slot.judge(&JudgeAsk::new(generation, cured), self.now);
            }
            _ => return false,
        }
        true
    }

    fn answered(&mut self, who: usize, answer: Answer) {
        match answer {
            Answer::Lease { fence, .. } => {
                assert!(fence > self.largest_fence, "a fence runs back: {self:#?}");
                // The other process's lease is over, or is its own no longer.
                let other = self.processes[1 - who].lease;
                let is_held = |fence| self.slot.is_held_by(2 - who as u64, fence);
                assert!(other.is_none_or(|(fence, _)| !is_held(fence)), "two leases: {self:#?}");
                self.largest_fence = fence;
                self.processes[who].lease = Some((fence, false));
            }
            Answer::Token(record) => {
                let have = self.processes[who].have;
                assert!(record.generation > have, "a token that is not newer: {self:#?}");
                assert!(record.generation > self.invalidated, "an invalidated token: {self:#?}");
                self.processes[who] = Process { have: record.generation, lease: None, uses: Some(record.generation) };
            }
            Answer::Busy(wait) => assert!(wait <= Duration::from_secs(3), "{wait:?}"),
            Answer::CoolingDown(wait, _) | Answer::Paused(wait) => assert!(wait <= WINDOW, "{wait:?}"),
            Answer::NoQuota(wait) => assert!(wait <= WINDOW + Duration::from_secs(30), "{wait:?}"),
        }
    }
}

#[test]
fn no_order_of_the_calls_of_two_processes_breaks_the_allowance_or_returns_an_invalidated_token() {
    let start = World {
        slot: Slot::default(),
        quota: Quota::default(),
        now: 1_000_000,
        processes: Default::default(),
        largest_fence: 0,
        sent_at: Vec::new(),
        invalidated: 0,
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
    assert!(seen.len() > 10_000, "{} states", seen.len());
}
