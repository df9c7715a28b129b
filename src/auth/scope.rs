//! Which requests get the token.

use http::{
    HeaderMap, HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, HOST},
    uri::{Authority, Scheme},
};

use super::origin::Origin;
use crate::observe;

/// Keeps a layer away from one request: as an extension of the request, it makes
/// [`TurrisAuth`](crate::TurrisAuth) pass the request and its answer through untouched.
///
/// # Examples
///
/// ```
/// use turris_auth::auth::SkipAuthorization;
///
/// let request = http::Request::get("https://public.api.live.turrisfi.com/v1/status")
///     .extension(SkipAuthorization)
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkipAuthorization;

/// The rule. Anything that it does not cover passes through untouched.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) origins: Vec<Origin>,
    pub(super) token_path: Box<str>,
    pub(super) relative_uris_belong_here: bool,
    pub(super) keep_authorization: bool,
}

impl Scope {
    pub(super) fn covers<B>(&self, request: &Request<B>) -> bool {
        // RFC 9110, section 9.3.8: the answer to a `TRACE` shows its request, so that has nothing secret in it. A
        // `CONNECT` is for the proxy on the way.
        let leaves_out = matches!(*request.method(), Method::CONNECT | Method::TRACE);
        if leaves_out || !self.covers_target(request.uri(), request.headers()) {
            return false;
        }
        if self.keep_authorization && request.headers().contains_key(AUTHORIZATION) {
            return false;
        }
        request.extensions().is_empty() || request.extensions().get::<SkipAuthorization>().is_none()
    }

    fn covers_target(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let belongs = match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(authority)) => {
                let origin = self.origins.iter().find(|origin| origin.matches(scheme, authority));
                origin.is_some_and(|origin| hosts_agree(headers, scheme, authority, origin))
            }
            (None, None) => self.relative_uris_belong_here,
            // The authority form, which only `CONNECT` uses.
            _ => false,
        };
        if !belongs {
            observe::passed_without_token(uri);
        }
        // A request for a token cannot need one; with a token service that leads back through this layer it would wait
        // for itself.
        belongs && !self.is_token_path(uri.path())
    }

    /// The paths of an API begin alike, so that a look at the end spares nearly all requests the comparison.
    fn is_token_path(&self, path: &str) -> bool {
        path.as_bytes().last() == self.token_path.as_bytes().last() && *path == *self.token_path
    }
}

/// Whether the `Host` fields, if there are any, name the origin that the URI has.
///
/// The connection goes where the URI says, but whoever answers there for many hosts (a gateway, a content delivery
/// network) hands the request to the one that `Host` names.
fn hosts_agree(headers: &HeaderMap, scheme: &Scheme, authority: &Authority, origin: &Origin) -> bool {
    let agrees = |host: &HeaderValue| {
        host.as_bytes() == authority.as_str().as_bytes()
            || Authority::try_from(host.as_bytes()).is_ok_and(|host| origin.matches(scheme, &host))
    };
    // Most requests have none yet: clients add it last. To compare the names is cheaper than to hash one for a look-up.
    !headers.keys().any(|name| *name == HOST) || headers.get_all(HOST).iter().all(agrees)
}
