//! [`Handover`]: the change to a new token after an early refresh. Replicas of the server may not
//! know the new token yet.

use std::{mem, sync::Arc, time::Duration};

use super::{sync::Instant, value::Token};

/// How long a 401 to a new token may mean that a replica of the server does not know the token yet.
const YOUNG: Duration = Duration::from_secs(60);

/// The older and the newer token after an early refresh.
///
/// 1. In `Overlap` the newer token is current. In `SteppedBack` the older token is current.
/// 2. The older token is kept only if it was valid and not refused when the newer token was
///    published.
/// 3. `SteppedBack` ends by itself: when the newer token is no longer young, or when the older
///    token is no longer valid.
/// 4. A token steps back at most once.
#[derive(Default)]
pub(super) enum Handover {
    #[default]
    Done,
    /// The newer token is in use. If it is refused while it is young, the older token is used
    /// again.
    Overlap { older: Arc<Token> },
    /// The newer token was refused while it was young. The older token is in use again.
    SteppedBack { newer: Arc<Token> },
}

impl Handover {
    /// Begins the handover from `older`, the token in use until now, to the token that has just
    /// been published.
    pub(super) fn begin(&mut self, older: Option<Arc<Token>>, now: Instant) {
        *self = match older {
            Some(older) if older.is_valid(now) && !older.is_refused() => Self::Overlap { older },
            _ => Self::Done,
        };
    }

    /// Handles a 401 to `newer`, the token in use. Returns the older token if it is used again from
    /// now on.
    pub(super) fn step_back(&mut self, newer: &Arc<Token>, now: Instant) -> Option<Arc<Token>> {
        let Self::Overlap { older } = self else { return None };
        let young_until = newer.sent_at() + YOUNG;
        if now >= young_until || !older.is_valid(now) || older.is_refused() {
            return None;
        }
        // The older token needs no other refresh. When this refresh becomes due, the newer token
        // returns.
        older.put_off_refresh(young_until);
        let older = Arc::clone(older);
        *self = Self::SteppedBack { newer: Arc::clone(newer) };
        Some(older)
    }

    /// Ends `SteppedBack`, because the refresh of the older token is due or the token is no longer
    /// valid. Returns the newer token, if it is still valid.
    pub(super) fn step_forward(&mut self, now: Instant) -> Option<Arc<Token>> {
        match mem::take(self) {
            Self::SteppedBack { newer } => Some(newer).filter(|newer| newer.is_valid(now)),
            Self::Overlap { .. } | Self::Done => None,
        }
    }

    /// Returns whether the token with this generation has stepped back.
    pub(super) fn has_stepped_back(&self, generation: u64) -> bool {
        matches!(self, Self::SteppedBack { newer } if newer.generation() == generation)
    }

    /// Records a 401 to the token with this generation, which is not in use.
    pub(super) fn refuse_older(&mut self, generation: u64) {
        if matches!(self, Self::Overlap { older } if older.generation() == generation) {
            *self = Self::Done;
        }
    }

    /// The token that is not in use.
    #[cfg(test)]
    pub(super) fn other(&self) -> Option<Arc<Token>> {
        match self {
            Self::Overlap { older: other } | Self::SteppedBack { newer: other } => Some(Arc::clone(other)),
            Self::Done => None,
        }
    }

    /// Ends the use of both tokens. A waiting request that holds the token not in use gets another
    /// token.
    pub(super) fn end(&mut self) {
        if let Self::Overlap { older: other } | Self::SteppedBack { newer: other } = mem::take(self) {
            other.refused.set(true);
        }
    }
}
