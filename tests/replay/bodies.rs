//! Tests of which bodies can be copied.

use std::convert::Infallible;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{
    BodyExt, BodyStream, Channel, Either, Empty, Full, Limited, StreamBody,
    combinators::{BoxBody, UnsyncBoxBody},
};
use turris_auth::{
    BoxError,
    replay::{ReplayBody, TryCloneBody},
};

fn full() -> Full<Bytes> {
    Full::new(Bytes::from_static(b"content"))
}

fn stream() -> impl TryCloneBody + Body<Data = Bytes, Error = Infallible> {
    StreamBody::new(futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"content")))]))
}

/// Reads both the body and its copy.
#[track_caller]
fn twice<B: TryCloneBody + Body<Error: std::fmt::Debug>>(body: B) {
    let copy = body.try_clone().expect("a copy");
    assert!(copy.is_replayable());
    assert_eq!(copy.size_hint().exact(), body.size_hint().exact());
    for body in [body, copy] {
        let collected = tokio_test::block_on(body.collect()).expect("content");
        assert_eq!(collected.to_bytes(), "content");
    }
}

#[track_caller]
fn never<B: TryCloneBody>(body: B) {
    assert!(body.try_clone().is_none());
}

#[test]
fn bodies_that_hold_their_content_can_be_copied() {
    twice(full());
    twice(Full::new(&b"content"[..]));
    twice(String::from("content"));
    twice(Box::new(full()));
    twice(Box::pin(full()));
    twice(Limited::new(full(), 100));
    twice(Limited::new(String::from("content"), 100));
    twice(ReplayBody::new(stream()));
    twice(ReplayBody::<BoxBody<Bytes, BoxError>>::from(Bytes::from_static(b"content")));
}

#[test]
fn wrappers_of_a_body_that_holds_its_content_can_be_copied() {
    twice(full().map_err(|error| match error {}).map_err(|error: BoxError| error));
    twice(full().map_frame(|frame| frame));
    twice(full().inspect_frame(|_| ()));
    twice(full().inspect_err(|_| ()));
    twice(Either::<_, Empty<Bytes>>::Left(full()));
    twice(Either::<Empty<Bytes>, _>::Right(full()));
}

/// Clones share one content, like the clones of a queue's receiver. A copy has its own content.
#[derive(Clone)]
struct Queue(std::sync::Arc<std::sync::Mutex<Full<Bytes>>>);

impl Body for Queue {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::pin::Pin::new(&mut *self.0.lock().unwrap()).poll_frame(cx)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.lock().unwrap().size_hint()
    }
}

impl TryCloneBody for Queue {
    fn try_clone(&self) -> Option<Self> {
        let content = self.0.lock().unwrap().clone();
        Some(Self(std::sync::Arc::new(content.into())))
    }
}

#[test]
fn a_wrapper_asks_its_body_for_a_copy_rather_than_cloning_it() {
    let queue = || Queue(std::sync::Arc::new(full().into()));
    twice(queue());
    twice(queue().map_err(|error| error));
    twice(queue().map_frame(|frame| frame));
    twice(queue().inspect_frame(|_| ()));
    twice(queue().inspect_err(|_| ()));
}

#[test]
fn empty_bodies_can_be_copied() {
    assert!(Empty::<Bytes>::new().try_clone().is_some_and(|copy| copy.is_end_stream()));
    assert!(Limited::new(Empty::<Bytes>::new(), 1).try_clone().is_some_and(|copy| copy.is_end_stream()));
    let boxed: BoxBody<Bytes, Infallible> = BoxBody::default();
    assert!(boxed.try_clone().is_some_and(|copy| copy.is_end_stream()));
    let boxed: UnsyncBoxBody<Bytes, Infallible> = full().boxed_unsync();
    never(boxed);
    let boxed: UnsyncBoxBody<Bytes, Infallible> = UnsyncBoxBody::default();
    assert!(boxed.try_clone().is_some_and(|copy| copy.is_end_stream()));
    assert!(ReplayBody::<Full<Bytes>>::default().try_clone().is_some_and(|copy| copy.is_end_stream()));
}

#[test]
fn unit_bytes_and_texts_can_be_copied() {
    assert_eq!(().try_clone(), Some(()));
    assert_eq!(Bytes::from_static(b"content").try_clone().unwrap(), "content");
    assert_eq!("content".try_clone(), Some("content"));
    assert_eq!((&b"content"[..]).try_clone(), Some(&b"content"[..]));
    assert_eq!(vec![1_u8, 2].try_clone(), Some(vec![1, 2]));
}

#[test]
fn boxed_and_streaming_bodies_cannot_be_copied() {
    never(full().boxed());
    never(full().boxed_unsync());
    never(stream());
    never(BodyStream::new(full()));
    never(Channel::<Bytes>::new(1).1);
    never(full().with_trailers(std::future::ready(None)));
    never(full().fuse());
    never(tokio_test::block_on(full().collect()).unwrap());
    never(Either::<_, Empty<Bytes>>::Left(stream()));
    never(Box::new(stream()));
    // The stream has a `Clone`, but a clone of a stream may be another handle to the same queue.
    never(StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>()).map_err(|error| error));
}

#[test]
fn is_replayable_and_begin_exclusive_look_through_wrappers() {
    let around = |body| Box::new(Box::pin(Either::<_, Empty<Bytes>>::Left(body)));
    let body = ReplayBody::with_limit(stream(), 3);
    let copy = around(body.try_clone().unwrap());
    assert!(copy.is_replayable() && copy.begin_exclusive());
    tokio_test::block_on(body.collect()).unwrap();
    assert!(!copy.is_replayable() && !copy.begin_exclusive());
    assert!(!Either::<Empty<Bytes>, _>::Right(copy).is_replayable());
}

#[test]
fn begin_exclusive_reaches_the_body_inside() {
    fn ends_the_first<B: TryCloneBody>(around: impl Fn(ReplayBody<Full<Bytes>>) -> B) {
        let body = ReplayBody::new(full());
        let copy = around(body.try_clone().unwrap());
        let mut first = Box::pin(body);
        tokio_test::block_on(first.frame()).unwrap().unwrap();
        assert!(copy.begin_exclusive());
        assert!(!first.is_end_stream(), "it is superseded, and has to be polled again to be told");
    }
    ends_the_first(|body| body);
    ends_the_first(Box::new);
    ends_the_first(Box::pin);
    ends_the_first(Either::<_, Empty<Bytes>>::Left);
    ends_the_first(Either::<Empty<Bytes>, _>::Right);
}

#[cfg(feature = "axum")]
#[test]
fn the_body_of_axum_can_be_copied() {
    never(axum_core::body::Body::from("content"));
    assert!(axum_core::body::Body::empty().try_clone().is_some_and(|copy| copy.is_end_stream()));
}

#[cfg(feature = "tonic")]
#[test]
fn the_body_of_tonic_can_be_copied() {
    never(tonic::body::Body::new(full()));
    assert!(tonic::body::Body::empty().try_clone().is_some_and(|copy| copy.is_end_stream()));
}

#[cfg(feature = "reqwest")]
#[test]
fn the_body_of_reqwest_can_be_copied() {
    twice(reqwest::Body::from("content"));
    never(reqwest::Body::wrap(full()));
    assert!(reqwest::Body::default().try_clone().is_some_and(|copy| copy.is_end_stream()));
    assert!(reqwest::Body::wrap(Empty::<Bytes>::new()).try_clone().is_some_and(|copy| copy.is_end_stream()));
}
