//! Random histories of the gate, and an executor that polls those who wait.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Arrive,
    Accept(usize),
    Refuse(usize, Option<u64>, bool),
    Lose(usize),
    GiveUp(usize),
    /// One who waits is not polled any more.
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

/// Requests as an executor would drive them: each is polled when it was woken, or when its timer fires, and never
/// otherwise. Some are neglected.
struct Model {
    gate: Gate,
    now: Instant,
    waiting: BTreeMap<Place, (Arc<Woken>, Instant)>,
    neglected: Vec<Place>,
    in_flight: Vec<Departure>,
}

impl Model {
    fn arrive(&mut self) {
        match self.gate.enter_counted(self.now) {
            Entry::Leave(departure) => {
                assert!(self.waiting.is_empty(), "a newcomer passed the line");
                assert!(self.neglected.is_empty() || self.gate.lock().standing.is_empty());
                self.in_flight.push(departure);
            }
            Entry::Stand(place) => self.wait(place),
        }
    }

    fn wait(&mut self, place: Place) {
        let woken = Arc::new(Woken(AtomicU64::new(1)));
        self.waiting.insert(place, (woken, self.now));
        self.run();
    }

    /// Polls whoever was woken or is due, until nobody is.
    fn run(&mut self) {
        while let Some((&place, (woken, due))) =
            self.waiting.iter_mut().find(|(_, (woken, due))| woken.0.load(Ordering::Relaxed) > 0 || *due <= self.now)
        {
            woken.0.store(0, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(woken));
            match self.gate.turn(place, self.now, &waker) {
                Turn::Wait(until) => {
                    assert!(until > self.now, "it would spin");
                    *due = until;
                }
                turn => match self.gate.leave(place, false, self.now, &waker) {
                    Some(departure) => {
                        self.waiting.remove(&place);
                        assert!(self.waiting.keys().all(|other| *other > place), "not first come, first served");
                        self.in_flight.push(departure);
                    }
                    None => {
                        assert_eq!(turn, Turn::Missed, "it was its turn");
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
            for departure in std::mem::take(&mut self.in_flight) {
                self.gate.returned_counted(departure, accepted());
            }
            self.step(Step::Pass(60_000));
            tokio::time::advance(self.now - Instant::now()).await;
        }
        panic!("{} were left standing", self.waiting.len());
    }

    fn step(&mut self, step: Step) {
        let take = |model: &mut Self, n: usize| {
            let len = model.in_flight.len();
            (len > 0).then(|| model.in_flight.swap_remove(n % len))
        };
        match step {
            Step::Arrive => self.arrive(),
            Step::Accept(n) => {
                if let Some(departure) = take(self, n) {
                    self.gate.returned_counted(departure, accepted());
                }
            }
            Step::Lose(n) => {
                if let Some(departure) = take(self, n) {
                    self.gate.returned_counted(departure, Outcome::Lost);
                }
            }
            Step::Refuse(n, asked, stays) => {
                if let Some(departure) = take(self, n) {
                    let limits = asked.map_or_else(RateLimits::default, retry_after);
                    let refusal = self.gate.refused(departure, &limits);
                    if stays {
                        self.gate.stand(refusal.place, false, Waker::noop());
                        self.wait(refusal.place);
                    }
                }
            }
            Step::GiveUp(n) => {
                let len = self.waiting.len();
                if let Some(place) = self.waiting.keys().nth(n % len.max(1)).copied() {
                    self.waiting.remove(&place);
                    self.gate.abandon(place);
                }
            }
            Step::Neglect(n) => {
                let len = self.waiting.len();
                if let Some(place) = self.waiting.keys().nth(n % len.max(1)).copied() {
                    self.waiting.remove(&place);
                    self.neglected.push(place);
                }
            }
            Step::Pass(millis) => self.pass(Duration::from_millis(millis)),
        }
        self.run();
        let line = self.gate.lock();
        assert!(line.ajar.is_some() || line.refusals == 0 && line.opens.is_none_or(|opens| opens <= self.now));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happens_the_line_keeps_its_order_and_comes_to_its_end(
        steps in proptest::collection::vec(any_step(), 1..120),
        requests in proptest::option::of(1..5u64),
    ) {
        // `refused` and `abandon` read the clock, which stands still unless it is advanced: so does the model's.
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
            // Everything in flight is answered, and nobody is left standing: no wake-up was lost.
            model.finish().await;
            for place in std::mem::take(&mut model.neglected) {
                model.wait(place);
            }
            model.finish().await;
        });
    }
}
