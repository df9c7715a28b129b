//! The lifetime that a JWT gives itself.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::saturating_seconds;

/// RFC 7519's `NumericDate`s: seconds, with or without a fraction.
#[derive(Deserialize)]
struct Claims {
    iat: f64,
    exp: f64,
}

/// `exp - iat` of `token`, if it is a JWT that has both. The difference is the same whatever the local clock says.
///
/// The signature is not verified: it is the server that trusts the token, not its client.
pub(crate) fn lifetime(token: &str) -> Option<Duration> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?);
    // Serde also reads an array as a struct, but an array claims nothing.
    if !payload.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let Claims { iat, exp } = serde_json::from_slice(&payload).ok()?;
    Some(saturating_seconds(exp - iat))
}

#[cfg(test)]
mod tests;
