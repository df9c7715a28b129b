//! What is left of a request's body when the request has been answered without it.
//!
//! hyper gives up reading from a connection of HTTP/1.1 whose request it was not asked to read to its end. While the answer
//! stalls it writes nothing either, and does not see that the client has gone. So a stalled answer reads, and drops,
//! what comes of the request: the end of the connection is among it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{EmulatorBody, EmulatorError};

/// The body of a request, which whoever answers it may drop before its end.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Incoming>>);

impl Shared {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// Of the two who have it, one has dropped it before the other reads: nobody ever waits here.
    fn lock(&self) -> MutexGuard<'_, Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for Shared {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}

/// The body of an answer. While it stalls, it reads the rest of the request.
pub(super) struct Answering {
    body: EmulatorBody,
    unread: Option<Shared>,
}

impl Answering {
    pub(super) fn new(body: EmulatorBody, request: Shared) -> Self {
        let unread = body.is_stalled().then_some(request);
        Self { body, unread }
    }

    /// Ready when the connection has ended in the middle of the request.
    fn poll_unread(&mut self, context: &mut Context<'_>) -> Poll<hyper::Error> {
        while let Some(unread) = &mut self.unread {
            match ready!(Pin::new(unread).poll_frame(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(error),
                // From here on hyper watches the connection by itself.
                None => self.unread = None,
            }
        }
        Poll::Pending
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = EmulatorError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EmulatorError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        self.poll_unread(context).map(|error| Some(Err(EmulatorError::request_body(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
