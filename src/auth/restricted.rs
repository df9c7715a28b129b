//! The fallback to a restricted access token.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header::AUTHORIZATION};
use zeroize::Zeroizing;

use crate::{BoxError, ConfigError};

/// The vendor's header. It goes without `Authorization`, because there is no access token.
const RESTRICTED_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-restricted-access-token");

/// A restricted access token: a header value that is marked sensitive. Its memory is zeroised when
/// the last copy is dropped.
#[derive(Clone)]
pub(super) struct RestrictedAccessToken(HeaderValue);

impl RestrictedAccessToken {
    pub(super) fn new(secret: String) -> Result<Self, ConfigError> {
        let secret = Zeroizing::new(secret.into_bytes());
        let usable = !secret.is_empty() && secret.iter().all(u8::is_ascii_graphic);
        let value = usable.then(|| HeaderValue::from_maybe_shared(Bytes::from_owner(secret)).ok()).flatten();
        let expected = "a text that is not empty, of visible ASCII characters only";
        let mut value = value.ok_or_else(|| ConfigError::without_value("restricted_access_token", expected))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// Attaches this token to `request`, and removes any access token.
    pub(super) fn authorize<B>(&self, request: &mut Request<B>) -> Result<(), BoxError> {
        let headers = request.headers_mut();
        headers.remove(AUTHORIZATION);
        headers.try_insert(RESTRICTED_ACCESS_TOKEN, self.0.clone())?;
        Ok(())
    }
}
