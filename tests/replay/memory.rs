//! Tests of the heap memory of a request.

use std::task::{Context, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use http_body::Body;
use http_body_util::{Empty, Full};
use turris_auth::replay::{ReplayBody, TryCloneBody};

use super::{
    pinned,
    source::{Source, Step},
};

static BLOCK: [u8; 1000] = [0; 1000];

#[test]
fn a_body_without_content_allocates_nothing() {
    let info = measure(|| {
        let body = ReplayBody::new(Empty::<Bytes>::new());
        let copy = body.try_clone().unwrap();
        drop((body, copy, ReplayBody::new(Full::<Bytes>::default())));
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_body_from_bytes_allocates_nothing() {
    let info = measure(|| {
        let body = ReplayBody::<Source>::from(Bytes::from_static(&BLOCK));
        let copy = body.try_clone().unwrap();
        drop((body, copy));
    });
    assert_eq!(info.count_total, 0);
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_streamed_body_allocates_the_documented_bytes() {
    let source = Source::stream([Step::Data(Bytes::from_static(&BLOCK))]);
    let info = measure(|| {
        let mut body = ReplayBody::new(source);
        let copies = [(); 5].map(|()| body.try_clone().unwrap());
        let _ = pinned(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        drop((body, copies));
    });
    // The shared part, the source, and a list with room for four frames. Copies and data need no
    // memory.
    assert_eq!(info.bytes_total, 136 + size_of::<Source>() as u64 + 4 * 32);
    assert_eq!(info.count_total, 3);
}

#[test]
fn frames_of_one_byte_take_at_most_twice_their_bytes() {
    let source = Source::stream((0..65_536).map(|_| Step::Data(Bytes::from_static(b"x"))));
    let info = measure(|| {
        let mut body = ReplayBody::new(source);
        while pinned(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())).map(|frame| frame.is_some())
            == std::task::Poll::Ready(true)
        {}
        assert!(body.try_clone().is_some());
    });
    let own = 136 + size_of::<Source>() as u64;
    assert!(info.bytes_max <= own + 2 * 65_536, "{info:?}");
}
