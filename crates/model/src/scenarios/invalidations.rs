//! Tokens that are refused or invalidated while other tokens are fetched, awaited and used.

use std::sync::Arc;

use loom::thread::spawn;

use crate::{
    TokenErrorKind,
    answers::{Answer, number},
    checker::check,
    runtime::{in_one_thread, join_tasks},
    server::start,
};

/// A caller after an invalidation gets a token whose fetch was sent after the invalidation.
pub fn no_invalidated_token_is_handed_out() {
    check("no invalidated token is handed out", 2, || {
        let (cache, server) = start(10, &[Answer::Token]);
        let invalidating = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || {
                let discarded = server.sent();
                server.invalidate(&cache);
                let token = number(&server.request(&cache).unwrap());
                assert!(token > discarded, "token {token}, though all up to {discarded} were invalidated");
            })
        };
        server.acquire(&cache).unwrap();
        invalidating.join().unwrap();
        join_tasks();
        assert!(server.sent() <= 2);
    });
}

/// The same with an existing token, and with another caller that was told of the invalidation.
pub fn no_caller_that_knows_of_an_invalidation_gets_the_old_token() {
    check("no caller that knows of an invalidation gets the old token", 2, || {
        let (cache, server) = start(10, &[Answer::Token]);
        let first = in_one_thread(|| server.request(&cache)).unwrap();
        assert_eq!(number(&first), 1);
        let discarded = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let other = {
            let (cache, server, discarded) = (Arc::clone(&cache), server.clone(), Arc::clone(&discarded));
            spawn(move || {
                let earlier = server.request(&cache).unwrap();
                let discarded = discarded.load(loom::sync::atomic::Ordering::Acquire);
                let later = server.request(&cache).unwrap();
                assert!(number(&later) >= number(&earlier), "an older token after a newer one");
                assert!(!discarded || number(&later) == 2, "the invalidated token");
            })
        };
        server.invalidate(&cache);
        discarded.store(true, loom::sync::atomic::Ordering::Release);
        assert_eq!(number(&server.request(&cache).unwrap()), 2);
        other.join().unwrap();
        join_tasks();
        assert_eq!(server.sent(), 2);
    });
}

/// Two callers get a 401 with the same token. One fetch replaces it, and neither caller gets it
/// again.
pub fn two_refusals_of_one_token_cost_one_fetch() {
    check("two refusals of one token cost one fetch", 3, || {
        let (cache, server) = start(10, &[Answer::Token]);
        let refused = in_one_thread(|| server.request(&cache)).unwrap();
        let other = {
            let (cache, server, refused) = (Arc::clone(&cache), server.clone(), Arc::clone(&refused));
            spawn(move || {
                assert!(server.refuse(&cache, &refused));
                assert!(server.request(&cache).unwrap().generation() > refused.generation());
            })
        };
        assert!(server.refuse(&cache, &refused));
        assert!(server.request(&cache).unwrap().generation() > refused.generation());
        other.join().unwrap();
        join_tasks();
        assert_eq!(server.sent(), 2);
        assert!(!cache.snapshot().fetching);
    });
}

/// A 401 for the first token, an invalidation and an unrelated caller at the same time. No caller
/// gets an older token after a newer one, and the 401 drops no later token.
pub fn a_refusal_and_an_invalidation_at_once() {
    check("a refusal and an invalidation at once", 2, || {
        let (cache, server) = start(10, &[Answer::Token]);
        let first = in_one_thread(|| server.request(&cache)).unwrap();
        let refusing = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || {
                assert!(server.refuse(&cache, &first));
                let second = server.request(&cache).unwrap().generation();
                assert!(second > first.generation());
                assert!(server.request(&cache).unwrap().generation() >= second);
            })
        };
        let discarded = server.sent();
        server.invalidate(&cache);
        let token = server.request(&cache).unwrap();
        assert!(number(&token) > discarded);
        assert!(server.request(&cache).unwrap().generation() >= token.generation());
        refusing.join().unwrap();
        join_tasks();
        assert!(server.sent() <= 3);
    });
}

/// The allowance has room for two fetches. A caller that needs a third gets an error at once.
pub fn the_allowance_is_kept() {
    check("the allowance is kept", 2, || {
        let (cache, server) = start(2, &[Answer::Token]);
        let other = {
            let (cache, server) = (Arc::clone(&cache), server.clone());
            spawn(move || {
                for _ in 0..2 {
                    server.invalidate(&cache);
                    match server.acquire(&cache) {
                        Ok(token) => assert!(number(&token) <= 2),
                        Err(error) => assert_eq!(error.kind(), TokenErrorKind::RateLimited),
                    }
                }
            })
        };
        if let Err(error) = server.acquire(&cache) {
            assert_eq!(error.kind(), TokenErrorKind::RateLimited);
        }
        other.join().unwrap();
        join_tasks();
        assert_eq!(server.sent(), 2);
    });
}
