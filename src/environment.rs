//! Where the Turris API is: its base URL, and with it the token URL and the origin that the token belongs to.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use http::{
    Uri,
    uri::{PathAndQuery, Scheme},
};

use crate::ConfigError;

/// The token endpoint's path under a base URL.
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
    // Invariant: both have a scheme and an authority with a host, and a path without a slash at its end or a query.
    base_url: Uri,
    token_url: Uri,
}

impl Environment {
    /// The API behind another base URL: a gateway, a recording proxy, a server of one's own.
    ///
    /// A path is kept and put in front of the API's own (`https://gateway.example/turris` asks for its tokens at
    /// `https://gateway.example/turris/v1/auth/jwt`).
    ///
    /// # Errors
    ///
    /// When the URL is not absolute, is neither `https` nor `http` to a loopback host, has a port that cannot be
    /// connected to, ends in `/v1` (the API's own paths begin with it), or has user information, a query or a fragment.
    /// Credentials sent over plain HTTP can be read by whoever is in between, hence the loopback rule.
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
        const ABSOLUTE: &str = "an absolute URL such as `https://gateway.example`";
        // A password may stand before the `@`, so a URL that has one is refused without being shown.
        if text.contains('@') {
            return Err(ConfigError::without_value(SETTING, "a URL without user information (no `@`)"));
        }
        // A query may hold a key, so it is not shown. `http::Uri` drops a fragment without a word, so both are looked
        // for in the text.
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        let refused = |expected| ConfigError::new(SETTING, shown, expected);
        if shown.len() < text.len() {
            return Err(refused("a URL without a query and without a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| refused(ABSOLUTE))?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return Err(refused(ABSOLUTE)) };
        let host = authority.host();
        // `http::Uri` takes any text in brackets for a host, and characters that RFC 3986 does not allow in a path.
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if host.is_empty() || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_err()) || !text.is_ascii() {
            return Err(refused(ABSOLUTE));
        }
        if !authority.as_str().strip_prefix(host).is_some_and(is_port) {
            return Err(refused("nothing behind the host but a path and a port from 1 to 65535"));
        }
        if *scheme == Scheme::HTTP {
            if !insecure && !is_loopback(host) {
                return Err(refused("`https`, or `http` to a loopback host (`custom_insecure` allows any host)"));
            }
        } else if *scheme != Scheme::HTTPS {
            return Err(refused("the scheme `https`, or `http` to a loopback host"));
        }
        if host.contains('*') {
            return Err(refused("one host: there are no wildcards"));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        if path.ends_with("/v1") {
            return Err(refused("a URL without `/v1` at its end, which the API's own paths begin with"));
        }
        let token_url = with_path(uri.clone(), &format!("{path}{TOKEN_PATH}")).ok_or_else(|| refused(ABSOLUTE))?;
        let base_url = with_path(uri, &path).ok_or_else(|| refused(ABSOLUTE))?;
        Ok(Self::Custom(CustomEnvironment { base_url, token_url }))
    }

    /// The base URL. A path in it has no slash at its end.
    pub fn base_url(&self) -> Uri {
        match self {
            Self::Production => Uri::from_static("https://public.api.live.turrisfi.com"),
            Self::Sandbox => Uri::from_static("https://public.api.sandbox.turrisfi.com"),
            Self::Custom(custom) => custom.base_url.clone(),
        }
    }

    /// The URL of a resource: `path`, which may have a query, under the base URL.
    ///
    /// # Errors
    ///
    /// When `path` does not begin with a slash or has characters that a URL cannot have.
    ///
    /// # Examples
    ///
    /// ```
    /// use turris_auth::Environment;
    ///
    /// let url = Environment::custom("https://gateway.example/turris/")?.url("/v1/agencies?limit=10")?;
    /// assert_eq!(url, "https://gateway.example/turris/v1/agencies?limit=10");
    /// # Ok::<(), turris_auth::ConfigError>(())
    /// ```
    pub fn url(&self, path: &str) -> Result<Uri, ConfigError> {
        let refused = || {
            ConfigError::new(
                "path",
                path,
                "a path such as `/v1/agencies?limit=10`, percent-encoded where a URL needs it",
            )
        };
        if !path.starts_with('/') {
            return Err(refused());
        }
        let base_url = self.base_url();
        let path = format!("{}{path}", base_url.path().trim_end_matches('/'));
        with_path(base_url, &path).ok_or_else(refused)
    }

    /// The URL of the token endpoint, `POST /v1/auth/jwt` under the base URL.
    pub fn token_url(&self) -> Uri {
        match self {
            Self::Production => Uri::from_static("https://public.api.live.turrisfi.com/v1/auth/jwt"),
            Self::Sandbox => Uri::from_static("https://public.api.sandbox.turrisfi.com/v1/auth/jwt"),
            Self::Custom(custom) => custom.token_url.clone(),
        }
    }
}

fn with_path(uri: Uri, path: &str) -> Option<Uri> {
    let path = if path.is_empty() { "/" } else { path };
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether `text`, what follows the host in an authority, is nothing or a port that can be connected to.
fn is_port(text: &str) -> bool {
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.strip_prefix(':').filter(|port| digits(port)).and_then(|port| port.parse().ok());
    text.is_empty() || port.is_some_and(|port: u16| port != 0)
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
