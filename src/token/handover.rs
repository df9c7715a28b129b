//! [`Handover`]: the change from one token to the next, while the next one may not be known everywhere yet.

use std::{mem, sync::Arc, time::Duration};

use super::{sync::Instant, value::Token};

/// How long a refusal of a new token may mean that a replica of the server has not heard of it yet.
const YOUNG: Duration = Duration::from_secs(60);

/// What is kept of two tokens, of which an early refresh brought the newer one.
///
/// 1. The current token is the newer one in `Overlap`, and the older one in `SteppedBack`.
/// 2. Only a token that was valid and not refused when its successor came is kept.
/// 3. `SteppedBack` ends by itself: when the newer token is no longer young, or the older one no longer valid.
/// 4. A token steps back once at the most.
#[derive(Default)]
pub(super) enum Handover {
    #[default]
    Done,
    /// The newer token is in use. The older one is kept for the case that the newer one is refused while it is young.
    Overlap { older: Arc<Token> },
    /// The newer token was refused while it was young. The older one is in use again.
    SteppedBack { newer: Arc<Token> },
}

impl Handover {
    /// A token was published after `older`, if that was in use until now.
    pub(super) fn begin(&mut self, older: Option<Arc<Token>>, now: Instant) {
        *self = match older {
            Some(older) if older.is_valid(now) && !older.is_refused() => Self::Overlap { older },
            _ => Self::Done,
        };
    }

    /// The token in use, `newer`, was refused. Returns the older one, if it is to be used again.
    pub(super) fn step_back(&mut self, newer: &Arc<Token>, now: Instant) -> Option<Arc<Token>> {
        let Self::Overlap { older } = self else { return None };
        let young_until = newer.sent_at() + YOUNG;
        if now >= young_until || !older.is_valid(now) || older.is_refused() {
            return None;
        }
        // The refresh of the older token has been made. When it is due again, the newer token comes back.
        older.put_off_refresh(young_until);
        let older = Arc::clone(older);
        *self = Self::SteppedBack { newer: Arc::clone(newer) };
        Some(older)
    }

    /// The older token is due, or no longer valid. Returns the newer one, if there is one to be used from now on.
    pub(super) fn step_forward(&mut self, now: Instant) -> Option<Arc<Token>> {
        match mem::take(self) {
            Self::SteppedBack { newer } => Some(newer).filter(|newer| newer.is_valid(now)),
            Self::Overlap { .. } | Self::Done => None,
        }
    }

    /// Whether the token with this generation has stepped back.
    pub(super) fn has_stepped_back(&self, generation: u64) -> bool {
        matches!(self, Self::SteppedBack { newer } if newer.generation() == generation)
    }

    /// The token with this generation, which is not in use, was refused.
    pub(super) fn refuse_older(&mut self, generation: u64) {
        if matches!(self, Self::Overlap { older } if older.generation() == generation) {
            *self = Self::Done;
        }
    }

    /// Neither of the two is used any longer.
    pub(super) fn end(&mut self) {
        if let Self::SteppedBack { newer } = mem::take(self) {
            newer.refused.set(true);
        }
    }
}
