//! Sharing between processes: one token, one allowance and one pace for a whole fleet.
//!
//! The Turris API counts per API client, not per process. Fifty pods that start at once make fifty token requests, of which
//! forty are refused; four workers that each send 60 `POST`s a minute meet 180 refusals a minute. With a store that all
//! processes reach, they act as one client:
//!
//! * one of them fetches a token, and the others take it over, sealed so that only they can read it;
//! * the fetches of all count against one allowance, and the failure of one makes all pause;
//! * requests that change something leave when the fleet's allowance has room, in fair shares.
//!
//! [`RedisStore`] keeps all that in Redis or Valkey (feature `redis`), [`MemoryStore`] in this process, and [`SharedStore`]
//! is the contract for a store of your own. [`SharedState`](crate::SharedState) is what the layers are given.
//!
//! A store that is slow, frozen, gone, empty or hostile fails no request: it costs one deadline (250 ms), then the process
//! goes on alone until the store answers again.

mod breaker;
mod memory;
#[cfg_attr(not(test), expect(dead_code, reason = "the gate does not ask for permits yet"))]
mod permits;
#[cfg(feature = "redis")]
mod redis;
#[cfg_attr(not(test), expect(dead_code, reason = "the layers do not share their token yet"))]
mod seal;
#[cfg_attr(not(test), expect(dead_code, reason = "the layers do not call the store yet"))]
mod state;
mod store;

#[cfg(feature = "redis")]
pub use self::redis::{RedisStore, RunScript, Script, ScriptReply};
pub use self::{
    memory::MemoryStore,
    state::{SharedState, SharedStateBuilder},
    store::{
        AcquireAsk, Acquired, Answer, ExchangeAsk, Exchanged, FailAsk, Failure, Fetched, Gate, InvalidateAsk, JudgeAsk,
        LARGEST_RECORD, PublishAsk, Record, RenewAsk, Renewed, SharedStore, Slot, Stated, StoreFuture, Used,
    },
};
