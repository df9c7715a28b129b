//! Tests of the gate with random histories, and an executor that polls the waiters.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The next event.
#[derive(Clone, Debug)]
enum Step {
    Arrive,
    Accept(usize),
    Refuse(usize, Option<u64>, bool),
    Lose(usize),
    GiveUp(usize),
    /// A waiter is no longer polled.
    Neglect(usize),
    Pass(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Arrive),
        4 => any::<usize>().prop_map(Step::Accept),
        2 => (any::<usize>(), proptest::option::of(0..200u64), any::<bool>())
            .prop_map(|(n, asked, stays)| Step::Refuse(n, asked, stays)),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => any::<usize>().prop_map(Step::GiveUp),
        1 => any::<usize>().prop_map(Step::Neglect),
        3 => (1..70_000u64).prop_map(Step::Pass),
    ]
}

/// The waiting requests, driven like by an executor: a request is polled only after it was woken or
/// its timer has fired. Some requests are never polled again.
struct Model {
    gate: Gate,
    now: Instant,
    waiting: BTreeMap<QueuePosition, (Arc<Woken>, Instant)>,
    neglected: Vec<QueuePosition>,
    in_flight: Vec<SendRecord>,
}

impl Model {
    fn arrive(&mut self) {
        match self.gate.admit_counted(self.now) {
            CountedAdmission::Send(record) => {
                assert!(self.waiting.is_empty(), "a newcomer passed the queue");
                assert!(self.neglected.is_empty() || self.gate.lock().queue.is_empty());
                self.in_flight.push(record);
            }
            CountedAdmission::Wait(position) => self.wait(position),
        }
    }

    fn wait(&mut self, position: QueuePosition) {
        let woken = Arc::new(Woken(AtomicU64::new(1)));
        self.waiting.insert(position, (woken, self.now));
        self.run();
    }

    /// Polls every waiter that was woken or is due, until there is none.
    fn run(&mut self) {
        while let Some((&position, (woken, due))) =
            self.waiting.iter_mut().find(|(_, (woken, due))| woken.0.load(Ordering::Relaxed) > 0 || *due <= self.now)
        {
            woken.0.store(0, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(woken));
            match self.gate.check(position, self.now, &waker) {
                WaiterStatus::Wait(until) => {
                    assert!(until > self.now, "it would spin");
                    *due = until;
                }
                status => match self.gate.try_send(position, self.now, &waker) {
                    Some(record) => {
                        self.waiting.remove(&position);
                        assert!(self.waiting.keys().all(|other| *other > position), "not first come, first served");
                        self.in_flight.push(record);
                    }
                    None => {
                        assert_eq!(status, WaiterStatus::Evicted, "the request may be sent");
                        woken.0.store(1, Ordering::Relaxed);
                    }
                },
            }
        }
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.waiting.values().map(|(_, due)| *due).min().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.run();
        }
        self.now = end;
    }

    async fn finish(&mut self) {
        for _ in 0..1_000 {
            if self.waiting.is_empty() {
                return;
            }
            for record in std::mem::take(&mut self.in_flight) {
                self.gate.returned(record, &accepted());
            }
            self.step(Step::Pass(60_000));
            tokio::time::advance(self.now - Instant::now()).await;
        }
        panic!("{} waiters are left", self.waiting.len());
    }

    fn step(&mut self, step: Step) {
        let take = |model: &mut Self, n: usize| {
            let len = model.in_flight.len();
            (len > 0).then(|| model.in_flight.swap_remove(n % len))
        };
        match step {
            Step::Arrive => self.arrive(),
            Step::Accept(n) => {
                if let Some(record) = take(self, n) {
                    self.gate.returned(record, &accepted());
                }
            }
            Step::Lose(n) => {
                if let Some(record) = take(self, n) {
                    self.gate.returned(record, &Outcome::Lost);
                }
            }
            Step::Refuse(n, asked, stays) => {
                if let Some(record) = take(self, n) {
                    let limits = asked.map_or_else(StatedLimits::default, retry_after);
                    let refusal = self.gate.refused(record, &limits);
                    if stays {
                        self.gate.join(refusal.position, Waker::noop());
                        self.wait(refusal.position);
                    }
                }
            }
            Step::GiveUp(n) => {
                let len = self.waiting.len();
                if let Some(position) = self.waiting.keys().nth(n % len.max(1)).copied() {
                    self.waiting.remove(&position);
                    self.gate.leave(position);
                }
            }
            Step::Neglect(n) => {
                let len = self.waiting.len();
                if let Some(position) = self.waiting.keys().nth(n % len.max(1)).copied() {
                    self.waiting.remove(&position);
                    self.neglected.push(position);
                }
            }
            Step::Pass(millis) => self.pass(Duration::from_millis(millis)),
        }
        self.run();
        let cooldown = &self.gate.lock().cooldown;
        let is_closed = cooldown.closed_until(self.now).is_some();
        assert!(!cooldown.is_wide_open() || cooldown.refusals() == 0 && !is_closed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_queue_keeps_its_order_and_empties(
        steps in proptest::collection::vec(any_step(), 1..120),
        requests in proptest::option::of(1..5u64),
    ) {
        // `refused` and `abandon` read tokio's clock, which stands still unless it is advanced,
        // like the clock of the model.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let gate = requests.map_or_else(unpaced, paced);
            let mut model = Model {
                gate, now: Instant::now(), waiting: BTreeMap::new(), neglected: Vec::new(), in_flight: Vec::new(),
            };
            for step in steps {
                model.step(step);
                tokio::time::advance(model.now - Instant::now()).await;
            }
            // All requests in flight are answered, and no waiter is left: no wake-up was lost.
            model.finish().await;
            for position in std::mem::take(&mut model.neglected) {
                model.wait(position);
            }
            model.finish().await;
        });
    }
}
