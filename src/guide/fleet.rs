//! A fleet: one token and one allowance of fetches for all processes with one client id.
//!
//! Use it if several processes (pods, workers, cron jobs) share one client id. The API allows 10 token requests a minute for
//! the client, not for each process: fifty pods that start at once would make fifty, and forty are refused.
//!
//! ```
//! # #[cfg(feature = "redis")] {
//! use turris_auth::{Credentials, Environment, SharedState, TurrisAuthLayer, fleet::RedisStore};
//!
//! # fn main() -> Result<(), turris_auth::ConfigError> {
//! let credentials = Credentials::new("m2m-client-abc123", "the client's secret")?;
//! let environment = Environment::Production;
//!
//! // Nothing is sent to the store before the first request.
//! let store = RedisStore::open("redis://fleet:password@redis.internal:6379")?;
//! let fleet = SharedState::builder(store, credentials.client_id(), &environment).expected_processes(8).build()?;
//!
//! let layer = TurrisAuthLayer::builder(credentials, environment).shared(&fleet).build()?;
//! # let _ = layer;
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```
//!
//! # What is shared
//!
//! | shared | not shared |
//! | --- | --- |
//! | the token of each client secret | the token's early refresh: each process looks for a newer token at its own time |
//! | the allowance of fetches, of all secrets of a client together | rate limits and the pace of requests |
//! | the cool-down after a failed fetch | requests and their retries |
//! | the pause after forced refreshes that cured no 401 | |
//! | [`TokenHandle::invalidate`](crate::TokenHandle::invalidate): no process adopts the token any longer; a process that has it already keeps it until its next refresh or 401 | |
//!
//! # Without the store
//!
//! No request fails because the store is slow, frozen, gone or empty. A call that is not answered within
//! [`deadline`](crate::fleet::SharedStateBuilder::deadline) (250 ms) opens a circuit breaker. Until the store answers again:
//!
//! * a valid token stays in use, and no request asks the store for anything;
//! * a process that needs a token fetches it for itself;
//! * the allowance is divided by the number of processes that the store counted last. A process that has never reached the
//!   store divides it by [`expected_processes`](crate::fleet::SharedStateBuilder::expected_processes), so set that to the
//!   largest number of processes that you run.
//!
//! # What an operator sets
//!
//! * **A user of its own**, which needs a few commands on its own keys and nothing else:
//!
//!   ```text
//!   ACL SETUSER fleet on >password resetchannels ~turris:* +evalsha +eval +time +hello +auth +ping +client|setinfo
//!       +hget +hset +hmget +hdel +hgetall +hstrlen +zadd +zcard +zrange +zrem +zremrangebyscore +pexpire
//!   ```
//! * **TLS** outside of a trusted network: a URL with `rediss://`, and the crate `redis` 1 with one of its TLS features among
//!   your dependencies.
//! * **No eviction of these keys**: `maxmemory-policy noeviction`, or a `volatile-` policy with room to spare. An evicted key
//!   costs a fetch.
//! * **The primary**, never a replica: a replica grants what the primary has granted already.
//! * **No persistence is needed.** A store that lost its contents is told by the processes what they have sent.
//!
//! # Rotating the secret
//!
//! Each secret has a token of its own in the store. Roll the new secret out in any order and at any speed: the processes
//! with the old one and those with the new one do not disturb each other.
//!
//! # Who can do what
//!
//! | who | can | cannot |
//! | --- | --- | --- |
//! | a reader of the store | see hashes, times, counts and how often fetches fail | read a token or a secret; test guesses of the client secret, if an [`encryption_key`](crate::fleet::SharedStateBuilder::encryption_key) is set. Without one, a guess can be tested against the name of a slot: a generated secret cannot be guessed |
//! | a writer of the store | delay or deny fetches, and so requests once the current token has expired; make processes fetch anew; put an older token of the fleet back | plant a token; make a process send its token elsewhere; make a process panic, or hang for longer than `token_timeout` |
//! | a holder of the client secret | all of it, and fetch tokens anyway | |
