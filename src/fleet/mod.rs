//! Sharing between processes: one token, one allowance of fetches and one pace for a whole fleet.
//!
//! The Turris API counts per API client, not per process: fifty pods that start at once make fifty token requests, of which
//! forty are refused. With a store that all processes reach, they act as one client: one of them fetches a token, and the
//! others take it over, sealed so that only they can read it. The fetches of all count against one allowance, and the
//! failure of one makes all pause. Requests that change something leave with permits from the store, so that all processes
//! together keep to the limit. [The guide](crate::guide::fleet) says what an operator sets.
//!
//! [`RedisStore`] keeps all that in Redis or Valkey (feature `redis`), [`MemoryStore`] in this process, and [`SharedStore`]
//! is the contract for a store of your own. [`SharedState`] is what the layers are given.
//!
//! A store that is slow, frozen, gone, empty or hostile fails no request: it costs one deadline (250 ms), then the process
//! goes on alone until the store answers again.
//!
//! # Examples
//!
//! By default, only the client and the store are named:
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
//! [`SharedStateBuilder`] has an example of what can be set.

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
    permits::{Fate, Next, Permits},
    share::FlightShare,
    state::random_number,
};
pub use self::{
    memory::MemoryStore,
    state::{SharedState, SharedStateBuilder},
    store::{
        AcquireAsk, Acquired, Answer, ExchangeAsk, Exchanged, FailAsk, Failure, Fetched, Gate, InvalidateAsk, JudgeAsk,
        LARGEST_RECORD, PublishAsk, Record, RenewAsk, Renewed, SharedStore, Slot, Stated, StoreFuture, Used,
    },
};
