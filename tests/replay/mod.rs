//! Tests of `turris_auth::replay`: bodies that can be sent twice.

// The lints' exemption for tests does not cover the helper functions of an integration test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod attempts;
mod bodies;
mod http1;
mod layer;
mod limit;
mod memory;
mod model;
mod source;

use std::{pin::Pin, task::Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio_test::task::{Spawn, spawn};
use turris_auth::{
    BoxError,
    replay::{ReplayBody, ReplayBodyError},
};

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// A body as the sending task holds it.
fn attempt<B>(body: ReplayBody<B>) -> Spawn<ReplayBody<B>> {
    spawn(body)
}

fn poll<B: Body<Error: Into<BoxError>>>(attempt: &mut Spawn<ReplayBody<B>>) -> Polled {
    attempt.enter(|cx, body| body.poll_frame(cx))
}

/// Returns the data of the next frame.
#[track_caller]
fn next<B: Body<Error: Into<BoxError>>>(attempt: &mut Spawn<ReplayBody<B>>) -> Bytes {
    match poll(attempt) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().expect("a frame of data"),
        other => panic!("expected data, got {other:?}"),
    }
}

#[track_caller]
fn fails_with(polled: Polled, expected: ReplayBodyError) {
    match polled {
        Poll::Ready(Some(Err(error))) => assert_eq!(error.downcast_ref(), Some(&expected), "{error}"),
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

/// Returns the bytes and the trailers of a body that is never pending.
fn read<B: Body<Error: Into<BoxError>>>(body: ReplayBody<B>) -> Result<(Vec<u8>, Option<HeaderMap>), BoxError> {
    let mut attempt = attempt(body);
    let (mut bytes, mut trailers) = (Vec::new(), None);
    loop {
        match poll(&mut attempt) {
            Poll::Ready(Some(frame)) => match frame?.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Poll::Ready(None) => return Ok((bytes, trailers)),
            Poll::Pending => panic!("pending, after {} bytes", bytes.len()),
        }
    }
}

/// Returns the rest of a body that has begun.
fn rest<B: Body<Error: Into<BoxError>>>(attempt: Spawn<ReplayBody<B>>) -> Result<Vec<u8>, BoxError> {
    read(attempt.into_inner()).map(|(bytes, _)| bytes)
}

fn pinned<B>(body: &mut ReplayBody<B>) -> Pin<&mut ReplayBody<B>> {
    Pin::new(body)
}
