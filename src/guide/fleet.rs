//! A fleet: one token, one allowance of token requests and one pace for all processes with one
//! client id.
//!
//! Use it if several processes (pods, workers, cron jobs) share one client id. The API limits the
//! client, not each process:
//!
//! * 10 token requests a minute. Fifty pods that start at once make fifty, of which forty are
//!   refused.
//! * 60 requests a minute that change something. Four workers that each keep to 60 send four times
//!   as many as are allowed.
//!
//! ```
//! # #[cfg(feature = "redis")] {
//! use turris_auth::{Credentials, Environment, SharedState, TurrisLayer, fleet::RedisStore};
//!
//! # fn main() -> Result<(), turris_auth::ConfigError> {
//! let credentials = Credentials::new("m2m-client-abc123", "the client's secret")?;
//! let environment = Environment::Production;
//!
//! // Nothing is sent to the store before the first request.
//! let store = RedisStore::open("redis://fleet:password@redis.internal:6379")?;
//! let fleet = SharedState::builder(store, credentials.client_id(), &environment).expected_processes(8).build()?;
//!
//! let layer = TurrisLayer::builder(credentials, environment).shared(&fleet).build()?;
//! # let _ = layer;
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```
//!
//! If you use the two separate layers, give the same `fleet` to both:
//! [`TurrisAuthLayerBuilder::shared`](crate::auth::TurrisAuthLayerBuilder::shared) and
//! [`TurrisBackoffLayerBuilder::shared`](crate::backoff::TurrisBackoffLayerBuilder::shared).
//! `cargo run --release -p fleet` shows it with eight processes and a real Redis or Valkey server.
//!
//! # What is shared
//!
//! | shared | not shared |
//! | --- | --- |
//! | the token of each client secret | the token's early refresh: each process looks for a newer token at its own time |
//! | the allowance of token requests, of all secrets of a client together | limits of requests that are not paced, such as `GET` |
//! | the cool-down after a failed fetch | requests and their retries |
//! | the pause after new tokens that ended no 401 | the queue: each process has its own, and the store serves processes in the order in which they came |
//! | the pace of requests that change something, for each authority and [class](crate::backoff::RequestClass): a request leaves with a permit from the store | a rate that was found because the server states no window |
//! | a 429: it closes the gate of all processes | |
//! | [`TokenHandle::invalidate`](crate::TokenHandle::invalidate): no process adopts the token any longer. A process that already uses the token keeps it until its next refresh or 401 | |
//!
//! # Without the store
//!
//! No request fails because the store is slow, frozen, gone or empty. A call that is not answered
//! within [`deadline`](crate::fleet::SharedStateBuilder::deadline) (250 ms) opens a circuit
//! breaker. Until the store answers again:
//!
//! * a valid token stays in use, and no request waits for the store;
//! * a process that needs a token fetches it for itself;
//! * a process sends its share of the pace: the limit divided by the number of processes;
//! * the allowance of token requests is divided in the same way. The early refresh ignores the
//!   number of processes: if the store is lost just before a refresh, all processes fetch within
//!   about a minute, and some of the first fetches may be refused.
//!
//! A process also goes on alone if the store answers but denies everything, since such a store may
//! be hostile or broken:
//!
//! * If the store denies every fetch for 5 minutes, the process fetches once for itself.
//! * If the store grants no permit although requests wait, the process waits for 5 minutes, and for
//!   as many windows as the limit needs for `expected_processes` requests. It then sends its share
//!   for 5 minutes. If the store still grants nothing after that, the process waits half as long
//!   before it sends its share again.
//! * A process waits for the fetch of another process for three quarters of `token_timeout`. It
//!   then fetches for itself. If the fleet has more processes than the allowance has fetches, only
//!   about as many processes fetch as the allowance permits. In the other processes requests fail
//!   with [`Timeout`](crate::TokenErrorKind::Timeout), for 5 minutes at most.
//! * If the store returns a token or a lease that is not newer than the process's own token, the
//!   process fetches for itself.
//!
//! After the store is back, each process reports the requests that it has sent in the last window.
//! It keeps to its share for up to half a minute longer, until the circuit breakers of all
//! processes have closed. A store that was restarted empty grants nothing for a sixtieth of the
//! window, so that all processes can report first. It waits again for each process that reports
//! something.
//!
//! # How many processes
//!
//! The number of processes is the store's last count, or
//! [`expected_processes`](crate::fleet::SharedStateBuilder::expected_processes) if that is larger,
//! because the store's count is too small while a fleet starts. Set `expected_processes` to the
//! largest number of processes that you run, including those of a rolling deployment. Each layer
//! counts as a process, even if several layers of one program use clones of one
//! [`SharedState`](crate::SharedState). If there are more processes than a window allows requests,
//! each process still sends one request in a window while the store is gone. The server refuses
//! some of these requests, and the layer sends them again later.
//!
//! A process calls the store about once for each group of requests that wait together, and once
//! within half a second after their responses. An idle process makes no calls. A process that is
//! killed with permits in hand blocks them for one window and 30 s.
//!
//! # What an operator sets
//!
//! * **A Redis user of its own**, with a few commands on its own keys and nothing else:
//!
//!   ```text
//!   ACL SETUSER fleet on >password resetchannels ~turris:* +evalsha +eval +time +hello +auth +ping
//!       +hget +hset +hmget +hdel +hgetall +hstrlen +zadd +zcard +zrange +zrem +zremrangebyscore +pexpire
//!   ```
//! * **TLS** outside of a trusted network: a URL with `rediss://`, and the feature `redis-tls`. The
//!   certificate of a private authority goes into the file that `SSL_CERT_FILE` names.
//! * **No eviction of these keys**: `maxmemory-policy noeviction`, or a `volatile-` policy with
//!   room to spare. An evicted token costs a fetch. The keys `…:p:…` hold the requests that count
//!   at present. If only such a key is evicted, no process notices: the fleet may send up to one
//!   window's requests more than the limit allows, and the server refuses them.
//! * **The primary**, never a replica: a replica grants again what the primary has granted already.
//!   With Sentinel, a cluster or a pool, implement [`RunScript`](crate::fleet::RunScript) for a
//!   client that follows the primary. After a failover to a replica that lags behind, the processes
//!   report their requests.
//! * **A clock** that is roughly right is enough, because only differences count. If the clock
//!   steps back, the store treats it as if it had stood still. A clock that steps forward ends
//!   leases, waits and counts early, which can cost a fetch and some 429s.
//! * **One connection per process.** [`RedisStore::open`](crate::fleet::RedisStore::open) makes it
//!   at the first call and keeps it. `timeout 0` (the default of Redis) spares reconnections.
//! * **No persistence is needed.** If the store loses its contents, the processes report their
//!   requests.
//!
//! # Rotating the secret
//!
//! Each secret has a token of its own in the store. Roll the new secret out in any order and at any
//! speed: processes with the old secret and processes with the new secret do not disturb each
//! other.
//!
//! # One machine
//!
//! Several processes on one machine (cron jobs, command lines) need no network: let Redis or Valkey
//! listen on a unix socket only (`port 0`, `unixsocket /run/turris/redis.sock`,
//! `unixsocketperm 770`), and open `redis+unix:///run/turris/redis.sock`. The token then outlives
//! each process, and the file's permissions say who may use the store.
//!
//! # What to watch
//!
//! | metric | alert |
//! | --- | --- |
//! | `turris_auth_store_available` | 0 for some minutes: each process is alone with its share |
//! | `turris_auth_store_calls_total{outcome="timeout"}` | rises while the store is up: `deadline` is too short, or the store is far away |
//! | `turris_auth_store_seconds` | more than 50 ms: each paced request waits that long for its permit |
//! | `turris_auth_store_processes` | more than `expected_processes`: raise that, because a process that never reached the store takes too large a share |
//! | `turris_auth_permits_total{source="alone"}` | rises while the store is up |
//! | `turris_auth_token_fetches_total{outcome="token"}` | rises by more than one an hour for each secret: processes do not share. Processes that share have `outcome="adopted"` instead |
//! | `turris_auth_rate_limited_total` | rises: some client outside of the fleet uses the same client id |
//!
//! A lost store is also logged as one `WARN` event, and its return as an `INFO` event. A record
//! that the secret does not open is logged as a `WARN` event, once a minute at most. The field
//! `source` of the span `token_fetch` says where a token came from: [`observe`](crate::observe).
//!
//! # Who can do what
//!
//! | who | can | cannot |
//! | --- | --- | --- |
//! | a reader of the store | see hashes, times, counts and how often fetches fail | read a token or a secret; test guesses of the client secret, if an [`encryption_key`](crate::fleet::SharedStateBuilder::encryption_key) is set. Without a key, guesses can be tested against the name of a slot. A generated secret is too long to guess |
//! | a writer of the store | delay or deny a fetch for up to 5 minutes, and with it the requests that have no valid token; hold paced requests back for as long as a store that grants nothing (see above); let more requests leave than the limit allows, which the server then refuses; make processes fetch anew, and so use up the allowance; give an older token of the fleet to a process that has had no newer token | plant a token; make a process send its token elsewhere; make a process panic, or hang for longer than `token_timeout` |
//! | someone on the network between, without TLS | all that a reader and a writer of the store can | the same as those |
//! | a process of the fleet that misbehaves | use up the allowances, as without a store; keep the token from the other processes for one lease at a time | make another process send its token elsewhere |
//! | a holder of the client secret | all of the above, and fetch tokens without the store | |
