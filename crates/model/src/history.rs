//! All publications of one execution, checked when the execution is over.

use std::sync::{Arc, Mutex};

use crate::{
    answers::{Answer, answer, number},
    primitives::Stored,
    token::{Token, TokenCache},
};

/// A refusal or an invalidation: the tokens that may not be published after it.
pub(crate) struct Discard {
    /// The number of fetches that had been sent when the discard began.
    pub(crate) sent: usize,
    /// The refused token. `None` means all tokens.
    pub(crate) token: Option<usize>,
}

/// The publications of one cache, and the refusals and invalidations between them.
#[derive(Clone)]
pub(crate) struct History {
    published: Stored<Option<Arc<Token>>>,
    answers: &'static [Answer],
    /// Each discard, with the number of publications at its end.
    discards: Arc<Mutex<Vec<(usize, Discard)>>>,
}

loom::lazy_static! {
    static ref HISTORIES: Mutex<Vec<History>> = Mutex::new(Vec::new());
}

/// Checks the histories of all caches of this execution.
pub(crate) fn check_all() {
    for history in HISTORIES.lock().unwrap().drain(..) {
        history.check();
    }
}

impl History {
    pub(crate) fn of(cache: &TokenCache, answers: &'static [Answer]) -> Self {
        let history = Self { published: cache.load().stored(), answers, discards: Arc::default() };
        HISTORIES.lock().unwrap().push(history.clone());
        history
    }

    pub(crate) fn discarded(&self, discard: Discard) {
        let published = self.published.lock().unwrap().len();
        self.discards.lock().unwrap().push((published, discard));
    }

    pub(crate) fn has(&self, generation: u64) -> bool {
        self.published.lock().unwrap().iter().flatten().any(|token| token.generation() == generation)
    }

    /// 1. Each published generation is the previous generation plus one.
    /// 2. No token comes from an earlier fetch than the token before it.
    /// 3. No token was refused or invalidated before it was published. A 401 with that token
    ///    refuses it. An invalidation invalidates the tokens of all fetches that had been sent
    ///    before it.
    fn check(&self) {
        let published = self.published.lock().unwrap();
        let discards = self.discards.lock().unwrap();
        let (mut generation, mut fetch) = (0, 0);
        for (position, token) in published.iter().enumerate() {
            let Some(token) = token else { continue };
            assert_eq!(token.generation(), generation + 1, "published generations are not in order");
            generation = token.generation();
            let number = number(token);
            let last = self.last_fetch_that_brings(number);
            assert!(last >= fetch, "token {number} was published after the one of fetch {fetch}");
            fetch = last;
            for (_, discard) in discards.iter().filter(|(published, _)| *published <= position) {
                let discarded = discard.token.is_none_or(|token| token == number) && last <= discard.sent;
                assert!(!discarded, "token {number} was published after it was discarded");
            }
        }
    }

    fn last_fetch_that_brings(&self, token: usize) -> usize {
        let again = (1..=self.answers.len()).rev().find(|n| answer(self.answers, *n) == Answer::FirstToken);
        if token == 1 { again.unwrap_or(1) } else { token }
    }
}
