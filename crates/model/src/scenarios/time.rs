//! Time that passes while tokens are used and fetched.

use std::{sync::Arc, time::Duration};

use loom::thread::spawn;

use crate::{
    TokenErrorKind,
    answers::{Answer, number},
    checker::check,
    clock::{advance, let_move},
    runtime::{NOT_DRIVEN, enter, in_one_thread, join_tasks},
    server::{LIFETIME, REFRESH_BEFORE, TOKEN_TIMEOUT, start, start_with},
};

/// Two requests find a token whose refresh is due. There is one fetch, and neither request waits
/// for it.
pub fn a_due_refresh_is_started_once() {
    check("a due refresh is started once", 3, || {
        let (cache, server) = start(10, &[Answer::Token]);
        let_move();
        in_one_thread(|| server.request(&cache)).unwrap();
        advance(LIFETIME - REFRESH_BEFORE);
        let other = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || server.request(&cache).map(|token| number(&token)))
        };
        assert!(number(&server.request(&cache).unwrap()) <= 2);
        assert!(other.join().unwrap().unwrap() <= 2);
        join_tasks();
        assert_eq!(server.sent(), 2);
        assert_eq!(number(&server.request(&cache).unwrap()), 2);
        assert_eq!(server.sent(), 2);
    });
}

/// The token expires while its refresh is under way. A later caller waits for that refresh.
pub fn a_token_expires_while_it_is_refreshed() {
    check("a token expires while it is refreshed", 2, || {
        let (cache, server) = start(10, &[Answer::Token]);
        let_move();
        in_one_thread(|| server.request(&cache)).unwrap();
        advance(LIFETIME - REFRESH_BEFORE);
        let other = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || {
                let earlier = number(&server.request(&cache).unwrap());
                assert!(number(&server.request(&cache).unwrap()) >= earlier);
            })
        };
        // Less than `TOKEN_TIMEOUT`, so that the fetch does not time out.
        advance(Duration::from_secs(20));
        advance(REFRESH_BEFORE - Duration::from_secs(21));
        assert_eq!(number(&server.request(&cache).unwrap()), 2);
        other.join().unwrap();
        join_tasks();
        assert_eq!(server.sent(), 2);
    });
}

/// The fetch is on a runtime that is not driven. A caller on another runtime stops waiting, at any
/// moment of the start of the fetch. The caller fetches for itself, and the stuck task is ended.
pub fn a_stuck_runtime_is_superseded() {
    check("a stuck runtime is superseded", 1, || {
        let (cache, server) = start_with(10, &[Answer::Token], false);
        let_move();
        let elsewhere = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || {
                enter(NOT_DRIVEN);
                server.glance(&cache);
            })
        };
        let waiting = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || match server.acquire(&cache) {
                Ok(token) => assert_eq!(number(&token), 1),
                // The passing time may also exceed the time of its own fetch.
                Err(error) => assert_eq!(error.kind(), TokenErrorKind::Timeout),
            })
        };
        advance(TOKEN_TIMEOUT + Duration::from_secs(2));
        elsewhere.join().unwrap();
        // Once more, for a fetch that began later.
        advance(TOKEN_TIMEOUT + Duration::from_secs(2));
        waiting.join().unwrap();
    });
}
