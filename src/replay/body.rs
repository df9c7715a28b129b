//! [`ReplayBody`], a request body that can be sent again.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{DEFAULT_LIMIT, TryCloneBody, attempt::Attempt};
use crate::BoxError;

/// Request body that can be sent again. Its source can be any body, including a stream.
///
/// It keeps its frames as they are read, up to a limit. A copy made by
/// [`try_clone`](TryCloneBody::try_clone) reads them again, and then goes on with the source. If
/// the source yields [`Bytes`], data is shared, not copied. Frames below 256 bytes are copied
/// together and may be replayed as one frame. So a replay has the same bytes and trailers in the
/// same order, but not always the same frames.
///
/// # Attempts
///
/// Copies can be made at any time, before or after other copies are sent. A copy becomes an
/// *attempt* when it is first polled, or when [`begin_exclusive`](TryCloneBody::begin_exclusive) is
/// called. From then on it owns the source. Every older attempt, for instance in a connection that
/// is being given up, is woken and ends with [`ReplayBodyError::Superseded`], so that no server
/// takes its body for complete. A superseded attempt cannot go on. A dropped attempt takes nothing
/// from the other attempts.
///
/// # When it cannot be repeated
///
/// If a body turns out to be longer than the limit, it streams on to its end, and the kept frames
/// are dropped. If the lower bound of its [`size_hint`](Body::size_hint) is above the limit, no
/// frame is kept. From then on, and after the source has failed or panicked,
///
/// - `try_clone` returns `None`,
/// - [`is_replayable`](TryCloneBody::is_replayable) of earlier copies is `false`,
/// - polling such a copy fails with [`ReplayBodyError::LimitExceeded`] or
///   [`ReplayBodyError::SourceFailed`].
///
/// The attempt that polls the source gets the source's own error.
///
/// # Size
///
/// [`size_hint`](Body::size_hint) and [`is_end_stream`](Body::is_end_stream) are those of the
/// source for every attempt, so `content-length` is sent with each of them.
///
/// # Memory
///
/// A request takes on the heap, on 64-bit targets and beside the source itself:
///
/// - 136 bytes,
/// - 32 bytes for each frame of 256 bytes or more, in a `Vec` that starts with room for 4,
/// - the kept bytes: at most as many as the limit, and twice as many if they had to be copied
///   together. A kept slice of a larger buffer keeps the whole buffer. Trailers count with their
///   names and values.
///
/// All copies share this memory, including those of nested layers. A body that is at its end
/// already, or was made from [`Bytes`], takes none.
///
/// # Panics
///
/// Never by itself. A panic of the source reaches the caller that polls the body.
///
/// # Threads
///
/// Copies may be polled on different threads at once. The source is polled under a lock that they
/// share, so a source that blocks in its `poll_frame` blocks the other copies as well.
///
/// [`ReplayBodyError::Superseded`]: super::ReplayBodyError::Superseded
/// [`ReplayBodyError::LimitExceeded`]: super::ReplayBodyError::LimitExceeded
/// [`ReplayBodyError::SourceFailed`]: super::ReplayBodyError::SourceFailed
pub struct ReplayBody<B> {
    inner: Inner<B>,
}

enum Inner<B> {
    /// The whole body is in memory.
    Buffered { data: Bytes, is_read: bool },
    /// The body is read from a source, which other copies share.
    Shared(Attempt<B>),
}

impl<B: Body> ReplayBody<B> {
    /// Wraps a body, and keeps up to [`DEFAULT_LIMIT`] bytes of it.
    pub fn new(body: B) -> Self {
        Self::with_limit(body, DEFAULT_LIMIT)
    }

    /// Wraps a body, and keeps up to `limit` bytes of it.
    pub fn with_limit(body: B, limit: usize) -> Self {
        if body.is_end_stream() {
            return Self::default();
        }
        Self { inner: Inner::Shared(Attempt::new(body, limit)) }
    }
}

/// An empty body.
impl<B> Default for ReplayBody<B> {
    fn default() -> Self {
        Bytes::new().into()
    }
}

/// A body that is in memory, without a limit.
impl<B> From<Bytes> for ReplayBody<B> {
    fn from(data: Bytes) -> Self {
        Self { inner: Inner::Buffered { data, is_read: false } }
    }
}

impl<B> TryCloneBody for ReplayBody<B> {
    /// Returns another copy. It begins with the first byte, even if `self` has been read in part.
    fn try_clone(&self) -> Option<Self> {
        let inner = match &self.inner {
            Inner::Buffered { data, .. } => Inner::Buffered { data: data.clone(), is_read: false },
            Inner::Shared(attempt) => Inner::Shared(attempt.another()?),
        };
        Some(Self { inner })
    }

    /// Whether polling this copy now would begin an attempt. It is `false` for a copy that has
    /// begun already.
    fn is_replayable(&self) -> bool {
        match &self.inner {
            Inner::Buffered { is_read, .. } => !is_read,
            Inner::Shared(attempt) => attempt.can_begin(),
        }
    }

    /// Like [`is_replayable`](TryCloneBody::is_replayable). If `true`, every attempt that has begun
    /// is superseded now.
    fn begin_exclusive(&self) -> bool {
        match &self.inner {
            Inner::Buffered { is_read, .. } => !is_read,
            Inner::Shared(attempt) => attempt.begin_exclusive(),
        }
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().inner {
            Inner::Buffered { data, is_read } => {
                let is_end = std::mem::replace(is_read, true) || data.is_empty();
                Poll::Ready((!is_end).then(|| Ok(Frame::data(data.clone()))))
            }
            Inner::Shared(attempt) => attempt.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Buffered { data, is_read } => *is_read || data.is_empty(),
            Inner::Shared(attempt) => attempt.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Buffered { is_read: true, .. } => SizeHint::with_exact(0),
            Inner::Buffered { data, .. } => SizeHint::with_exact(u64::try_from(data.len()).unwrap_or(u64::MAX)),
            Inner::Shared(attempt) => attempt.size_hint(),
        }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Inner::Buffered { data, is_read } => {
                f.debug_struct("ReplayBody").field("bytes", &data.len()).field("is_read", is_read).finish()
            }
            Inner::Shared(attempt) => f.debug_tuple("ReplayBody").field(attempt).finish(),
        }
    }
}
