//! A process's stock of permits at one gate: what the store has granted, and what the store still has to hear.
//!
//! Pure: the clock comes in as an argument, and the gate makes the calls that [`Permits::next`] asks for.
//!
//! 1. A request that leaves takes a permit, or is counted as sent without one while the store does not answer.
//! 2. One exchange is under way at most. Nothing is asked for beyond what stands in line, so that no process hoards.
//! 3. A group of answers is told until the store has confirmed an exchange that told it. It keeps the number of the first
//!    such exchange, so that a store that carried it out, and whose answer was lost, skips the group.
//! 4. All answers of the last window are remembered. A store with another epoch has forgotten them and is told all.
//! 5. What the store should know at once (a refusal, a stated limit, a new epoch) does not wait for anything else.

use std::{collections::VecDeque, mem, time::Duration};

use tokio::time::Instant;

use super::store::{ExchangeAsk, Exchanged, Stated, Used};

/// Answers are told to the store within this time.
const SETTLE: Duration = Duration::from_millis(500);
/// How soon the store is asked again after it did not answer. While the breaker is open that costs nothing.
const RETRY: Duration = Duration::from_millis(250);
/// Answers this close together, as a part of the window, are one group.
const GROUPS_PER_WINDOW: u32 = 60;

/// The stock. See the invariants above.
#[derive(Debug)]
pub(super) struct Permits {
    limit: u32,
    window: Duration,
    stock: u32,
    in_flight: u32,
    /// Answers that the store may not know.
    untold: VecDeque<Group>,
    /// All answers of the last window.
    recent: VecDeque<Group>,
    /// Since when there is something to tell.
    tell_since: Option<Instant>,
    news: News,
    epoch: u64,
    under_way: bool,
    /// Whether the last exchange was answered.
    connected: bool,
    ask_at: Option<Instant>,
    closed_until: Option<Instant>,
    processes: u32,
    /// What the other processes had taken, and until when, as the store told it last.
    others: (u32, Option<Instant>),
}

#[derive(Clone, Copy, Debug)]
struct Group {
    count: u32,
    /// When the last of them was answered.
    at: Instant,
    /// The exchange that told it first.
    since: Option<u64>,
}

#[derive(Debug, Default)]
struct News {
    urgent: bool,
    limit: Option<(u32, Duration)>,
    stated: Option<(Stated, Instant)>,
    closed_until: Option<Instant>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was answered, or given up: the server may have counted it.
    Counted,
    /// It did not reach the server.
    NotSent,
}

/// What the gate is to do.
#[derive(Debug)]
pub(super) enum Next {
    /// Make this exchange now, and call [`Permits::exchanged`] with its end.
    Exchange(ExchangeAsk),
    /// Ask again at this time, or when something has changed.
    At(Instant),
    /// Ask again when something has changed.
    Idle,
}

impl Permits {
    /// Returns an empty stock at a gate of which `limit` requests in a `window` are known.
    pub(super) fn new(limit: u32, window: Duration) -> Self {
        Self {
            limit,
            window,
            stock: 0,
            in_flight: 0,
            untold: VecDeque::new(),
            recent: VecDeque::new(),
            tell_since: None,
            news: News::default(),
            epoch: 0,
            under_way: false,
            connected: true,
            ask_at: None,
            closed_until: None,
            processes: 0,
            others: (0, None),
        }
    }

    /// Takes a permit for a request that leaves now. Returns whether there was one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.stock == 0 || self.closed_until(now).is_some() {
            return false;
        }
        self.stock -= 1;
        self.in_flight += 1;
        true
    }

    /// Counts a request that leaves without a permit, because the store does not answer.
    pub(super) fn leave_alone(&mut self) {
        self.in_flight += 1;
    }

    /// A request that left has come back, or never will.
    pub(super) fn returned(&mut self, fate: Fate, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match fate {
            Fate::NotSent => self.stock += 1,
            Fate::Counted => {
                let gap = self.window / GROUPS_PER_WINDOW;
                add(&mut self.recent, now, gap);
                add(&mut self.untold, now, gap);
                self.forget(now);
            }
        }
        self.tell_since.get_or_insert(now);
    }

    /// The server wants no request for this long.
    pub(super) fn refused(&mut self, wait: Duration, now: Instant) {
        let until = now + wait;
        self.closed_until = self.closed_until.max(Some(until));
        self.news.closed_until = self.news.closed_until.max(Some(until));
        self.news.urgent = true;
    }

    /// The server stated its limit. It is told at once if it is new.
    pub(super) fn limit_stated(&mut self, limit: u32, window: Duration) {
        self.news.urgent |= (limit, window) != (self.limit, self.window);
        (self.limit, self.window) = (limit, window);
        self.news.limit = Some((limit, window));
    }

    /// The server stated what is left of its window. It is told with the next exchange.
    pub(super) fn window_stated(&mut self, stated: Stated, now: Instant) {
        self.news.stated = Some((stated, now));
    }

    /// Whether the store answered last. If not, the process is alone.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// How many processes share the gate, as the store said last. Zero if it never did.
    pub(super) fn processes(&self) -> u32 {
        self.processes
    }

    /// Until when nothing may be sent, whatever the stock.
    pub(super) fn closed_until(&self, now: Instant) -> Option<Instant> {
        self.closed_until.filter(|until| *until > now)
    }

    /// What is to be done now, with `line` requests that wait for a permit. `number` is the number of the exchange, if it is
    /// made.
    pub(super) fn next(&mut self, line: u32, process: u64, number: impl FnOnce() -> u64, now: Instant) -> Next {
        if self.under_way {
            return Next::Idle;
        }
        let tell_at = self.tell_since.map(|since| since + SETTLE);
        let ask_at = (line > self.stock).then(|| self.ask_at.map_or(now, |at| at.max(now)));
        let urgent_at = self.news.urgent.then_some(now);
        let Some(at) = [tell_at, ask_at, urgent_at].into_iter().flatten().min() else { return Next::Idle };
        let at = if self.connected { at } else { at.max(self.ask_at.unwrap_or(now)) };
        if at > now {
            return Next::At(at);
        }
        Next::Exchange(self.exchange(line, process, number(), now))
    }

    fn exchange(&mut self, line: u32, process: u64, number: u64, now: Instant) -> ExchangeAsk {
        self.under_way = true;
        self.tell_since = None;
        // Nobody waits for what is left over, so it goes back.
        self.stock = self.stock.min(line);
        let news = mem::take(&mut self.news);
        let mut ask = ExchangeAsk::new(process, number);
        ask.epoch = self.epoch;
        let (others, until) = self.others;
        ask.others = others;
        ask.others_for = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        ask.limit = self.limit;
        ask.window = self.window;
        ask.want = line - self.stock;
        ask.held = self.stock + self.in_flight;
        ask.used = self
            .untold
            .iter_mut()
            .map(|group| Used {
                count: group.count,
                age: now.saturating_duration_since(group.at),
                since: *group.since.get_or_insert(number),
            })
            .collect();
        ask.limit_stated = news.limit;
        ask.stated = news.stated.map(|(stated, at)| Stated {
            reset: stated.reset.saturating_sub(now.saturating_duration_since(at)),
            ..stated
        });
        ask.closed = news.closed_until.map(|until| until.saturating_duration_since(now));
        ask
    }

    /// An exchange has ended: with the store's answer, or without one.
    pub(super) fn exchanged(&mut self, ask: &ExchangeAsk, answer: Option<Exchanged>, now: Instant) {
        self.under_way = false;
        let Some(answer) = answer else {
            self.connected = false;
            self.ask_at = Some(now + RETRY);
            if !self.untold.is_empty() {
                self.tell_since.get_or_insert(now);
            }
            // What the store did not hear it has to hear.
            self.news.urgent |= ask.closed.is_some() || ask.limit_stated.is_some();
            self.news.limit = self.news.limit.or(ask.limit_stated);
            self.news.closed_until = self.news.closed_until.max(ask.closed.map(|closed| now + closed));
            return;
        };
        self.connected = true;
        self.stock += answer.granted;
        self.processes = answer.processes;
        self.others = (answer.others, Some(now + answer.others_for));
        self.limit = answer.limit;
        self.ask_at = (!answer.ask_again.is_zero()).then(|| now + answer.ask_again);
        if !answer.closed.is_zero() {
            self.closed_until = self.closed_until.max(Some(now + answer.closed));
        }
        self.untold.retain(|group| group.since.is_none());
        if self.epoch != 0 && answer.epoch != self.epoch {
            self.forget(now);
            self.untold = self.recent.clone();
            self.news.urgent |= !self.untold.is_empty();
        }
        self.epoch = answer.epoch;
    }

    fn forget(&mut self, now: Instant) {
        let window = self.window;
        let is_over = |group: &Group| now.saturating_duration_since(group.at) >= window;
        while self.recent.front().is_some_and(is_over) {
            self.recent.pop_front();
        }
        while self.untold.front().is_some_and(is_over) {
            self.untold.pop_front();
        }
    }
}

/// Adds one answer to the last group, if that is recent and was not told yet.
fn add(groups: &mut VecDeque<Group>, now: Instant, gap: Duration) {
    match groups.back_mut() {
        Some(group) if group.since.is_none() && now.saturating_duration_since(group.at) < gap => {
            group.count += 1;
            group.at = now;
        }
        _ => groups.push_back(Group { count: 1, at: now, since: None }),
    }
}

#[cfg(test)]
mod tests;
