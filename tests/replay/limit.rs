//! Tests of bodies that are longer than the limit.

use bytes::Bytes;
use http_body::Body;
use turris_auth::replay::{DEFAULT_LIMIT, ReplayBody, ReplayBodyError, TryCloneBody};

use super::{
    attempt, fails_with, next, poll, read, rest,
    source::{Source, Step, data, trailers},
};

fn block(size: usize) -> Step {
    Step::Data(vec![b'x'; size].into())
}

#[test]
fn the_default_limit_is_64_kib() {
    assert_eq!(DEFAULT_LIMIT, 65_536);
    let mut body = attempt(ReplayBody::new(Source::stream([block(65_536), block(1)])));
    next(&mut body);
    assert!(body.try_clone().is_some(), "the limit itself is within it");
    next(&mut body);
    assert!(body.try_clone().is_none());
}

#[test]
fn past_the_limit_the_body_streams_to_its_end_with_its_trailers() {
    let steps = (0..100).map(|_| data("0123456789")).chain([Step::Trailers(trailers("1"))]);
    let body = ReplayBody::with_limit(Source::stream(steps), 95);
    let copy = body.try_clone().unwrap();
    let (bytes, trailing) = read(body).unwrap();
    assert_eq!(bytes, b"0123456789".repeat(100));
    assert_eq!(trailing, Some(trailers("1")));
    assert!(!copy.is_replayable());
    assert!(copy.try_clone().is_none());
    let mut copy = attempt(copy);
    for _ in 0..2 {
        fails_with(poll(&mut copy), ReplayBodyError::LimitExceeded);
        assert!(!copy.is_end_stream());
    }
}

#[test]
fn a_second_attempt_that_passes_the_limit_streams_on_too() {
    let body = ReplayBody::with_limit(Source::stream([data("12345"), data("678"), data("90")]), 8);
    let copy = body.try_clone().unwrap();
    let mut first = attempt(body);
    next(&mut first);
    let mut second = attempt(copy);
    assert_eq!(next(&mut second), "12345");
    assert_eq!(next(&mut second), "678");
    assert!(second.try_clone().is_some());
    assert_eq!(rest(second).unwrap(), b"90");
    assert!(first.try_clone().is_none());
    fails_with(poll(&mut first), ReplayBodyError::Superseded);
}

#[test]
fn polling_a_copy_that_fails_does_not_affect_the_attempt_that_streams() {
    let body = ReplayBody::with_limit(Source::stream([data("12345"), data("678")]), 3);
    let copy = body.try_clone().unwrap();
    let mut first = attempt(body);
    next(&mut first);
    fails_with(poll(&mut attempt(copy)), ReplayBodyError::LimitExceeded);
    assert_eq!(rest(first).unwrap(), b"678");
}

#[test]
fn kept_data_is_dropped_at_the_limit() {
    let large = Bytes::from(vec![b'x'; 1000]);
    let body = ReplayBody::with_limit(Source::stream([Step::Data(large.clone()), data("1")]), 1000);
    let mut first = attempt(body);
    drop(next(&mut first));
    assert!(!large.is_unique(), "kept, and shared rather than copied");
    next(&mut first);
    assert!(large.is_unique());
}

#[test]
fn kept_data_is_dropped_when_the_source_fails() {
    let large = Bytes::from(vec![b'x'; 1000]);
    let mut first = attempt(ReplayBody::new(Source::stream([Step::Data(large.clone()), Step::Error("broken")])));
    drop(next(&mut first));
    assert!(!large.is_unique());
    assert!(poll(&mut first).is_ready());
    assert!(large.is_unique());
}

#[test]
fn a_body_whose_stated_length_exceeds_the_limit_is_not_kept() {
    let large = Bytes::from(vec![b'x'; 1000]);
    let body = ReplayBody::with_limit(Source::exact([Step::Data(large.clone()), data("1")]), 1000);
    assert!(body.try_clone().is_none());
    assert!(body.is_replayable(), "it can be sent, once");
    let mut first = attempt(body);
    drop(next(&mut first));
    assert!(large.is_unique());
    assert_eq!(rest(first).unwrap(), b"1");
}

#[test]
fn a_limit_of_zero_keeps_nothing_and_the_largest_limit_everything() {
    let none = attempt(ReplayBody::with_limit(Source::stream([data("")]), 0));
    let copy = none.try_clone().unwrap();
    read(none.into_inner()).unwrap();
    assert_eq!(read(copy).unwrap().0, b"");

    let mut one = attempt(ReplayBody::with_limit(Source::stream([data("1")]), 0));
    next(&mut one);
    assert!(one.try_clone().is_none());

    let all = ReplayBody::with_limit(Source::stream([block(1_000_000)]), usize::MAX);
    let copy = all.try_clone().unwrap();
    assert_eq!(read(all).unwrap(), read(copy).unwrap());
}

#[test]
fn trailers_beyond_the_limit_still_pass() {
    let body = ReplayBody::with_limit(Source::stream([data("12345"), Step::Trailers(trailers("1"))]), 5);
    let copy = body.try_clone().unwrap();
    assert_eq!(read(body).unwrap().1, Some(trailers("1")));
    assert!(!copy.is_replayable());
}
