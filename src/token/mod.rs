//! The life of the token: one fetch for all callers, an early refresh, and replacement after a 401.
//!
//! These files are independent of HTTP bodies, Tower and JSON. Each file uses only files below it:
//!
//! | file | holds |
//! | --- | --- |
//! | [`acquire`] | how one caller gets a token, and the early refresh |
//! | [`fetch`] | the task that makes the fetches of one flight |
//! | [`cache`] | the current token; only this file publishes and drops tokens and gives permits to fetch |
//! | [`state`] | the rest of the cache's state, behind one lock |
//! | [`quota`], [`cooldown`], [`refusals`], [`handover`] | the parts of that state: the allowance, the wait after a failure, the 401s, the previous token |
//! | [`flight`] | the state that a fetch task and its waiters share |
//! | [`source`] | the trait between the cache and the sender of requests |
//! | [`value`] | one token and its lifetime |
//! | [`sync`] | the synchronisation |
//!
//! A fetch goes one way. The fetch task acquires a permit from the cache, hands the permit to the
//! source, and gives the cache the source's two results: the limits first, then the token.

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
    quota::{DOCUMENTED_LIMIT, DOCUMENTED_WINDOW},
    source::{Answer, FetchPermit, SourceFuture, TokenSource},
    state::Settings,
    sync::Instant,
    value::{IssuedToken, Token},
};
