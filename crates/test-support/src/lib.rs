//! Shared parts of the workspace's tests and examples.

#![allow(clippy::unwrap_used, reason = "a panic fails the test that called, as it should")]

pub mod trace;

use std::env;

use http::Uri;
use turris_auth::{Credentials, Environment};
use turris_emulator::Emulator;

/// Returns the number of cases of a random test: `all` if the environment variable `ALL_CASES` is
/// set, as in `.ci/run`, and `some` otherwise, so that `cargo test` stays short.
pub fn cases<N>(some: N, all: N) -> N {
    if env::var_os("ALL_CASES").is_some() { all } else { some }
}

/// An emulator's values in the types of the layers.
///
/// `turris-emulator` depends on nothing of `turris-auth`, so it returns plain text.
pub trait EmulatorExt {
    /// Returns the current credentials of the first client.
    fn credentials(&self) -> Credentials;

    /// Returns the environment in which this emulator is Turris.
    fn environment(&self) -> Environment;

    /// Returns the URL of `path`, which may have a query.
    ///
    /// # Panics
    ///
    /// If `path` is not a valid path.
    fn url(&self, path: &str) -> Uri {
        self.environment().url(path).unwrap()
    }
}

impl EmulatorExt for Emulator {
    fn credentials(&self) -> Credentials {
        Credentials::new(self.client_id(), self.client_secret()).unwrap()
    }

    fn environment(&self) -> Environment {
        Environment::custom(self.base_url()).unwrap()
    }
}
