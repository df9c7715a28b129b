//! Callers that need a token at once, and callers that give up.

use std::sync::Arc;

use loom::thread::spawn;

use crate::{
    TokenErrorKind,
    answers::{Answer, number},
    checker::check,
    runtime::{ELSEWHERE, enter, join_tasks, shut_down},
    server::start,
};

/// Callers find no token, and one fetch serves them all.
pub fn cold_callers_share_one_fetch() {
    check("cold callers share one fetch", 3, || {
        let (cache, server) = start(10, &[Answer::Token]);
        let other = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || number(&server.acquire(&cache).unwrap()))
        };
        assert_eq!(number(&server.acquire(&cache).unwrap()), 1);
        assert_eq!(other.join().unwrap(), 1);
        join_tasks();
        assert_eq!(server.sent(), 1);
        assert!(!cache.snapshot().fetching);
    });
}

pub fn three_cold_callers_share_one_fetch() {
    check("three cold callers share one fetch", 2, || {
        let (cache, server) = start(10, &[Answer::Token]);
        let others = [(); 2].map(|()| {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || number(&server.acquire(&cache).unwrap()))
        });
        assert_eq!(number(&server.acquire(&cache).unwrap()), 1);
        for other in others {
            assert_eq!(other.join().unwrap(), 1);
        }
        join_tasks();
        assert_eq!(server.sent(), 1);
    });
}

/// One of two callers gives up, whether or not it started the fetch. The fetch continues, and is
/// the only one.
pub fn a_caller_that_gives_up_leaves_the_fetch_alone() {
    check("a caller that gives up leaves the fetch alone", 3, || {
        let (cache, server) = start(10, &[Answer::Token]);
        let fickle = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || server.glance(&cache))
        };
        assert_eq!(number(&server.acquire(&cache).unwrap()), 1);
        fickle.join().unwrap();
        join_tasks();
        assert_eq!(server.sent(), 1);
        assert!(!cache.snapshot().fetching);
    });
}

/// A failure goes to all waiters and to all callers during its cool-down. There is no second fetch.
pub fn a_failure_is_shared() {
    check("a failure is shared", 3, || {
        let (cache, server) = start(10, &[Answer::Failure, Answer::Token]);
        let other = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || server.acquire(&cache).unwrap_err().kind())
        };
        assert_eq!(server.acquire(&cache).unwrap_err().kind(), TokenErrorKind::Protocol);
        assert_eq!(other.join().unwrap(), TokenErrorKind::Protocol);
        join_tasks();
        assert_eq!(server.sent(), 1);
    });
}

/// The runtime of a fetch is shut down. A caller on another runtime gets a token by its own fetch.
pub fn a_runtime_that_is_shut_down_delays_no_other_caller() {
    check("a runtime that is shut down delays no other caller", 3, || {
        let (cache, server) = start(10, &[Answer::Token]);
        let elsewhere = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || {
                enter(ELSEWHERE);
                server.glance(&cache);
                shut_down(ELSEWHERE);
            })
        };
        assert!(number(&server.acquire(&cache).unwrap()) <= 2);
        elsewhere.join().unwrap();
        join_tasks();
        assert!(!cache.snapshot().fetching);
    });
}

/// The last handle is dropped while a fetch is under way that gets no response. The fetch ends too.
pub fn a_cache_that_is_dropped_ends_its_fetch() {
    check("a cache that is dropped ends its fetch", 3, || {
        let (cache, server) = start(10, &[Answer::Nothing]);
        let fickle = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || server.glance(&cache))
        };
        server.glance(&cache);
        drop(cache);
        fickle.join().unwrap();
    });
}
