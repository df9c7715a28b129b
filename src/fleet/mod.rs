//! State that processes share: one token, one allowance of token requests and one pace for a whole
//! fleet.
//!
//! The Turris API counts per API client, not per process: fifty pods that start at once make fifty
//! token requests, of which forty are refused. With a store that all processes reach, they act as
//! one client:
//!
//! - One process fetches a token, and the other processes take it over. The token is sealed, so
//!   that only they can read it.
//! - The fetches of all processes count against one allowance, and a failed fetch makes all
//!   processes pause.
//! - Requests that change something leave with permits from the store, so that all processes
//!   together keep to the limit.
//!
//! [The guide](crate::guide::fleet) lists the settings for an operator.
//!
//! [`SharedState`] connects the layers to a store:
//!
//! - [`RedisStore`] keeps the state in Redis or Valkey (feature `redis`),
//! - [`MemoryStore`] keeps it in this process,
//! - [`SharedStore`] is the contract for a store of your own.
//!
//! No request fails because the store is slow, frozen, gone or empty. A store that does not answer
//! costs a request one deadline (250 ms). After that the process goes on alone until the store
//! answers again. A hostile store can deny a fetch for at most 5 minutes: see [the
//! guide](crate::guide::fleet#who-can-do-what).
//!
//! # Examples
//!
//! With the defaults, only the client and the store are named:
//!
//! ```
//! use turris_auth::{Credentials, Environment, SharedState, TurrisLayer, fleet::MemoryStore};
//!
//! let (credentials, environment) = (Credentials::new("m2m-client-abc123", "secret")?, Environment::Sandbox);
//! let fleet = SharedState::builder(MemoryStore::new(), credentials.client_id(), &environment).build()?;
//! let layer = TurrisLayer::builder(credentials, environment).shared(&fleet).build()?;
//! # let _ = layer;
//! # Ok::<(), turris_auth::ConfigError>(())
//! ```
//!
//! [`SharedStateBuilder`] has an example with settings.

mod breaker;
mod member;
mod memory;
mod permits;
#[cfg(feature = "redis")]
mod redis;
mod seal;
mod share;
mod state;
mod store;

#[cfg(feature = "redis")]
pub use self::redis::{RedisStore, RunScript, Script, ScriptReply};
pub(crate) use self::{
    member::Member,
    permits::{NextStep, PermitUse, Permits},
    share::FlightShare,
    state::random_number,
};
pub use self::{
    memory::MemoryStore,
    state::{SharedState, SharedStateBuilder},
    store::{
        AcquireAsk, Acquired, Answer, ExchangeAsk, Exchanged, FailAsk, Failure, Gate, InvalidateAsk, LARGEST_RECORD,
        PublishAsk, Record, RenewAsk, Renewed, ReportRetryAsk, SentTokenRequest, SharedStore, Slot, Stated,
        StoreFuture, Used,
    },
};
