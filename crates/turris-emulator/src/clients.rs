//! The API clients of the emulator.

use std::fmt;

use crate::SettingsError;

/// The id and the secret of one API client.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Client {
    pub(crate) fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { id: id.into(), secret: secret.into() }
    }

    /// Refuses an empty id and an empty secret.
    pub(crate) fn checked(self) -> Result<Self, SettingsError> {
        for (setting, text) in [("client id", &self.id), ("client secret", &self.secret)] {
            if text.is_empty() {
                return Err(SettingsError::new(setting, "text that is not empty"));
            }
        }
        Ok(self)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All API clients: at least one, each with a different id.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) first: Client,
    others: Vec<Client>,
}

impl Clients {
    pub(crate) fn new(first: Client) -> Self {
        Self { first, others: Vec::new() }
    }

    /// Adds a client, or replaces the secret of the client with the same id.
    pub(crate) fn put(&mut self, client: Client) {
        let found = std::iter::once(&mut self.first).chain(&mut self.others).find(|known| known.id == client.id);
        match found {
            Some(known) => *known = client,
            None => self.others.push(client),
        }
    }

    pub(crate) fn accept(&self, id: &str, secret: &str) -> bool {
        std::iter::once(&self.first).chain(&self.others).any(|known| known.id == id && known.secret == secret)
    }
}
