//! The token's life: fetched once for all callers, renewed early, replaced when it is refused.
//!
//! Nothing here knows HTTP bodies, Tower or JSON. Each file uses only those below it:
//!
//! | file | holds |
//! | --- | --- |
//! | [`acquire`] | one caller's way to a token, and the early refresh |
//! | [`fetch`] | the task that makes the fetches of one flight |
//! | [`cache`] | the current token: the only place that publishes, hands out and drops tokens, and gives out permits to fetch |
//! | [`state`] | what the cache knows beside the current token, behind one lock |
//! | [`quota`], [`cooldown`], [`refusals`], [`handover`] | the parts of that state: the allowance, the wait after a failure, the 401s, the token before the current one |
//! | [`flight`] | what a fetch task and its waiters share |
//! | [`source`] | the seam to what sends the requests |
//! | [`value`] | one token |
//! | [`sync`] | all that threads meet in |
//!
//! A fetch goes one way: the fetch task asks the cache for a permit, hands it to the source, and gives the cache what the
//! source returns: the limits, then the token.

mod acquire;
mod cache;
mod cooldown;
mod fetch;
mod flight;
mod handover;
mod quota;
mod refusals;
mod source;
mod state;
mod sync;
mod value;

pub(crate) use self::{
    acquire::Acquire,
    cache::{AfterRefusal, TokenCache},
    fetch::until,
    quota::DOCUMENTED_LIMIT,
    source::{Answer, FetchPermit, SourceFuture, TokenSource},
    state::Settings,
    sync::Instant,
    value::{IssuedToken, Token},
};
