//! What the tests and examples of the workspace share.

#![allow(clippy::unwrap_used, reason = "a panic fails the test that called, as it should")]

pub mod trace;

use http::Uri;
use turris_auth::{Credentials, Environment};
use turris_emulator::Emulator;

/// An emulator in the words of the layers.
///
/// `turris-emulator` depends on nothing of `turris-auth`, so it returns plain text.
pub trait EmulatorExt {
    /// The credentials of the first client, as they are accepted now.
    fn credentials(&self) -> Credentials;

    /// The environment in which this emulator is Turris.
    fn environment(&self) -> Environment;

    /// The URL of `path`, which may have a query.
    ///
    /// # Panics
    ///
    /// If `path` is no path.
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
