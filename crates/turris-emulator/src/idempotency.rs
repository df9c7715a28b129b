//! The first responses to requests with an idempotency key.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use uuid::{Uuid, Variant, Version};

/// How long a repeated key gets the first response. The documentation says one hour.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// Returns the key of a request. `None` if the request has no key.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<Uuid>, InvalidKey> {
    let Some(value) = headers.get("idempotency-key").or_else(|| headers.get("x-idempotency-key")) else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(|text| Uuid::try_parse(text).ok()).ok_or(InvalidKey)?;
    if key.get_version() == Some(Version::Random) && key.get_variant() == Variant::RFC4122 {
        Ok(Some(key))
    } else {
        Err(InvalidKey)
    }
}

/// The error of a key that is not a UUID of version 4.
#[derive(Debug)]
pub(crate) struct InvalidKey;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Id {
    client_id: Box<str>,
    path: Box<str>,
    key: Uuid,
}

/// The stored responses.
#[derive(Debug, Default)]
pub(crate) struct StoredResponses {
    kept: HashMap<Id, (Instant, StatusCode, Bytes)>,
    sweep_at: usize,
}

impl StoredResponses {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn find(&self, client_id: &str, path: &str, key: Uuid, now: Instant) -> Option<(StatusCode, Bytes)> {
        let id = Id { client_id: client_id.into(), path: path.into(), key };
        let (at, status, body) = self.kept.get(&id)?;
        (now.saturating_duration_since(*at) < KEPT).then(|| (*status, body.clone()))
    }

    pub(crate) fn keep(&mut self, client_id: &str, path: &str, key: Uuid, now: Instant, answer: (StatusCode, Bytes)) {
        if self.kept.len() >= self.sweep_at {
            self.kept.retain(|_, (at, ..)| now.saturating_duration_since(*at) < KEPT);
            self.sweep_at = self.kept.len().saturating_mul(2).max(1024);
        }
        let id = Id { client_id: client_id.into(), path: path.into(), key };
        self.kept.insert(id, (now, answer.0, answer.1));
    }
}
