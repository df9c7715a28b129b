//! Tokens that are refused or invalidated as they arrive.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread::spawn,
};

use crate::{
    answers::{Answer, number},
    checker::check,
    clock::{advance, let_move},
    runtime::{block_on, in_one_thread, join_tasks},
    server::{LIFETIME, REFRESH_BEFORE, Server, start},
    token::{Acquire, Token, TokenCache},
};

/// A waiter whose flight has ended is polled again only after the token has been refused or
/// invalidated.
fn a_token_is_discarded_before_its_waiter_looks(name: &str, discard: fn(&Server, &TokenCache, &Token)) {
    check(name, 2, move || {
        let (cache, server) = start(10, &[Answer::Token]);
        let discarded = Arc::new(AtomicBool::new(false));
        let striking = {
            let (cache, server, discarded) = (Arc::clone(&cache), server.clone(), Arc::clone(&discarded));
            spawn(move || {
                let token = server.acquire(&cache).unwrap();
                assert_eq!(number(&token), 1);
                discard(&server, &cache, &token);
                discarded.store(true, Ordering::Release);
            })
        };
        let mut acquire = pin!(Acquire::default());
        let token = block_on(poll_fn(|cx| {
            let told = discarded.load(Ordering::Acquire);
            let poll = acquire.as_mut().poll(cx, &cache, || server.source());
            if let Poll::Ready(Ok(token)) = &poll {
                assert!(!told || number(token) == 2, "handed a token that had been discarded");
            }
            poll
        }));
        server.handed(token).unwrap();
        striking.join().unwrap();
        join_tasks();
        assert!(server.sent() <= 2);
    });
}

pub fn a_token_is_invalidated_before_its_waiter_looks() {
    a_token_is_discarded_before_its_waiter_looks(
        "a token is invalidated before its waiter looks",
        |server, cache, _| {
            server.invalidate(cache);
        },
    );
}

pub fn a_token_is_refused_before_its_waiter_looks() {
    a_token_is_discarded_before_its_waiter_looks(
        "a token is refused before its waiter looks",
        |server, cache, token| {
            assert!(server.refuse(cache, token));
        },
    );
}

/// A refresh that was sent before the 401 brings the same token that the 401 refused.
pub fn a_refresh_that_brings_the_refused_token_again_is_not_published() {
    check("a refresh that brings the refused token again is not published", 2, || {
        let (cache, server) = start(10, &[Answer::Token, Answer::FirstToken, Answer::Token]);
        let_move();
        let first = in_one_thread(|| server.request(&cache)).unwrap();
        advance(LIFETIME - REFRESH_BEFORE);
        let refreshing = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || server.request(&cache).map(drop).unwrap())
        };
        // The refresh may already have brought the same token again, as another generation.
        assert!(server.refuse(&cache, &first));
        let next = server.request(&cache).unwrap();
        assert!(next.generation() > first.generation());
        refreshing.join().unwrap();
        join_tasks();
        assert!(server.sent() <= 3);
    });
}
