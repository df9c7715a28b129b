//! The flight: the one fetch that all callers wait for, detached from every one of them.

use std::{
    fmt,
    future::{Future, poll_fn},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::Poll,
    thread,
    time::Duration,
};

use super::{
    TokenCache,
    sync::{Counter, Instant, Lock, NoTimers, Outcome, Runtime, RuntimeId, Task, Timer},
    value::{Issued, Token},
};
use crate::{
    TokenError, TokenErrorKind,
    api::limits::RateLimits,
    observe::{self, Reason, Unused},
};

/// How many fetches a flight makes at the most, while they end in a way that a further one may mend.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; it doubles before the third. Jittered by half.
const PAUSE: Duration = Duration::from_millis(400);

/// Where tokens come from.
pub(crate) trait Source: Send + 'static {
    /// Makes one fetch. It asks for `clearance` at the last moment before something is sent, and sends nothing without.
    fn fetch<'a>(&'a mut self, clearance: &'a Clearance) -> FetchFuture<'a>;

    /// Whether what made the last fetch fail has been mended since.
    fn is_mended(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

pub(crate) type FetchFuture<'a> = Pin<Box<dyn Future<Output = Result<Issued, Failure>> + Send + 'a>>;

/// A fetch that brought no token.
pub(crate) struct Failure {
    pub(crate) error: TokenError,
    pub(crate) again: Again,
}

/// Whether the same flight should make another fetch after one that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    No,
    /// The failure may be a passing one.
    AfterPause,
    /// What caused it may have been mended meanwhile; once in a flight.
    IfMended,
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let again = match error.kind() {
            // A server that says when to come back is not asked before: that is a cool-down's matter, not a pause's.
            TokenErrorKind::Unavailable | TokenErrorKind::Timeout if error.retry_after().is_none() => Again::AfterPause,
            TokenErrorKind::InvalidCredentials => Again::IfMended,
            _ => Again::No,
        };
        Self { error, again }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// How a flight ended.
#[derive(Clone)]
pub(super) enum Landing {
    Token(Arc<Token>),
    Failed(TokenError),
    /// It brought what nobody may use any longer, or took too long for a caller elsewhere: wait for the next one.
    Discarded,
    /// Its runtime was shut down under it.
    Abandoned,
}

/// What a flight and its waiters share.
pub(super) struct Flight {
    pub(super) deadline: Instant,
    pub(super) runtime: RuntimeId,
    pub(super) landing: Outcome<Landing>,
    driven: Lock<Driven>,
    /// How many callers have waited for it.
    pub(super) waiters: Counter,
}

/// Behind a lock, so that a flight that is superseded while it is started is ended by one side or the other. Two cells that
/// each side writes one of, and then reads the other's, could both be read too early.
enum Driven {
    Starting,
    By(Task),
    /// It has been replaced, and sends nothing any longer.
    Superseded,
}

impl Flight {
    pub(super) fn new(deadline: Instant, runtime: RuntimeId) -> Arc<Self> {
        Arc::new(Self {
            deadline,
            runtime,
            landing: Outcome::pending(),
            driven: Lock::new(Driven::Starting),
            waiters: Counter::default(),
        })
    }

    pub(super) fn started(&self, task: Task) {
        let mut driven = self.driven.lock();
        if let Driven::Superseded = *driven {
            drop(driven);
            return task.abort();
        }
        *driven = Driven::By(task);
    }

    /// Ends it from outside. A task that is being driven ends at its next await point; one that is not finds no
    /// clearance to send once it is.
    pub(super) fn supersede(&self) {
        let driven = mem::replace(&mut *self.driven.lock(), Driven::Superseded);
        // Before the task is ended, which would tell its waiters that its runtime was shut down.
        self.landing.set(Landing::Discarded);
        if let Driven::By(task) = driven {
            task.abort();
        }
    }
}

/// A flight that is entered in the books and not yet on its way.
pub(super) struct TakeOff {
    pub(super) pilot: Pilot,
    pub(super) flight: Arc<Flight>,
    pub(super) runtime: Runtime,
    pub(super) token_timeout: Duration,
    /// The endpoint has failed before, so one fetch with all the time there is says all that is needed.
    pub(super) probing: bool,
    pub(super) reason: Reason,
}

impl TakeOff {
    pub(super) fn start(self, source: Box<dyn Source>) {
        let attempts = if self.probing { 1 } else { ATTEMPTS };
        let flying = self.pilot.fly(source, self.token_timeout, attempts);
        let task = self.runtime.spawn(observe::token_fetch(self.reason, flying));
        self.flight.started(task);
    }
}

/// The right of one flight to send.
pub(crate) struct Clearance {
    cache: Weak<TokenCache>,
    flight: Arc<Flight>,
}

impl Clearance {
    /// Takes a place in the allowance, to send right now. Returns the moment.
    ///
    /// # Errors
    ///
    /// When there is no place, or the flight has been superseded meanwhile.
    pub(crate) fn take(&self) -> Result<Instant, TokenError> {
        let cache = self.cache.upgrade().ok_or_else(nobody_waits)?;
        cache.begin_fetch(&self.flight)
    }

    /// Reports what the head of an answer says of the allowance: before the body is read, which may never end.
    pub(crate) fn learn(&self, limits: &RateLimits) {
        if let Some(cache) = self.cache.upgrade() {
            cache.learn(limits);
        }
    }
}

/// The error of a flight that nobody waits for any longer: nobody sees it.
pub(super) fn nobody_waits() -> TokenError {
    TokenError::new(TokenErrorKind::Unavailable, "the token request was superseded by a newer one")
}

/// The running flight. However it ends (dropped with its runtime and by a panic included), its waiters learn of it.
pub(super) struct Pilot {
    clearance: Clearance,
    landed: bool,
}

impl Pilot {
    pub(super) fn new(cache: &Arc<TokenCache>, flight: Arc<Flight>) -> Self {
        Self { clearance: Clearance { cache: Arc::downgrade(cache), flight }, landed: false }
    }

    async fn fly(mut self, mut source: Box<dyn Source>, token_timeout: Duration, attempts: u32) {
        let result = self.attempts(&mut *source, token_timeout, attempts).await;
        self.land(result);
    }

    async fn attempts(
        &mut self,
        source: &mut dyn Source,
        token_timeout: Duration,
        attempts: u32,
    ) -> Result<Issued, TokenError> {
        let deadline = self.clearance.flight.deadline;
        let mut attempt = 1;
        let mut mended = false;
        let mut failed = 0;
        loop {
            let attempt_ends =
                if attempt == attempts { deadline } else { deadline.min(Instant::now() + token_timeout / attempts) };
            let failure = match until(attempt_ends, source.fetch(&self.clearance)).await {
                Ok(Ok(issued)) => return Ok(issued),
                Ok(Err(failure)) => failure,
                Err(error) => error.into(),
            };
            self.end_fetch();
            failed += 1;
            match failure.again {
                Again::IfMended if !mended && self.may_fetch_again() => {
                    // However long it takes to find out, this failure is the one to tell of.
                    mended = until(attempt_ends, source.is_mended()).await.unwrap_or(false);
                    if !mended {
                        return Err(failure.error);
                    }
                }
                Again::AfterPause if attempt < attempts && self.may_fetch_again() => {
                    let pause = PAUSE.saturating_mul(1 << (attempt - 1)).mul_f64(0.5 + fastrand::f64() / 2.0);
                    let resume = Instant::now() + pause;
                    if resume >= deadline || sleep_until(resume).await.is_err() {
                        return Err(failure.error);
                    }
                    attempt += 1;
                }
                _ => return Err(failure.error),
            }
            observe::attempt_failed(failed, &failure.error);
        }
    }

    fn end_fetch(&self) {
        if let Some(cache) = self.clearance.cache.upgrade() {
            cache.end_fetch(&self.clearance.flight);
        }
    }

    /// Whether the allowance has a place for a further attempt, so that a pause before it is worth its time.
    fn may_fetch_again(&self) -> bool {
        self.clearance.cache.upgrade().is_some_and(|cache| cache.may_fetch_again(&self.clearance.flight))
    }

    fn land(&mut self, result: Result<Issued, TokenError>) {
        self.landed = true;
        match self.clearance.cache.upgrade() {
            Some(cache) => cache.land(&self.clearance.flight, result),
            None => self.abandon(),
        }
    }

    fn abandon(&self) {
        let flight = &self.clearance.flight;
        let waiters = flight.waiters.get();
        match self.clearance.cache.upgrade() {
            Some(cache) => cache.abandon(flight),
            None => flight.landing.set(Landing::Abandoned),
        }
        observe::token_fetch_unused(Unused::Abandoned, waiters);
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        if thread::panicking() {
            // Seen as a failure, so that a source that always panics meets the cool-down like any other.
            // What this tells may panic again, and a second panic that gets out of here would end the process.
            let error = TokenError::new(TokenErrorKind::Unavailable, "the fetch of a token panicked");
            let _ = catch_unwind(AssertUnwindSafe(|| self.land(Err(error))));
        } else {
            self.abandon();
        }
    }
}

/// `work`, unless it takes longer than until `deadline`.
pub(crate) async fn until<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, TokenError> {
    // Asked before there is any work: a request that nothing can end is not to be sent.
    if !Timer::is_available() {
        return Err(no_timers());
    }
    let mut timer = Timer::default();
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        timer.poll_until(deadline, cx).map(|elapsed| match elapsed {
            Ok(()) => Err(TokenError::new(TokenErrorKind::Timeout, "the token endpoint did not answer in time")),
            Err(NoTimers) => Err(no_timers()),
        })
    })
    .await
}

async fn sleep_until(moment: Instant) -> Result<(), TokenError> {
    until(moment, std::future::pending::<()>()).await.or_else(|error| match error.kind() {
        TokenErrorKind::Timeout => Ok(()),
        _ => Err(error),
    })
}

pub(super) fn no_timers() -> TokenError {
    TokenError::new(TokenErrorKind::Runtime, "the tokio runtime here has no timers (`enable_time`)")
}
