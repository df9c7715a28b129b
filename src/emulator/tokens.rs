//! The tokens: signed, expired and revoked here.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, crypto::rust_crypto, errors::Error as JwtError,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::clock::epoch_seconds;

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    jti: Uuid,
    iat: u64,
    exp: u64,
}

struct Live {
    client_id: Arc<str>,
    // The claims have whole seconds only; the server goes by the exact time.
    expires: SystemTime,
}

pub(super) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    // By the token itself: who sends one of these texts has a token that was signed here.
    live: HashMap<String, Live>,
    sweep_at: usize,
    lifetime: Duration,
}

/// A token that was just issued.
pub(super) struct Issued {
    pub(super) access_token: String,
    pub(super) expires_in_seconds: u64,
}

/// Why a bearer token is not accepted, as the error object puts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    Expired,
    Revoked,
}

impl Refusal {
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Malformed => "the access token is malformed or was not issued here",
            Self::Expired => "the access token has expired",
            Self::Revoked => "the access token has been revoked",
        }
    }
}

impl Tokens {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    const FIRST_SWEEP: usize = 1024;

    pub(super) fn new(lifetime: Duration) -> Self {
        // With one crypto backend compiled in this changes nothing. When another crate of the program has switched on
        // a second one, jsonwebtoken would panic for want of a choice; one that was made before stands.
        let _ = rust_crypto::DEFAULT_PROVIDER.install_default();
        let mut key = [0; 32];
        fastrand::Rng::new().fill(&mut key);
        let mut validation = Validation::new(Algorithm::HS256);
        // The library would go by the system's clock; expiry is checked here, by the emulator's.
        validation.validate_exp = false;
        Self {
            signing: EncodingKey::from_secret(&key),
            verifying: DecodingKey::from_secret(&key),
            validation,
            live: HashMap::new(),
            sweep_at: Self::FIRST_SWEEP,
            lifetime,
        }
    }

    pub(super) fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    pub(super) fn issue(&mut self, client_id: &str, now: SystemTime) -> Result<Issued, JwtError> {
        // A lifetime beyond what dates can be written for means that the token never expires.
        const FOREVER: Duration = Duration::from_secs(1 << 37);
        let lifetime = self.lifetime.min(FOREVER);
        // Whole seconds, rounded down: no client is promised more than it gets.
        let expires_in_seconds = lifetime.as_secs();
        let iat = epoch_seconds(now);
        let claims =
            Claims { sub: client_id.to_owned(), jti: random_uuid(), iat, exp: iat.saturating_add(expires_in_seconds) };
        let access_token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)?;
        if self.live.len() >= self.sweep_at {
            self.live.retain(|_, token| now < token.expires);
            self.sweep_at = self.live.len().saturating_mul(2).max(Self::FIRST_SWEEP);
        }
        let expires = now.checked_add(lifetime).unwrap_or(now);
        self.live.insert(access_token.clone(), Live { client_id: client_id.into(), expires });
        Ok(Issued { access_token, expires_in_seconds })
    }

    /// The client id that `token` was issued to, when it is good at `now`.
    pub(super) fn check(&self, token: &str, now: SystemTime) -> Result<Arc<str>, Refusal> {
        if let Some(live) = self.live.get(token) {
            return if now < live.expires { Ok(Arc::clone(&live.client_id)) } else { Err(Refusal::Expired) };
        }
        match jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation) {
            Ok(decoded) if epoch_seconds(now) < decoded.claims.exp => Err(Refusal::Revoked),
            Ok(_) => Err(Refusal::Expired),
            Err(_) => Err(Refusal::Malformed),
        }
    }

    pub(super) fn revoke(&mut self, token: &str) -> bool {
        self.live.remove(token).is_some()
    }

    pub(super) fn revoke_all(&mut self) {
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

pub(super) fn random_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid()
}
