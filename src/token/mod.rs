//! The life of the token: one fetch for all callers, an early refresh, and replacement after a 401.
//!
//! These files are independent of HTTP bodies, Tower and JSON. A *flight* is one fetch of a token
//! on behalf of all callers that wait. It makes up to three token requests. Each file in this list
//! uses only files below it:
//!
//! | file | holds |
//! | --- | --- |
//! | [`acquire`] | how one caller gets a token, and the early refresh |
//! | [`fetch`] | the task that makes the token requests of one flight |
//! | [`cache`] | the current token; only this file publishes tokens, drops tokens, and gives permits to send token requests |
//! | [`state`] | the rest of the cache's state, behind one lock |
//! | [`allowance`], [`cooldown`], [`refusals`], [`handover`] | the parts of that state: the allowance of token requests, the cool-down after a failure, the 401s, the previous token |
//! | [`flight`] | the state that a fetch task and its waiters share |
//! | [`source`] | the trait between the cache and the sender of token requests |
//! | [`value`] | one token and its lifetime |
//! | [`sync`] | the types for synchronisation |
//!
//! A token request takes these steps:
//!
//! 1. The fetch task acquires a permit from the cache.
//! 2. It hands the permit to the source, which sends the request.
//! 3. It gives the cache the two results of the source: the limits first, then the token.

mod acquire;
mod allowance;
mod cache;
mod cooldown;
mod fetch;
mod flight;
mod handover;
mod refusals;
mod source;
mod state;
mod sync;
mod value;

pub(crate) use self::{
    acquire::Acquire,
    allowance::{DOCUMENTED_LIMIT, DOCUMENTED_WINDOW},
    cache::{AfterRefusal, TokenCache, TokenReader},
    fetch::until,
    source::{ResponseHead, SourceFuture, TokenRequestPermit, TokenSource},
    state::TokenSettings,
    sync::Instant,
    value::{IssuedToken, Token},
};
