//! [`ProtectionSpace`]: the requests that get the token.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use http::{
    HeaderMap, Method, Request, Uri,
    header::{AUTHORIZATION, HOST},
    uri::{Authority, Scheme},
};

use super::origin::Origin;
use crate::observe;

/// Extension of a request that turns [`TurrisAuth`](crate::TurrisAuth), and the authentication of
/// [`Turris`](crate::Turris), off for it.
///
/// The request is sent without a token, and its response is returned unchanged.
///
/// # Examples
///
/// ```
/// use turris_auth::SkipAuth;
///
/// let request = http::Request::get("https://public.api.live.turrisfi.com/v1/status")
///     .extension(SkipAuth)
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkipAuth;

/// The bound on remembered origins, since requests can name any number of them.
const MAX_WARNED: usize = 64;

/// Whether a request gets the token, as a [`ProtectionSpace`] decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    Covered,
    /// The layer does not cover the request's origin.
    Foreign,
    /// The layer skips the request because of its method, its path, an extension or a header.
    Skipped,
}

/// The rule that says which requests get the token: the protection space of RFC 9110, section 11.5,
/// and the exceptions of the settings. All other requests pass through untouched.
#[derive(Debug)]
pub(super) struct ProtectionSpace {
    pub(super) origins: Vec<Origin>,
    pub(super) token_path: Box<str>,
    pub(super) authorize_relative_uris: bool,
    pub(super) keep_authorization: bool,
    /// The origins that the layer has already warned about.
    pub(super) warned: Mutex<BTreeSet<Box<str>>>,
}

impl ProtectionSpace {
    // Never inlined: the caller needs its registers for the request.
    #[inline(never)]
    pub(super) fn coverage<B>(&self, request: &Request<B>) -> Coverage {
        // RFC 9110, section 9.3.8: the response to a `TRACE` shows its request, so the request must
        // hold no secret. A `CONNECT` is addressed to the proxy.
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Coverage::Skipped;
        }
        if !self.is_own_origin(request.uri(), request.headers()) {
            return self.outside(request);
        }
        // A token request needs no token. If it passes through this layer, it would wait for
        // itself.
        let skipped = self.is_token_path(request.uri().path()) || self.is_skipped(request);
        if skipped { Coverage::Skipped } else { Coverage::Covered }
    }

    /// Compares from the end, because the paths of an API begin alike.
    #[inline]
    fn is_token_path(&self, path: &str) -> bool {
        path.bytes().rev().eq(self.token_path.bytes().rev())
    }

    #[cold]
    #[inline(never)]
    fn outside<B>(&self, request: &Request<B>) -> Coverage {
        observe::passed_without_token(request.uri());
        if self.is_skipped(request) { Coverage::Skipped } else { Coverage::Foreign }
    }

    #[inline(always)]
    fn is_own_origin(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(authority)) => {
                let Some(origin) = self.origin_of(scheme, authority) else { return false };
                all_hosts(headers, |host| host == authority.as_str().as_bytes() || origin.matches_host(host))
            }
            (None, None) => self.authorize_relative_uris && self.is_own_host(headers),
            // The authority form, which only `CONNECT` uses.
            _ => false,
        }
    }

    #[inline(always)]
    fn origin_of(&self, scheme: &Scheme, authority: &Authority) -> Option<&Origin> {
        match self.origins.first() {
            // Nearly every request goes to the origin of the environment, which is the first.
            Some(origin) if origin.matches(scheme, authority) => Some(origin),
            _ => self.other_origin_of(scheme, authority),
        }
    }

    #[cold]
    #[inline(never)]
    fn other_origin_of(&self, scheme: &Scheme, authority: &Authority) -> Option<&Origin> {
        self.origins.iter().skip(1).find(|origin| origin.matches(scheme, authority))
    }

    /// Whether a request with a relative URI gets the token. Its origin is unknown, so its `Host`
    /// field may name any allowed origin.
    #[cold]
    #[inline(never)]
    fn is_own_host(&self, headers: &HeaderMap) -> bool {
        all_hosts(headers, |host| self.origins.iter().any(|origin| origin.matches_host(host)))
    }

    #[inline]
    fn is_skipped<B>(&self, request: &Request<B>) -> bool {
        (self.keep_authorization && request.headers().contains_key(AUTHORIZATION))
            || (!request.extensions().is_empty() && request.extensions().get::<SkipAuth>().is_some())
    }

    /// Logs that a request to `uri`, whose origin the layer does not cover, got a 401. Each origin
    /// is logged once.
    #[cold]
    pub(super) fn refused_without_token(&self, uri: &Uri) {
        let origin = match (uri.scheme_str(), uri.authority()) {
            // User information may be a password.
            (Some(scheme), Some(authority)) => {
                let host = authority.as_str().rsplit('@').next().unwrap_or_default();
                format!("{scheme}://{host}").to_ascii_lowercase()
            }
            _ => String::new(),
        };
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = warned.len() < MAX_WARNED && warned.insert(origin.as_str().into());
        // A subscriber is foreign code, so it runs without the lock.
        drop(warned);
        if is_first {
            let allowed = self.origins.iter().map(Origin::to_string).collect::<Vec<_>>().join(", ");
            observe::refused_without_token(&origin, &allowed);
        }
    }
}

/// Whether `agrees` holds for all `Host` fields. It holds for a request without such a field.
///
/// The URI decides where the connection goes. But a server of many hosts (a gateway, a content
/// delivery network) passes the request to the host that `Host` names.
#[inline]
fn all_hosts(headers: &HeaderMap, agrees: impl Fn(&[u8]) -> bool) -> bool {
    // Most requests have no `Host` yet, since clients add it last. Comparing all names is cheaper
    // than hashing a name for a look-up.
    !headers.keys().any(|name| *name == HOST) || present_hosts(headers, agrees)
}

#[inline(always)]
fn present_hosts(headers: &HeaderMap, agrees: impl Fn(&[u8]) -> bool) -> bool {
    // If no name occurs twice, the first `Host` is the only one.
    if headers.len() != headers.keys_len() {
        return repeated_hosts(headers, agrees);
    }
    headers.iter().find(|(name, _)| **name == HOST).is_none_or(|(_, host)| agrees(host.as_bytes()))
}

#[cold]
#[inline(never)]
fn repeated_hosts(headers: &HeaderMap, agrees: impl Fn(&[u8]) -> bool) -> bool {
    headers.get_all(HOST).iter().all(|host| agrees(host.as_bytes()))
}
