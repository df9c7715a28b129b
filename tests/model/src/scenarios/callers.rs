//! Callers that want a token at once, and callers that give up.

use std::sync::Arc;

use loom::thread::spawn;

use crate::{
    checker::check,
    runtime::join_tasks,
    server::{Answer, number, start},
};

/// Two callers find no token: one fetch serves both.
pub fn two_cold_callers() {
    check("two cold callers", None, || {
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
