//! One reading of a shared body, from its beginning.

use std::{
    fmt,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    ReplayBodyError,
    recording::{Begun, Leftovers, Recording, Turn, lock},
};
use crate::{BoxError, observe};

/// One reading of a shared body, begun or not.
pub(super) struct Attempt<B> {
    recording: Arc<Mutex<Recording<B>>>,
    stage: Stage,
    /// How long the source said it was before anything was read.
    whole: SizeHint,
    /// How many bytes this attempt has been given.
    read: u64,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Nothing has been read.
    Waiting,
    /// Owns the source, unless a newer attempt has begun. `position` counts the kept frames that have been read again; it
    /// stays at `kept_frames` while the source is read.
    Begun { turn: Turn, position: usize, kept_frames: usize },
    /// The end has been returned.
    Ended,
}

impl<B> Attempt<B> {
    /// One that has not begun, if there is a point in it.
    pub(super) fn another(&self) -> Option<Self> {
        lock(&self.recording).is_replayable().then(|| Self {
            recording: Arc::clone(&self.recording),
            stage: Stage::Waiting,
            whole: self.whole,
            read: 0,
        })
    }

    /// Whether this one has not begun, and would if it were polled. If so, no other one has the source any more.
    pub(super) fn claim(&self) -> bool {
        if !matches!(self.stage, Stage::Waiting) {
            return false;
        }
        let claimed = lock(&self.recording).claim();
        let is_claimed = claimed.is_ok();
        if let Ok(Some(superseded)) = claimed {
            superseded.wake();
        }
        is_claimed
    }

    /// Whether this one has not begun, and would if it were polled.
    pub(super) fn can_begin(&self) -> bool {
        matches!(self.stage, Stage::Waiting) && lock(&self.recording).can_begin().is_ok()
    }

    fn rest_of_whole(&self) -> SizeHint {
        let mut rest = SizeHint::new();
        // Neither call can panic in this order: as before, so after the subtraction the upper bound is not below the lower one.
        rest.set_lower(self.whole.lower().saturating_sub(self.read));
        if let Some(upper) = self.whole.upper() {
            rest.set_upper(upper.saturating_sub(self.read));
        }
        rest
    }
}

impl<B: Body> Attempt<B> {
    /// The first one.
    pub(super) fn new(body: B, bound: usize) -> Self {
        let whole = body.size_hint();
        let recording = Recording::new(body, bound);
        if let Some(bound) = recording.outgrown() {
            observe::body_not_kept(bound);
        }
        let recording = Arc::new(Mutex::new(recording));
        Self { recording, stage: Stage::Waiting, whole, read: 0 }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self.stage {
            Stage::Waiting => false,
            // A superseded attempt must be polled again, to come upon its error.
            Stage::Begun { turn, position, kept_frames } => {
                let recording = lock(&self.recording);
                position == kept_frames && recording.is_newest(turn) && recording.source_has_ended()
            }
            Stage::Ended => true,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.stage {
            Stage::Begun { turn, position, kept_frames } if position == kept_frames => {
                let recording = lock(&self.recording);
                if recording.is_newest(turn) { recording.source_size_hint() } else { self.rest_of_whole() }
            }
            // Not what is kept plus what the source says by now. That would become exact for a body that at first was of
            // unknown length: repeated over HTTP/1.1, it would lose the chunked framing, and its trailers with it.
            Stage::Waiting | Stage::Begun { .. } => self.rest_of_whole(),
            Stage::Ended => SizeHint::with_exact(0),
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
    where
        B::Error: Into<BoxError>,
    {
        // Before the lock, so that it is dropped after it.
        let mut leftovers = Leftovers::default();
        let mut recording = lock(&self.recording);
        let kept_before = recording.outgrown().is_none();
        let polled = loop {
            match &mut self.stage {
                Stage::Waiting => {
                    let (Begun { turn, kept_frames }, superseded) = match recording.begin() {
                        Ok(begun) => begun,
                        Err(error) => return Poll::Ready(Some(Err(error.into()))),
                    };
                    self.stage = Stage::Begun { turn, position: 0, kept_frames };
                    if let Some(superseded) = superseded {
                        // A waker may run anything, another attempt at this body included.
                        drop(recording);
                        superseded.wake();
                        recording = lock(&self.recording);
                    }
                }
                Stage::Begun { turn, .. } if !recording.is_newest(*turn) => {
                    return Poll::Ready(Some(Err(ReplayBodyError::Superseded.into())));
                }
                Stage::Begun { position, kept_frames, .. } if *position < *kept_frames => {
                    // Only a panic of the source can have taken from this attempt what was kept for it.
                    let Some(frame) = recording.kept_frame(*position) else {
                        return Poll::Ready(Some(Err(ReplayBodyError::SourceFailed.into())));
                    };
                    *position += 1;
                    break Poll::Ready(Some(Ok(frame)));
                }
                Stage::Begun { .. } if recording.source_has_failed() => {
                    return Poll::Ready(Some(Err(ReplayBodyError::SourceFailed.into())));
                }
                Stage::Begun { .. } => break recording.poll_source(cx, &mut leftovers),
                Stage::Ended => return Poll::Ready(None),
            }
        };
        let outgrown = recording.outgrown().filter(|_| kept_before);
        drop(recording);
        drop(leftovers);
        if let Some(bound) = outgrown {
            observe::body_not_kept(bound);
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

impl<B> fmt::Debug for Attempt<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("stage", &self.stage).field("read", &self.read).finish_non_exhaustive()
    }
}
