//! The lifetime that a JWT (RFC 7519) states.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::saturating_seconds;

/// The `NumericDate`s of RFC 7519: seconds, with or without a fraction.
#[derive(Deserialize)]
struct Claims {
    iat: f64,
    exp: f64,
}

/// Returns `exp - iat` of `token`, if it is a JWT that has both. The difference does not depend on
/// the local clock.
///
/// The signature is not verified: only the server has to trust the token.
pub(crate) fn lifetime(token: &str) -> Option<Duration> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?);
    // Serde would read an array as a struct too, but the claims of a JWT are an object.
    if !payload.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let Claims { iat, exp } = serde_json::from_slice(&payload).ok()?;
    Some(saturating_seconds(exp - iat))
}

#[cfg(test)]
mod tests;
