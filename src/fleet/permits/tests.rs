//! Tests of the stock with the store's state machine, against a server that counts, in paused time.

use std::{collections::VecDeque, time::Duration};

use super::*;
use crate::fleet::{Gate, MemoryStore, SharedStore};

const WINDOW: Duration = Duration::from_secs(60);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// How the server counts.
#[derive(Clone, Copy, Debug)]
enum Windows {
    Fixed,
    Sliding,
}

struct Server {
    windows: Windows,
    limit: usize,
    start: Instant,
    accepted: VecDeque<Instant>,
    refused: u32,
}

impl Server {
    fn new(windows: Windows, limit: usize) -> Self {
        Self { windows, limit, start: Instant::now(), accepted: VecDeque::new(), refused: 0 }
    }

    fn count(&mut self, at: Instant) {
        let window = |at: Instant| at.duration_since(self.start).as_secs() / WINDOW.as_secs();
        let in_window = self.accepted.iter().filter(|accepted| match self.windows {
            Windows::Fixed => window(**accepted) == window(at),
            Windows::Sliding => at.duration_since(**accepted) < WINDOW,
        });
        if in_window.count() < self.limit { self.accepted.push_back(at) } else { self.refused += 1 }
    }
}

/// A process: its waiting requests, its stock, and its requests in flight.
struct Process {
    number: u64,
    line: u32,
    permits: Permits,
    exchanges: u64,
    answers: VecDeque<Instant>,
    /// When the requests in flight were sent.
    sent_at: VecDeque<Instant>,
    sent: Vec<Instant>,
}

impl Process {
    fn new(number: u64, line: u32) -> Self {
        let permits = Permits::new(60, WINDOW, 1);
        Self {
            number,
            line,
            permits,
            exchanges: 0,
            answers: VecDeque::new(),
            sent_at: VecDeque::new(),
            sent: Vec::new(),
        }
    }
}

/// The reaction of the store to an exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Answers,
    /// Carries the exchange out, and loses the answer.
    LosesAnswers,
}

/// Runs until no request waits, or for `longest`. Returns the time of the last request that
/// left.
async fn run(
    store: &MemoryStore,
    server: &mut Server,
    processes: &mut [Process],
    longest: Duration,
    mut health: impl FnMut(Duration, u64) -> Store,
) -> Duration {
    let gate = Gate::new("test:1:{client}", "writes");
    let start = server.start;
    let latency = seconds(0.05);
    for round in 0.. {
        let mut wake = Instant::now() + seconds(1.0);
        let now = Instant::now();
        // The order of the processes changes from round to round.
        let middle = round * 7 % processes.len();
        let (first, rest) = processes.split_at_mut(middle);
        for process in rest.iter_mut().chain(first) {
            while process.answers.front().is_some_and(|at| *at <= now) {
                process.answers.pop_front();
                process.permits.returned(*process.sent_at.front().unwrap(), PermitUse::Counted, now);
                process.sent_at.pop_front();
            }
            loop {
                while process.line > 0
                    && process.permits.is_connected()
                    && process.permits.closed_until(now).is_none()
                    && process.permits.stock(now) > 0
                {
                    assert!(process.permits.sent(now));
                    process.line -= 1;
                    process.sent_at.push_back(now);
                    process.sent.push(now);
                    process.answers.push_back(now + latency);
                    server.count(now + latency / 2);
                }
                let Process { number, exchanges, .. } = *process;
                match process.permits.next(process.line, number, || exchanges + 1, now) {
                    NextStep::Exchange(ask) => {
                        process.exchanges += 1;
                        let health = health(now - start, process.exchanges);
                        let answer = store.exchange(&gate, &ask).await.ok().filter(|_| health == Store::Answers);
                        process.permits.exchanged(&ask, answer, now);
                    }
                    NextStep::At(at) => {
                        wake = wake.min(at);
                        break;
                    }
                    NextStep::Idle => break,
                }
            }
            if let Some(at) = process.answers.front() {
                wake = wake.min(*at);
            }
        }
        let over = processes.iter().all(|process| process.line == 0 && process.answers.is_empty());
        if over || now - start >= longest {
            let last = processes.iter().flat_map(|process| process.sent.last()).max();
            return last.map_or(Duration::ZERO, |last| *last - start);
        }
        tokio::time::sleep_until(wake.max(now + Duration::from_millis(1))).await;
    }
    unreachable!("the rounds have no end")
}

fn healthy(_: Duration, _: u64) -> Store {
    Store::Answers
}

#[tokio::test(start_paused = true)]
async fn four_processes_finish_a_bulk_job_as_fast_as_one_process_and_in_even_shares() {
    for windows in [Windows::Fixed, Windows::Sliding] {
        let (store, mut server) = (MemoryStore::new(), Server::new(windows, 60));
        let mut processes: Vec<_> = (1..=4).map(|number| Process::new(number, 75)).collect();
        let took = run(&store, &mut server, &mut processes, seconds(400.0), healthy).await;
        assert_eq!((server.refused, server.accepted.len()), (0, 300), "{windows:?}");
        assert!(took < seconds(247.0), "{windows:?}: {took:?}");
        let calls: u64 = processes.iter().map(|process| process.exchanges).sum();
        assert!(calls <= 120, "{windows:?}: {calls} calls for 300 requests");
        let second = |process: &Process| {
            let in_second =
                |at: &&Instant| (**at - server.start).as_secs_f64() > 55.0 && (**at - server.start).as_secs() < 115;
            process.sent.iter().filter(in_second).count()
        };
        assert!(processes.iter().all(|process| second(process) == 15), "{windows:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_process_gets_the_permits_that_small_processes_leave() {
    let (store, mut server) = (MemoryStore::new(), Server::new(Windows::Sliding, 60));
    let mut processes: Vec<_> =
        [270, 10, 10, 10].into_iter().zip(1..).map(|(line, number)| Process::new(number, line)).collect();
    let took = run(&store, &mut server, &mut processes, seconds(400.0), healthy).await;
    assert_eq!((server.refused, server.accepted.len()), (0, 300));
    assert!(took < seconds(247.0), "{took:?}");
    for small in &processes[1..] {
        assert!(
            *small.sent.last().unwrap() - server.start < seconds(65.0),
            "{:?}",
            *small.sent.last().unwrap() - server.start
        );
    }
}

#[tokio::test(start_paused = true)]
async fn three_hundred_processes_are_served_in_the_order_of_their_arrival() {
    let (store, mut server) = (MemoryStore::new(), Server::new(Windows::Sliding, 60));
    let mut processes: Vec<_> = (1..=300).map(|number| Process::new(number, 1)).collect();
    let took = run(&store, &mut server, &mut processes, seconds(1200.0), healthy).await;
    assert_eq!((server.refused, server.accepted.len()), (0, 300));
    // Four windows after the first.
    assert!(took < seconds(247.0), "{took:?}");
    let order: Vec<_> = processes.iter().map(|process| process.sent[0]).collect();
    let late = order.windows(2).filter(|pair| pair[0] > pair[1] + seconds(15.0)).count();
    assert!(late <= 10, "{late} processes were overtaken by a whole window");
    // Without an order, all waiting processes ask whenever a place becomes free.
    let calls: u64 = processes.iter().map(|process| process.exchanges).sum();
    assert!(calls <= 300 * 20, "{calls} calls");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_loses_its_contents_gets_reports_and_no_request_is_refused() {
    // Invariant 4: without the second report the store would grant a window twice.
    let (store, mut server) = (MemoryStore::new(), Server::new(Windows::Sliding, 60));
    let mut processes: Vec<_> = (1..=4).map(|number| Process::new(number, 75)).collect();
    let mut cleared = Duration::ZERO;
    let took = {
        let store_ref = &store;
        let health = |since: Duration, _| {
            if since - cleared >= seconds(50.0) {
                cleared = since;
                store_ref.clear();
            }
            Store::Answers
        };
        run(&store, &mut server, &mut processes, seconds(600.0), health).await
    };
    assert_eq!((server.refused, server.accepted.len()), (0, 300));
    assert!(took < seconds(310.0), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_single_process_reports_everything_to_a_store_that_lost_its_contents() {
    let (store, mut server) = (MemoryStore::new(), Server::new(Windows::Sliding, 60));
    let mut processes = [Process::new(1, 120)];
    let mut cleared = false;
    let took = {
        let store_ref = &store;
        let health = |since: Duration, _| {
            if since >= seconds(10.0) && !std::mem::replace(&mut cleared, true) {
                store_ref.clear();
            }
            Store::Answers
        };
        run(&store, &mut server, &mut processes, seconds(200.0), health).await
    };
    assert_eq!((server.refused, server.accepted.len()), (0, 120));
    assert!(took < seconds(65.0), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_answers_grant_nothing_twice_and_count_nothing_twice() {
    // Invariant 3: the store has carried the exchange out, and its answer was lost.
    let (store, mut server) = (MemoryStore::new(), Server::new(Windows::Sliding, 60));
    let mut processes: Vec<_> = (1..=4).map(|number| Process::new(number, 75)).collect();
    let health = |_, exchange: u64| if exchange.is_multiple_of(3) { Store::LosesAnswers } else { Store::Answers };
    let took = run(&store, &mut server, &mut processes, seconds(600.0), health).await;
    assert_eq!((server.refused, server.accepted.len()), (0, 300));
    assert!(took < seconds(247.0), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_process_makes_no_calls() {
    let (store, mut server) = (MemoryStore::new(), Server::new(Windows::Sliding, 60));
    let mut processes = [Process::new(1, 3)];
    run(&store, &mut server, &mut processes, seconds(5.0), healthy).await;
    let Process { permits, .. } = &mut processes[0];
    let settle = permits.next(0, 1, || 3, Instant::now() + REPORT_WITHIN);
    let NextStep::Exchange(ask) = settle else { panic!("{settle:?}") };
    assert_eq!((ask.held, ask.want, ask.used.len()), (0, 0, 1));
    let answer = store.exchange(&Gate::new("test:1:{client}", "writes"), &ask).await.unwrap();
    permits.exchanged(&ask, Some(answer), Instant::now());
    assert!(matches!(permits.next(0, 1, || 4, Instant::now() + WINDOW * 10), NextStep::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_closes_the_gate_of_all_at_once() {
    let store = MemoryStore::new();
    let gate = Gate::new("test:1:{client}", "writes");
    let (mut one, mut other) = (Permits::new(60, WINDOW, 1), Permits::new(60, WINDOW, 1));
    let now = Instant::now();
    one.refused(seconds(20.0), now);
    let NextStep::Exchange(ask) = one.next(0, 1, || 1, now) else { panic!("a refusal is told at once") };
    one.exchanged(&ask, store.exchange(&gate, &ask).await.ok(), now);
    let NextStep::Exchange(ask) = other.next(1, 2, || 1, now) else { panic!("a request stands in line") };
    other.exchanged(&ask, store.exchange(&gate, &ask).await.ok(), now);
    assert_eq!(other.closed_until(now), Some(now + seconds(20.0)));
    assert_eq!(other.stock(now), 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_of_a_request_that_was_not_sent_goes_back() {
    let store = MemoryStore::new();
    let gate = Gate::new("test:1:{client}", "writes");
    let mut permits = Permits::new(60, WINDOW, 1);
    let now = Instant::now();
    let NextStep::Exchange(ask) = permits.next(1, 1, || 1, now) else { panic!("a request stands in line") };
    permits.exchanged(&ask, store.exchange(&gate, &ask).await.ok(), now);
    assert!(permits.sent(now));
    permits.returned(now, PermitUse::NotSent, now);
    let NextStep::Exchange(ask) = permits.next(0, 1, || 2, now + REPORT_WITHIN) else {
        panic!("a permit is left over")
    };
    assert_eq!((ask.held, ask.want, ask.used.len()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_with_permits_blocks_them_for_a_window_and_half_a_minute() {
    let store = MemoryStore::new();
    let gate = Gate::new("test:1:{client}", "writes");
    let mut ask = ExchangeAsk::new(1, 1);
    ask.want = 60;
    assert_eq!(store.exchange(&gate, &ask).await.unwrap().granted, 60);
    let mut ask = ExchangeAsk::new(2, 1);
    ask.want = 1;
    tokio::time::advance(seconds(89.0)).await;
    assert_eq!(store.exchange(&gate, &ask).await.unwrap().granted, 0);
    ask.number = 2;
    tokio::time::advance(seconds(1.0)).await;
    assert_eq!(store.exchange(&gate, &ask).await.unwrap().granted, 1);
}

#[tokio::test(start_paused = true)]
async fn processes_ask_again_at_their_turn_and_none_gets_the_place_of_an_earlier_process() {
    // Without an order, all waiting processes ask for the first free place, and the luckiest gets
    // it.
    let store = MemoryStore::new();
    let gate = Gate::new("test:1:{client}", "writes");
    let ask = |process, number, want| {
        let mut ask = ExchangeAsk::new(process, number);
        (ask.limit, ask.want) = (3, want);
        ask
    };
    let mut used = ask(9, 1, 0);
    used.used = [57, 54, 51].map(|age| Used { count: 1, age: seconds(f64::from(age)), since: 1 }).to_vec();
    store.exchange(&gate, &used).await.unwrap();
    tokio::time::advance(seconds(1.0)).await;
    for (process, turn) in [(1, 2.0), (2, 5.0), (3, 8.0)] {
        let answer = store.exchange(&gate, &ask(process, 1, 1)).await.unwrap();
        assert_eq!((answer.granted, answer.ask_again), (0, seconds(turn)), "{process}");
    }
    tokio::time::advance(seconds(2.0)).await;
    assert_eq!(store.exchange(&gate, &ask(3, 2, 1)).await.unwrap().granted, 0);
    assert_eq!(store.exchange(&gate, &ask(2, 2, 1)).await.unwrap().granted, 0);
    assert_eq!(store.exchange(&gate, &ask(1, 2, 1)).await.unwrap().granted, 1);
}

#[tokio::test(start_paused = true)]
async fn permits_of_requests_that_gave_up_go_back() {
    let store = MemoryStore::new();
    let gate = Gate::new("test:1:{client}", "writes");
    let mut permits = Permits::new(60, WINDOW, 1);
    let now = Instant::now();
    let NextStep::Exchange(ask) = permits.next(3, 1, || 1, now) else { panic!("requests stand in line") };
    permits.exchanged(&ask, store.exchange(&gate, &ask).await.ok(), now);
    assert_eq!(permits.stock(now), 3);
    // Two of the three are gone.
    assert!(matches!(permits.next(1, 1, || 2, now), NextStep::At(at) if at == now + REPORT_WITHIN));
    let NextStep::Exchange(ask) = permits.next(1, 1, || 2, now + REPORT_WITHIN) else {
        panic!("two permits are left over")
    };
    assert_eq!((ask.held, ask.want), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_answered_holds_its_permit_for_a_quarter_of_a_window() {
    let store = MemoryStore::new();
    let gate = Gate::new("test:1:{client}", "writes");
    let mut permits = Permits::new(60, WINDOW, 1);
    let now = Instant::now();
    let NextStep::Exchange(ask) = permits.next(1, 1, || 1, now) else { panic!("a request stands in line") };
    permits.exchanged(&ask, store.exchange(&gate, &ask).await.ok(), now);
    assert!(permits.sent(now));
    let late = now + WINDOW / 4;
    assert!(matches!(permits.next(0, 1, || 2, now), NextStep::At(at) if at == late));
    assert!(matches!(permits.next(0, 1, || 2, late), NextStep::At(at) if at == late + REPORT_WITHIN));
    let NextStep::Exchange(ask) = permits.next(0, 1, || 2, late + REPORT_WITHIN) else {
        panic!("it counts as answered")
    };
    assert_eq!((ask.held, ask.used.len()), (0, 1));
    permits.exchanged(&ask, store.exchange(&gate, &ask).await.ok(), late + REPORT_WITHIN);
    // The late response changes nothing.
    permits.returned(now, PermitUse::Counted, late + WINDOW);
    assert!(permits.is_idle(late + WINDOW));
}

#[tokio::test(start_paused = true)]
async fn an_idle_process_stops_asking_a_store_that_is_gone() {
    let mut permits = Permits::new(60, WINDOW, 1);
    let (start, mut now, mut exchanges) = (Instant::now(), Instant::now(), 0);
    permits.sent(now);
    permits.returned(now, PermitUse::Counted, now);
    permits.refused(seconds(20.0), now);
    permits.limit_stated(30, None, now);
    loop {
        match permits.next(0, 1, || exchanges + 1, now) {
            NextStep::Exchange(ask) => {
                exchanges += 1;
                permits.exchanged(&ask, None, now);
            }
            NextStep::At(at) => now = at,
            NextStep::Idle => break,
        }
        assert!(now - start <= WINDOW + REPORT_WITHIN, "{exchanges} exchanges");
    }
    assert!(exchanges > 10);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_alone_keeps_to_its_share() {
    let mut permits = Permits::new(60, WINDOW, 1);
    let now = Instant::now();
    let NextStep::Exchange(ask) = permits.next(1, 1, || 1, now) else { panic!("a request stands in line") };
    permits.exchanged(&ask, None, now);
    assert_eq!(permits.share_used_until(now), None);
    permits.expected_processes = 4;
    for _ in 0..15 {
        assert_eq!(permits.share_used_until(now), None);
        assert!(!permits.sent(now));
    }
    assert_eq!(permits.share_used_until(now), Some(now + WINDOW / 4));
    permits.returned(now, PermitUse::Counted, now + REPORT_WITHIN);
    assert_eq!(permits.share_used_until(now + REPORT_WITHIN), Some(now + REPORT_WITHIN + WINDOW));
    // More processes than a window carries have one request each.
    assert_eq!(Permits::new(3, WINDOW, 8).share_used_until(now), None);
    assert_eq!(permits.share_used_until(now + REPORT_WITHIN + WINDOW), None);
}

proptest::proptest! {
    #[test]
    fn no_answer_of_a_store_makes_the_stock_panic_or_grant_more_than_was_asked_for(
        answers in proptest::collection::vec(proptest::option::of(proptest::array::uniform8(proptest::prelude::any::<u64>())), 1..20),
        lines in proptest::collection::vec(0..100_u32, 20),
    ) {
        let mut permits = Permits::new(60, WINDOW, 1);
        let (start, mut number) = (Instant::now(), 0);
        let mut now = start;
        for (answer, line) in answers.into_iter().zip(lines) {
            let ask = match permits.next(line, 1, || number + 1, now) {
                NextStep::Exchange(ask) => ask,
                NextStep::At(at) => {
                    now = at;
                    continue;
                }
                NextStep::Idle => continue,
            };
            number += 1;
            let (before, want) = (permits.stock(now), ask.want);
            let count = |number: u64| (number % (1 << 33)) as u32;
            let answer = answer.map(|[granted, ask_again, closed, epoch, others, others_for, processes, limit]| Exchanged {
                granted: count(granted),
                ask_again: Duration::from_millis(ask_again),
                closed: Duration::from_millis(closed),
                epoch,
                others: count(others),
                others_for: Duration::from_millis(others_for),
                processes: count(processes),
                limit: count(limit),
            });
            permits.exchanged(&ask, answer, now);
            proptest::prop_assert!(permits.stock(now) <= before.saturating_add(want));
            proptest::prop_assert!(permits.closed_until(now).is_none_or(|until| until <= now + LONGEST_WAIT));
            if permits.stock(now) > 0 {
                permits.sent(now);
                permits.returned(now, PermitUse::Counted, now + seconds(0.1));
            }
            permits.share_used_until(now);
            proptest::prop_assert!(permits.due(line, now).is_none_or(|at| at <= now + LONGEST_WAIT));
        }
    }
}

fn answer(others: u32, others_for: Duration) -> Exchanged {
    Exchanged {
        granted: 0,
        ask_again: Duration::ZERO,
        closed: Duration::ZERO,
        epoch: 1,
        others,
        others_for,
        processes: 4,
        limit: 60,
    }
}

/// Makes the exchange that is due at `now`.
fn exchange(permits: &mut Permits, answer: Option<Exchanged>, now: Instant) {
    let NextStep::Exchange(ask) = permits.next(1, 1, || 1, now) else { panic!("a request stands in line") };
    permits.exchanged(&ask, answer, now);
}

#[test]
fn a_process_that_was_alone_keeps_to_its_share_until_all_breakers_have_closed() {
    for (outage, recovery) in [(0.5, 2.0), (10.0, 21.0), (100.0, 31.0)] {
        let (mut permits, start) = (Permits::new(60, WINDOW, 1), Instant::now());
        exchange(&mut permits, None, start);
        assert!(!permits.is_connected() && !permits.is_retry_due(start) && permits.is_retry_due(start + RETRY_AFTER));
        let back = start + seconds(outage);
        exchange(&mut permits, Some(answer(0, Duration::ZERO)), back);
        assert!(permits.is_connected() && permits.is_recovering(back + seconds(recovery - 0.01)));
        assert!(!permits.is_recovering(back + seconds(recovery)));
    }
}

#[test]
fn a_process_that_loses_the_store_leaves_the_other_processes_their_places() {
    let (mut permits, now) = (Permits::new(60, WINDOW, 1), Instant::now());
    exchange(&mut permits, Some(answer(59, seconds(40.0))), now);
    let lost = now + RETRY_AFTER;
    exchange(&mut permits, None, lost);
    assert_eq!(permits.share_used_until(lost), None);
    permits.sent(lost);
    assert_eq!(permits.share_used_until(lost), Some(now + seconds(40.0)));
    assert_eq!(permits.share_used_until(now + seconds(40.0)), None);
}

#[tokio::test(start_paused = true)]
async fn responses_in_a_steady_stream_are_forgotten_when_their_window_is_over() {
    let mut permits = Permits::new(600, WINDOW, 1);
    let mut now = Instant::now();
    for _ in 0..3_000 {
        permits.sent(now);
        permits.returned(now, PermitUse::Counted, now);
        now += seconds(0.2);
    }
    permits.forget(now);
    let remembered: u32 = permits.recent.iter().map(|group| group.count).sum();
    assert!((295..=306).contains(&remembered), "{remembered} of 300 in the last window");
}

#[tokio::test(start_paused = true)]
async fn a_stated_limit_that_is_not_stated_again_is_forgotten() {
    let mut permits = Permits::new(60, WINDOW, 1);
    let now = Instant::now();
    permits.limit_stated(1, None, now);
    let mut ask = |now| match permits.next(1, 1, || 1, now) {
        NextStep::Exchange(ask) => {
            permits.exchanged(&ask, None, now);
            (ask.limit, ask.window)
        }
        _ => panic!("a request waits"),
    };
    assert_eq!(ask(now), (1, WINDOW));
    assert_eq!(ask(now + 6 * WINDOW), (60, WINDOW));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_grants_nothing_and_wants_the_next_ask_at_once_is_asked_after_a_pause() {
    let mut permits = Permits::new(60, WINDOW, 1);
    let now = Instant::now();
    let NextStep::Exchange(ask) = permits.next(1, 1, || 1, now) else { panic!("a request waits") };
    permits.exchanged(&ask, Some(answer(0, Duration::ZERO)), now);
    assert!(matches!(permits.next(1, 1, || 2, now), NextStep::At(at) if at > now));
}

#[test]
fn the_stock_of_a_process_that_was_paused_is_no_longer_valid() {
    for paused_in_the_call in [false, true] {
        let (mut permits, start) = (Permits::new(60, WINDOW, 1), Instant::now());
        let NextStep::Exchange(ask) = permits.next(3, 1, || 1, start) else { panic!("requests wait") };
        let answered = if paused_in_the_call { start + WINDOW } else { start };
        permits.exchanged(&ask, Some(Exchanged { granted: 3, ..answer(0, Duration::ZERO) }), answered);
        if !paused_in_the_call {
            assert!(permits.sent(start + WINDOW - seconds(0.001)), "the account lasts that long");
        }
        assert_eq!(permits.stock(start + WINDOW), 0);
        assert!(!permits.sent(start + WINDOW));
        let NextStep::Exchange(ask) = permits.next(2, 1, || 2, start + WINDOW) else { panic!("requests wait") };
        assert_eq!(ask.want, 2);
    }
}

#[test]
fn a_permit_that_arrives_later_than_a_window_is_valid() {
    let (mut permits, start) = (Permits::new(1, seconds(0.02), 1), Instant::now());
    let NextStep::Exchange(ask) = permits.next(1, 1, || 1, start) else { panic!("a request waits") };
    let answered = start + seconds(0.025);
    permits.exchanged(&ask, Some(Exchanged { granted: 1, ..answer(0, Duration::ZERO) }), answered);
    assert!(permits.sent(answered));
}

#[test]
fn a_queue_that_has_its_permits_is_no_reason_to_doubt_the_store() {
    // A found rate holds the queue back: one request leaves every 20 seconds, for 13 minutes.
    let (mut permits, mut now, mut number) = (Permits::new(60, WINDOW, 1), Instant::now(), 0);
    for line in (1..=40).rev() {
        let leaves_at = now + seconds(20.0);
        while now < leaves_at {
            match permits.next(line, 1, || number, now) {
                NextStep::Exchange(ask) => {
                    number += 1;
                    permits.exchanged(&ask, Some(Exchanged { granted: ask.want, ..answer(0, Duration::ZERO) }), now);
                    assert!(permits.connected, "{line} are left");
                }
                NextStep::At(at) => now = at.min(leaves_at),
                NextStep::Idle => now = leaves_at,
            }
        }
        assert!(permits.sent(now));
    }
}

#[test]
fn a_process_that_is_alone_divides_by_the_larger_of_the_counted_and_the_expected_processes() {
    // The store has counted 4 processes in a fleet that is starting.
    for (expected, share) in [(1, 15), (4, 15), (20, 3)] {
        let (mut permits, mut now) = (Permits::new(60, WINDOW, expected), Instant::now());
        exchange(&mut permits, Some(answer(0, Duration::ZERO)), now);
        now += RETRY_AFTER;
        exchange(&mut permits, None, now);
        let mut left = 0;
        while permits.share_used_until(now).is_none() {
            permits.sent(now);
            left += 1;
        }
        assert_eq!(left, share, "{expected} expected");
    }
}

#[test]
fn a_store_whose_epoch_changes_each_time_gets_an_urgent_report_only_once() {
    let (mut permits, start) = (Permits::new(60, WINDOW, 1), Instant::now());
    exchange(&mut permits, Some(answer(0, Duration::ZERO)), start);
    permits.sent(start);
    permits.returned(start, PermitUse::Counted, start);
    let (mut now, mut calls) = (start, 1);
    while now < start + seconds(10.0) {
        match permits.next(0, 1, || calls + 1, now) {
            NextStep::Exchange(ask) => {
                calls += 1;
                assert!(calls <= 25, "{calls} calls in {:?}", now - start);
                permits.exchanged(&ask, Some(Exchanged { epoch: calls, ..answer(0, Duration::ZERO) }), now);
            }
            NextStep::At(at) => now = at,
            NextStep::Idle => break,
        }
    }
    assert!(calls >= 10, "{calls} calls");
}
