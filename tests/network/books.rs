//! The records of the watch: for each process, for each call, and for all of them.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Display,
};

use http::StatusCode;
use tokio::time::Instant;

use super::net::Host;

pub struct Books {
    pub started: Instant,
    pub log: Vec<String>,
    pub violations: Vec<String>,
    pub processes: BTreeMap<Host, Process>,
    pub calls: BTreeMap<u32, Call>,
    /// All tokens ever issued, in order.
    pub tokens: Vec<String>,
    pub secrets: Vec<String>,
    /// The number of token requests that arrived after the client had given them up.
    pub ghosts: usize,
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
    /// The tokens that were sent, in order, without repetitions.
    pub sent: Vec<String>,
    /// When each token was last sent, as a position in the log.
    pub last_sent: BTreeMap<String, usize>,
    /// The tokens that were replaced after a 401, and the tokens that were invalidated.
    pub struck: Vec<String>,
    /// When the fetch under way was sent, unless its token is invalid already.
    pub fetching_since: Option<Instant>,
    /// When the last fetch failed. `None` after a success.
    pub failed: Option<Instant>,
    pub succeeds: bool,
    /// The newest token.
    pub obtained: Option<String>,
    /// The time before which there is to be no fetch, as a caller was told.
    pub told: Option<Instant>,
    /// How long the token is to be used without a wait for another one.
    pub valid_until: Option<Instant>,
}

#[derive(Default)]
pub struct Call {
    pub process: Host,
    /// The token of the last attempt, the status of its answer, and when the answer came.
    pub token: Option<String>,
    pub status: Option<(StatusCode, usize)>,
    /// When the call was made, if there was a valid token.
    pub had_token: Option<Instant>,
    /// The number of requests that the library has sent.
    pub sent: usize,
    pub arrived: usize,
    pub processed: usize,
    pub body: Vec<u8>,
}

impl Books {
    pub fn note(&mut self, event: impl Display) {
        let at = self.started.elapsed().as_secs_f64();
        self.log.push(format!("{at:9.3} {event}"));
    }

    pub fn violation(&mut self, what: impl Display) {
        self.note(format_args!("VIOLATION: {what}"));
        self.violations.extend(self.log.last().cloned());
    }

    /// Returns a token's place in the sequence of all tokens. The log shows nothing else of it.
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
            } else {
                self.strike(process, previous, at);
            }
        }
        let position = self.log.len();
        let books = self.processes.get_mut(process).unwrap();
        books.last_sent.insert(token.to_owned(), position);
        let is_struck = books.struck.iter().any(|struck| struck == token);
        let is_newest = books.sent.last().is_some_and(|last| last == token);
        let is_old = !is_newest && books.sent.iter().any(|sent| sent == token);
        if !is_newest {
            books.sent.push(token.to_owned());
        }
        if is_struck {
            self.violation(format_args!("{name} is used although it was refused or invalidated"));
        }
        if is_old {
            self.violation(format_args!("{name} is used again after a newer one"));
        }
    }

    /// Records that the library has replaced `token` after a 401 at `at`. The token must not be
    /// sent after that.
    pub fn strike(&mut self, process: Host, token: String, at: usize) {
        let name = self.name(Some(&token));
        let books = self.processes.get_mut(process).unwrap();
        let last = books.last_sent.get(&token).copied().unwrap_or_default();
        if !books.struck.contains(&token) {
            books.struck.push(token);
        }
        if last > at {
            self.violation(format_args!("{name} was used after it had been refused"));
        }
    }
}
