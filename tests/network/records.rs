//! The records of the checker: of each process, of each call, and of the whole run.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Display,
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;

use super::net::Host;

pub struct Records {
    pub started: Instant,
    pub log: Vec<String>,
    pub violations: Vec<String>,
    pub processes: BTreeMap<Host, Process>,
    pub calls: BTreeMap<u32, Call>,
    /// All tokens ever issued, in order.
    pub tokens: Vec<String>,
    pub secrets: Vec<String>,
    /// The number of token requests that arrived after the client had given them up.
    pub late_arrivals: usize,
    pub honest_refusals: usize,
    /// Whether a client has got another secret. A failed fetch may then be repeated at once.
    pub has_rotated: bool,
    pub entities: BTreeMap<u32, Vec<String>>,
}

#[derive(Default)]
pub struct Process {
    pub limit: usize,
    pub under_way: usize,
    pub ended: VecDeque<Instant>,
    /// The tokens that were obtained, in order.
    pub tokens: Vec<Obtained>,
    /// The newest of these tokens that was sent.
    pub newest_sent: Option<usize>,
    /// Whether the token before `newest_sent` is used in its place.
    pub has_stepped_back: bool,
    /// When the last fetch was sent.
    pub fetch_sent: Option<Instant>,
    /// When each token was last sent, as a position in the log.
    pub last_sent: BTreeMap<String, usize>,
    /// The tokens that were replaced after a 401, and the tokens that were invalidated.
    pub retired: Vec<String>,
    /// When the fetch under way was sent, unless its token is invalid already.
    pub fetching_since: Option<Instant>,
    /// When the last fetch failed. `None` after a success.
    pub failed: Option<Instant>,
    pub succeeds: bool,
    /// The newest token.
    pub obtained: Option<String>,
    /// The time before which no fetch may start, as an error told a caller.
    pub told: Option<Instant>,
    /// Until when the token has to be used without a wait for another token.
    pub valid_until: Option<Instant>,
}

/// A token that a process has obtained.
pub struct Obtained {
    pub token: String,
    /// When its token request was sent.
    pub sent_at: Instant,
    /// Its first 401.
    pub refused_at: Option<Instant>,
    /// The last time when it was used in place of a newer token that was no longer young.
    pub last_resort: Option<Instant>,
}

#[derive(Default)]
pub struct Call {
    pub process: Host,
    /// The last attempt: its token, the status of its response, and the time of the response.
    pub token: Option<String>,
    pub status: Option<(StatusCode, usize)>,
    /// When the call was made, if there was a valid token.
    pub had_token: Option<Instant>,
    /// The number of requests that the library has sent.
    pub sent: usize,
    /// The number of 429s that stated no time to wait.
    pub silent_refusals: usize,
    /// The number of requests that ended without a response.
    pub errors: usize,
    pub arrived: usize,
    pub processed: usize,
    pub body: Vec<u8>,
}

impl Records {
    pub fn note(&mut self, event: impl Display) {
        let at = self.started.elapsed().as_secs_f64();
        self.log.push(format!("{at:9.3} {event}"));
    }

    pub fn violation(&mut self, what: impl Display) {
        self.note(format_args!("VIOLATION: {what}"));
        self.violations.extend(self.log.last().cloned());
    }

    /// Returns a token's position in the sequence of all tokens. The log shows only this position.
    pub fn name(&self, token: Option<&str>) -> String {
        let Some(token) = token else { return "no token".to_owned() };
        let position = self.tokens.iter().position(|issued| issued == token);
        position.map_or("an unknown token".to_owned(), |position| format!("token {position}"))
    }

    pub fn token_is_sent(&mut self, process: Host, call: u32, token: &str) {
        let name = self.name(Some(token));
        if let Some((previous, at)) = self.calls.get(&call).and_then(|call| {
            let (StatusCode::UNAUTHORIZED, at) = call.status? else { return None };
            Some((call.token.clone()?, at))
        }) {
            if previous == token {
                self.violation(format_args!("{call} is sent again with {name}, which was refused"));
            } else if !self.processes[process].steps_back(&previous, token) {
                self.retire(process, previous, at);
            }
        }
        let position = self.log.len();
        let records = self.processes.get_mut(process).unwrap();
        records.last_sent.insert(token.to_owned(), position);
        let is_struck = records.retired.iter().any(|retired| retired == token);
        let is_old = !records.may_follow_those_before_it(token);
        if is_struck {
            self.violation(format_args!("{name} is used although it was refused or invalidated"));
        }
        if is_old {
            self.violation(format_args!("{name} is used again after a newer one"));
        }
    }

    /// Records that the library has replaced `token` after a 401 at `at`. The token must not be
    /// sent after that.
    pub fn retire(&mut self, process: Host, token: String, at: usize) {
        let name = self.name(Some(&token));
        let records = self.processes.get_mut(process).unwrap();
        let last = records.last_sent.get(&token).copied().unwrap_or_default();
        // If this token was used in place of a newer token, that newer token ends too.
        let with_it = records.successor_that_stepped_back(&token);
        for token in with_it.into_iter().chain([token]) {
            if !records.retired.contains(&token) {
                records.retired.push(token);
            }
        }
        if last > at {
            self.violation(format_args!("{name} was used after it had been refused"));
        }
    }
}

/// How long a 401 to a new token may mean that a server does not know the token yet.
const YOUNG: Duration = Duration::from_secs(60);

impl Process {
    /// Returns the token that was in use before the token in `position`.
    fn predecessor(&self, position: usize) -> Option<usize> {
        (0..position).rev().find(|earlier| !self.retired.contains(&self.tokens[*earlier].token))
    }

    fn position(&self, token: &str) -> Option<usize> {
        self.tokens.iter().position(|obtained| obtained.token == token)
    }

    /// Whether `older` may be used in place of `newer`: `newer` was refused while it was young, and
    /// `older` was in use before it.
    fn steps_back(&self, newer: &str, older: &str) -> bool {
        let (Some(newer), Some(older)) = (self.position(newer), self.position(older)) else { return false };
        let was_young = self.tokens[newer].refused_at.is_some_and(|at| at < self.tokens[newer].sent_at + YOUNG);
        was_young && self.predecessor(newer) == Some(older)
    }

    /// Returns the token after `token`, if `token` is used in its place.
    fn successor_that_stepped_back(&self, token: &str) -> Option<String> {
        let newest = &self.tokens[self.newest_sent?].token;
        (self.has_stepped_back && self.steps_back(newest, token)).then(|| newest.clone())
    }

    /// Whether `token` may be sent now. It must be the newest token that was sent, or be in use
    /// again while the newest token is young. The first request after that time may still carry it,
    /// because that request ends this use.
    fn may_follow_those_before_it(&mut self, token: &str) -> bool {
        let Some(position) = self.position(token) else { return false };
        let Some(newest) = self.newest_sent.filter(|newest| *newest > position) else {
            (self.newest_sent, self.has_stepped_back) = (Some(position), false);
            return true;
        };
        if !self.steps_back(&self.tokens[newest].token, token) {
            return false;
        }
        self.has_stepped_back = true;
        let (now, young_until) = (Instant::now(), self.tokens[newest].sent_at + YOUNG);
        now < young_until || self.tokens[position].last_resort.replace(now).is_none()
    }
}
