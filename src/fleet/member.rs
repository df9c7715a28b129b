//! One layer as a member of the fleet. It adopts the token in the store, or fetches a token under a
//! lease. If the store does not answer, it fetches a token alone.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderValue;
use tokio::{
    runtime::Handle,
    sync::Mutex as AsyncMutex,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    seal::{AssociatedData, SealKey},
    state::{SharedState, random_number},
    store::{
        AcquireAsk, Acquired, Answer, FailAsk, Failure, InvalidateAsk, PublishAsk, Record, RenewAsk, Renewed,
        ReportRetryAsk, SentTokenRequest, Slot, Stated,
    },
};
use crate::{Credentials, TokenError, TokenErrorKind, api::limits::StatedLimits, observe, token::IssuedToken};

/// A token in the store is adopted only if it is valid for at least this long.
const MIN_REMAINING: Duration = Duration::from_secs(2);
/// While another process fetches, this process asks the store again after this time. The time
/// doubles up to [`LONGEST_POLL`].
const FIRST_POLL: Duration = Duration::from_millis(20);
const LONGEST_POLL: Duration = Duration::from_millis(250);
/// Number of renewals within the duration of one lease.
const RENEWALS_PER_LEASE: u32 = 3;
/// Longest wait that is accepted from the store. No server asks for a longer wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);
/// Consecutive denials count as one long denial if each comes at most this long after the wait of
/// the previous denial has ended.
const DENIAL_GAP: Duration = Duration::from_secs(60);
/// Shortest time between two warnings about records that cannot be read.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);

/// State that all flights of one layer share about the fleet's token.
///
/// 1. `newest` is the largest generation that this layer has adopted or published. Each ask tells
///    it to the store.
/// 2. `is_alone` is set while the layer uses a token that it fetched without the store. A refusal
///    of that token says nothing about `newest`.
/// 3. `requests` has every token request of the last window, so that the process can report them to
///    a store that has lost its contents.
/// 4. The process reports every invalidation to the store before it asks for a token, so that the
///    store cannot return an invalidated token.
pub(crate) struct Member {
    fleet: SharedState,
    /// Number of this layer. To the store each layer is a process of its own, so two layers never
    /// share a lease.
    process: u64,
    limit: u32,
    window: Duration,
    token_timeout: Duration,
    known: Mutex<Known>,
    /// Held during the call that reports invalidations to the store.
    invalidating: AsyncMutex<()>,
}

#[derive(Default)]
struct Known {
    newest: u64,
    is_alone: bool,
    slot: Option<Slot>,
    epoch: u64,
    processes: u32,
    requests: VecDeque<SentRequest>,
    fetches_alone: u64,
    /// The token of `newest`. It stays in use while forced refreshes are paused.
    token: Option<KnownToken>,
    unreadable_until: Option<Instant>,
    /// Number of invalidations, and how many of them were reported to the store.
    invalidations: u64,
    invalidations_reported: u64,
    /// Set while the store denies every fetch.
    denied: Option<Denied>,
}

struct Denied {
    since: Instant,
    /// End of the wait that the last denial asked for.
    until: Instant,
}

struct SentRequest {
    fence: u64,
    number: u32,
    /// The last moment at which its request can arrive at the server.
    last_arrival: Instant,
}

#[derive(Clone)]
struct KnownToken {
    authorization: HeaderValue,
    lifetime: Duration,
    sent_at: Instant,
}

/// The next step of a flight.
pub(super) enum Acquisition {
    /// Use this token, and send no token request.
    Adopt(IssuedToken),
    /// Send a token request under this lease.
    Fetch(Lease),
    /// Send a token request without the store.
    Alone(AloneFetch),
}

impl Member {
    pub(crate) fn new(fleet: &SharedState, (limit, window): (u32, Duration), token_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            fleet: fleet.clone(),
            process: random_number(),
            limit,
            window,
            token_timeout,
            known: Mutex::default(),
            invalidating: AsyncMutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // No critical section panics halfway, so the state is whole even in a poisoned lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the fleet has a token, or until this flight may fetch it.
    ///
    /// # Errors
    ///
    /// * The allowance of the fleet, or the share of this process, is used up.
    /// * The fleet cools down after a failed fetch.
    /// * Forced refreshes are paused, and this layer has no token to keep.
    /// * The process that fetches takes too long, and this process is to go on waiting for it.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        credentials: &Credentials,
        forced: bool,
        wait_ends: Instant,
    ) -> Result<Acquisition, TokenError> {
        let key = Arc::new(self.fleet.seal_key(credentials.expose_client_secret()));
        let slot = Slot::new(self.fleet.client(), key.name());
        if !self.report_invalidations(&slot).await {
            return self.alone().map(Acquisition::Alone);
        }
        let mut poll = FIRST_POLL;
        // Generation of a record that this secret does not open. The next ask skips that record.
        let mut unreadable = 0;
        loop {
            let ask = self.ask(&slot, forced, unreadable);
            // The remaining lifetime counts from before the call: the process may be paused during
            // it.
            let asked_at = Instant::now();
            let acquired = self.fleet.call("acquire", |store| store.acquire(&slot, &ask)).await;
            let Some(Acquired { answer, epoch, processes }) = acquired else {
                return self.alone().map(Acquisition::Alone);
            };
            {
                let mut known = self.known();
                (known.epoch, known.processes) = (epoch, processes);
            }
            if self.is_denied_too_long(&answer) {
                return self.alone().map(Acquisition::Alone);
            }
            match answer {
                // A store that works returns neither an old record nor an old fence.
                Answer::Token(Record { generation: old, .. }) | Answer::Lease { fence: old, .. } if old <= ask.have => {
                    return self.alone().map(Acquisition::Alone);
                }
                Answer::Token(record) => match self.adopt(&key, &record, asked_at) {
                    Some(token) => return Ok(Acquisition::Adopt(token)),
                    // A store with two unreadable records is not worth another ask.
                    None if unreadable != 0 => return self.alone().map(Acquisition::Alone),
                    None => unreadable = record.generation,
                },
                Answer::Lease { fence, forced } => {
                    return Ok(Acquisition::Fetch(Lease::new(Arc::clone(self), slot, key, ask, fence, forced)));
                }
                Answer::Busy(left) if Instant::now() >= wait_ends => {
                    return self.alone_among_many(left.min(self.fleet.lease())).map(Acquisition::Alone);
                }
                Answer::Busy(left) => {
                    // Jitter, so that the waiting processes do not all ask at the same moment.
                    sleep(poll.min(left.max(FIRST_POLL)).mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                    poll = (poll * 2).min(LONGEST_POLL);
                }
                Answer::AllowanceUsedUp(wait) => {
                    let reason = "the fleet's allowance of the token endpoint is used up";
                    return Err(TokenError::new(TokenErrorKind::RateLimited, reason)
                        .with_retry_after(Some(wait.min(LONGEST_WAIT))));
                }
                Answer::CoolingDown(wait, failure) => return Err(error_of(&failure, wait.min(LONGEST_WAIT))),
                Answer::Paused(wait) => return self.keep_token(wait.min(LONGEST_WAIT)).map(Acquisition::Adopt),
            }
        }
    }

    fn ask(&self, slot: &Slot, forced: bool, unreadable: u64) -> AcquireAsk {
        let now = Instant::now();
        let mut known = self.known();
        known.slot = Some(slot.clone());
        self.forget_requests(&mut known, now);
        let mut ask = AcquireAsk::new(self.process);
        ask.within = self.fleet.deadline();
        ask.lease = self.fleet.lease();
        ask.have = known.newest.max(unreadable);
        ask.refused = forced && !known.is_alone;
        ask.remaining = MIN_REMAINING;
        ask.token_timeout = self.token_timeout;
        ask.limit = self.limit;
        ask.window = self.window;
        ask.epoch = known.epoch;
        ask.requests = known
            .requests
            .iter()
            .map(|request| SentTokenRequest {
                fence: request.fence,
                number: request.number,
                age: now.saturating_duration_since(request.last_arrival),
                may_arrive_for: request.last_arrival.saturating_duration_since(now),
            })
            .collect();
        ask
    }

    fn forget_requests(&self, known: &mut Known, now: Instant) {
        known.requests.retain(|request| now.saturating_duration_since(request.last_arrival) < self.window);
    }

    /// Whether the store has denied every fetch for longer than any server asks for. Such a store
    /// may be hostile, so the process then fetches once without it.
    fn is_denied_too_long(&self, answer: &Answer) -> bool {
        match answer {
            Answer::Paused(_) if self.known().token.is_some() => {}
            Answer::AllowanceUsedUp(wait) | Answer::CoolingDown(wait, _) | Answer::Paused(wait) => {
                return self.deny(*wait);
            }
            // Neither ends a denial: the token may be unreadable, and the other process may fail to
            // fetch.
            Answer::Token(_) | Answer::Busy(_) => return false,
            Answer::Lease { .. } => {}
        }
        self.known().denied = None;
        false
    }

    /// Records that a fetch is denied for `wait`. Returns whether denials have lasted too long.
    fn deny(&self, wait: Duration) -> bool {
        let now = Instant::now();
        let mut known = self.known();
        let denied = known.denied.take().filter(|denied| now.saturating_duration_since(denied.until) <= DENIAL_GAP);
        let since = denied.map_or(now, |denied| denied.since);
        let is_too_long = now.saturating_duration_since(since) >= LONGEST_WAIT;
        known.denied = (!is_too_long).then(|| Denied { since, until: now + wait.min(LONGEST_WAIT) });
        is_too_long
    }

    /// Opens a record that the process asked for at `now`. Returns `None` if this secret does not
    /// open it.
    fn adopt(&self, key: &SealKey, record: &Record, now: Instant) -> Option<IssuedToken> {
        let authorization = key.open(&record.sealed, associated_data(record)).and_then(|text| {
            let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let Some(authorization) = authorization else {
            let mut known = self.known();
            if known.unreadable_until.is_none_or(|until| until <= now) {
                known.unreadable_until = Some(now + UNREADABLE_PAUSE);
                drop(known);
                observe::store_record_unreadable();
            }
            return None;
        };
        let age = record.lifetime.saturating_sub(record.remaining);
        // If the clock cannot represent the time of issue, the remaining lifetime counts from
        // `now`.
        let (sent_at, lifetime) =
            now.checked_sub(age).map_or((now, record.remaining), |sent_at| (sent_at, record.lifetime));
        let token = KnownToken { authorization, lifetime, sent_at };
        self.advance(record.generation, token.clone());
        Some(token.issued(record.generation))
    }

    fn advance(&self, generation: u64, token: KnownToken) {
        let mut known = self.known();
        if generation > known.newest {
            known.newest = generation;
            known.is_alone = false;
            known.token = Some(token);
            known.denied = None;
        }
    }

    /// Returns the current token while forced refreshes are paused for the whole fleet. The refused
    /// token stays in use, and its 401s reach the callers.
    fn keep_token(&self, wait: Duration) -> Result<IssuedToken, TokenError> {
        let (token, generation) = {
            let known = self.known();
            (known.token.clone(), known.newest)
        };
        token.map(|token| token.issued(generation)).ok_or_else(|| {
            let reason = "the fleet's tokens are refused, and replacing them is paused";
            TokenError::new(TokenErrorKind::RateLimited, reason).with_retry_after(Some(wait))
        })
    }

    /// How many processes may be alone at the same time. The store's count is too small while a
    /// fleet starts, so the expected number is used if it is larger.
    fn processes(&self, known: &Known) -> u32 {
        known.processes.max(self.fleet.expected_processes().unwrap_or(1)).max(1)
    }

    /// Returns the right to fetch without the store, for a flight whose wait for the fetch of
    /// another process took too long. All processes wait for that fetch at the same time. If there
    /// are more processes than the allowance has token requests, only some of them fetch, and the
    /// others go on waiting.
    ///
    /// # Errors
    ///
    /// As [`alone`](Self::alone), and if this process is to go on waiting.
    fn alone_among_many(self: &Arc<Self>, wait: Duration) -> Result<AloneFetch, TokenError> {
        let processes = self.processes(&self.known());
        if fastrand::f64() * f64::from(processes) < f64::from(self.limit) || self.deny(wait) {
            return self.alone();
        }
        let reason = "the process that fetches for the fleet has brought no token in time";
        Err(TokenError::new(TokenErrorKind::Timeout, reason).with_retry_after(Some(wait)))
    }

    /// Returns the right to fetch without the store, within this process's share of the allowance.
    ///
    /// # Errors
    ///
    /// If the share is used up.
    fn alone(self: &Arc<Self>) -> Result<AloneFetch, TokenError> {
        let now = Instant::now();
        let mut known = self.known();
        self.forget_requests(&mut known, now);
        let share = usize::try_from((self.limit / self.processes(&known)).max(1)).unwrap_or(usize::MAX);
        if let Some(excess) = known.requests.len().checked_sub(share) {
            let mut arrivals: Vec<_> = known.requests.iter().map(|request| request.last_arrival).collect();
            arrivals.sort_unstable();
            let last_arrival = arrivals.get(excess).copied().unwrap_or(now);
            let wait = (last_arrival + self.window).saturating_duration_since(now);
            let reason = "the fleet's store does not answer, and this process's share of the allowance is used up";
            return Err(TokenError::new(TokenErrorKind::RateLimited, reason).with_retry_after(Some(wait)));
        }
        known.fetches_alone += 1;
        Ok(AloneFetch {
            member: Arc::clone(self),
            number: known.fetches_alone,
            progress: Progress::Unsent,
            sent_at: now,
        })
    }

    /// How long one flight may take.
    pub(super) fn token_timeout(&self) -> Duration {
        self.token_timeout
    }

    /// Records that the layer now uses a token that was fetched without the store.
    pub(super) fn record_alone(&self) {
        self.known().is_alone = true;
    }

    fn record_request(&self, fence: u64, number: u32, progress: Progress) {
        let last_arrival = Instant::now() + progress.may_arrive_for(self.token_timeout);
        let mut known = self.known();
        match known.requests.iter_mut().find(|request| (request.fence, request.number) == (fence, number)) {
            Some(request) => request.last_arrival = last_arrival,
            None => known.requests.push_back(SentRequest { fence, number, last_arrival }),
        }
    }

    /// Reports to the store whether a retry with the fleet's token `generation` was accepted
    /// (`effective`) or refused. A `generation` of zero is a token that the fleet does not have,
    /// and is not reported.
    pub(crate) fn report_retry(self: &Arc<Self>, generation: u64, effective: bool) {
        let Some(slot) = self.known().slot.clone().filter(|_| generation > 0) else { return };
        let mut ask = ReportRetryAsk::new(generation, effective);
        ask.within = self.fleet.deadline();
        let fleet = self.fleet.clone();
        detach(async move {
            fleet.call("report_retry", |store| store.report_retry(&slot, &ask)).await;
        });
    }

    /// Invalidates the fleet's token. A detached call reports it to the store at once. If that call
    /// fails, the report is repeated before the next ask for a token.
    pub(crate) fn invalidate(self: &Arc<Self>) {
        let mut known = self.known();
        known.token = None;
        known.invalidations += 1;
        let Some(slot) = known.slot.clone() else { return };
        drop(known);
        let member = Arc::clone(self);
        detach(async move {
            member.report_invalidations(&slot).await;
        });
    }

    /// Reports the invalidations that the store does not know. Returns whether it now knows all.
    async fn report_invalidations(&self, slot: &Slot) -> bool {
        let unreported = || {
            let known = self.known();
            (known.invalidations > known.invalidations_reported).then_some((known.invalidations, known.newest))
        };
        if unreported().is_none() {
            return true;
        }
        // Another report may be under way. It ends within the deadline if its runtime is driven.
        let Ok(_reporting) = timeout(self.fleet.deadline(), self.invalidating.lock()).await else { return false };
        let Some((invalidations, newest)) = unreported() else { return true };
        let mut ask = InvalidateAsk::new(newest);
        ask.within = self.fleet.deadline();
        let reported = self.fleet.call("invalidate", |store| store.invalidate(slot, &ask)).await;
        if reported.is_some() {
            self.known().invalidations_reported = invalidations;
        }
        reported.is_some()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fleet.fmt(f)
    }
}

impl KnownToken {
    fn issued(self, generation: u64) -> IssuedToken {
        IssuedToken {
            authorization: self.authorization,
            lifetime: self.lifetime,
            sent_at: self.sent_at,
            request_id: None,
            fleet_generation: generation,
            adopted: true,
        }
    }
}

/// Progress of the last token request of a fetch.
#[derive(Clone, Copy, Debug)]
enum Progress {
    Unsent,
    Sent,
    Answered,
    /// The service below returned an error after this time. The request may have arrived.
    Failed(Duration),
}

impl Progress {
    /// How much longer the request may take to arrive at the server. A request that failed may be
    /// under way for as long again as it took to fail. Any other request without a response may be
    /// under way for as long as a fetch may take.
    fn may_arrive_for(self, token_timeout: Duration) -> Duration {
        match self {
            Self::Unsent | Self::Answered => Duration::ZERO,
            Self::Sent => token_timeout,
            Self::Failed(after) => after.min(token_timeout),
        }
    }

    /// Returns the progress after the request, sent at `sent_at`, has failed.
    fn failed(self, sent_at: Instant) -> Self {
        match self {
            Self::Sent => Self::Failed(sent_at.elapsed()),
            Self::Unsent | Self::Answered | Self::Failed(_) => self,
        }
    }
}

/// A fetch without the store. The process reports it when the store is back.
pub(super) struct AloneFetch {
    member: Arc<Member>,
    number: u64,
    progress: Progress,
    sent_at: Instant,
}

impl AloneFetch {
    pub(super) fn record_sent(&mut self) {
        self.sent_at = Instant::now();
        self.record(Progress::Sent);
    }

    pub(super) fn record_response(&mut self) {
        self.record(Progress::Answered);
    }

    pub(super) fn record_failure(&mut self) {
        self.record(self.progress.failed(self.sent_at));
    }

    fn record(&mut self, progress: Progress) {
        self.progress = progress;
        // Fetches under a lease are numbered from 1, so zero cannot collide with them.
        self.member.record_request(self.number, 0, progress);
    }
}

/// The right to fetch for the whole fleet. A task renews it while it exists. Dropping it ends the
/// lease.
pub(super) struct Lease {
    member: Arc<Member>,
    slot: Slot,
    key: Arc<SealKey>,
    ask: AcquireAsk,
    fence: u64,
    forced: bool,
    /// Number of the last token request that was sent under this lease. Zero if none was sent.
    sent: u32,
    progress: Progress,
    sent_at: Instant,
    failure: Option<TokenError>,
    stated: Option<Stated>,
    renewal: Option<AbortHandle>,
    published: bool,
}

impl Lease {
    fn new(member: Arc<Member>, slot: Slot, key: Arc<SealKey>, ask: AcquireAsk, fence: u64, forced: bool) -> Self {
        let renewal = Handle::try_current().ok().map(|runtime| {
            let (fleet, slot, ask) = (member.fleet.clone(), slot.clone(), RenewAsk::of(&ask, fence));
            let renewal = runtime.spawn(async move {
                loop {
                    sleep(ask.lease / RENEWALS_PER_LEASE).await;
                    fleet.call("renew", |store| store.renew(&slot, &ask)).await;
                }
            });
            renewal.abort_handle()
        });
        Self {
            member,
            slot,
            key,
            ask,
            fence,
            forced,
            sent: 0,
            progress: Progress::Unsent,
            sent_at: Instant::now(),
            failure: None,
            stated: None,
            renewal,
            published: false,
        }
    }

    /// Whether this is a lease for the secret of `credentials`. Each secret has a slot of its own.
    pub(super) fn is_for(&self, member: &Member, credentials: &Credentials) -> bool {
        member.fleet.seal_key(credentials.expose_client_secret()).name() == self.slot.secret()
    }

    /// Takes a place for another token request under the same lease. Returns whether this process
    /// may send it.
    ///
    /// # Errors
    ///
    /// If the fleet's allowance is used up.
    pub(super) async fn renew(&self) -> Result<bool, TokenError> {
        if self.sent == 0 {
            return Ok(true);
        }
        let mut ask = RenewAsk::of(&self.ask, self.fence);
        ask.request_number = self.sent + 1;
        let fleet = &self.member.fleet;
        match fleet.call("renew", |store| store.renew(&self.slot, &ask)).await {
            Some(Renewed::AllowanceUsedUp(wait)) => {
                let reason = "the fleet's allowance of the token endpoint is used up";
                Err(TokenError::new(TokenErrorKind::RateLimited, reason).with_retry_after(Some(wait.min(LONGEST_WAIT))))
            }
            Some(Renewed::Held) => Ok(true),
            Some(Renewed::Lost) | None => Ok(false),
        }
    }

    /// Records that a token request is sent.
    pub(super) fn record_sent(&mut self) {
        self.sent += 1;
        (self.progress, self.sent_at) = (Progress::Sent, Instant::now());
        self.failure = Some(TokenError::new(TokenErrorKind::Timeout, "the token endpoint did not answer in time"));
        self.member.record_request(self.fence, self.sent, self.progress);
    }

    /// Records that the head of the response has arrived.
    pub(super) fn record_response(&mut self, limits: &StatedLimits) {
        self.progress = Progress::Answered;
        self.member.record_request(self.fence, self.sent, self.progress);
        self.stated = limits.remaining.map(|remaining| Stated {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: limits.reset_after.unwrap_or(self.member.window),
        });
    }

    /// Records that the request has failed, or that its response has brought no token.
    pub(super) fn record_failure(&mut self, error: &TokenError) {
        self.progress = self.progress.failed(self.sent_at);
        if self.sent > 0 {
            self.member.record_request(self.fence, self.sent, self.progress);
        }
        self.failure = Some(error.clone());
    }

    /// Gives the fleet the token that was fetched. The call to the store is detached: no request
    /// waits for it.
    pub(super) fn publish(mut self, issued: &mut IssuedToken) {
        self.published = true;
        issued.fleet_generation = self.fence;
        // The cache clamps the lifetime too. A longer lifetime would exceed the store's bound, and
        // the record would not open.
        let lifetime = issued.bounded_lifetime();
        let token = KnownToken { authorization: issued.authorization.clone(), lifetime, sent_at: issued.sent_at };
        self.member.advance(self.fence, token);
        let mut record = Record {
            generation: self.fence,
            sealed: Vec::new(),
            lifetime,
            remaining: lifetime.saturating_sub(issued.sent_at.elapsed()),
            forced: self.forced,
        };
        let Some(sealed) = self.key.seal(issued.authorization.as_bytes(), associated_data(&record)) else {
            // The lease ends without a token for the other processes, and without a cool-down.
            self.failure = None;
            self.published = false;
            return;
        };
        record.sealed = sealed;
        let mut ask = PublishAsk::of(&self.ask, record);
        ask.request_number = self.sent.max(1);
        ask.stated = self.stated;
        detach(async move {
            let fleet = &self.member.fleet;
            fleet.call("publish", |store| store.publish(&self.slot, &ask)).await;
            // The renewals end here, after the call.
            drop(self);
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(renewal) = self.renewal.take() {
            renewal.abort();
        }
        if self.published {
            return;
        }
        let mut ask = FailAsk::of(&self.ask, self.fence);
        ask.request_number = self.sent;
        ask.may_arrive_for = self.progress.may_arrive_for(self.member.token_timeout);
        ask.stated = self.stated;
        ask.jitter = fastrand::u32(..=1000);
        if let Some(error) = &self.failure {
            ask.at_least = error.asked_wait().unwrap_or_default();
            // A failure within this process says nothing about the other processes.
            let own = matches!(error.kind(), TokenErrorKind::CredentialsProvider | TokenErrorKind::Runtime);
            ask.failure = (!own).then(|| failure_of(error));
        }
        let (fleet, slot) = (self.member.fleet.clone(), self.slot.clone());
        detach(async move {
            fleet.call("fail", |store| store.fail(&slot, &ask)).await;
        });
    }
}

fn associated_data(record: &Record) -> AssociatedData {
    AssociatedData {
        generation: record.generation,
        // Both are bounded to a day, so they fit.
        lifetime_millis: record.lifetime.as_millis() as u64,
        forced: record.forced,
    }
}

fn failure_of(error: &TokenError) -> Failure {
    Failure {
        kind: error.kind().name().to_owned(),
        status: error.status(),
        request_id: error.request_id().map(str::to_owned),
    }
}

fn error_of(failure: &Failure, wait: Duration) -> TokenError {
    let kinds = [
        TokenErrorKind::InvalidCredentials,
        TokenErrorKind::RateLimited,
        TokenErrorKind::Timeout,
        TokenErrorKind::Blocked,
        TokenErrorKind::Protocol,
    ];
    let kind = kinds.into_iter().find(|kind| kind.name() == failure.kind).unwrap_or(TokenErrorKind::Unavailable);
    let error = TokenError::new(kind, "the fleet's last token request failed");
    let error = match failure.status {
        Some(status) => error.with_response(status, failure.request_id.as_deref().map(Box::from), None, Box::default()),
        None => error,
    };
    error.with_retry_after(Some(wait))
}

/// Runs `call` in a task of its own, if there is a runtime.
fn detach(call: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(call);
    }
}
