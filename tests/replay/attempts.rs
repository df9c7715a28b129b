//! Tests of which attempt gets which frames, in every order.

use std::{
    sync::atomic::Ordering,
    task::{Context, Poll, Waker},
};

use http_body::Body;
use turris_auth::replay::{ReplayBody, ReplayBodyError, TryCloneBody};

use super::{
    attempt, fails_with, next, pinned, poll, read, rest,
    source::{Source, Step, data, trailers},
};

fn three_frames() -> ReplayBody<Source> {
    ReplayBody::new(Source::exact([data("one "), data("two "), data("three")]))
}

#[test]
fn frames_pass_as_they_are_read() {
    let source = Source::exact([data("one "), Step::Pending, data("two")]);
    let polls = source.polls();
    let mut first = attempt(ReplayBody::new(source));
    assert_eq!(polls.load(Ordering::Relaxed), 0, "nothing is read ahead");
    assert_eq!(next(&mut first), "one ");
    assert_eq!(polls.load(Ordering::Relaxed), 1);
    assert!(poll(&mut first).is_pending());
    assert_eq!(next(&mut first), "two");
    assert!(matches!(poll(&mut first), Poll::Ready(None)));
    assert!(matches!(poll(&mut first), Poll::Ready(None)), "the end stays the end");
    assert_eq!(polls.load(Ordering::Relaxed), 4, "a source that has ended is not polled again");
}

#[test]
fn second_attempt_sends_all_after_a_first_that_read_none_half_or_all() {
    for frames in 0..=3 {
        let body = three_frames();
        let copy = body.try_clone().unwrap();
        let mut first = attempt(body);
        for _ in 0..frames {
            next(&mut first);
        }
        drop(first);
        assert!(copy.is_replayable());
        assert_eq!(read(copy).unwrap().0, b"one two three", "after {frames} frames");
    }
}

#[test]
fn second_attempt_sends_all_after_a_first_that_reached_the_end() {
    let body = ReplayBody::new(Source::stream([data("one "), data("two")]));
    let copy = body.try_clone().unwrap();
    assert_eq!(read(body).unwrap().0, b"one two");
    assert_eq!(read(copy).unwrap().0, b"one two");
}

#[test]
fn a_copy_made_in_the_middle_begins_at_the_beginning() {
    let mut first = attempt(three_frames());
    next(&mut first);
    let copy = first.try_clone().unwrap();
    assert_eq!(read(copy).unwrap().0, b"one two three");
}

#[test]
fn a_copy_can_be_made_of_an_attempt_that_is_superseded_or_at_its_end() {
    let body = three_frames();
    let newer = body.try_clone().unwrap();
    let mut first = attempt(body);
    next(&mut first);
    let mut newer = attempt(newer);
    next(&mut newer);
    assert_eq!(read(first.try_clone().unwrap()).unwrap().0, b"one two three");
    assert_eq!(read(newer.try_clone().unwrap()).unwrap().0, b"one two three");
}

#[test]
fn trailers_come_again() {
    let body = ReplayBody::new(Source::stream([data("one"), Step::Trailers(trailers("1"))]));
    let copy = body.try_clone().unwrap();
    assert_eq!(read(body).unwrap(), (b"one".to_vec(), Some(trailers("1"))));
    assert_eq!(read(copy).unwrap(), (b"one".to_vec(), Some(trailers("1"))));
}

#[test]
fn an_older_attempt_ends_in_an_error_once_a_newer_one_begins() {
    let body = three_frames();
    let copy = body.try_clone().unwrap();
    let mut older = attempt(body);
    next(&mut older);

    // A copy that has not been polled has not begun.
    let mut newer = attempt(copy);
    assert_eq!(next(&mut older), "two ");

    assert_eq!(next(&mut newer), "one two ");
    for _ in 0..2 {
        fails_with(poll(&mut older), ReplayBodyError::Superseded);
        assert!(!older.is_end_stream(), "that would be a clean end");
    }
    assert_eq!(next(&mut newer), "three");
    assert!(newer.is_end_stream());
    fails_with(poll(&mut older), ReplayBodyError::Superseded);
}

#[test]
fn an_older_attempt_that_has_read_all_data_gets_an_error_instead_of_the_end() {
    let body = ReplayBody::new(Source::stream([data("one")]));
    let copy = body.try_clone().unwrap();
    let mut older = attempt(body);
    next(&mut older);
    let mut newer = attempt(copy);
    assert_eq!(next(&mut newer), "one");
    fails_with(poll(&mut older), ReplayBodyError::Superseded);
}

#[test]
fn an_older_attempt_that_waits_for_the_source_is_woken() {
    let source = Source::stream([data("one "), Step::Pending, Step::Pending, data("two")]);
    let waker = source.waker();
    let body = ReplayBody::new(source);
    let copy = body.try_clone().unwrap();
    let mut older = attempt(body);
    next(&mut older);
    assert!(poll(&mut older).is_pending());
    assert!(!older.is_woken());

    let mut newer = attempt(copy);
    assert_eq!(next(&mut newer), "one ");
    assert!(older.is_woken());
    fails_with(poll(&mut older), ReplayBodyError::Superseded);

    // The source now wakes the attempt that owns it.
    assert!(poll(&mut newer).is_pending());
    assert!(!newer.is_woken());
    waker.lock().unwrap().take().unwrap().wake();
    assert!(newer.is_woken());
    assert_eq!(next(&mut newer), "two");
}

#[test]
fn waking_the_older_attempt_may_poll_it_at_once() {
    struct PollsOnWake(std::sync::Mutex<Option<ReplayBody<Source>>>, std::sync::mpsc::Sender<bool>);
    impl std::task::Wake for PollsOnWake {
        fn wake(self: std::sync::Arc<Self>) {
            let mut body = self.0.lock().unwrap().take().unwrap();
            let polled = pinned(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
            self.1.send(matches!(polled, Poll::Ready(Some(Err(_))))).unwrap();
        }
    }

    let mut body = ReplayBody::new(Source::stream([Step::Pending, data("one")]));
    let copy = body.try_clone().unwrap();
    let (sender, results) = std::sync::mpsc::channel();
    let task = std::sync::Arc::new(PollsOnWake(std::sync::Mutex::default(), sender));
    let waker = Waker::from(std::sync::Arc::clone(&task));
    assert!(pinned(&mut body).poll_frame(&mut Context::from_waker(&waker)).is_pending());
    *task.0.lock().unwrap() = Some(body);

    assert_eq!(read(copy).unwrap().0, b"one");
    assert_eq!(results.recv(), Ok(true));
}

/// `TurrisBackoff` keeps a copy. `TurrisAuth` below it keeps a copy of the same body. Both send the
/// request again, one after the other.
#[test]
fn nested_layers_may_take_their_copies_before_they_send() {
    let sent = three_frames();
    let kept_by_backoff = sent.try_clone().unwrap();
    let kept_by_auth = sent.try_clone().unwrap();
    let mut answered_401 = attempt(sent);
    next(&mut answered_401);

    assert!(kept_by_auth.is_replayable());
    let mut answered_429 = attempt(kept_by_auth);
    assert_eq!(next(&mut answered_429), "one ");
    assert_eq!(next(&mut answered_429), "two ");

    assert!(kept_by_backoff.is_replayable());
    let sent = kept_by_backoff;
    let kept_by_backoff = sent.try_clone().unwrap();
    let kept_by_auth = sent.try_clone().unwrap();
    let mut answered_401_again = attempt(sent);
    assert_eq!(next(&mut answered_401_again), "one ");
    assert_eq!(next(&mut answered_401_again), "two ");
    drop(answered_401);

    let all = read(kept_by_auth).unwrap().0;
    assert_eq!(all, b"one two three");
    fails_with(poll(&mut answered_401_again), ReplayBodyError::Superseded);
    fails_with(poll(&mut answered_429), ReplayBodyError::Superseded);
    assert!(kept_by_backoff.is_replayable());
    assert_eq!(read(kept_by_backoff).unwrap().0, all);
}

#[test]
fn an_attempt_superseded_while_it_replays_ends_in_an_error_too() {
    let mut first = attempt(ReplayBody::new(Source::stream([
        Step::Data(vec![b'a'; 300].into()),
        Step::Data(vec![b'b'; 300].into()),
        Step::Data(vec![b'c'; 300].into()),
    ])));
    next(&mut first);
    next(&mut first);
    let third = first.try_clone().unwrap();
    let mut second = attempt(first.try_clone().unwrap());
    assert_eq!(next(&mut second)[0], b'a');
    let mut third = attempt(third);
    assert_eq!(next(&mut third)[0], b'a');
    fails_with(poll(&mut second), ReplayBodyError::Superseded);
    assert_eq!(next(&mut third)[0], b'b');
    assert_eq!(rest(third).unwrap(), [b'c'; 300]);
}

#[test]
fn after_an_error_of_the_source_the_body_cannot_be_sent_again() {
    let body = ReplayBody::new(Source::stream([data("one"), Step::Error("disk gone"), data("two")]));
    let copy = body.try_clone().unwrap();
    let mut first = attempt(body);
    next(&mut first);
    match poll(&mut first) {
        Poll::Ready(Some(Err(error))) => assert_eq!(error.to_string(), "disk gone"),
        other => panic!("expected the source's error, got {other:?}"),
    }
    fails_with(poll(&mut first), ReplayBodyError::SourceFailed);
    assert!(!first.is_end_stream());
    assert!(first.try_clone().is_none());
    assert!(!copy.is_replayable());
    assert!(copy.try_clone().is_none());
    let mut copy = attempt(copy);
    fails_with(poll(&mut copy), ReplayBodyError::SourceFailed);
    fails_with(poll(&mut copy), ReplayBodyError::SourceFailed);
}

#[test]
fn after_a_panic_of_the_source_all_other_attempts_fail() {
    let body = ReplayBody::new(Source::exact([data("one"), Step::Panic]));
    let copy = body.try_clone().unwrap();
    let mut first = attempt(body);
    next(&mut first);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut first)));
    assert!(panicked.is_err());
    assert!(!copy.is_replayable());
    assert!(copy.try_clone().is_none());
    assert!(!first.is_end_stream());
    let _ = first.size_hint();
    fails_with(poll(&mut first), ReplayBodyError::SourceFailed);
    fails_with(poll(&mut attempt(copy)), ReplayBodyError::SourceFailed);
}

#[test]
fn is_replayable_means_readable_from_the_beginning() {
    let body = three_frames();
    assert!(body.is_replayable());
    let mut body = attempt(body);
    next(&mut body);
    assert!(!body.is_replayable());
    assert!(body.try_clone().unwrap().is_replayable());
}

#[test]
fn begin_exclusive_ends_the_attempt_that_has_the_source_before_it_passes_the_limit() {
    let source = Source::stream([data("one "), Step::Pending, data("two")]);
    let body = ReplayBody::with_limit(source, 5);
    let copy = body.try_clone().unwrap();
    let mut older = attempt(body);
    next(&mut older);
    assert!(poll(&mut older).is_pending());
    assert!(copy.begin_exclusive() && copy.begin_exclusive());
    assert!(older.is_woken());
    fails_with(poll(&mut older), ReplayBodyError::Superseded);
    assert!(!older.begin_exclusive(), "it has begun");
    assert!(copy.is_replayable());
    assert_eq!(read(copy).unwrap().0, b"one two");
}

#[test]
fn begin_exclusive_on_an_unrepeatable_body_does_not_end_the_attempt_that_streams() {
    let body = ReplayBody::with_limit(Source::stream([data("one "), data("two")]), 3);
    let copy = body.try_clone().unwrap();
    let mut older = attempt(body);
    next(&mut older);
    assert!(!copy.begin_exclusive());
    assert_eq!(rest(older).unwrap(), b"two");
}

#[test]
fn size_hint_and_end_are_exact_on_every_attempt() {
    let body = three_frames();
    let copy = body.try_clone().unwrap();
    let mut first = attempt(body);
    for (read, left) in [("one ", 9), ("two ", 5)] {
        assert!(!first.is_end_stream());
        assert_eq!(next(&mut first), read);
        assert_eq!(first.size_hint().exact(), Some(left));
    }

    assert_eq!(copy.size_hint().exact(), Some(13));
    let mut second = attempt(copy);
    assert_eq!(next(&mut second), "one two ");
    assert_eq!(second.size_hint().exact(), Some(5));
    assert!(!second.is_end_stream());
    assert_eq!(next(&mut second), "three");
    assert_eq!(second.size_hint().exact(), Some(0));
    assert!(second.is_end_stream(), "the end is known without another poll");

    let mut third = attempt(second.try_clone().unwrap());
    assert_eq!(third.size_hint().exact(), Some(13));
    assert!(!third.is_end_stream());
    assert_eq!(next(&mut third), "one two ");
    assert_eq!(next(&mut third), "three");
    assert!(third.is_end_stream());
}

#[test]
fn the_length_of_a_streamed_body_stays_unknown_so_that_its_trailers_are_framed_alike() {
    let body = ReplayBody::new(Source::stream([data("one"), Step::Trailers(trailers("1"))]));
    let copy = body.try_clone().unwrap();
    read(body).unwrap();
    assert_eq!((copy.size_hint().lower(), copy.size_hint().upper()), (0, None));
}

#[test]
fn two_attempts_on_two_threads_end_well_or_in_an_error() {
    for _ in 0..200 {
        let body = ReplayBody::new(Source::stream((0..50).map(|_| data("0123456789"))));
        let mut copies: Vec<_> = (0..3).map(|_| body.try_clone().unwrap()).collect();
        copies.push(body);
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = copies.into_iter().map(|copy| scope.spawn(|| read(copy))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(results.iter().any(Result::is_ok), "the newest attempt goes to the end");
        for result in results {
            match result {
                Ok((bytes, _)) => assert_eq!(bytes, b"0123456789".repeat(50)),
                Err(error) => assert_eq!(error.downcast_ref(), Some(&ReplayBodyError::Superseded)),
            }
        }
    }
}

#[test]
fn an_attempt_is_unpin_and_send_and_sync_whatever_the_source_lacks() {
    fn assert<T: Send + Sync + Unpin + 'static>() {}
    assert::<ReplayBody<Source>>();
    // `Send`, and neither `Sync` nor `Unpin`.
    assert::<ReplayBody<(std::cell::Cell<u8>, std::marker::PhantomPinned)>>();
}

#[test]
fn debug_shows_no_content() {
    let mut body = attempt(ReplayBody::new(Source::stream([data("secret"), data("secret")])));
    next(&mut body);
    let buffered = ReplayBody::<Source>::from(bytes::Bytes::from_static(b"secret"));
    assert!(!format!("{:?} {buffered:?}", &*body).contains("secret"));
}

/// The source is dropped outside of the lock that the copies share.
#[test]
fn a_source_whose_drop_uses_a_copy_does_not_deadlock() {
    use std::{
        pin::Pin,
        sync::{Arc, Mutex, mpsc},
        task::{Context, Poll, Waker},
    };

    use bytes::Bytes;
    use http_body::{Body, Frame};
    use turris_auth::{
        BoxError,
        replay::{ReplayBody, TryCloneBody},
    };

    struct ComesBack(Arc<Mutex<Option<ReplayBody<ComesBack>>>>, bool);

    impl Body for ComesBack {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(if self.1 { Some(Err("failed".into())) } else { None })
        }
    }

    impl Drop for ComesBack {
        fn drop(&mut self) {
            if let Some(copy) = self.0.lock().unwrap().take() {
                let _ = copy.is_replayable();
            }
        }
    }

    for fails in [false, true] {
        let (done, ended) = mpsc::channel();
        // On a separate thread, because a deadlock never ends.
        std::thread::spawn(move || {
            let place = Arc::new(Mutex::new(None));
            let mut body = ReplayBody::new(ComesBack(Arc::clone(&place), fails));
            *place.lock().unwrap() = body.try_clone();
            let _ = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
            done.send(()).unwrap();
        });
        ended.recv_timeout(std::time::Duration::from_secs(60)).expect("the drop came to its end");
    }
}
