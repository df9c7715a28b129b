//! The checker, which sees all events in order and checks the guarantees at each step.

use std::{
    collections::BTreeMap,
    fmt::Display,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use http::{HeaderMap, StatusCode, Uri, header::AUTHORIZATION};
use tokio::time::Instant;

use super::{
    net::Host,
    plan::{API, FILES},
    records::{Call, Obtained, Process, Records},
};

/// The endpoint's window.
const WINDOW: Duration = Duration::from_secs(60);

/// The shortest pause between a failed fetch and the next, in a flight and after it.
const PAUSE: Duration = Duration::from_millis(200);

/// The header that names the call in each of its requests.
pub const CALL: &str = "x-call";

#[derive(Clone)]
pub struct Checker(Arc<Mutex<Records>>);

impl Checker {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Records {
            started: Instant::now(),
            log: Vec::new(),
            violations: Vec::new(),
            processes: BTreeMap::new(),
            calls: BTreeMap::new(),
            tokens: Vec::new(),
            secrets: Vec::new(),
            late_arrivals: 0,
            honest_refusals: 0,
            has_rotated: false,
            entities: BTreeMap::new(),
        })))
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap()
    }

    pub fn note(&self, event: impl Display) {
        self.records().note(event);
    }

    pub fn violation(&self, what: impl Display) {
        self.records().violation(what);
    }

    pub fn add_process(&self, name: Host, limit: u32) {
        self.records().processes.insert(name, Process { limit: limit as usize, ..Process::default() });
    }

    pub fn add_secret(&self, secret: &str) {
        self.records().secrets.push(secret.to_owned());
    }

    /// Records a new secret of a client. Returns its version.
    pub fn rotates(&self) -> usize {
        let mut records = self.records();
        records.has_rotated = true;
        records.secrets.len()
    }

    /// Records a new call. `waits` says that the call may wait for something other than a token.
    pub fn add_call(&self, call: u32, process: Host, body: Vec<u8>, waits: bool) {
        let had_token = (!waits && self.has_token(process)).then(Instant::now);
        self.records().calls.insert(call, Call { process, body, had_token, ..Call::default() });
    }

    /// Records that the library sends a token request.
    pub fn fetch_begins(&self, process: Host) {
        let (mut records, now) = (self.records(), Instant::now());
        records.note(format_args!("{process} fetches"));
        let fetches = records.processes.get_mut(process).unwrap();
        fetches.ended.retain(|ended| now < *ended + WINDOW);
        fetches.under_way += 1;
        (fetches.fetching_since, fetches.fetch_sent) = (Some(now), Some(now));
        let hurries = fetches.failed.take().is_some_and(|failed| now < failed + PAUSE);
        if hurries && !records.has_rotated {
            records.violation(format_args!("{process} fetches again as soon as it has failed"));
        }
        let fetches = records.processes.get_mut(process).unwrap();
        let (under_way, taken, limit) = (fetches.under_way, fetches.under_way + fetches.ended.len(), fetches.limit);
        let told = fetches.told.take().filter(|told| now < *told);
        if let Some(told) = told {
            records.violation(format_args!("{process} fetches {:?} before it said that it would", told - now));
        }
        if under_way > 1 {
            records.violation(format_args!("{process} has {under_way} fetches under way at once"));
        }
        if taken > limit {
            records.violation(format_args!("{process} makes {taken} fetches where 60 s have room for {limit}"));
        }
    }

    pub fn fetch_ends(&self, process: Host) {
        let mut records = self.records();
        records.note(format_args!("{process}'s fetch ends"));
        let fetches = records.processes.get_mut(process).unwrap();
        fetches.under_way -= 1;
        fetches.failed = (!std::mem::take(&mut fetches.succeeds)).then(Instant::now);
        fetches.ended.push_back(Instant::now());
    }

    /// Records that the library gets a complete answer with a token.
    pub fn obtained(&self, process: Host, token: &str, lifetime: Duration) {
        let mut records = self.records();
        let name = records.name(Some(token));
        records.note(format_args!("{process} obtains {name} for {lifetime:?}"));
        let process = records.processes.get_mut(process).unwrap();
        process.succeeds = true;
        let sent_at = process.fetch_sent.unwrap();
        process.tokens.push(Obtained { token: token.to_owned(), sent_at, refused_at: None, last_resort: None });
        let lifetime = lifetime.max(Duration::from_secs(1));
        // The token is not sent in its last moments.
        let valid_for = lifetime - Duration::from_secs(5).min(lifetime / 20);
        match process.fetching_since {
            Some(since) => process.valid_until = Some(since + valid_for),
            None => process.retired.push(token.to_owned()),
        }
        process.obtained = Some(token.to_owned());
    }

    /// Records that an error tells a caller about a failed fetch and the time of the next fetch.
    pub fn told(&self, process: Host, wait: Duration) {
        let mut records = self.records();
        let process = records.processes.get_mut(process).unwrap();
        let supply = (process.limit - process.limit / 5).max(1);
        process.ended.retain(|ended| Instant::now() < *ended + WINDOW);
        // If the allowance has a place for any fetch, only the failure delays the next fetch.
        if process.under_way + process.ended.len() < supply {
            process.told = process.told.max(Some(Instant::now() + wait));
        }
    }

    /// Records that the process invalidates its token.
    pub fn invalidates(&self, process: Host) {
        let mut records = self.records();
        let process = records.processes.get_mut(process).unwrap();
        (process.fetching_since, process.valid_until) = (None, None);
        process.retired.extend(process.obtained.clone());
    }

    /// Returns whether a call must not wait for a token now. It may wait for something else.
    pub fn has_token(&self, process: Host) -> bool {
        self.records().processes[process].valid_until.is_some_and(|until| Instant::now() < until)
    }

    /// Records that the library sends a request that is not a token request.
    pub fn sends(&self, process: Host, uri: &Uri, headers: &HeaderMap) {
        let mut records = self.records();
        let (call, token) = (call_of(headers), token_of(headers));
        let name = records.name(token.as_deref());
        records.note(format_args!("{process} sends {call} to {uri} with {name}"));
        let belongs = matches!(uri.authority().map(|authority| authority.as_str()), Some(API | FILES))
            && headers.get("host").is_none_or(|host| host == API || host == FILES);
        match &token {
            Some(_) if !belongs => records.violation(format_args!("a token is sent to {uri}")),
            Some(token) => records.token_is_sent(process, call, token),
            None if belongs => records.violation(format_args!("{call} is sent to {uri} without a token")),
            None => {}
        }
        let Some(book) = records.calls.get_mut(&call) else { return };
        book.sent += 1;
        (book.token, book.status) = (token, None);
        if book.sent == 1 && book.had_token.is_some_and(|at| at != Instant::now()) {
            records.violation(format_args!("{call} has waited though there was a valid token"));
        }
    }

    /// Records that the library gets the response to a request that [`sends`](Self::sends) has
    /// seen.
    pub fn answered(&self, call: u32, status: StatusCode, headers: &HeaderMap) {
        let mut records = self.records();
        records.note(format_args!("{call} is answered {status}"));
        let position = records.log.len();
        let Some(book) = records.calls.get_mut(&call) else { return };
        book.status = Some((status, position));
        let states_a_time = ["retry-after", "x-ratelimit-reset"].iter().any(|name| headers.contains_key(*name));
        book.silent_refusals += usize::from(status == StatusCode::TOO_MANY_REQUESTS && !states_a_time);
        let (process, token) = (book.process, book.token.clone());
        if status == StatusCode::UNAUTHORIZED {
            let process = records.processes.get_mut(process).unwrap();
            process.valid_until = None;
            if let Some(obtained) = process.tokens.iter_mut().find(|obtained| Some(&obtained.token) == token.as_ref()) {
                obtained.refused_at.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Records that a request that [`sends`](Self::sends) has seen ends in an error.
    pub fn fails(&self, call: u32) {
        if let Some(book) = self.records().calls.get_mut(&call) {
            book.errors += 1;
        }
    }

    /// Records that the library told the caller of `call` that there is no token.
    pub fn no_token(&self, call: u32) {
        let mut records = self.records();
        let Some(book) = records.calls.get(&call) else { return };
        if book.sent == 0 && book.had_token.is_some() {
            return records.violation(format_args!("{call} gets no token though there was a valid one"));
        }
        if let (Some(token), Some((StatusCode::UNAUTHORIZED, at))) = (book.token.clone(), book.status) {
            let process = book.process;
            records.retire(process, token, at);
        }
    }

    /// Records that a request has arrived at a server.
    pub fn arrives(&self, host: Host, process: Host, uri: &Uri, headers: &HeaderMap) {
        let mut records = self.records();
        let call = call_of(headers);
        records.note(format_args!("{call} of {process} arrives at {host}: {uri}"));
        if let Some(call) = records.calls.get_mut(&call) {
            call.arrived += 1;
        }
        let names_host = headers.get("host").is_none_or(|named| named == host)
            && uri.authority().is_none_or(|authority| authority.as_str() == host);
        if headers.contains_key(AUTHORIZATION) && (!matches!(host, API | FILES) || !names_host) {
            records.violation(format_args!("{host} is shown a token in a request for {uri}"));
        }
    }

    /// Records that a token request has arrived at the endpoint.
    pub fn fetch_arrives(&self, process: Host) {
        let mut records = self.records();
        records.note(format_args!("a token request of {process} arrives"));
        if records.processes[process].under_way == 0 {
            records.late_arrivals += 1;
        }
    }

    /// Records a 429 that no fault caused: the allowance at the endpoint was used up.
    pub fn honest_refusal(&self) {
        self.records().honest_refusals += 1;
    }

    pub fn issued(&self, token: &str) {
        self.records().tokens.push(token.to_owned());
    }

    /// Records that the body of a request has arrived complete, as the server saw it.
    pub fn body_arrived(&self, headers: &HeaderMap, body: &[u8]) {
        let mut records = self.records();
        let call = call_of(headers);
        if records.calls.get(&call).is_some_and(|call| call.body != body) {
            records.violation(format_args!("the body of {call} arrives with {} bytes of its own", body.len()));
        }
    }

    pub fn processed(&self, call: u32) {
        if let Some(call) = self.records().calls.get_mut(&call) {
            call.processed += 1;
        }
    }

    /// Records the entity that the response to a call with an idempotency key names.
    pub fn entity(&self, call: u32, id: &str) {
        self.records().entities.entry(call).or_default().push(id.to_owned());
    }

    /// Checks a text that must contain no secret at all.
    pub fn public(&self, who: impl Display, text: &[u8]) {
        let mut records = self.records();
        let holds = |secret: &String| text.windows(secret.len()).any(|window| window == secret.as_bytes());
        if records.secrets.iter().any(holds) {
            records.violation(format_args!("{who} sees a client secret"));
        }
        if records.tokens.iter().any(holds) {
            records.violation(format_args!("{who} sees a token"));
        }
    }

    /// Checks a text that may contain a token, but no client secret.
    pub fn no_client_secret(&self, who: impl Display, text: &[u8]) {
        let mut records = self.records();
        if records.secrets.iter().any(|secret| text.windows(secret.len()).any(|window| window == secret.as_bytes())) {
            records.violation(format_args!("{who} sees a client secret"));
        }
    }

    /// Checks the properties that can be checked only at the end. `honest` means that the endpoint
    /// has the documented allowance, gives its own responses, and serves no two processes with one
    /// client id. `forgets` means that the server may have lost its state. `limit_retries` is how
    /// many retries the limits allow.
    pub fn finish(&self, honest: bool, forgets: bool, limit_retries: usize) -> Run {
        let mut records = self.records();
        for (number, call) in std::mem::take(&mut records.calls) {
            // A call passes the limit once, and once more for each retry. A refused probe of the
            // gate uses up no retry, so the call also passes once more for each refusal that states
            // no time.
            let passes = 1 + limit_retries + call.silent_refusals;
            // Each pass sends the request up to three times because of 401s: with a token that is
            // too young, with the token before it, and with a newer token. A redirect is a second
            // request, without a limit.
            let for_the_token = 3 * passes.max(2);
            // After an error, each of the two layers sends a request that was not processed again.
            let unprocessed = call.errors.min(passes + 1);
            if call.sent > for_the_token + unprocessed {
                records.violation(format_args!("{number} is sent {} times", call.sent));
            }
            if call.arrived > call.sent {
                records.violation(format_args!("{number} arrives {} times and is sent {}", call.arrived, call.sent));
            }
            if call.processed > 1 {
                records.violation(format_args!("{number} is processed {} times", call.processed));
            }
        }
        for (call, ids) in std::mem::take(&mut records.entities) {
            if !forgets && ids.iter().any(|id| *id != ids[0]) {
                records.violation(format_args!("{call} has made {ids:?}"));
            }
        }
        if honest && records.late_arrivals == 0 && records.honest_refusals > 0 {
            records.violation("the endpoint finds its allowance exceeded");
        }
        let mut hash = DefaultHasher::new();
        records.log.hash(&mut hash);
        Run {
            log: std::mem::take(&mut records.log),
            violations: std::mem::take(&mut records.violations),
            hash: hash.finish(),
        }
    }
}

/// The result of a run.
pub struct Run {
    pub log: Vec<String>,
    pub violations: Vec<String>,
    pub hash: u64,
}

pub fn call_of(headers: &HeaderMap) -> u32 {
    headers.get(CALL).and_then(|call| call.to_str().ok()?.parse().ok()).unwrap_or_default()
}

fn token_of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?;
    Some(String::from_utf8_lossy(value.as_bytes()).trim_start_matches("Bearer ").to_owned())
}
