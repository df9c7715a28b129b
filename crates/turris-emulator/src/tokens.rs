//! The tokens of the emulator: issued, checked and revoked here.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::json;
use uuid::Uuid;

use crate::{clock::epoch_seconds, jwt::Signer};

struct Live {
    client_id: Arc<str>,
    // The claims have whole seconds. The server uses the exact time.
    expires: SystemTime,
}

pub(crate) struct Tokens {
    signer: Signer,
    // The live tokens by their text. A token that equals a key was signed by this server.
    live: HashMap<String, Live>,
    sweep_at: usize,
    lifetime: Duration,
}

/// A token that has just been issued.
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) expires_in_seconds: u64,
}

/// The reason why a bearer token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidToken {
    Malformed,
    Expired,
    Revoked,
}

impl InvalidToken {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Malformed => "the access token is malformed or was not issued here",
            Self::Expired => "the access token has expired",
            Self::Revoked => "the access token has been revoked",
        }
    }
}

impl Tokens {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    const FIRST_SWEEP: usize = 1024;

    pub(crate) fn new(lifetime: Duration) -> Self {
        let mut key = [0; 32];
        fastrand::Rng::new().fill(&mut key);
        Self { signer: Signer::new(key), live: HashMap::new(), sweep_at: Self::FIRST_SWEEP, lifetime }
    }

    pub(crate) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    pub(crate) fn issue(&mut self, client_id: &str, now: SystemTime) -> Issued {
        // The longest lifetime. It lies beyond the range of dates, so such a token never expires.
        const FOREVER: Duration = Duration::from_secs(1 << 37);
        let lifetime = self.lifetime.min(FOREVER);
        // Rounded down to whole seconds, so that a client never gets less than the stated lifetime.
        let expires_in_seconds = lifetime.as_secs();
        let iat = epoch_seconds(now);
        let exp = iat.saturating_add(expires_in_seconds);
        let claims = json!({ "sub": client_id, "jti": random_uuid().to_string(), "iat": iat, "exp": exp });
        let access_token = self.signer.sign(&claims);
        if self.live.len() >= self.sweep_at {
            self.live.retain(|_, token| now < token.expires);
            self.sweep_at = self.live.len().saturating_mul(2).max(Self::FIRST_SWEEP);
        }
        let expires = now.checked_add(lifetime).unwrap_or(now);
        self.live.insert(access_token.clone(), Live { client_id: client_id.into(), expires });
        Issued { access_token, expires_in_seconds }
    }

    /// Returns the client id to which `token` was issued, if the token is valid at `now`.
    pub(crate) fn check(&self, token: &str, now: SystemTime) -> Result<Arc<str>, InvalidToken> {
        if let Some(live) = self.live.get(token) {
            return if now < live.expires { Ok(Arc::clone(&live.client_id)) } else { Err(InvalidToken::Expired) };
        }
        // The token is not live, so it is not valid. The signature only decides which reason the
        // response states.
        match self.signer.verify(token).and_then(|claims| claims.get("exp")?.as_u64()) {
            Some(exp) if epoch_seconds(now) < exp => Err(InvalidToken::Revoked),
            Some(_) => Err(InvalidToken::Expired),
            None => Err(InvalidToken::Malformed),
        }
    }

    pub(crate) fn revoke(&mut self, token: &str) -> bool {
        self.live.remove(token).is_some()
    }

    pub(crate) fn revoke_all(&mut self) {
        self.live.clear();
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("live", &self.live.len())
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

pub(crate) fn random_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid()
}
