//! Guides: how to do what takes more than one setting. There is nothing in here but documentation.
//!
//! * [`several_clients`]: one program, several API clients.
//! * [`rotating_secrets`]: a new client secret without a restart.
//! * [`restricted_access_token`]: what to send when no access token can be had.
//! * [`testing`]: your own code against the emulator.
//! * [`from_a_mutex`]: from a token behind a mutex to the layer.
//!
//! Elsewhere: [what the layer does on each status](crate::auth#what-happens-on-each-status),
//! [what a 429 does](crate::backoff#what-it-does), and [what to alert on](crate::observe#what-to-alert-on).

pub mod from_a_mutex;
pub mod restricted_access_token;
pub mod rotating_secrets;
pub mod several_clients;
pub mod testing;
