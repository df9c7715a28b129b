//! [`ReplayBody`], a request body that can be sent again.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{DEFAULT_LIMIT, TryCloneBody, reader::BodyReader};
use crate::BoxError;

/// Request body that can be sent again. Its source can be any body, including a stream.
///
/// It keeps its frames as they are read, up to a limit. A copy made by
/// [`try_clone`](TryCloneBody::try_clone) reads them again, and then goes on with the source. If
/// the source yields [`Bytes`], the copies share them. Frames below 256 bytes are copied together,
/// and may be replayed as one frame. A replay therefore has the same bytes and trailers in the same
/// order, but not always in the same frames.
///
/// # Attempts
///
/// Copies can be made at any time, before or after other copies are sent. A copy becomes an
/// *attempt* when it is first polled, or when [`begin_exclusive`](TryCloneBody::begin_exclusive) is
/// called. From then on it owns the source. Every older attempt is woken, and ends with the error
/// [`ReplayBodyError::Superseded`]. A server thus never mistakes its body for complete. An older
/// attempt may, for instance, still be in a connection that is being closed. Dropping an attempt
/// does not affect the other attempts.
///
/// # When it cannot be sent again
///
/// If a body turns out to be longer than the limit, the current attempt still sends all of it, but
/// the kept frames are dropped. If the lower bound of its [`size_hint`](Body::size_hint) exceeds
/// the limit, no frame is kept at all. In both cases, and after the source has failed or panicked,
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
/// Every attempt has the [`size_hint`](Body::size_hint) and the
/// [`is_end_stream`](Body::is_end_stream) of the source, so each attempt is sent with the same
/// `content-length`.
///
/// # Memory
///
/// On 64-bit targets a request takes this memory on the heap, in addition to the source itself:
///
/// - 136 bytes,
/// - 32 bytes for each frame of 256 bytes or more, in a `Vec` that starts with room for 4,
/// - the kept bytes: at most the limit, or twice the limit if they had to be copied together. A
///   kept slice of a larger buffer keeps the whole buffer. Trailers count with their names and
///   values.
///
/// All copies share this memory, including the copies of nested layers. An empty body, and a body
/// that was made from [`Bytes`], take no extra memory.
///
/// # Panics
///
/// It never panics by itself. A panic of the source reaches the caller that polls the body.
///
/// # Threads
///
/// Copies may be polled on different threads at once. The source is polled under a lock that they
/// share, so a source that blocks in its `poll_frame` blocks the other copies as well.
///
/// # Examples
///
/// ```
/// use http_body_util::{BodyExt, Full};
/// use turris_auth::replay::{ReplayBody, TryCloneBody};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), turris_auth::BoxError> {
/// let body = ReplayBody::new(Full::new(&b"sent twice"[..]));
/// let copy = body.try_clone().expect("a replay body can be copied");
/// for attempt in [body, copy] {
///     assert_eq!(attempt.collect().await?.to_bytes(), "sent twice");
/// }
/// # Ok(())
/// # }
/// ```
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
    /// The body is read from a source that all copies share.
    Shared(BodyReader<B>),
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
        Self { inner: Inner::Shared(BodyReader::new(body, limit)) }
    }
}

/// An empty body.
impl<B> Default for ReplayBody<B> {
    fn default() -> Self {
        Bytes::new().into()
    }
}

/// Converts bytes in memory to a body. No limit applies.
impl<B> From<Bytes> for ReplayBody<B> {
    fn from(data: Bytes) -> Self {
        Self { inner: Inner::Buffered { data, is_read: false } }
    }
}

impl<B> TryCloneBody for ReplayBody<B> {
    /// Returns a copy. It begins with the first byte, even if part of `self` has been read.
    fn try_clone(&self) -> Option<Self> {
        let inner = match &self.inner {
            Inner::Buffered { data, .. } => Inner::Buffered { data: data.clone(), is_read: false },
            Inner::Shared(attempt) => Inner::Shared(attempt.another()?),
        };
        Some(Self { inner })
    }

    /// Returns whether polling this copy would begin an attempt now. It is `false` for a copy that
    /// has begun already.
    fn is_replayable(&self) -> bool {
        match &self.inner {
            Inner::Buffered { is_read, .. } => !is_read,
            Inner::Shared(attempt) => attempt.can_begin(),
        }
    }

    /// Like [`is_replayable`](TryCloneBody::is_replayable). If it returns `true`, it has superseded
    /// every attempt that has begun.
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
