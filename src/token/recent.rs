//! The token that one service has sent before.

use std::sync::Arc;

use super::{Loaded, Source, Token, TokenCache, sync::Instant};

/// Spares a service that sends many requests the look into the cache.
#[derive(Default)]
pub(crate) struct RecentToken(Option<Arc<Token>>);

impl RecentToken {
    /// The token, if there is nothing to do but to send it. It is then the one that the cache has.
    #[inline]
    pub(crate) fn fresh(&self, now: Instant) -> Option<&Arc<Token>> {
        self.0.as_ref().filter(|token| token.is_fresh(now) && !token.is_refused())
    }

    /// The token of `cache`, if it can be sent now, to look for where none is [`fresh`](Self::fresh). It is kept for the
    /// next time if the caller says so.
    pub(crate) fn look_up(
        &mut self,
        cache: &Arc<TokenCache>,
        now: Instant,
        keep: bool,
        source: impl Fn() -> Box<dyn Source>,
    ) -> Option<Loaded<Token>> {
        // Whatever was kept is not sent any more.
        self.0 = None;
        let current = cache.load();
        let token = current.as_ref().filter(|token| cache.usable(token, now, source))?;
        // One whose refresh is due would have to be looked up again each time.
        if keep && token.is_fresh(now) {
            self.0 = Some(Arc::clone(token));
        }
        Some(current)
    }
}

#[cfg(test)]
mod tests;
