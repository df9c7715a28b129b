//! Which requests get the token.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use http::{
    HeaderMap, Method, Request, Uri,
    header::{AUTHORIZATION, HOST},
    uri::Authority,
};

use super::origin::Origin;
use crate::observe;

/// As an extension of a request, it turns [`TurrisAuth`](crate::TurrisAuth) and the authentication of
/// [`Turris`](crate::Turris) off for that request: it is sent without a token, and its answer is returned as it is.
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

/// Origins come from requests, so the number of those that are remembered is bounded.
const MOST_WARNED: usize = 64;

/// Whether a request gets the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    Covered,
    /// Its origin is not one of the layer's.
    Foreign,
    /// It is left out for a reason of its own: its method, its path, or a wish of the caller.
    Skipped,
}

/// The rule that says which requests get the token. All others pass through untouched.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) origins: Vec<Origin>,
    pub(super) token_path: Box<str>,
    pub(super) authorize_relative_uris: bool,
    pub(super) keep_authorization: bool,
    /// Origins that a warning was written for.
    pub(super) warned: Mutex<BTreeSet<Box<str>>>,
}

impl Scope {
    #[inline]
    pub(super) fn coverage<B>(&self, request: &Request<B>) -> Coverage {
        // RFC 9110, section 9.3.8: the answer to a `TRACE` shows its request, so that has nothing secret in it. A
        // `CONNECT` is for the proxy on the way.
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Coverage::Skipped;
        }
        if !self.is_own_origin(request.uri(), request.headers()) {
            observe::passed_without_token(request.uri());
            return if self.is_skipped(request) { Coverage::Skipped } else { Coverage::Foreign };
        }
        // A request for a token cannot need one. With a token service that leads back through this layer it would wait
        // for itself.
        let skipped = *request.uri().path() == *self.token_path || self.is_skipped(request);
        if skipped { Coverage::Skipped } else { Coverage::Covered }
    }

    #[inline]
    fn is_own_origin(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(authority)) => {
                let origin = self.origins.iter().find(|origin| origin.matches(scheme, authority));
                origin.is_some_and(|origin| {
                    all_hosts(headers, |host| {
                        host == authority.as_str().as_bytes()
                            || Authority::try_from(host).is_ok_and(|host| origin.matches(scheme, &host))
                    })
                })
            }
            // The origin is not known, so a `Host` field may name any of the allowed ones.
            (None, None) => {
                self.authorize_relative_uris
                    && all_hosts(headers, |host| {
                        Authority::try_from(host)
                            .is_ok_and(|host| self.origins.iter().any(|origin| origin.has_authority(&host)))
                    })
            }
            // The authority form, which only `CONNECT` uses.
            _ => false,
        }
    }

    #[inline]
    fn is_skipped<B>(&self, request: &Request<B>) -> bool {
        (self.keep_authorization && request.headers().contains_key(AUTHORIZATION))
            || (!request.extensions().is_empty() && request.extensions().get::<SkipAuth>().is_some())
    }

    /// A request to `uri`, which is not one of the layer's origins, got a 401. The log tells it once per origin.
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
        let is_news = warned.len() < MOST_WARNED && warned.insert(origin.as_str().into());
        // A subscriber is foreign code, which does not run under the lock.
        drop(warned);
        if is_news {
            let allowed = self.origins.iter().map(Origin::to_string).collect::<Vec<_>>().join(", ");
            observe::refused_without_token(&origin, &allowed);
        }
    }
}

/// Whether all `Host` fields agree with `agrees`. A request without one has none that disagrees.
///
/// The connection goes where the URI says, but a server of many hosts (a gateway, a content delivery network) hands the
/// request to the one that `Host` names.
#[inline]
fn all_hosts(headers: &HeaderMap, agrees: impl Fn(&[u8]) -> bool) -> bool {
    // Most requests have none yet: clients add it last. To compare the names is cheaper than to hash one for a look-up.
    !headers.keys().any(|name| *name == HOST) || headers.get_all(HOST).iter().all(|host| agrees(host.as_bytes()))
}
