//! [`RequestClass`]: which requests share a limit.

#[cfg(not(feature = "fleet"))]
use std::hash::DefaultHasher as KeyHasher;
use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use http::{HeaderMap, Method, Uri};
// The processes of a fleet may be built with different versions of Rust, and have to compute the
// same hash for a key.
#[cfg(feature = "fleet")]
use siphasher::sip::SipHasher13 as KeyHasher;

/// Class of requests that share a limit.
///
/// Requests of one class to one authority wait for each other. They do not wait for other requests.
/// The Turris API limits only requests that change something, so by default there are two classes,
/// [`READS`](Self::READS) and [`WRITES`](Self::WRITES). A closure can divide them further: see
/// [`classify_requests`](crate::backoff::TurrisBackoffLayerBuilder::classify_requests).
///
/// # Examples
///
/// ```
/// use http::Method;
/// use turris_auth::backoff::RequestClass;
///
/// assert_eq!(RequestClass::from_method(&Method::HEAD), RequestClass::READS);
/// assert_eq!(RequestClass::from_method(&Method::DELETE), RequestClass::WRITES);
/// assert_ne!(RequestClass::WRITES.with_key("client-1"), RequestClass::WRITES.with_key("client-2"));
/// ```
// A hash replaces the key, because a class is compared on every request, and its key may be
// borrowed from the request. The lowest bit says whether the class is paced.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestClass(u64);

impl RequestClass {
    /// Requests that change nothing. The API does not limit them, so they are paced only after a
    /// server has stated a limit or refused such a request.
    pub const READS: Self = Self(2);

    /// Requests that change something. If pacing is on, they are paced from the first request.
    pub const WRITES: Self = Self(2 | Self::PACED);

    const PACED: u64 = 1;

    /// Returns the class of a method: `GET`, `HEAD`, `OPTIONS` and `TRACE` are
    /// [`READS`](Self::READS), all other methods are [`WRITES`](Self::WRITES).
    pub fn from_method(method: &Method) -> Self {
        if method.is_safe() { Self::READS } else { Self::WRITES }
    }

    /// Returns a part of this class, for the requests that `key` identifies, such as a path, a
    /// client id or a tenant.
    ///
    /// The class keeps only a hash of the key, and never shows it.
    pub fn with_key(self, key: impl Hash) -> Self {
        let mut hasher = KeyHasher::new();
        (self, key).hash(&mut hasher);
        Self(hasher.finish() & !Self::PACED | self.0 & Self::PACED)
    }

    pub(crate) fn is_paced(self) -> bool {
        self.0 & Self::PACED != 0
    }

    #[cfg(feature = "fleet")]
    pub(crate) fn key(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for RequestClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::READS => f.write_str("READS"),
            Self::WRITES => f.write_str("WRITES"),
            _ => f.debug_struct("RequestClass").field("paced", &self.is_paced()).finish_non_exhaustive(),
        }
    }
}

type Closure = dyn Fn(&Method, &Uri, &HeaderMap) -> RequestClass + Send + Sync;

/// Classifier of requests, by method or by the user's closure.
#[derive(Clone, Default)]
pub(crate) struct RequestClassifier(Option<Arc<Closure>>);

impl RequestClassifier {
    pub(crate) fn new(closure: impl Fn(&Method, &Uri, &HeaderMap) -> RequestClass + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(closure)))
    }

    pub(crate) fn classify<B>(&self, request: &http::Request<B>) -> RequestClass {
        match &self.0 {
            None => RequestClass::from_method(request.method()),
            Some(closure) => closure(request.method(), request.uri(), request.headers()),
        }
    }
}

impl fmt::Debug for RequestClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "closure" } else { "by method" })
    }
}

#[cfg(test)]
mod tests;
