//! Guides: tasks that take more than one setting.
//!
//! * [`stacks`]: the order of the layers, the type of a stack, code to paste for each client,
//!   versions.
//! * [`errors`]: the error types and their sources; `?`, anyhow, eyre and thiserror.
//! * [`compile_errors`]: the compiler's messages about a stack that does not fit, and the remedies.
//! * [`testing`]: your own code against the emulator.
//! * [`bulk_jobs`]: many requests at once.
//! * [`several_clients`]: one program, several API clients.
//! * `fleet` (feature `fleet`): one token for several processes.
//! * [`rotating_secrets`]: a new client secret without a restart.
//! * [`restricted_access_token`]: a fallback if no access token can be obtained.
//! * [`from_a_mutex`]: the migration from a token behind a mutex to the layer.
//!
//! Other pages: [the layer's reaction to each status](crate::auth#what-happens-on-each-status),
//! [the wait after a 429](crate::backoff#a-429-is-waited-out), and
//! [alerts](crate::observe#what-to-alert-on).
//!
//! # In one line
//!
//! `handle` is the handle of a service, such as [`Turris::handle`](crate::Turris::handle). The
//! names with a dot are settings of [`TurrisLayer::builder`](crate::TurrisLayer::builder).
//!
//! | to | write |
//! | --- | --- |
//! | fetch the token early | `handle.warm_up().await?` |
//! | show the token in a health check | `handle.status()` |
//! | send one request without the token | [`SkipAuth`](crate::SkipAuth) in its extensions |
//! | keep a caller's own `Authorization` | `.keep_authorization()` |
//! | send the token to a second origin | `.allow_origin(url)` |
//! | share one client id between processes | `.token_rate_limit(3, minute)`: divide the ten token requests a minute among the processes |
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
