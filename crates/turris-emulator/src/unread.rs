//! The unread rest of a request's body, after the request has been answered.
//!
//! hyper stops reading from an HTTP/1.1 connection whose request body was not read to its end.
//! While the response stalls, hyper writes nothing either, so it does not notice that the client
//! has closed the connection. A stalled response therefore reads and drops the rest of the request,
//! and so notices the end of the connection.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::{EmulatorBody, EmulatorError};

/// The body of a request. Its handler may drop it before its end.
#[derive(Clone)]
pub(crate) struct RequestBody(Arc<Mutex<Incoming>>);

impl RequestBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// The lock never waits: the handler drops its handle before the response reads.
    fn lock(&self) -> MutexGuard<'_, Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for RequestBody {
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

/// The body of a response. While it stalls, it reads the rest of the request.
pub(crate) struct ResponseBody {
    body: EmulatorBody,
    unread: Option<RequestBody>,
}

impl ResponseBody {
    pub(crate) fn new(body: EmulatorBody, request: RequestBody) -> Self {
        let unread = body.is_stalled().then_some(request);
        Self { body, unread }
    }

    /// Completes when the connection has ended in the middle of the request.
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

impl Body for ResponseBody {
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
