//! [`Origin`]: an origin that the token may be sent to.

use std::fmt;

use http::{
    Uri,
    uri::{Authority, Scheme},
};

use crate::{ConfigError, Environment};

/// A scheme, a host and a port (RFC 6454), normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The scheme: `https`, or else `http`.
    is_https: bool,
    /// The authority as it was configured. Nearly every request spells it in the same way, so a
    /// comparison of the bytes is usually enough.
    authority: Box<str>,
    /// In lower case.
    host: Box<str>,
    port: u16,
}

impl Origin {
    pub(super) fn of(environment: &Environment) -> Option<Self> {
        Self::from_uri(&environment.base_url())
    }

    /// Parses an origin that a user names.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        const SETTING: &str = "allow_origin";
        let expected = "an origin such as `https://files.example:8443`, over `https` or to a loopback host";
        // A query may hold a key.
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        // An origin follows the rules of a base URL, because it gets the same token.
        match Environment::custom(text) {
            Ok(environment) if environment.base_url().path() == "/" => {
                Self::of(&environment).ok_or_else(|| ConfigError::new(SETTING, shown, expected))
            }
            // A password may stand before an `@`.
            Err(_) if text.contains('@') => Err(ConfigError::without_value(SETTING, expected)),
            _ => Err(ConfigError::new(SETTING, shown, expected)),
        }
    }

    fn from_uri(uri: &Uri) -> Option<Self> {
        let (scheme, authority) = (uri.scheme()?, uri.authority()?);
        Some(Self {
            is_https: is_https(scheme)?,
            authority: authority.as_str().into(),
            host: authority.host().to_ascii_lowercase().into(),
            port: port(scheme, authority)?,
        })
    }

    /// Whether an absolute URI with this scheme and authority has this origin.
    #[inline(always)]
    pub(super) fn matches(&self, scheme: &Scheme, authority: &Authority) -> bool {
        // The authority is compared first: that is cheap, and it decides most comparisons.
        (authority.as_str() == &*self.authority || self.matches_normalised(scheme, authority))
            && is_https(scheme) == Some(self.is_https)
    }

    fn scheme(&self) -> Scheme {
        if self.is_https { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// Whether the value of a `Host` field names the host and port of this origin, under its
    /// scheme.
    #[cold]
    #[inline(never)]
    pub(super) fn matches_host(&self, host: &[u8]) -> bool {
        Authority::try_from(host).is_ok_and(|host| self.matches(&self.scheme(), &host))
    }

    #[cold]
    #[inline(never)]
    fn matches_normalised(&self, scheme: &Scheme, authority: &Authority) -> bool {
        // RFC 9110, section 4.2.4: an `http` URI must not carry user information. Its effect on a
        // server is unknown.
        !authority.as_str().contains('@')
            && authority.host().eq_ignore_ascii_case(&self.host)
            && port(scheme, authority) == Some(self.port)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority)
    }
}

/// Returns `None` if the scheme is neither `https` nor `http`. Comparing the text with constants
/// costs half as much as comparing two schemes.
#[inline]
fn is_https(scheme: &Scheme) -> Option<bool> {
    match scheme.as_str() {
        "https" => Some(true),
        "http" => Some(false),
        _ => None,
    }
}

/// Returns the stated port or the scheme's default port (RFC 9110, section 4.2). `None` if
///
/// - the host is followed by text other than a colon and digits,
/// - there is no port and the scheme has no default.
fn port(scheme: &Scheme, authority: &Authority) -> Option<u16> {
    // `Authority` itself accepts text after the bracket of an address, and a sign before a port.
    let after_host = authority.as_str().strip_prefix(authority.host())?;
    let digits = if after_host.is_empty() { after_host } else { after_host.strip_prefix(':')? };
    match digits {
        "" if *scheme == Scheme::HTTPS => Some(443),
        "" if *scheme == Scheme::HTTP => Some(80),
        "" => None,
        _ if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    }
}
