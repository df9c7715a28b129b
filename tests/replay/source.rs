//! A body that follows its script, and records its polls and its drop.

use std::{
    collections::VecDeque,
    marker::PhantomPinned,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use turris_auth::BoxError;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Pending once. The waker of that poll is kept for the test.
    Pending,
    Error(&'static str),
    Panic,
}

pub(crate) fn data(bytes: &'static str) -> Step {
    Step::Data(Bytes::from_static(bytes.as_bytes()))
}

pub(crate) fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("checksum"), http::HeaderValue::from_static(value))])
}

pin_project_lite::pin_project! {
    pub(crate) struct Source {
        steps: VecDeque<Step>,
        exact: bool,
        polls: Arc<AtomicUsize>,
        waker: Arc<Mutex<Option<Waker>>>,
        // Like most streams, this body is not `Unpin`.
        #[pin]
        pinned: PhantomPinned,
    }
}

impl Source {
    /// Creates a body of known length, which knows its end, like `Full`.
    pub(crate) fn exact(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { exact: true, ..Self::stream(steps) }
    }

    /// Creates a body of unknown length, like `StreamBody`.
    pub(crate) fn stream(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            exact: false,
            polls: Arc::default(),
            waker: Arc::default(),
            pinned: PhantomPinned,
        }
    }

    /// Returns the number of polls.
    pub(crate) fn polls(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.polls)
    }

    /// Returns the waker of the reader that waited last.
    pub(crate) fn waker(&self) -> Arc<Mutex<Option<Waker>>> {
        Arc::clone(&self.waker)
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        this.polls.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(match this.steps.pop_front() {
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Step::Pending) => {
                *this.waker.lock().unwrap() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Step::Error(error)) => Some(Err(error.into())),
            Some(Step::Panic) => panic!("the source's own panic"),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.exact && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.exact {
            return SizeHint::default();
        }
        let sizes = self.steps.iter().map(|step| if let Step::Data(data) = step { data.len() as u64 } else { 0 });
        SizeHint::with_exact(sizes.sum())
    }
}
