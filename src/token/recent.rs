//! The token that one service has sent before.

use std::sync::Arc;

use super::{
    Loaded, Source, Token, TokenCache,
    sync::{Instant, one_in},
};

/// A service comes to keep its tokens by chance, at one in so many of its requests. Many services are clones made for a
/// single request, and the count of a token is memory that all threads share: changed for every request, it would be what
/// they wait for.
const KEPT_ONCE_IN: u8 = 16;

/// Spares a service that sends many requests the look into the cache.
#[derive(Default)]
pub(crate) struct RecentToken(Option<Arc<Token>>);

impl RecentToken {
    /// The token, if there is nothing to do but to send it. It is then the one that the cache has.
    #[inline]
    pub(crate) fn fresh(&self, now: Instant) -> Option<&Arc<Token>> {
        self.0.as_ref().filter(|token| token.is_fresh(now) && !token.is_refused())
    }

    /// The token of `cache`, if it can be sent now, to look for where none is [`fresh`](Self::fresh).
    pub(crate) fn look_up(
        &mut self,
        cache: &Arc<TokenCache>,
        now: Instant,
        source: impl Fn() -> Box<dyn Source>,
    ) -> Option<Loaded<Token>> {
        // Whatever was kept is not sent any more.
        let had_one = self.0.take().is_some();
        let current = cache.load();
        let token = current.as_ref().filter(|token| cache.usable(token, now, source))?;
        // One whose refresh is due would have to be looked up again each time.
        if token.is_fresh(now) && (had_one || one_in(KEPT_ONCE_IN)) {
            self.0 = Some(Arc::clone(token));
        }
        Some(current)
    }
}

#[cfg(test)]
mod tests;
