//! [`BodyReader`]: one reading of a shared body, from its beginning.

use std::{
    fmt,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    ReplayBodyError,
    buffer::{AttemptNumber, Begun, DeferredDrops, ReplayBuffer, lock},
};
use crate::{BoxError, observe};

/// One reading of a shared body. It may have begun or not.
pub(super) struct BodyReader<B> {
    buffer: Arc<Mutex<ReplayBuffer<B>>>,
    stage: Stage,
    /// The length that the source stated before anything was read.
    whole: SizeHint,
    /// How many bytes this attempt has read.
    read: u64,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Nothing has been read.
    NotBegun,
    /// The attempt owns the source, unless a newer attempt has begun. `position` is the number of
    /// kept frames that the attempt has read. It equals `kept_frames` while the attempt reads the
    /// source.
    Begun { number: AttemptNumber, position: usize, kept_frames: usize },
    /// The end has been returned.
    Ended,
}

impl<B> BodyReader<B> {
    /// Returns another attempt, which has not begun. `None` if it could no longer read the
    /// beginning of the body.
    pub(super) fn another(&self) -> Option<Self> {
        lock(&self.buffer).is_replayable().then(|| Self {
            buffer: Arc::clone(&self.buffer),
            stage: Stage::NotBegun,
            whole: self.whole,
            read: 0,
        })
    }

    /// Returns whether this attempt has not begun and can begin. If so, it takes the source from
    /// every other attempt.
    pub(super) fn begin_exclusive(&self) -> bool {
        if !matches!(self.stage, Stage::NotBegun) {
            return false;
        }
        let claimed = lock(&self.buffer).begin_exclusive();
        let is_claimed = claimed.is_ok();
        if let Ok(Some(superseded)) = claimed {
            superseded.wake();
        }
        is_claimed
    }

    /// Whether this attempt has not begun and can begin.
    pub(super) fn can_begin(&self) -> bool {
        matches!(self.stage, Stage::NotBegun) && lock(&self.buffer).can_begin().is_ok()
    }

    fn rest_of_whole(&self) -> SizeHint {
        let mut rest = SizeHint::new();
        // Each setter panics if the lower bound exceeds the upper bound. It never does here: the
        // lower bound is set first, and the same number is subtracted from both bounds.
        rest.set_lower(self.whole.lower().saturating_sub(self.read));
        if let Some(upper) = self.whole.upper() {
            rest.set_upper(upper.saturating_sub(self.read));
        }
        rest
    }
}

impl<B: Body> BodyReader<B> {
    /// Creates the first attempt to read a body.
    pub(super) fn new(body: B, limit: usize) -> Self {
        let whole = body.size_hint();
        let buffer = ReplayBuffer::new(body, limit);
        if let Some(limit) = buffer.exceeded_limit() {
            observe::body_not_kept(limit);
        }
        let buffer = Arc::new(Mutex::new(buffer));
        Self { buffer, stage: Stage::NotBegun, whole, read: 0 }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self.stage {
            Stage::NotBegun => false,
            // A superseded attempt must be polled again, so that it returns its error.
            Stage::Begun { number, position, kept_frames } => {
                let buffer = lock(&self.buffer);
                position == kept_frames && buffer.is_newest(number) && buffer.source_has_ended()
            }
            Stage::Ended => true,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.stage {
            Stage::Begun { number, position, kept_frames } if position == kept_frames => {
                let buffer = lock(&self.buffer);
                if buffer.is_newest(number) { buffer.source_size_hint() } else { self.rest_of_whole() }
            }
            // The hint is the first hint of the source. The number of kept bytes plus the present
            // hint of the source could become exact for a body of unknown length. Sent again over
            // HTTP/1.1, the body would then have a `content-length` in place of chunks, and lose
            // its trailers.
            Stage::NotBegun | Stage::Begun { .. } => self.rest_of_whole(),
            Stage::Ended => SizeHint::with_exact(0),
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
    where
        B::Error: Into<BoxError>,
    {
        // Declared before the lock, so that it is dropped after the lock is released.
        let mut deferred = DeferredDrops::default();
        let mut buffer = lock(&self.buffer);
        let kept_before = buffer.exceeded_limit().is_none();
        let polled = loop {
            match &mut self.stage {
                Stage::NotBegun => {
                    let (Begun { number, kept_frames }, superseded) = match buffer.begin() {
                        Ok(begun) => begun,
                        Err(error) => return Poll::Ready(Some(Err(error.into()))),
                    };
                    self.stage = Stage::Begun { number, position: 0, kept_frames };
                    if let Some(superseded) = superseded {
                        // A waker may run any code, which may poll another attempt to read this
                        // body.
                        drop(buffer);
                        superseded.wake();
                        buffer = lock(&self.buffer);
                    }
                }
                Stage::Begun { number, .. } if !buffer.is_newest(*number) => {
                    return Poll::Ready(Some(Err(ReplayBodyError::Superseded.into())));
                }
                Stage::Begun { position, kept_frames, .. } if *position < *kept_frames => {
                    // A frame that was kept for this attempt is missing only if the source has
                    // panicked.
                    let Some(frame) = buffer.kept_frame(*position) else {
                        return Poll::Ready(Some(Err(ReplayBodyError::SourceFailed.into())));
                    };
                    *position += 1;
                    break Poll::Ready(Some(Ok(frame)));
                }
                Stage::Begun { .. } if buffer.source_has_failed() => {
                    return Poll::Ready(Some(Err(ReplayBodyError::SourceFailed.into())));
                }
                Stage::Begun { .. } => break buffer.poll_source(cx, &mut deferred),
                Stage::Ended => return Poll::Ready(None),
            }
        };
        let exceeded_limit = buffer.exceeded_limit().filter(|_| kept_before);
        drop(buffer);
        drop(deferred);
        if let Some(limit) = exceeded_limit {
            observe::body_not_kept(limit);
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let read = frame.data_ref().map_or(0, Bytes::len);
                self.read = self.read.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            }
            Poll::Ready(None) => self.stage = Stage::Ended,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }
}

impl<B> fmt::Debug for BodyReader<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader").field("stage", &self.stage).field("read", &self.read).finish_non_exhaustive()
    }
}
