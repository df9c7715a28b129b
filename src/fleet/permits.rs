//! A process's stock of permits at one gate: the granted permits, and the reports that the store
//! has not yet confirmed.
//!
//! Pure: the clock comes in as an argument, and the gate makes the calls that [`Permits::next`]
//! asks for.
//!
//! 1. A request that leaves takes a permit. While the store does not answer, the request is counted
//!    as sent without a permit.
//! 2. At most one exchange is under way. A process asks for as many permits as requests wait, and
//!    returns permits for which no request waits.
//! 3. A group of responses is reported in each exchange until the store has confirmed one of these
//!    exchanges. The group keeps the number of the first of them. If the store carried that
//!    exchange out and its answer was lost, the store skips the group.
//! 4. All responses of the last window are remembered. If the epoch changes, the store has lost its
//!    contents, and they are all reported again.
//! 5. Urgent reports (a refusal, a stated limit, a new epoch) go out at once.
//! 6. A process that has been alone keeps to its share for a while after the store is back. The
//!    breakers of other processes may still be open, and the store does not know which requests
//!    those processes send. A process that is alone leaves the other processes the places that they
//!    had taken.
//! 7. A store that grants nothing while requests wait may be hostile. The patience with such a
//!    store is the longest wait that a server asks for, plus the windows that the expected
//!    processes need. Afterwards the store counts as lost, for the longest wait of a server. A
//!    permit that is granted while the gate is open resets the patience.
//! 8. A request without a response counts as answered after a quarter of the window, so that it
//!    does not hold its permit for ever.
//! 9. The stock is valid for one window after the last ask. The store forgets a process that no
//!    longer asks, and a process may be paused with permits in its stock.

use std::{collections::VecDeque, mem, time::Duration};

use tokio::time::Instant;

use super::store::{ExchangeAsk, Exchanged, Stated, Used};

/// Permits live at least this long, so that a store may be slower than a short window. The store
/// keeps the account of a process for longer.
const MIN_LIFETIME: Duration = Duration::from_secs(5);
/// Responses are reported to the store within this time.
const REPORT_WITHIN: Duration = Duration::from_millis(500);
/// How soon the process asks again after the store did not answer. While the breaker is open, the
/// ask costs nothing.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Bound of the time for which a process keeps to its share after an outage: the longest pause of a
/// breaker. Below this bound the time is twice the length of the outage, because the breaker of
/// another process cannot stay open longer. [`REPORT_MARGIN`] is added, in which the other process
/// reports its requests.
const LONGEST_RECOVERY: Duration = Duration::from_secs(30);
const REPORT_MARGIN: Duration = Duration::from_secs(1);
/// Longest wait that is accepted from the store. No server asks for a longer wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);
/// Responses that are this close together, as a part of the window, are one group.
const GROUPS_PER_WINDOW: u32 = 60;
/// A stated limit is forgotten after this many of its windows, unless it is stated again. The store
/// and the limiter do the same.
const STATEMENT_WINDOWS: u32 = 5;
/// A request without a response counts as answered after this part of the window, as in the limiter
/// of one process.
const UNANSWERED_DIVISOR: u32 = 4;

/// The stock. See the invariants above.
#[derive(Debug)]
pub(crate) struct Permits {
    expected_processes: u32,
    /// The limit and the window of the settings.
    configured: (u32, Duration),
    /// Limit by the settings, or by the server's responses to this process.
    limit: u32,
    /// Limit by the store's last answer. The store may know more than this process.
    fleet_limit: u32,
    window: Duration,
    /// Until when the server's statement replaces the settings.
    stated_until: Option<Instant>,
    stock: u32,
    /// When the requests in flight were sent, oldest first.
    in_flight: VecDeque<Instant>,
    /// Responses that the store may not know.
    unreported: VecDeque<Group>,
    /// All responses of the last window.
    recent: VecDeque<Group>,
    /// Since when there is something to report.
    report_since: Option<Instant>,
    pending: PendingReport,
    epoch: u64,
    /// Whether the store's last answer changed the epoch.
    epoch_changed: bool,
    under_way: bool,
    /// When the present or last exchange began.
    asked_at: Option<Instant>,
    /// When the last exchange that was answered began.
    confirmed_at: Option<Instant>,
    /// Whether the last exchange was answered.
    connected: bool,
    /// Since when exchanges have not been answered.
    lost_at: Option<Instant>,
    /// Until when the process keeps to its share although the store answers.
    recovers_until: Option<Instant>,
    ask_at: Option<Instant>,
    /// Until when the server wants no request, by its responses to this process.
    closed_until: Option<Instant>,
    /// The same, by the store's answers.
    store_closed_until: Option<Instant>,
    starvation: Starvation,
    processes: u32,
    /// Places that the other processes had taken, and until when, by the store's last answer.
    others: (u32, Option<Instant>),
}

#[derive(Clone, Copy, Debug)]
struct Group {
    count: u32,
    /// When the first response of the group came. It bounds how long the group grows.
    first: Instant,
    /// When the last response of the group came.
    at: Instant,
    /// Number of the exchange that reported the group first.
    since: Option<u64>,
}

/// How long requests have waited for permits since the store granted one.
#[derive(Debug, Default)]
struct Starvation {
    /// Since when requests wait while the store answers.
    since: Option<Instant>,
    /// How long they waited before that.
    before: Duration,
}

impl Starvation {
    fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    fn pause(&mut self, now: Instant) {
        self.before = self.total(now);
        self.since = None;
    }

    fn total(&self, now: Instant) -> Duration {
        self.since.map_or(self.before, |since| self.before + now.saturating_duration_since(since))
    }
}

#[derive(Debug, Default)]
struct PendingReport {
    urgent: bool,
    limit: Option<(u32, Duration)>,
    stated: Option<(Stated, Instant)>,
    closed_until: Option<Instant>,
}

/// Whether a request that was sent has used up its permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PermitUse {
    /// The server may have counted it: it was answered, or given up.
    Counted,
    /// It did not reach the server.
    NotSent,
}

/// The next step of the gate.
#[derive(Debug)]
pub(crate) enum NextStep {
    /// Make this exchange now, and pass its answer to [`Permits::exchanged`].
    Exchange(ExchangeAsk),
    /// Call [`Permits::next`] again at this time, or when something has changed.
    At(Instant),
    /// Call [`Permits::next`] again when something has changed.
    Idle,
}

impl Permits {
    /// Returns an empty stock. The settings allow `limit` requests in a `window`, for a fleet of
    /// `expected_processes`.
    pub(crate) fn new(limit: u32, window: Duration, expected_processes: u32) -> Self {
        Self {
            expected_processes: expected_processes.max(1),
            configured: (limit, window),
            limit,
            fleet_limit: limit,
            window,
            stated_until: None,
            stock: 0,
            in_flight: VecDeque::new(),
            unreported: VecDeque::new(),
            recent: VecDeque::new(),
            report_since: None,
            pending: PendingReport::default(),
            epoch: 0,
            epoch_changed: false,
            under_way: false,
            asked_at: None,
            confirmed_at: None,
            connected: true,
            lost_at: None,
            recovers_until: None,
            ask_at: None,
            closed_until: None,
            store_closed_until: None,
            starvation: Starvation::default(),
            processes: 0,
            others: (0, None),
        }
    }

    /// Number of permits that are left.
    pub(crate) fn stock(&mut self, now: Instant) -> u32 {
        let longest = self.window.max(MIN_LIFETIME);
        if self.confirmed_at.is_some_and(|at| now.saturating_duration_since(at) >= longest) {
            self.stock = 0;
        }
        self.stock
    }

    /// Records that a request leaves. It takes a permit if the store answers and a permit is left.
    /// Returns whether it took a permit.
    pub(crate) fn sent(&mut self, now: Instant) -> bool {
        let has_permit = self.connected && self.stock(now) > 0;
        self.stock -= u32::from(has_permit);
        // Usually at the end. Threads may take the gate's lock in another order than they read the
        // clock.
        let at = self.in_flight.partition_point(|sent| *sent <= now);
        self.in_flight.insert(at, now);
        has_permit
    }

    /// Records the end of the request that left at `sent_at`.
    pub(crate) fn returned(&mut self, sent_at: Instant, permit_use: PermitUse, now: Instant) {
        // A request whose response was late has been counted already.
        let Ok(at) = self.in_flight.binary_search(&sent_at) else { return };
        self.in_flight.remove(at);
        match permit_use {
            PermitUse::NotSent => self.stock += 1,
            PermitUse::Counted => self.count(now),
        }
        self.report_since.get_or_insert(now);
    }

    fn count(&mut self, now: Instant) {
        let gap = self.window / GROUPS_PER_WINDOW;
        add(&mut self.recent, now, gap);
        add(&mut self.unreported, now, gap);
        self.forget(now);
    }

    /// Counts overdue requests as answered.
    fn settle(&mut self, now: Instant) {
        while self.in_flight.front().is_some_and(|sent| *sent + self.window / UNANSWERED_DIVISOR <= now) {
            self.in_flight.pop_front();
            self.count(now);
            self.report_since.get_or_insert(now);
        }
    }

    /// Records that the server wants no request for this long.
    pub(crate) fn refused(&mut self, wait: Duration, now: Instant) {
        let until = now + wait;
        self.closed_until = self.closed_until.max(Some(until));
        self.pending.closed_until = self.pending.closed_until.max(Some(until));
        self.pending.urgent = true;
    }

    /// Records the limit, and perhaps the window, that the server stated. The store gets a new
    /// limit at once.
    pub(crate) fn limit_stated(&mut self, limit: u32, window: Option<Duration>, now: Instant) {
        let window = window.unwrap_or(self.window);
        self.pending.urgent |= (limit, window) != (self.limit, self.window);
        (self.limit, self.window) = (limit, window);
        self.stated_until = now.checked_add(window.saturating_mul(STATEMENT_WINDOWS));
        self.pending.limit = Some((limit, window));
    }

    /// Records the rest of the window that the server stated. The store gets it with the next
    /// exchange.
    pub(crate) fn window_stated(&mut self, stated: Stated, now: Instant) {
        self.pending.stated = Some((stated, now));
    }

    /// Whether the store answered the last exchange. If not, the process is alone.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether a store that did not answer the last exchange is due to be asked again.
    pub(crate) fn is_retry_due(&self, now: Instant) -> bool {
        self.ask_at.is_none_or(|at| at <= now)
    }

    /// Whether the process keeps to its share although the store answers.
    pub(crate) fn is_recovering(&self, now: Instant) -> bool {
        self.recovers_until.is_some_and(|until| until > now)
    }

    /// Number of processes that share the gate, by the store's last answer. Zero if it never
    /// answered.
    pub(crate) fn processes(&self) -> u32 {
        self.processes
    }

    /// Until when a process that is alone has used up its share of the window.
    pub(crate) fn share_used_until(&mut self, now: Instant) -> Option<Instant> {
        let processes = self.processes.max(self.expected_processes);
        if processes <= 1 {
            return None;
        }
        self.settle(now);
        self.forget(now);
        let answered = self.recent.iter().fold(0, |sum: u32, group| sum.saturating_add(group.count));
        let used = answered.saturating_add(self.count_in_flight());
        let (others, others_until) = self.others;
        if !self.connected && used.saturating_add(others) >= self.fleet_limit {
            // The places that the other processes had taken when the store was lost.
            if let Some(until) = others_until.filter(|until| *until > now) {
                return Some(until);
            }
        }
        if used < (self.fleet_limit / processes).max(1) {
            return None;
        }
        let first_free = self.recent.front().map(|group| group.at + self.window);
        // If all places are in flight, the next response decides.
        Some(first_free.unwrap_or(now + self.window / UNANSWERED_DIVISOR))
    }

    /// Whether the stock can be dropped without a loss.
    pub(crate) fn is_idle(&mut self, now: Instant) -> bool {
        self.settle(now);
        self.forget(now);
        self.stock == 0
            && self.in_flight.is_empty()
            && self.recent.is_empty()
            && self.unreported.is_empty()
            && self.closed_until(now).is_none()
    }

    fn count_in_flight(&self) -> u32 {
        u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX)
    }

    /// Until when no request may be sent, even with a permit.
    pub(crate) fn closed_until(&self, now: Instant) -> Option<Instant> {
        self.closed_until.max(self.store_closed_until).filter(|until| *until > now)
    }

    /// When there is something to ask or to report, if `waiting` requests wait for a permit. `None`
    /// if there is nothing, or if an exchange is under way.
    pub(crate) fn due(&mut self, waiting: u32, now: Instant) -> Option<Instant> {
        self.settle(now);
        // If the store does not hold the requests, they wait for something else, such as a found
        // rate.
        let store_holds_requests =
            waiting > self.stock || waiting > 0 && self.store_closed_until.is_some_and(|until| until > now);
        if store_holds_requests && self.connected {
            self.starvation.begin(now);
        } else {
            self.starvation.pause(now);
        }
        if self.stock > waiting {
            self.report_since.get_or_insert(now);
        }
        if self.under_way {
            return None;
        }
        let report_at = self.report_since.map(|since| since + REPORT_WITHIN);
        let wants = waiting > self.stock(now) || waiting > 0 && !self.connected;
        let ask_at = wants.then(|| self.ask_at.map_or(now, |at| at.max(now)));
        let urgent_at = self.pending.urgent.then_some(now);
        let settle_at = self.in_flight.front().map(|sent| *sent + self.window / UNANSWERED_DIVISOR);
        let at = [report_at, ask_at, urgent_at, settle_at].into_iter().flatten().min()?;
        Some(if self.connected { at } else { at.max(self.ask_at.unwrap_or(now)) })
    }

    /// Returns the next step, if `waiting` requests wait for a permit. If the step is an exchange,
    /// `number` gives it its number.
    pub(crate) fn next(&mut self, waiting: u32, process: u64, number: impl FnOnce() -> u64, now: Instant) -> NextStep {
        match self.due(waiting, now) {
            None => NextStep::Idle,
            Some(at) if at > now => NextStep::At(at),
            Some(_) => NextStep::Exchange(self.exchange(waiting, process, number(), now)),
        }
    }

    /// How long requests wait before a store that grants nothing counts as lost: see the
    /// invariants.
    fn starvation_limit(&self) -> Duration {
        let windows = self.expected_processes.div_ceil(self.limit.max(1));
        LONGEST_WAIT.saturating_add(self.window.saturating_mul(windows))
    }

    fn exchange(&mut self, waiting: u32, process: u64, number: u64, now: Instant) -> ExchangeAsk {
        self.under_way = true;
        self.asked_at = Some(now);
        self.report_since = None;
        if self.stated_until.is_some_and(|until| until <= now) {
            self.stated_until = None;
            (self.limit, self.window) = self.configured;
        }
        // No request waits for the surplus permits, so they go back.
        self.stock = self.stock.min(waiting);
        let pending = mem::take(&mut self.pending);
        let mut ask = ExchangeAsk::new(process, number);
        ask.epoch = self.epoch;
        let (others, until) = self.others;
        ask.others = others;
        ask.others_for = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        ask.limit = self.limit;
        ask.window = self.window;
        ask.want = waiting - self.stock;
        ask.held = self.stock.saturating_add(self.count_in_flight());
        ask.used = self
            .unreported
            .iter_mut()
            .map(|group| Used {
                count: group.count,
                age: now.saturating_duration_since(group.at),
                since: *group.since.get_or_insert(number),
            })
            .collect();
        ask.limit_stated = pending.limit;
        ask.stated = pending.stated.map(|(stated, at)| Stated {
            reset: stated.reset.saturating_sub(now.saturating_duration_since(at)),
            ..stated
        });
        ask.closed = pending.closed_until.filter(|until| *until > now).map(|until| until - now);
        ask
    }

    /// Records that an exchange has ended without an answer, or that no exchange can be made.
    pub(crate) fn unanswered(&mut self, ask: Option<&ExchangeAsk>, now: Instant) {
        self.under_way = false;
        if mem::take(&mut self.connected) {
            self.lost_at = Some(now);
        }
        self.ask_at = Some(now + RETRY_AFTER);
        // An idle process stops asking after a window: there is nothing left to report then.
        self.forget(now);
        if !self.unreported.is_empty() {
            self.report_since.get_or_insert(now);
        }
        if let Some(ask) = ask {
            self.pending.limit = self.pending.limit.or(ask.limit_stated);
            if ask.closed.is_some() {
                self.pending.closed_until = self.pending.closed_until.max(self.closed_until);
            }
        }
        self.pending.urgent = self.pending.closed_until.is_some_and(|until| until > now);
    }

    /// Records that an exchange has ended, with the store's answer if there is one.
    pub(crate) fn exchanged(&mut self, ask: &ExchangeAsk, answer: Option<Exchanged>, now: Instant) {
        let Some(answer) = answer else { return self.unanswered(Some(ask), now) };
        self.under_way = false;
        self.confirmed_at = self.asked_at;
        self.connected = true;
        if let Some(lost_at) = self.lost_at.take() {
            let outage = now.saturating_duration_since(lost_at);
            self.recovers_until = Some(now + outage.saturating_mul(2).min(LONGEST_RECOVERY) + REPORT_MARGIN);
        }
        // All values from the store are bounded, since they may be garbage.
        self.stock = self.stock.saturating_add(answer.granted.min(ask.want));
        self.processes = answer.processes;
        self.others = (answer.others, Some(now + answer.others_for.min(LONGEST_WAIT)));
        self.fleet_limit = answer.limit;
        if answer.granted > 0 && ask.want > 0 && answer.closed.is_zero() {
            self.starvation = Starvation::default();
        }
        let starvation_left = self.starvation_limit().saturating_sub(self.starvation.total(now));
        // A store that grants nothing is not asked again at once, even if it says so.
        let least = if answer.granted == 0 && ask.want > 0 { RETRY_AFTER } else { Duration::ZERO };
        let ask_again = answer.ask_again.max(least).min(LONGEST_WAIT).min(starvation_left);
        self.ask_at = (!ask_again.is_zero()).then(|| now + ask_again);
        self.store_closed_until = Some(now + answer.closed.min(LONGEST_WAIT).min(starvation_left));
        self.unreported.retain(|group| group.since.is_none());
        let epoch_changed = self.epoch != 0 && answer.epoch != self.epoch;
        if epoch_changed {
            self.forget(now);
            self.unreported = self.recent.clone();
            if !self.unreported.is_empty() {
                // A store whose epoch changes each time is broken, and gets no urgent report.
                self.pending.urgent |= !self.epoch_changed;
                self.report_since.get_or_insert(now);
            }
        }
        (self.epoch, self.epoch_changed) = (answer.epoch, epoch_changed);
        if starvation_left.is_zero() {
            self.count_as_lost(now);
        }
    }

    /// Counts the store as lost for a while, whatever it answers.
    fn count_as_lost(&mut self, now: Instant) {
        self.unanswered(None, now);
        self.ask_at = Some(now + LONGEST_WAIT);
        self.others = (0, None);
        // The next doubt comes sooner, unless the store grants a permit.
        self.starvation = Starvation { since: None, before: self.starvation_limit() / 2 };
    }

    fn forget(&mut self, now: Instant) {
        let window = self.window;
        let is_over = |group: &Group| now.saturating_duration_since(group.at) >= window;
        while self.recent.front().is_some_and(is_over) {
            self.recent.pop_front();
        }
        while self.unreported.front().is_some_and(is_over) {
            self.unreported.pop_front();
        }
    }
}

/// Adds one response to the last group, if that group began recently and was not yet reported.
/// Otherwise to a new group.
fn add(groups: &mut VecDeque<Group>, now: Instant, gap: Duration) {
    match groups.back_mut() {
        Some(group) if group.since.is_none() && now.saturating_duration_since(group.first) < gap => {
            group.count += 1;
            group.at = now;
        }
        _ => groups.push_back(Group { count: 1, first: now, at: now, since: None }),
    }
}

#[cfg(test)]
mod tests;
