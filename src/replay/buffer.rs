//! [`ReplayBuffer`]: the source and the kept frames of one body, which all attempts share.

use std::{
    mem,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::{
    ReplayBodyError,
    kept_frames::{KeptFrames, NotKept},
};

/// The number of an attempt among those that have begun.
pub(super) type AttemptNumber = u64;

/// The start of an attempt.
pub(super) struct Begun {
    pub(super) number: AttemptNumber,
    /// How many kept frames the attempt reads before it goes on with the source.
    pub(super) kept_frames: usize,
}

/// The state that all copies of a [`ReplayBody`](super::ReplayBody) share.
///
/// 1. The attempt whose number is `newest` owns the source: no other attempt gets frames. After an
///    exclusive begin the source has no owner until the next attempt begins.
/// 2. While `kept` is `Some`, it holds every frame that the source has yielded.
/// 3. Once `kept` is `None`, it stays `None`. A source that has finished or failed is not polled
///    again.
/// 4. `waker` belongs to the attempt that owns the source.
pub(super) struct ReplayBuffer<B> {
    source: Source<B>,
    kept: Option<KeptFrames>,
    limit: usize,
    newest: AttemptNumber,
    waker: Option<Waker>,
}

enum Source<B> {
    // Boxed, so that it stays pinned while attempt after attempt polls it.
    Open(Pin<Box<B>>),
    Finished,
    Failed,
}

/// Locks a buffer.
///
/// The source is polled under this lock, so that a newer attempt on any thread can take it over
/// between two polls. Polls do not block, so the lock is held briefly. A panic of the source counts
/// as a failure of the source.
pub(super) fn lock<B>(buffer: &Mutex<ReplayBuffer<B>>) -> MutexGuard<'_, ReplayBuffer<B>> {
    buffer.lock().unwrap_or_else(|poisoned| {
        let mut deferred = DeferredDrops::default();
        let mut guard = poisoned.into_inner();
        guard.fail(&mut deferred);
        drop(guard);
        drop(deferred);
        // The first lock has cleared the buffer, so nothing is dropped under this lock.
        buffer.lock().unwrap_or_else(PoisonError::into_inner)
    })
}

/// Values that a buffer no longer needs. They are dropped after the lock is released, because
/// dropping a source, a waker, or bytes with an owner runs foreign code, which may use a copy of
/// the same body.
pub(super) struct DeferredDrops<B> {
    source: Option<Source<B>>,
    kept: Option<KeptFrames>,
    waker: Option<Waker>,
}

impl<B> Default for DeferredDrops<B> {
    fn default() -> Self {
        Self { source: None, kept: None, waker: None }
    }
}

impl<B> ReplayBuffer<B> {
    /// Whether a further attempt can be made, now or later.
    pub(super) fn is_replayable(&self) -> bool {
        self.kept.is_some() && !matches!(self.source, Source::Failed)
    }

    /// Whether an attempt can begin. The very first attempt needs no kept frames.
    pub(super) fn can_begin(&self) -> Result<(), ReplayBodyError> {
        match self.source {
            Source::Failed => Err(ReplayBodyError::SourceFailed),
            _ if self.newest > 0 && self.kept.is_none() => Err(ReplayBodyError::LimitExceeded),
            _ => Ok(()),
        }
    }

    /// Ends the attempt that owns the source, if there is one, so that it cannot make the body
    /// exceed the limit.
    ///
    /// The caller wakes the returned waker after it has released the lock: the ended attempt may be
    /// waiting for the source.
    pub(super) fn begin_exclusive(&mut self) -> Result<Option<Waker>, ReplayBodyError> {
        self.can_begin()?;
        if self.newest > 0 {
            self.newest += 1;
        }
        Ok(self.waker.take())
    }

    /// Begins an attempt, which owns the source from now on.
    ///
    /// The caller wakes the returned waker after it has released the lock: the previous owner may
    /// be waiting for the source.
    pub(super) fn begin(&mut self) -> Result<(Begun, Option<Waker>), ReplayBodyError> {
        self.can_begin()?;
        let kept_frames = self.kept.as_mut().map_or(0, |kept| {
            kept.seal();
            kept.len()
        });
        self.newest += 1;
        Ok((Begun { number: self.newest, kept_frames }, self.waker.take()))
    }

    /// Returns the limit, if the body has exceeded it.
    pub(super) fn exceeded_limit(&self) -> Option<usize> {
        (self.kept.is_none() && !matches!(self.source, Source::Failed)).then_some(self.limit)
    }

    pub(super) fn is_newest(&self, number: AttemptNumber) -> bool {
        self.newest == number
    }

    pub(super) fn kept_frame(&self, position: usize) -> Option<Frame<Bytes>> {
        self.kept.as_ref()?.frame(position)
    }

    fn fail(&mut self, deferred: &mut DeferredDrops<B>) {
        deferred.source = Some(mem::replace(&mut self.source, Source::Failed));
        deferred.kept = self.kept.take();
        deferred.waker = self.waker.take();
    }
}

impl<B: Body> ReplayBuffer<B> {
    pub(super) fn new(body: B, limit: usize) -> Self {
        // If a body states that it is longer than the limit, no part of it is kept.
        let fits = usize::try_from(body.size_hint().lower()).is_ok_and(|lower| lower <= limit);
        Self {
            source: Source::Open(Box::pin(body)),
            kept: fits.then(KeptFrames::default),
            limit,
            newest: 0,
            waker: None,
        }
    }

    pub(super) fn source_has_ended(&self) -> bool {
        match &self.source {
            Source::Open(body) => body.is_end_stream(),
            Source::Finished => true,
            Source::Failed => false,
        }
    }

    pub(super) fn source_size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Open(body) => body.size_hint(),
            Source::Finished => SizeHint::with_exact(0),
            Source::Failed => SizeHint::default(),
        }
    }

    /// Reads the next frame of the source and keeps it.
    pub(super) fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        deferred: &mut DeferredDrops<B>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let body = match &mut self.source {
            Source::Open(body) => body,
            Source::Finished | Source::Failed => return Poll::Ready(None),
        };
        match body.as_mut().poll_frame(cx) {
            Poll::Pending => {
                if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    deferred.waker = self.waker.replace(cx.waker().clone());
                }
                Poll::Pending
            }
            Poll::Ready(None) => {
                deferred.source = Some(mem::replace(&mut self.source, Source::Finished));
                deferred.waker = self.waker.take();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail(deferred);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                // This does not copy if the data is already `Bytes`.
                let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
                if let Some(kept) = &mut self.kept
                    && let Err(NotKept) = kept.push(&frame, self.limit)
                {
                    deferred.kept = self.kept.take();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// Whether the source has failed.
    pub(super) fn source_has_failed(&self) -> bool {
        matches!(self.source, Source::Failed)
    }
}

#[cfg(test)]
mod tests;
