//! Guides: what takes more than one setting.
//!
//! * [`stacks`]: the order of the layers, the type of a stack, what to paste for which client,
//!   versions.
//! * [`errors`]: which error comes from where; `?`, anyhow, eyre and thiserror.
//! * [`compile_errors`]: what the compiler says about a stack that does not fit, and what to do.
//! * [`testing`]: your own code against the emulator.
//! * [`bulk_jobs`]: many requests at once.
//! * [`several_clients`]: one program, several API clients.
//! * `fleet` (feature `fleet`): one token for several processes.
//! * [`rotating_secrets`]: a new client secret without a restart.
//! * [`restricted_access_token`]: what to send if no access token can be had.
//! * [`from_a_mutex`]: from a token behind a mutex to the layer.
//!
//! Elsewhere: [what the layer does on each status](crate::auth#what-happens-on-each-status), [what
//! a 429 does](crate::backoff#a-429-is-waited-out), and [what to alert
//! on](crate::observe#what-to-alert-on).
//!
//! # In one line
//!
//! `handle` is that of a service, such as [`Turris::handle`](crate::Turris::handle). The names with
//! a dot are settings of [`TurrisLayer::builder`](crate::TurrisLayer::builder).
//!
//! | to | write |
//! | --- | --- |
//! | fetch the token early | `handle.warm_up().await?` |
//! | show the token in a health check | `handle.status()` |
//! | send one request without the token | [`SkipAuth`](crate::SkipAuth) in its extensions |
//! | let a caller's own `Authorization` stand | `.keep_authorization()` |
//! | send the token to a second origin | `.allow_origin(url)` |
//! | share one client id between processes | `.token_rate_limit(3, minute)`: divide the ten among the processes |
//! | go through a gateway with another rate limit | `.rate_limit(600, minute)` |
//! | read the secret from a file | [`CredentialsFile::json(path)`](crate::CredentialsFile::json) in place of the credentials |

pub mod bulk_jobs;
pub mod compile_errors;
pub mod errors;
#[cfg(feature = "fleet")]
#[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
pub mod fleet;
pub mod from_a_mutex;
pub mod restricted_access_token;
pub mod rotating_secrets;
pub mod several_clients;
pub mod stacks;
pub mod testing;
