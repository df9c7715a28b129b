//! Random sequences of calls: the scripts give the same answers as the store in memory, at the same
//! times.

use std::{sync::atomic::Ordering, time::Duration};

use fleet_tests::{KINDS, Server};
use proptest::prelude::*;
use turris_auth::fleet::{
    AcquireAsk, Answer, ExchangeAsk, FailAsk, Failure, InvalidateAsk, MemoryStore, PublishAsk, Record, RedisStore,
    RenewAsk, ReportRetryAsk, SentTokenRequest, SharedStore, Stated, Used,
};

use super::{blocking::Blocking, gate, slot};

const LONG: Duration = Duration::from_secs(60);

/// One call about a token. The indexes choose among the generations and leases seen so far, newest
/// first.
#[derive(Clone, Debug)]
enum Call {
    Acquire { process: u64, have: usize, refused: bool, repeatable: bool, remaining: u64, epoch: u8, fetched: u8 },
    Renew { lease: usize, fetch: u32 },
    Publish { lease: usize, fetch: u32, lifetime: u64, age: u64, forced: bool, stated: Option<(u32, u64)>, large: bool },
    Fail { lease: usize, fetch: u32, why: bool, at_least: u64, jitter: u32, stated: Option<(u32, u64)> },
    ReportRetry { generation: usize, effective: bool },
    Invalidate { have: usize },
    Forget,
}

fn stated() -> impl Strategy<Value = Option<(u32, u64)>> {
    prop_oneof![4 => Just(None), 1 => (0..3_u32, 0..90_000_u64).prop_map(Some)]
}

fn call() -> impl Strategy<Value = Call> {
    let index = 0..3_usize;
    prop_oneof![
        8 => (1..4_u64, index.clone(), any::<bool>(), any::<bool>(), 0..20_000_u64, 0..6_u8, 0..3_u8).prop_map(
            |(process, have, refused, repeatable, remaining, epoch, fetched)| Call::Acquire {
                process, have, refused, repeatable, remaining, epoch, fetched
            }
        ),
        2 => (index.clone(), 0..4_u32).prop_map(|(lease, fetch)| Call::Renew { lease, fetch }),
        5 => (index.clone(), 1..4_u32, 1..90_000_u64, 0..30_000_u64, any::<bool>(), stated(), prop::bool::weighted(0.05))
            .prop_map(|(lease, fetch, lifetime, age, forced, stated, large)| Call::Publish {
                lease, fetch, lifetime, age, forced, stated, large
            }),
        3 => (index.clone(), 0..4_u32, any::<bool>(), 0..400_000_u64, 0..1200_u32, stated()).prop_map(
            |(lease, fetch, why, at_least, jitter, stated)| Call::Fail { lease, fetch, why, at_least, jitter, stated }
        ),
        3 => (index.clone(), any::<bool>()).prop_map(|(generation, effective)| Call::ReportRetry { generation, effective }),
        1 => index.prop_map(|have| Call::Invalidate { have }),
        1 => Just(Call::Forget),
    ]
}

/// A time between two calls: usually short, sometimes longer than any lease, window or pause.
fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..500_u64, 2 => 0..5_000_u64, 1 => 0..100_000_u64, 1 => Just(1000), 1 => Just(60_000)]
}

/// How far the server's clock steps back.
fn step_back() -> impl Strategy<Value = u64> {
    prop_oneof![8 => Just(0_u64), 1 => 1..500_u64, 1 => 0..4_000_000_u64]
}

struct Both {
    memory: MemoryStore,
    redis: RedisStore,
    time: std::sync::Arc<std::sync::atomic::AtomicU64>,
    flush: Blocking,
    started: tokio::time::Instant,
}

impl Both {
    fn new(server: &Server) -> Self {
        let flush = Blocking::connect(server);
        flush.command(&[b"FLUSHALL"]).unwrap();
        let runner = Blocking::connect(server);
        let time = std::sync::Arc::clone(&runner.time);
        time.store(1, Ordering::Relaxed);
        Self {
            memory: MemoryStore::new(),
            redis: RedisStore::with(runner),
            time,
            flush,
            started: tokio::time::Instant::now(),
        }
    }

    /// Lets the server's clock step back between two calls, and go on. The clock of the store in
    /// memory cannot step back.
    async fn advance(&self, millis: u64, back: u64) {
        if back > 0 {
            self.notice_time().await;
            let time = self.time.load(Ordering::Relaxed);
            self.time.store(time.saturating_sub(back).max(1), Ordering::Relaxed);
            self.notice_time().await;
        }
        tokio::time::advance(Duration::from_millis(millis)).await;
        self.time.fetch_add(millis, Ordering::Relaxed);
    }

    /// Makes two calls that change only what the scripts know of the clock.
    async fn notice_time(&self) {
        self.redis.report_retry(&slot(), &ReportRetryAsk::new(0, true)).await.unwrap();
        // Every other exchange overtakes number 0.
        self.redis.exchange(&gate(), &ExchangeAsk::new(1, 0)).await.unwrap_err();
    }

    /// Lets both stores forget everything. The scripts also forget the clock, so it is set right.
    async fn forget(&self) {
        self.memory.clear();
        self.flush.command(&[b"FLUSHALL"]).unwrap();
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap();
        self.time.store(elapsed + 1, Ordering::Relaxed);
        self.notice_time().await;
    }
}

fn newest<T: Copy>(seen: &[T], index: usize) -> Option<T> {
    seen.len().checked_sub(index + 1).map(|index| seen[index])
}

async fn compare_tokens(both: &Both, calls: Vec<(u64, u64, Call)>) -> Result<(), TestCaseError> {
    let slot = slot();
    // The first call sets the clock of the store in memory.
    let first = AcquireAsk::new(9);
    prop_assert_eq!(
        both.memory.acquire(&slot, &first).await.unwrap(),
        both.redis.acquire(&slot, &first).await.unwrap()
    );
    both.forget().await;
    let (mut generations, mut leases, mut epochs) = (vec![0], Vec::new(), vec![0]);
    for (millis, back, call) in calls {
        both.advance(millis, back).await;
        match call {
            Call::Acquire { process, have, refused, repeatable, remaining, epoch, fetched } => {
                let mut ask = AcquireAsk::new(process);
                ask.within = LONG;
                ask.have = newest(&generations, have).unwrap_or(0);
                ask.refused = refused;
                ask.repeatable = repeatable;
                ask.remaining = Duration::from_millis(remaining);
                ask.limit = 4;
                ask.epoch = newest(&epochs, epoch.saturating_sub(4).into()).unwrap_or(0);
                ask.requests = (0..fetched)
                    .filter_map(|index| {
                        let (_, fence): (u64, u64) = newest(&leases, index.into())?;
                        let time = |most| Duration::from_millis(fence % most);
                        Some(SentTokenRequest { fence, number: 1, age: time(70_000), may_arrive_for: time(7_000) })
                    })
                    .collect();
                let answer = both.memory.acquire(&slot, &ask).await.unwrap();
                prop_assert_eq!(&answer, &both.redis.acquire(&slot, &ask).await.unwrap(), "{:?}", ask);
                epochs.push(answer.epoch);
                match answer.answer {
                    Answer::Lease { fence, .. } => {
                        prop_assert!(leases.iter().all(|(_, earlier)| *earlier < fence), "a fence runs back");
                        leases.push((process, fence));
                    }
                    Answer::Token(record) => {
                        prop_assert!(record.generation > ask.have);
                        prop_assert!(record.remaining <= record.lifetime);
                        generations.push(record.generation);
                    }
                    _ => {}
                }
            }
            Call::Renew { lease, fetch } => {
                let Some((process, fence)) = newest(&leases, lease) else { continue };
                let mut ask = AcquireAsk::new(process);
                ask.within = LONG;
                ask.limit = 4;
                let mut ask = RenewAsk::of(&ask, fence);
                ask.request_number = fetch;
                prop_assert_eq!(
                    both.memory.renew(&slot, &ask).await.unwrap(),
                    both.redis.renew(&slot, &ask).await.unwrap()
                );
            }
            Call::Publish { lease, fetch, lifetime, age, forced, stated, large } => {
                let Some((process, generation)) = newest(&leases, lease) else { continue };
                let sealed = if large { vec![7; 64 * 1024 + 1] } else { vec![0, 255, b'\r', b'\n', fetch as u8] };
                let (lifetime, age) = (Duration::from_millis(lifetime), Duration::from_millis(age));
                let record = Record { generation, sealed, lifetime, remaining: lifetime.saturating_sub(age), forced };
                let mut ask = PublishAsk::of(&AcquireAsk::new(process), record);
                ask.within = LONG;
                ask.request_number = fetch;
                ask.stated = stated.map(|(remaining, reset)| Stated { remaining, reset: Duration::from_millis(reset) });
                let stored = both.memory.publish(&slot, &ask).await.unwrap();
                prop_assert_eq!(stored, both.redis.publish(&slot, &ask).await.unwrap(), "{:?}", ask);
                if stored {
                    generations.push(generation);
                }
            }
            Call::Fail { lease, fetch, why, at_least, jitter, stated } => {
                let Some((process, fence)) = newest(&leases, lease) else { continue };
                let mut ask = FailAsk::of(&AcquireAsk::new(process), fence);
                ask.within = LONG;
                ask.request_number = fetch;
                ask.failure = why.then(|| Failure {
                    kind: "unavailable".to_owned(),
                    status: (fetch > 1).then_some(503),
                    request_id: (fetch > 2).then(|| "dev-1".to_owned()),
                });
                ask.at_least = Duration::from_millis(at_least);
                ask.jitter = jitter;
                ask.may_arrive_for = Duration::from_millis(at_least % 40_000);
                ask.stated = stated.map(|(remaining, reset)| Stated { remaining, reset: Duration::from_millis(reset) });
                prop_assert_eq!(
                    both.memory.fail(&slot, &ask).await.unwrap(),
                    both.redis.fail(&slot, &ask).await.unwrap()
                );
            }
            Call::ReportRetry { generation, effective } => {
                let mut ask = ReportRetryAsk::new(newest(&generations, generation).unwrap_or(0), effective);
                ask.within = LONG;
                prop_assert_eq!(
                    both.memory.report_retry(&slot, &ask).await.unwrap(),
                    both.redis.report_retry(&slot, &ask).await.unwrap()
                );
            }
            Call::Invalidate { have } => {
                let mut ask = InvalidateAsk::new(newest(&generations, have).unwrap_or(0));
                ask.within = LONG;
                both.memory.invalidate(&slot, &ask).await.unwrap();
                both.redis.invalidate(&slot, &ask).await.unwrap();
            }
            Call::Forget => both.forget().await,
        }
    }
    Ok(())
}

/// One exchange of one of three processes.
#[derive(Clone, Debug)]
struct Exchange {
    process: u64,
    /// How far the number rises. Zero for a call that was overtaken.
    step: u64,
    epoch: u8,
    want: u32,
    held: u32,
    used: Vec<(u32, u64, bool)>,
    limit_stated: Option<(u32, u64)>,
    stated: Option<(u32, u64)>,
    closed: Option<u64>,
    others: u32,
    forget: bool,
}

prop_compose! {
    fn exchange()(
        process in 1..5_u64,
        step in prop_oneof![8 => Just(1_u64), 1 => Just(0)],
        epoch in 0..6_u8,
        want in 0..25_u32,
        held in 0..12_u32,
        used in prop::collection::vec((1..9_u32, 0..70_000_u64, any::<bool>()), 0..3),
        limit_stated in prop_oneof![9 => Just(None), 1 => (1..40_u32, 1..120_000_u64).prop_map(Some)],
        stated in stated(),
        closed in prop_oneof![9 => Just(None), 1 => (0..400_000_u64).prop_map(Some)],
        others in 0..30_u32,
        forget in prop::bool::weighted(0.05),
    ) -> Exchange {
        Exchange { process, step, epoch, want, held, used, limit_stated, stated, closed, others, forget }
    }
}

async fn compare_exchanges(both: &Both, exchanges: Vec<(u64, u64, Exchange)>) -> Result<(), TestCaseError> {
    let gate = gate();
    both.memory.exchange(&gate, &ExchangeAsk::new(9, 1)).await.unwrap();
    both.redis.exchange(&gate, &ExchangeAsk::new(9, 1)).await.unwrap();
    both.forget().await;
    let (mut numbers, mut epochs) = ([0_u64; 5], vec![0]);
    for (millis, back, exchange) in exchanges {
        both.advance(millis, back).await;
        if exchange.forget {
            both.forget().await;
        }
        let number = &mut numbers[usize::try_from(exchange.process).unwrap()];
        *number += exchange.step;
        let time = Duration::from_millis;
        let mut ask = ExchangeAsk::new(exchange.process, *number);
        ask.within = LONG;
        ask.epoch = newest(&epochs, exchange.epoch.saturating_sub(4).into()).unwrap_or(0);
        ask.limit = 20;
        ask.want = exchange.want;
        ask.held = exchange.held;
        ask.used = exchange
            .used
            .iter()
            .map(|(count, age, told)| Used {
                count: *count,
                age: time(*age),
                since: *number - u64::from(*told && *number > 0),
            })
            .collect();
        ask.limit_stated = exchange.limit_stated.map(|(limit, window)| (limit, time(window)));
        ask.stated = exchange.stated.map(|(remaining, reset)| Stated { remaining, reset: time(reset) });
        ask.closed = exchange.closed.map(time);
        ask.others = exchange.others;
        ask.others_for = time(millis * 7 % 60_000);
        let answer = both.memory.exchange(&gate, &ask).await.ok();
        prop_assert_eq!(answer, both.redis.exchange(&gate, &ask).await.ok(), "{:?}", ask);
        if let Some(answer) = answer {
            epochs.push(answer.epoch);
        }
    }
    Ok(())
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[test]
fn the_scripts_answer_about_tokens_as_the_store_in_memory_does() {
    for kind in KINDS {
        let server = Server::start(kind);
        proptest!(|(calls in prop::collection::vec((pause(), step_back(), call()), 1..60))| {
            paused().block_on(async { compare_tokens(&Both::new(&server), calls).await })?;
        });
    }
}

#[test]
fn the_script_answers_about_permits_as_the_store_in_memory_does() {
    for kind in KINDS {
        let server = Server::start(kind);
        proptest!(|(exchanges in prop::collection::vec((pause(), step_back(), exchange()), 1..60))| {
            paused().block_on(async { compare_exchanges(&Both::new(&server), exchanges).await })?;
        });
    }
}
