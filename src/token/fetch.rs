//! [`FetchTask`]: the task that makes the token requests of one flight. It is independent of every
//! caller.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Weak},
    task::Poll,
    thread,
    time::Duration,
};

use super::{
    cache::{PendingSpawn, TokenCache, superseded},
    flight::{FetchOutcome, Flight},
    source::TokenSource,
    sync::{Instant, NoTimers, Timer},
    value::IssuedToken,
};
use crate::{
    TokenError, TokenErrorKind,
    observe::{self, Unused},
};

/// The largest number of token requests in one flight.
const MAX_REQUESTS: u32 = 3;
/// The pause before the second attempt. The pause before the third attempt is twice as long. Jitter
/// shortens each pause by up to half.
const RETRY_PAUSE: Duration = Duration::from_millis(400);

/// The reaction of a flight to a failed token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    No,
    /// The failure may be temporary.
    AfterPause,
    /// Retry if the credentials have been rotated while the request was under way. This is checked
    /// at most once in a flight.
    IfCredentialsChanged,
}

impl Retry {
    fn after(error: &TokenError) -> Self {
        match error.kind() {
            // If the server states when to retry, the flight ends, and the cool-down waits until
            // then.
            TokenErrorKind::Unavailable | TokenErrorKind::Timeout if error.asked_wait().is_none() => Self::AfterPause,
            TokenErrorKind::InvalidCredentials => Self::IfCredentialsChanged,
            _ => Self::No,
        }
    }
}

impl PendingSpawn {
    /// Spawns the task of the flight.
    pub(super) fn start(self, cache: &Arc<TokenCache>, source: impl FnOnce() -> Box<dyn TokenSource>) {
        // The task is created before the source, because the creation of the source may panic. The
        // drop of the task then ends the flight.
        let task = FetchTask { cache: Arc::downgrade(cache), flight: Arc::clone(&self.flight), completed: false };
        let attempts = if self.probing { 1 } else { MAX_REQUESTS };
        let running = task.run(source(), self.token_timeout, attempts);
        let task = self.runtime.spawn(observe::token_fetch(self.reason, running));
        self.flight.started(task);
    }
}

/// The running flight. Its waiters always receive an outcome, even if the task panics or its
/// runtime is shut down.
struct FetchTask {
    cache: Weak<TokenCache>,
    flight: Arc<Flight>,
    completed: bool,
}

impl FetchTask {
    async fn run(mut self, mut source: Box<dyn TokenSource>, token_timeout: Duration, attempts: u32) {
        let result = self.fetch(&mut *source, token_timeout, attempts).await;
        self.complete(result);
    }

    /// Makes up to `attempts` attempts, and one more if the credentials have changed.
    /// [`MAX_REQUESTS`] bounds the total.
    async fn fetch(
        &self,
        source: &mut dyn TokenSource,
        token_timeout: Duration,
        attempts: u32,
    ) -> Result<IssuedToken, TokenError> {
        let deadline = self.flight.deadline;
        let (mut attempt, mut requests, mut credentials_changed) = (1, 0, false);
        loop {
            let is_last = attempt == attempts || requests + 1 == MAX_REQUESTS;
            let attempt_ends = if is_last { deadline } else { deadline.min(Instant::now() + token_timeout / attempts) };
            let error = match until(attempt_ends, self.attempt(source)).await {
                Ok(Ok(issued)) => return Ok(issued),
                Ok(Err(error)) | Err(error) => error,
            };
            self.end_request();
            requests += 1;
            if requests == MAX_REQUESTS || !self.may_request_again() {
                return Err(error);
            }
            match Retry::after(&error) {
                Retry::IfCredentialsChanged if !credentials_changed => {
                    // If the check of the credentials times out, the caller gets the failure of the
                    // request.
                    credentials_changed = until(attempt_ends, source.credentials_changed()).await.unwrap_or(false);
                    if !credentials_changed {
                        return Err(error);
                    }
                }
                Retry::AfterPause if attempt < attempts => {
                    let pause = RETRY_PAUSE.saturating_mul(1 << (attempt - 1)).mul_f64(0.5 + fastrand::f64() / 2.0);
                    let resume = Instant::now() + pause;
                    if resume >= deadline || sleep_until(resume).await.is_err() {
                        return Err(error);
                    }
                    attempt += 1;
                }
                _ => return Err(error),
            }
            observe::attempt_failed(requests, &error);
        }
    }

    /// Makes one token request. It acquires the permit at the last moment before it sends the
    /// request.
    async fn attempt(&self, source: &mut dyn TokenSource) -> Result<IssuedToken, TokenError> {
        let forced = self.cache()?.begin_attempt(&self.flight);
        if let Some(token) = source.prepare(forced).await? {
            return Ok(token);
        }
        let permit = self.cache()?.acquire_permit(&self.flight)?;
        let answer = match source.send(permit).await {
            Ok(answer) => answer,
            Err(error) => {
                self.cache()?.record_failure(&self.flight);
                return Err(error);
            }
        };
        // The limits are recorded before the body is read, because the body may never end.
        self.cache()?.record_response(&self.flight, &answer.limits);
        answer.token.await
    }

    /// Returns the cache. It is an error if all layers and handles have been dropped, because no
    /// caller needs the token then.
    fn cache(&self) -> Result<Arc<TokenCache>, TokenError> {
        self.cache.upgrade().ok_or_else(superseded)
    }

    fn end_request(&self) {
        if let Some(cache) = self.cache.upgrade() {
            cache.end_request(&self.flight);
        }
    }

    /// Returns whether the allowance has a place for another attempt. Without a place, the pause
    /// before the attempt would be a waste of time.
    fn may_request_again(&self) -> bool {
        self.cache.upgrade().is_some_and(|cache| cache.may_request_again(&self.flight))
    }

    fn complete(&mut self, result: Result<IssuedToken, TokenError>) {
        self.completed = true;
        match self.cache.upgrade() {
            Some(cache) => cache.complete(&self.flight, result),
            None => self.abandon(),
        }
    }

    fn abandon(&self) {
        let waiters = self.flight.waiters.get();
        match self.cache.upgrade() {
            Some(cache) => cache.abandon(&self.flight),
            None => self.flight.outcome.set(FetchOutcome::Abandoned),
        }
        observe::token_fetch_unused(Unused::Abandoned, waiters);
    }
}

impl Drop for FetchTask {
    fn drop(&mut self) {
        if self.completed {
            return;
        }
        if thread::panicking() {
            // A panic counts as a failure, so that a source that always panics is slowed down by
            // the cool-down. The telemetry calls may panic too, and a second panic out of `drop`
            // would end the process.
            let error = TokenError::new(TokenErrorKind::Unavailable, "the fetch of a token panicked");
            let _ = catch_unwind(AssertUnwindSafe(|| self.complete(Err(error))));
        } else {
            self.abandon();
        }
    }
}

/// Runs `work` until `deadline`.
pub(crate) async fn until<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, TokenError> {
    // The timers are checked before `work` is polled, because a request without a timeout must not
    // be sent.
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
