//! [`Environment`]: the base URL of the Turris API, and the URL of its token endpoint.

use std::{
    env, fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use http::{
    Uri,
    uri::{PathAndQuery, Scheme},
};

use crate::ConfigError;

/// The token endpoint's path under a base URL.
const TOKEN_PATH: &str = "/v1/auth/jwt";

/// The server of the Turris API: production, the sandbox, or another base URL.
///
/// Use [`custom`](Self::custom) for a gateway or your own server. Use [`from_env`](Self::from_env)
/// to read the environment from a variable. A text can be parsed:
/// `"sandbox".parse::<Environment>()`.
///
/// # Examples
///
/// ```
/// use turris_auth::Environment;
///
/// assert_eq!(Environment::Sandbox.base_url().host(), Some("public.api.sandbox.turrisfi.com"));
/// assert_eq!("production".parse::<Environment>()?, Environment::Production);
///
/// let gateway = Environment::custom("https://gateway.example/turris")?;
/// assert_eq!(gateway.token_url().path(), "/turris/v1/auth/jwt");
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Environment {
    server: Server,
}

#[derive(Clone, PartialEq, Eq)]
enum Server {
    Production,
    Sandbox,
    Custom(Arc<CustomServer>),
}

/// A validated base URL.
#[derive(PartialEq, Eq)]
struct CustomServer {
    // Invariant: both URLs have a scheme, an authority with a host, and a path without a final
    // slash and without a query.
    base_url: Uri,
    token_url: Uri,
}

#[allow(non_upper_case_globals, reason = "they read as the variants that they once were")]
impl Environment {
    /// The live API, `https://public.api.live.turrisfi.com`.
    pub const Production: Self = Self { server: Server::Production };
    /// The vendor's sandbox, `https://public.api.sandbox.turrisfi.com`.
    pub const Sandbox: Self = Self { server: Server::Sandbox };
}

impl Environment {
    /// The environment variable that [`from_env`](Self::from_env) reads.
    pub const VARIABLE: &str = "TURRIS_ENVIRONMENT";

    /// Reads the environment from the variable `TURRIS_ENVIRONMENT`: `production`, `sandbox` or a
    /// base URL.
    ///
    /// The variable is read once, in this call.
    ///
    /// # Errors
    ///
    /// If the variable is missing, is not Unicode, or is neither a known name nor a URL that
    /// [`custom`](Self::custom) accepts. There is no default, so that a program without the
    /// variable never uses production by accident.
    pub fn from_env() -> Result<Self, ConfigError> {
        const EXPECTED: &str = "this environment variable to be `production`, `sandbox` or a base URL";
        let text = env::var(Self::VARIABLE).map_err(|_| ConfigError::without_value(Self::VARIABLE, EXPECTED))?;
        text.parse()
    }

    /// Creates an environment with another base URL: a gateway, a recording proxy, or your own
    /// server.
    ///
    /// If the URL has a path, it becomes a prefix of the API's paths. For example,
    /// `https://gateway.example/turris` has its token endpoint at
    /// `https://gateway.example/turris/v1/auth/jwt`.
    ///
    /// # Errors
    ///
    /// If the URL
    /// - is not absolute,
    /// - is neither `https` nor `http` to a loopback host, because credentials over plain HTTP can
    ///   be read on the way,
    /// - has a port that is not from 1 to 65535,
    /// - has a wildcard (`*`) in its host,
    /// - ends in `/v1`, since the API's own paths begin with `/v1`,
    /// - has user information, a query or a fragment.
    pub fn custom(base_url: impl AsRef<str>) -> Result<Self, ConfigError> {
        Self::parse(base_url.as_ref(), false)
    }

    /// Like [`custom`](Self::custom), but accepts plain HTTP to any host. Every machine on the way
    /// can then read the client secret and the tokens, so use it only in closed networks.
    ///
    /// # Errors
    ///
    /// Like [`custom`](Self::custom), without the loopback rule.
    pub fn custom_insecure(base_url: impl AsRef<str>) -> Result<Self, ConfigError> {
        Self::parse(base_url.as_ref(), true)
    }

    fn parse(text: &str, insecure: bool) -> Result<Self, ConfigError> {
        const SETTING: &str = "base URL";
        const ABSOLUTE: &str = "an absolute URL such as `https://gateway.example`";
        // The part before the `@` may contain a password, so the error does not show the URL.
        if text.contains('@') {
            return Err(ConfigError::without_value(SETTING, "a URL without user information (no `@`)"));
        }
        // A query may contain a key, so it is not shown. `http::Uri` silently drops a fragment, so
        // both are searched for in the text.
        let shown = text.split(['?', '#']).next().unwrap_or_default();
        let refused = |expected| ConfigError::new(SETTING, shown, expected);
        if shown.len() < text.len() {
            return Err(refused("a URL without a query and without a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| refused(ABSOLUTE))?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return Err(refused(ABSOLUTE)) };
        let host = authority.host();
        // `http::Uri` accepts any text in brackets as a host. In a path it accepts characters that
        // RFC 3986 forbids.
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
        Ok(Self { server: Server::Custom(Arc::new(CustomServer { base_url, token_url })) })
    }

    /// Returns the base URL. A path in it has no final slash.
    pub fn base_url(&self) -> Uri {
        match &self.server {
            Server::Production => Uri::from_static("https://public.api.live.turrisfi.com"),
            Server::Sandbox => Uri::from_static("https://public.api.sandbox.turrisfi.com"),
            Server::Custom(custom) => custom.base_url.clone(),
        }
    }

    /// Returns the URL of a resource: `path`, optionally with a query, under the base URL.
    ///
    /// # Errors
    ///
    /// If `path` does not begin with a slash, or has characters that a URL cannot contain.
    ///
    /// # Examples
    ///
    /// ```
    /// use turris_auth::Environment;
    ///
    /// let gateway = Environment::custom("https://gateway.example/turris/")?;
    /// let url = gateway.url("/v1/agencies?limit=10")?;
    /// assert_eq!(url, "https://gateway.example/turris/v1/agencies?limit=10");
    /// # Ok::<(), turris_auth::ConfigError>(())
    /// ```
    pub fn url(&self, path: &str) -> Result<Uri, ConfigError> {
        let refused = || {
            // A query may contain a key, so it is not shown.
            let shown = path.split(['?', '#']).next().unwrap_or_default();
            ConfigError::new(
                "path",
                shown,
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

    /// Returns the URL of the token endpoint: `/v1/auth/jwt` under the base URL.
    pub fn token_url(&self) -> Uri {
        match &self.server {
            Server::Production => Uri::from_static("https://public.api.live.turrisfi.com/v1/auth/jwt"),
            Server::Sandbox => Uri::from_static("https://public.api.sandbox.turrisfi.com/v1/auth/jwt"),
            Server::Custom(custom) => custom.token_url.clone(),
        }
    }
}

fn with_path(uri: Uri, path: &str) -> Option<Uri> {
    let path = if path.is_empty() { "/" } else { path };
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// Returns whether `text`, the part of an authority after the host, is empty or a port from 1 to
/// 65535.
fn is_port(text: &str) -> bool {
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.strip_prefix(':').filter(|port| digits(port)).and_then(|port| port.parse().ok());
    text.is_empty() || port.is_some_and(|port: u16| port != 0)
}

/// Returns whether plain HTTP to `host` stays on this machine: `localhost` (reserved by RFC 6761)
/// or a loopback address.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Parses `production`, `sandbox`, or a base URL that [`Environment::custom`] accepts. The case of
/// the names does not matter.
impl FromStr for Environment {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if text.eq_ignore_ascii_case("production") {
            Ok(Self::Production)
        } else if text.eq_ignore_ascii_case("sandbox") {
            Ok(Self::Sandbox)
        } else if text.contains("://") {
            Self::custom(text)
        } else {
            // The text may be a misplaced key, so it is not shown.
            Err(ConfigError::without_value(
                "environment",
                "`production`, `sandbox` or a base URL such as `https://gateway.example`",
            ))
        }
    }
}

/// Like [`Environment::custom`].
impl TryFrom<Uri> for Environment {
    type Error = ConfigError;

    fn try_from(base_url: Uri) -> Result<Self, ConfigError> {
        Self::custom(base_url.to_string())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Server::Production => f.write_str("Production"),
            Server::Sandbox => f.write_str("Sandbox"),
            Server::Custom(custom) => f.debug_tuple("Custom").field(&custom.base_url).finish(),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base_url().fmt(f)
    }
}
