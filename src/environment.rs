//! Where the Turris API is: its base URL, and with it the token URL and the origin that the token belongs to.

use std::{fmt, net::IpAddr};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::ConfigError;

/// The token endpoint's path under every base URL.
const TOKEN_PATH: &str = "/v1/auth/jwt";

/// Where the Turris API is.
///
/// # Examples
///
/// ```
/// use turris_auth::Environment;
///
/// assert_eq!(Environment::Sandbox.base_url().host(), Some("public.api.sandbox.turrisfi.com"));
///
/// let gateway = Environment::custom("https://gateway.example/turris")?;
/// assert_eq!(gateway.token_url().path(), "/turris/v1/auth/jwt");
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Environment {
    /// The live API, `https://public.api.live.turrisfi.com`.
    Production,
    /// The vendor's sandbox, `https://public.api.sandbox.turrisfi.com`.
    Sandbox,
    /// Any other base URL: [`Environment::custom`] and [`Environment::custom_insecure`] make these.
    Custom(CustomEnvironment),
}

/// A base URL that has been found usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomEnvironment {
    // Invariant: has a scheme, an authority with a host, and a path without a slash at its end or a query.
    base_url: Uri,
}

impl Environment {
    /// The API behind another base URL: a gateway, a recording proxy, a server of one's own.
    ///
    /// A path is kept and put in front of the API's own (`https://gateway.example/turris` asks for its tokens at
    /// `https://gateway.example/turris/v1/auth/jwt`).
    ///
    /// # Errors
    ///
    /// When the URL is not absolute, is neither `https` nor `http` to a loopback host, or has user information, a query
    /// or a fragment. Credentials sent over plain HTTP can be read by whoever is in between, hence the loopback rule.
    pub fn custom(base_url: impl AsRef<str>) -> Result<Self, ConfigError> {
        Self::parse(base_url.as_ref(), false)
    }

    /// As [`custom`](Self::custom), but lets the client secret and the tokens travel over plain HTTP to any host, where
    /// anyone on the way can read them. For closed networks only.
    ///
    /// # Errors
    ///
    /// As [`custom`](Self::custom), but for the loopback rule.
    pub fn custom_insecure(base_url: impl AsRef<str>) -> Result<Self, ConfigError> {
        Self::parse(base_url.as_ref(), true)
    }

    fn parse(text: &str, insecure: bool) -> Result<Self, ConfigError> {
        const SETTING: &str = "base URL";
        // A password may stand before the `@`, so a URL that has one is refused without being shown.
        if text.contains('@') {
            return Err(ConfigError::without_value(SETTING, "a URL without user information (no `@`)"));
        }
        let refused = |expected| ConfigError::new(SETTING, text, expected);
        let absolute = "an absolute URL such as `https://gateway.example`";
        let uri: Uri = text.parse().map_err(|_| refused(absolute))?;
        let (Some(scheme), Some(host)) = (uri.scheme(), uri.host().filter(|host| !host.is_empty())) else {
            return Err(refused(absolute));
        };
        // `http::Uri` drops a fragment without a word, so it is looked for in the text.
        if uri.query().is_some() || text.contains('#') {
            return Err(refused("a URL without a query and without a fragment"));
        }
        let authority = uri.authority().map_or("", Authority::as_str);
        if authority.rsplit(']').next().is_some_and(|rest| rest.contains(':')) && uri.port_u16().is_none() {
            return Err(refused("a port from 0 to 65535 after the colon"));
        }
        if *scheme == Scheme::HTTP {
            if !insecure && !is_loopback(host) {
                return Err(refused("`https`, or `http` to a loopback host (`custom_insecure` allows any host)"));
            }
        } else if *scheme != Scheme::HTTPS {
            return Err(refused("the scheme `https`, or `http` to a loopback host"));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        let base_url = with_path(uri, &path).ok_or_else(|| refused(absolute))?;
        Ok(Self::Custom(CustomEnvironment { base_url }))
    }

    /// The base URL. A path in it has no slash at its end.
    pub fn base_url(&self) -> Uri {
        match self {
            Self::Production => Uri::from_static("https://public.api.live.turrisfi.com"),
            Self::Sandbox => Uri::from_static("https://public.api.sandbox.turrisfi.com"),
            Self::Custom(custom) => custom.base_url.clone(),
        }
    }

    /// The URL of the token endpoint, `POST /v1/auth/jwt` under the base URL.
    pub fn token_url(&self) -> Uri {
        let base_url = self.base_url();
        let path = format!("{}{TOKEN_PATH}", base_url.path().trim_end_matches('/'));
        // A path that was valid stays valid with more ASCII path segments behind it.
        with_path(base_url.clone(), &path).unwrap_or(base_url)
    }
}

fn with_path(uri: Uri, path: &str) -> Option<Uri> {
    let path = if path.is_empty() { "/" } else { path };
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether plain HTTP to `host` stays on this machine: `localhost` (RFC 6761 reserves it) or a loopback address.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base_url().fmt(f)
    }
}
