//! Where the token may go: the origins that belong to it.

use std::fmt;

use http::{
    Uri,
    uri::{Authority, Scheme},
};

use crate::{ConfigError, Environment};

/// A scheme, a host and a port (RFC 6454), normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: Scheme,
    /// In the one form that nearly every request uses, so that one comparison of bytes is all it costs.
    authority: Box<str>,
    /// In lower case.
    host: Box<str>,
    port: u16,
}

impl Origin {
    pub(super) fn of(environment: &Environment) -> Option<Self> {
        Self::from_uri(&environment.base_url())
    }

    /// An origin that a user names.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        const SETTING: &str = "allowed origin";
        let expected = "an origin such as `https://files.example:8443`, over `https` or to a loopback host";
        // A query may hold a key.
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        // The same rules as for a base URL, as the same token goes there.
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
            scheme: scheme.clone(),
            authority: authority.as_str().into(),
            host: authority.host().to_ascii_lowercase().into(),
            port: port(scheme, authority)?,
        })
    }

    /// Whether `uri`, an absolute one, has this origin.
    pub(super) fn matches(&self, scheme: &Scheme, authority: &Authority) -> bool {
        if *scheme != self.scheme {
            return false;
        }
        authority.as_str() == &*self.authority || self.matches_normalised(scheme, authority)
    }

    /// Whether `authority` has the host and port of this origin, under its scheme.
    pub(super) fn has_authority(&self, authority: &Authority) -> bool {
        self.matches(&self.scheme, authority)
    }

    #[cold]
    fn matches_normalised(&self, scheme: &Scheme, authority: &Authority) -> bool {
        // RFC 9110, section 4.2.4: user information has no place here, and what a server makes of it is unknown.
        !authority.as_str().contains('@')
            && authority.host().eq_ignore_ascii_case(&self.host)
            && port(scheme, authority) == Some(self.port)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// The port that is meant. `None` if what follows the host is neither a colon and digits nor nothing, or if there is no
/// port and the scheme has no default (RFC 9110, section 4.2).
fn port(scheme: &Scheme, authority: &Authority) -> Option<u16> {
    // `Authority` itself takes text behind the bracket of an address, and a sign before a port.
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
