//! What all attempts at one body share: its source, and what has been read of it.

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
    kept::{Kept, NotKept},
};

/// The number of an attempt among those that have begun.
pub(super) type Turn = u64;

/// What an attempt is told when it begins.
pub(super) struct Begun {
    pub(super) turn: Turn,
    /// How many frames it reads from what is kept before it goes on with the source.
    pub(super) kept_frames: usize,
}

/// The shared side of a [`ReplayBody`](super::ReplayBody).
///
/// 1. The attempt whose turn is `newest` owns the source: no other one is given frames. After a claim there is none until
///    the next one begins.
/// 2. While `kept` is there, it is all that the source has yielded.
/// 3. Once gone, `kept` does not come back; a source that has finished or failed is not polled again.
/// 4. `waker` is of the attempt that owns the source, or there is none.
pub(super) struct Recording<B> {
    source: Source<B>,
    kept: Option<Kept>,
    bound: usize,
    newest: Turn,
    waker: Option<Waker>,
}

enum Source<B> {
    // Boxed because it is pinned, and has to be reachable for whichever attempt comes next.
    Open(Pin<Box<B>>),
    Finished,
    Failed,
}

/// Locks a recording.
///
/// The source is polled under this lock, so that a newer attempt can take it over between two polls on any thread. Polls
/// do not block, hence neither does the lock for long. A panic of the source is a failure of it.
pub(super) fn lock<B>(recording: &Mutex<Recording<B>>) -> MutexGuard<'_, Recording<B>> {
    recording.lock().unwrap_or_else(|poisoned| {
        let mut leftovers = Leftovers::default();
        let mut guard = poisoned.into_inner();
        guard.fail(&mut leftovers);
        drop(guard);
        drop(leftovers);
        // What has failed stays failed, so that there is nothing left to drop now.
        recording.lock().unwrap_or_else(PoisonError::into_inner)
    })
}

/// What a recording has done with. It is dropped after the lock has been let go of: the drop of a source, of a waker and
/// of bytes with an owner is foreign code, which may come back to a copy of the same body.
pub(super) struct Leftovers<B> {
    source: Option<Source<B>>,
    kept: Option<Kept>,
    waker: Option<Waker>,
}

impl<B> Default for Leftovers<B> {
    fn default() -> Self {
        Self { source: None, kept: None, waker: None }
    }
}

impl<B> Recording<B> {
    /// Whether a new attempt can be made, now or later, in addition to those that there are.
    pub(super) fn is_replayable(&self) -> bool {
        self.kept.is_some() && !matches!(self.source, Source::Failed)
    }

    /// Whether an attempt that has not begun can begin: the very first one needs nothing that was kept.
    pub(super) fn can_begin(&self) -> Result<(), ReplayBodyError> {
        match self.source {
            Source::Failed => Err(ReplayBodyError::SourceFailed),
            _ if self.newest > 0 && self.kept.is_none() => Err(ReplayBodyError::BoundPassed),
            _ => Ok(()),
        }
    }

    /// Ends the attempt that has the source, if there is one, so that what is kept stays kept.
    ///
    /// The caller wakes the waker after it has let go of the lock: that attempt may be waiting for the source.
    pub(super) fn claim(&mut self) -> Result<Option<Waker>, ReplayBodyError> {
        self.can_begin()?;
        if self.newest > 0 {
            self.newest += 1;
        }
        Ok(self.waker.take())
    }

    /// Begins an attempt: the source is its own from here on.
    ///
    /// The caller wakes the waker after it has let go of the lock: the attempt that had the source may be waiting for it.
    pub(super) fn begin(&mut self) -> Result<(Begun, Option<Waker>), ReplayBodyError> {
        self.can_begin()?;
        let kept_frames = self.kept.as_mut().map_or(0, |kept| {
            kept.seal();
            kept.len()
        });
        self.newest += 1;
        Ok((Begun { turn: self.newest, kept_frames }, self.waker.take()))
    }

    /// What would be too long to be kept, if something was.
    pub(super) fn outgrown(&self) -> Option<usize> {
        (self.kept.is_none() && !matches!(self.source, Source::Failed)).then_some(self.bound)
    }

    pub(super) fn is_newest(&self, turn: Turn) -> bool {
        self.newest == turn
    }

    pub(super) fn kept_frame(&self, position: usize) -> Option<Frame<Bytes>> {
        self.kept.as_ref()?.frame(position)
    }

    fn fail(&mut self, leftovers: &mut Leftovers<B>) {
        leftovers.source = Some(mem::replace(&mut self.source, Source::Failed));
        leftovers.kept = self.kept.take();
        leftovers.waker = self.waker.take();
    }
}

impl<B: Body> Recording<B> {
    pub(super) fn new(body: B, bound: usize) -> Self {
        // A body that says it is longer than the bound is not kept even in part.
        let fits = usize::try_from(body.size_hint().lower()).is_ok_and(|lower| lower <= bound);
        Self { source: Source::Open(Box::pin(body)), kept: fits.then(Kept::default), bound, newest: 0, waker: None }
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

    /// Reads the source on and keeps what it yields.
    pub(super) fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        leftovers: &mut Leftovers<B>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let body = match &mut self.source {
            Source::Open(body) => body,
            Source::Finished | Source::Failed => return Poll::Ready(None),
        };
        match body.as_mut().poll_frame(cx) {
            Poll::Pending => {
                if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    leftovers.waker = self.waker.replace(cx.waker().clone());
                }
                Poll::Pending
            }
            Poll::Ready(None) => {
                leftovers.source = Some(mem::replace(&mut self.source, Source::Finished));
                leftovers.waker = self.waker.take();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail(leftovers);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                // No copy where the data is `Bytes` already.
                let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
                if let Some(kept) = &mut self.kept
                    && let Err(NotKept) = kept.push(&frame, self.bound)
                {
                    leftovers.kept = self.kept.take();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// Whether the source has failed in an attempt before.
    pub(super) fn source_has_failed(&self) -> bool {
        matches!(self.source, Source::Failed)
    }
}

#[cfg(test)]
mod tests;
