//! Requests and answers against the vendor's own OpenAPI file, in both directions.
//!
//! - [`any_server`] holds for every server that follows the file. It asks the one at `TURRIS_BASE_URL`, or an emulator.
//! - [`answers`] and [`wire`] are about the emulator alone, whatever that variable says: what no stranger's server can be
//!   made to do is asked for there.
//! - [`against_a_url`] sees that `TURRIS_BASE_URL` is obeyed, and that the suite tells a server that breaks the contract.

mod against_a_url;
mod answers;
mod any_server;
mod schema;
mod server;
mod wire;
