//! The body of a response, whole or spoilt by a fault.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::EmulatorError;

/// The body of the emulator's responses.
///
/// # Examples
///
/// ```
/// use http::Response;
/// use http_body_util::BodyExt;
/// use turris_emulator::EmulatorBody;
///
/// async fn length(response: Response<EmulatorBody>) -> usize {
///     response.into_body().collect().await.map_or(0, |body| body.to_bytes().len())
/// }
/// ```
#[derive(Debug)]
pub struct EmulatorBody(State);

#[derive(Debug)]
enum State {
    Whole(Bytes),
    /// Some bytes, then the end of the connection.
    Truncated(Bytes),
    /// A pause between the bytes and the end. hyper flushes the bytes when the body has no more
    /// bytes for now.
    Flushing,
    Failing,
    /// Some bytes, then silence.
    Stalled(Bytes),
    Giant(u64),
    Done,
}

static GIANT_CHUNK: [u8; 16 * 1024] = [b'a'; 16 * 1024];

impl EmulatorBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { State::Done } else { State::Whole(bytes) })
    }

    pub(crate) fn truncated(bytes: &Bytes) -> Self {
        Self(State::Truncated(bytes.slice(..bytes.len() / 2)))
    }

    pub(crate) fn stalled(bytes: &Bytes) -> Self {
        Self(State::Stalled(bytes.slice(..bytes.len() / 2)))
    }

    /// Returns whether the body never ends.
    pub(crate) fn is_stalled(&self) -> bool {
        matches!(self.0, State::Stalled(_))
    }

    pub(crate) fn giant(length: u64) -> Self {
        Self(State::Giant(length))
    }
}

impl Body for EmulatorBody {
    type Data = Bytes;
    type Error = EmulatorError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EmulatorError>>> {
        let state = &mut self.0;
        match std::mem::replace(state, State::Done) {
            State::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            State::Truncated(bytes) => {
                *state = State::Flushing;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            State::Flushing => {
                *state = State::Failing;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            State::Failing => Poll::Ready(Some(Err(EmulatorError::truncated()))),
            State::Stalled(bytes) => {
                *state = State::Stalled(Bytes::new());
                if bytes.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::data(bytes)))) }
            }
            State::Giant(0) | State::Done => Poll::Ready(None),
            State::Giant(left) => {
                let chunk = Bytes::from_static(&GIANT_CHUNK);
                let length = left.min(GIANT_CHUNK.len() as u64);
                *state = State::Giant(left - length);
                // The cast is lossless: `length` is at most the length of the chunk, which is a
                // `usize`.
                Poll::Ready(Some(Ok(Frame::data(chunk.slice(..length as usize)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, State::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            State::Done => SizeHint::with_exact(0),
            // A spoilt body does not announce its length.
            _ => SizeHint::default(),
        }
    }
}
