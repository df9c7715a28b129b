//! One layer's part in the fleet's token: adopts what the store has, fetches under a lease, goes on alone without the store.

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
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{
    seal::{About, SealKey},
    state::SharedState,
    store::{
        AcquireAsk, Acquired, Answer, FailAsk, Failure, Fetched, InvalidateAsk, JudgeAsk, PublishAsk, Record, RenewAsk,
        Renewed, Slot, Stated,
    },
};
use crate::{Credentials, TokenError, TokenErrorKind, api::limits::RateLimits, observe, token::IssuedToken};

/// A token with less left than this is replaced, not adopted.
const LEAST_REMAINING: Duration = Duration::from_secs(2);
/// While another process fetches, the store is asked again after this time; it doubles up to the longest.
const FIRST_POLL: Duration = Duration::from_millis(20);
const LONGEST_POLL: Duration = Duration::from_millis(250);
/// A lease is renewed this often before it would end.
const RENEWALS_PER_LEASE: u32 = 3;
/// A wait that the store tells of is believed up to here: no server asks for a longer one.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);
/// A record that cannot be read is told of no more often than this.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);

/// What all flights of one layer know of the fleet's token.
///
/// 1. `newest` is the largest generation that this layer has adopted or published. It is what the store is told.
/// 2. `is_alone` is set while the layer's token is one that it fetched without the store: what becomes of that token says
///    nothing of `newest`.
/// 3. `fetched` has every fetch of the last window, so that a store that forgot them can be told.
pub(crate) struct Member {
    fleet: SharedState,
    limit: u32,
    window: Duration,
    token_timeout: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    newest: u64,
    is_alone: bool,
    slot: Option<Slot>,
    epoch: u64,
    processes: u32,
    fetched: VecDeque<Fetch>,
    fetches_alone: u64,
    /// The token of `newest`, for a pause in which it stays in use.
    token: Option<Kept>,
    unreadable_until: Option<Instant>,
}

struct Fetch {
    fence: u64,
    number: u32,
    ended_at: Instant,
}

#[derive(Clone)]
struct Kept {
    authorization: HeaderValue,
    lifetime: Duration,
    sent_at: Instant,
}

/// What a flight may do.
pub(super) enum Turn {
    /// Use this token: no request is sent.
    Adopt(IssuedToken),
    /// Send a request under this lease.
    Fetch(Lease),
    /// Send a request: the store does not answer.
    Alone(AloneFetch),
}

impl Member {
    pub(crate) fn new(fleet: &SharedState, (limit, window): (u32, Duration), token_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { fleet: fleet.clone(), limit, window, token_timeout, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // No critical section panics halfway.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the fleet has a token, or this flight is the one to fetch it.
    ///
    /// # Errors
    ///
    /// If the fleet's allowance is used up, or its last fetch failed a moment ago.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        credentials: &Credentials,
        forced: bool,
        patience_ends: Instant,
    ) -> Result<Turn, TokenError> {
        let key = Arc::new(self.fleet.seal_key(credentials.expose_client_secret()));
        let slot = Slot::new(self.fleet.client(), key.name());
        let mut poll = FIRST_POLL;
        // The generation of a record that this secret does not open: it is passed over.
        let mut unreadable = 0;
        loop {
            let ask = self.ask(&slot, forced, unreadable);
            let acquired = self.fleet.call("acquire", |store| store.acquire(&slot, &ask)).await;
            let Some(Acquired { answer, epoch, processes }) = acquired else {
                return self.alone().map(Turn::Alone);
            };
            {
                let mut known = self.known();
                (known.epoch, known.processes) = (epoch, processes);
            }
            match answer {
                Answer::Token(record) => match self.adopt(&key, &record) {
                    Some(token) => return Ok(Turn::Adopt(token)),
                    // A second one, or an old one, is no store to wait for.
                    None if unreadable != 0 || record.generation <= ask.have => {
                        return self.alone().map(Turn::Alone);
                    }
                    None => unreadable = record.generation,
                },
                Answer::Lease { fence, forced } => {
                    return Ok(Turn::Fetch(Lease::new(Arc::clone(self), slot, key, ask, fence, forced)));
                }
                Answer::Busy(_) if Instant::now() >= patience_ends => return self.alone().map(Turn::Alone),
                Answer::Busy(left) => {
                    // Jittered, so that the processes that wait do not ask as one.
                    sleep(poll.min(left.max(FIRST_POLL)).mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                    poll = (poll * 2).min(LONGEST_POLL);
                }
                Answer::NoQuota(wait) => {
                    let reason = "the fleet's allowance of the token endpoint is used up";
                    return Err(TokenError::new(TokenErrorKind::RateLimited, reason)
                        .with_retry_after(Some(wait.min(LONGEST_WAIT))));
                }
                Answer::CoolingDown(wait, failure) => return Err(error_of(&failure, wait.min(LONGEST_WAIT))),
                Answer::Paused(wait) => return self.keep(wait.min(LONGEST_WAIT)).map(Turn::Adopt),
            }
        }
    }

    fn ask(&self, slot: &Slot, forced: bool, unreadable: u64) -> AcquireAsk {
        let now = Instant::now();
        let mut known = self.known();
        known.slot = Some(slot.clone());
        known.fetched.retain(|fetch| now.saturating_duration_since(fetch.ended_at) < self.window);
        let mut ask = AcquireAsk::new(self.fleet.process());
        ask.within = self.fleet.deadline();
        ask.lease = self.fleet.lease();
        ask.have = known.newest.max(unreadable);
        ask.refused = forced && !known.is_alone;
        ask.remaining = LEAST_REMAINING;
        ask.attempt = self.token_timeout;
        ask.limit = self.limit;
        ask.window = self.window;
        ask.epoch = known.epoch;
        ask.fetched = known
            .fetched
            .iter()
            .map(|fetch| Fetched {
                fence: fetch.fence,
                fetch: fetch.number,
                age: now.saturating_duration_since(fetch.ended_at),
            })
            .collect();
        ask
    }

    /// Opens a record. `None` if this secret does not open it.
    fn adopt(&self, key: &SealKey, record: &Record) -> Option<IssuedToken> {
        let now = Instant::now();
        let authorization = key.open(&record.sealed, about(record)).and_then(|text| {
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
        // A clock that cannot go that far back knows the rest of the lifetime all the same.
        let (sent_at, lifetime) =
            now.checked_sub(age).map_or((now, record.remaining), |sent_at| (sent_at, record.lifetime));
        let kept = Kept { authorization, lifetime, sent_at };
        self.advance(record.generation, kept.clone());
        Some(kept.issued(true))
    }

    fn advance(&self, generation: u64, token: Kept) {
        let mut known = self.known();
        if generation > known.newest {
            known.newest = generation;
            known.is_alone = false;
            known.token = Some(token);
        }
    }

    /// Forced refreshes are paused for the whole fleet: the refused token stays in use, and its 401s reach the callers.
    fn keep(&self, wait: Duration) -> Result<IssuedToken, TokenError> {
        self.known().token.clone().map(|token| token.issued(true)).ok_or_else(|| {
            let reason = "the fleet's tokens are refused, and replacing them is paused";
            TokenError::new(TokenErrorKind::RateLimited, reason).with_retry_after(Some(wait))
        })
    }

    /// The right to fetch without the store: this process's share of the allowance.
    fn alone(self: &Arc<Self>) -> Result<AloneFetch, TokenError> {
        let now = Instant::now();
        let mut known = self.known();
        known.fetched.retain(|fetch| now.saturating_duration_since(fetch.ended_at) < self.window);
        let processes = match known.processes {
            0 => self.fleet.expected_processes().unwrap_or(1),
            processes => processes,
        };
        let share = usize::try_from((self.limit / processes.max(1)).max(1)).unwrap_or(usize::MAX);
        if let Some(excess) = known.fetched.len().checked_sub(share) {
            let ended_at = known.fetched.get(excess).map_or(now, |fetch| fetch.ended_at);
            let wait = (ended_at + self.window).saturating_duration_since(now);
            let reason = "the fleet's store does not answer, and this process's share of the allowance is used up";
            return Err(TokenError::new(TokenErrorKind::RateLimited, reason).with_retry_after(Some(wait)));
        }
        known.fetches_alone += 1;
        Ok(AloneFetch { member: Arc::clone(self), number: known.fetches_alone })
    }

    /// How long one flight may take.
    pub(super) fn token_timeout(&self) -> Duration {
        self.token_timeout
    }

    /// The layer's token is now one that was fetched without the store.
    pub(super) fn record_alone(&self) {
        self.known().is_alone = true;
    }

    fn record_fetch(&self, fence: u64, number: u32) {
        let ended_at = Instant::now();
        let mut known = self.known();
        match known.fetched.iter_mut().find(|fetch| (fetch.fence, fetch.number) == (fence, number)) {
            Some(fetch) => fetch.ended_at = ended_at,
            None => known.fetched.push_back(Fetch { fence, number, ended_at }),
        }
    }

    /// A retry with the newest token was refused (`cured` is false) or not.
    pub(crate) fn judge(self: &Arc<Self>, cured: bool) {
        let known = self.known();
        let Some(slot) = known.slot.clone().filter(|_| !known.is_alone) else { return };
        let mut ask = JudgeAsk::new(known.newest, cured);
        drop(known);
        ask.within = self.fleet.deadline();
        let fleet = self.fleet.clone();
        detach(async move {
            fleet.call("judge", |store| store.judge(&slot, &ask)).await;
        });
    }

    /// The fleet's token is not to be used any longer.
    pub(crate) fn invalidate(self: &Arc<Self>) {
        let mut known = self.known();
        known.token = None;
        let Some(slot) = known.slot.clone() else { return };
        let mut ask = InvalidateAsk::new(known.newest);
        drop(known);
        ask.within = self.fleet.deadline();
        let fleet = self.fleet.clone();
        detach(async move {
            fleet.call("invalidate", |store| store.invalidate(&slot, &ask)).await;
        });
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fleet.fmt(f)
    }
}

impl Kept {
    fn issued(self, adopted: bool) -> IssuedToken {
        IssuedToken {
            authorization: self.authorization,
            lifetime: self.lifetime,
            sent_at: self.sent_at,
            request_id: None,
            adopted,
        }
    }
}

/// A fetch that the store knows nothing of.
pub(super) struct AloneFetch {
    member: Arc<Member>,
    number: u64,
}

impl AloneFetch {
    /// The request is sent, or was answered.
    pub(super) fn record(&self) {
        // A lease's fence is a time in milliseconds or more; these are small numbers.
        self.member.record_fetch(self.number, 1);
    }
}

/// The right to fetch for the whole fleet. It is renewed while it exists, and ends when it is dropped.
pub(super) struct Lease {
    member: Arc<Member>,
    slot: Slot,
    key: Arc<SealKey>,
    ask: AcquireAsk,
    fence: u64,
    forced: bool,
    /// The fetch under this lease that was sent last. Zero if none was.
    sent: u32,
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
        Self { member, slot, key, ask, fence, forced, sent: 0, failure: None, stated: None, renewal, published: false }
    }

    /// Whether it is the lease of this secret: another one has a slot of its own.
    pub(super) fn is_for(&self, member: &Member, credentials: &Credentials) -> bool {
        member.fleet.seal_key(credentials.expose_client_secret()).name() == self.slot.secret()
    }

    /// Takes a place for another fetch under the same lease. Returns whether there still is one.
    ///
    /// # Errors
    ///
    /// If the fleet's allowance is used up.
    pub(super) async fn renew(&self) -> Result<bool, TokenError> {
        if self.sent == 0 {
            return Ok(true);
        }
        let mut ask = RenewAsk::of(&self.ask, self.fence);
        ask.fetch = self.sent + 1;
        let fleet = &self.member.fleet;
        match fleet.call("renew", |store| store.renew(&self.slot, &ask)).await {
            Some(Renewed::NoQuota(wait)) => {
                let reason = "the fleet's allowance of the token endpoint is used up";
                Err(TokenError::new(TokenErrorKind::RateLimited, reason).with_retry_after(Some(wait)))
            }
            Some(Renewed::Held) => Ok(true),
            Some(Renewed::Lost) | None => Ok(false),
        }
    }

    /// A request is sent.
    pub(super) fn record_sent(&mut self) {
        self.sent += 1;
        self.failure = Some(TokenError::new(TokenErrorKind::Timeout, "the token endpoint did not answer in time"));
        self.member.record_fetch(self.fence, self.sent);
    }

    /// The head of the answer is there.
    pub(super) fn record_answer(&mut self, limits: &RateLimits) {
        self.member.record_fetch(self.fence, self.sent);
        self.stated = limits.remaining.map(|remaining| Stated {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: limits.reset_after.unwrap_or(self.member.window),
        });
    }

    pub(super) fn record_failure(&mut self, error: &TokenError) {
        self.failure = Some(error.clone());
    }

    /// Gives the fleet the token that was fetched. The call to the store is detached: no request waits for it.
    pub(super) fn publish(mut self, issued: &IssuedToken) {
        self.published = true;
        // The cache clamps it too. A longer one would not fit the store's bound, and the record would not open.
        let lifetime = issued.bounded_lifetime();
        let kept = Kept { authorization: issued.authorization.clone(), lifetime, sent_at: issued.sent_at };
        self.member.advance(self.fence, kept);
        let mut record = Record {
            generation: self.fence,
            sealed: Vec::new(),
            lifetime,
            remaining: lifetime.saturating_sub(issued.sent_at.elapsed()),
            forced: self.forced,
        };
        let Some(sealed) = self.key.seal(issued.authorization.as_bytes(), about(&record)) else {
            // The lease ends without a token for the others, and without a cool-down.
            self.failure = None;
            self.published = false;
            return;
        };
        record.sealed = sealed;
        let mut ask = PublishAsk::of(&self.ask, record);
        ask.fetch = self.sent.max(1);
        ask.stated = self.stated;
        detach(async move {
            let fleet = &self.member.fleet;
            fleet.call("publish", |store| store.publish(&self.slot, &ask)).await;
            // Renewed until here.
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
        ask.fetch = self.sent;
        ask.stated = self.stated;
        ask.jitter = fastrand::u32(..=1000);
        if let Some(error) = &self.failure {
            ask.at_least = error.asked_wait().unwrap_or_default();
            // What failed within this process says nothing to the others.
            let own = matches!(error.kind(), TokenErrorKind::CredentialsProvider | TokenErrorKind::Runtime);
            ask.failure = (!own).then(|| failure_of(error));
        }
        let (fleet, slot) = (self.member.fleet.clone(), self.slot.clone());
        detach(async move {
            fleet.call("fail", |store| store.fail(&slot, &ask)).await;
        });
    }
}

fn about(record: &Record) -> About {
    About {
        generation: record.generation,
        // Both are bounded to a day: they fit.
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
        Some(status) => error.with_answer(status, failure.request_id.as_deref().map(Box::from), None, Box::default()),
        None => error,
    };
    error.with_retry_after(Some(wait))
}

/// Runs `call` apart from its caller, if there is a runtime to run it on.
fn detach(call: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(call);
    }
}
