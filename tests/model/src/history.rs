//! All that was ever published in one execution, checked when it is over.

use std::sync::{Arc, Mutex};

use crate::{
    primitives::Stored,
    server::{Answer, answer, number},
    token::{Token, TokenCache},
};

/// A refusal or an invalidation, as what it means for later publications.
pub(crate) struct Strike {
    /// How many fetches had been sent when it began.
    pub(crate) sent: usize,
    /// The one token that it struck; all of them, if none is named.
    pub(crate) token: Option<usize>,
}

/// What one cache has published, and what was struck in between.
#[derive(Clone)]
pub(crate) struct History {
    published: Stored<Option<Arc<Token>>>,
    answers: &'static [Answer],
    /// Each with how much had been published when it was over.
    strikes: Arc<Mutex<Vec<(usize, Strike)>>>,
}

loom::lazy_static! {
    static ref HISTORIES: Mutex<Vec<History>> = Mutex::new(Vec::new());
}

/// Checks those of all caches of this execution.
pub(crate) fn check_all() {
    for history in HISTORIES.lock().unwrap().drain(..) {
        history.check();
    }
}

impl History {
    pub(crate) fn of(cache: &TokenCache, answers: &'static [Answer]) -> Self {
        let history = Self { published: cache.load().stored(), answers, strikes: Arc::default() };
        HISTORIES.lock().unwrap().push(history.clone());
        history
    }

    pub(crate) fn struck(&self, strike: Strike) {
        let published = self.published.lock().unwrap().len();
        self.strikes.lock().unwrap().push((published, strike));
    }

    pub(crate) fn has(&self, generation: u64) -> bool {
        self.published.lock().unwrap().iter().flatten().any(|token| token.generation() == generation)
    }

    /// 1. Each generation that is published is the one after the last.
    /// 2. None was brought by an earlier fetch than the one before.
    /// 3. None was struck before: by a refusal of this very token, or by an invalidation, while all fetches that could have
    ///    brought it had been sent.
    fn check(&self) {
        let published = self.published.lock().unwrap();
        let strikes = self.strikes.lock().unwrap();
        let (mut generation, mut fetch) = (0, 0);
        for (position, token) in published.iter().enumerate() {
            let Some(token) = token else { continue };
            assert_eq!(token.generation(), generation + 1, "published generations are not in order");
            generation = token.generation();
            let number = number(token);
            let last = self.last_fetch_that_brings(number);
            assert!(last >= fetch, "token {number} was published after the one of fetch {fetch}");
            fetch = last;
            for (_, strike) in strikes.iter().filter(|(published, _)| *published <= position) {
                let struck = strike.token.is_none_or(|token| token == number) && last <= strike.sent;
                assert!(!struck, "token {number} was published after it was struck");
            }
        }
    }

    fn last_fetch_that_brings(&self, token: usize) -> usize {
        let again = (1..=self.answers.len()).rev().find(|n| answer(self.answers, *n) == Answer::FirstToken);
        if token == 1 { again.unwrap_or(1) } else { token }
    }
}
