//! Time that passes while tokens are used and fetched.

use std::{sync::Arc, time::Duration};

use loom::thread::spawn;

use crate::{
    TokenErrorKind,
    checker::check,
    clock::{advance, let_move},
    runtime::{NOT_DRIVEN, enter, in_one_thread, join_tasks},
    server::{Answer, LIFETIME, REFRESH_BEFORE, TOKEN_TIMEOUT, number, start, start_with},
};

/// Two requests find a token whose refresh is due: one fetch, and nobody waits for it.
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

/// The token expires while its refresh is under way: who comes then waits for that one.
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
        // Less than `TOKEN_TIMEOUT`, so that the fetch does not run out of its own time.
        advance(Duration::from_secs(20));
        advance(REFRESH_BEFORE - Duration::from_secs(21));
        assert_eq!(number(&server.request(&cache).unwrap()), 2);
        other.join().unwrap();
        join_tasks();
        assert_eq!(server.sent(), 2);
    });
}

/// The fetch is on a runtime that nobody drives. A caller elsewhere loses patience, at any moment of its start: it
/// fetches for itself, and the stuck task is ended.
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
                // The time that passes may also be too much for its own fetch.
                Err(error) => assert_eq!(error.kind(), TokenErrorKind::Timeout),
            })
        };
        advance(TOKEN_TIMEOUT + Duration::from_secs(2));
        elsewhere.join().unwrap();
        // Once more, for a fetch that has begun only since.
        advance(TOKEN_TIMEOUT + Duration::from_secs(2));
        waiting.join().unwrap();
    });
}
