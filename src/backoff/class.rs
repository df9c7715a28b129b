//! Which requests share an allowance.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use http::{HeaderMap, Method, Uri};

/// Requests of one class, to one authority, share an allowance: they wait for each other and for nobody else.
///
/// The Turris API limits requests that change something and no others, so there are two classes to begin with. A
/// closure given to [`classify`](super::TurrisBackoffLayerBuilder::classify) can divide them further.
///
/// # Examples
///
/// ```
/// use http::Method;
/// use turris_auth::backoff::RequestClass;
///
/// assert_eq!(RequestClass::of(&Method::HEAD), RequestClass::READS);
/// assert_eq!(RequestClass::of(&Method::DELETE), RequestClass::WRITES);
/// assert_ne!(RequestClass::WRITES.with("client-1"), RequestClass::WRITES.with("client-2"));
/// ```
// A hash stands for the key: a class is compared on every request, and its key may be borrowed from the request. The
// lowest bit says whether the class is paced.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestClass(u64);

impl RequestClass {
    /// Requests that change nothing. They are not paced: the API does not limit them.
    pub const READS: Self = Self(2);

    /// Requests that change something. They are paced, where pacing is on.
    pub const WRITES: Self = Self(2 | Self::PACED);

    const PACED: u64 = 1;

    /// The class of a method: `GET`, `HEAD`, `OPTIONS` and `TRACE` are [`READS`](Self::READS), all others
    /// [`WRITES`](Self::WRITES).
    pub fn of(method: &Method) -> Self {
        if method.is_safe() { Self::READS } else { Self::WRITES }
    }

    /// The part of this class that `key` names: a path, a client id, a tenant.
    ///
    /// Only a hash of the key is kept. A key need not be secret, and is never shown.
    pub fn with(self, key: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        (self, key).hash(&mut hasher);
        Self(hasher.finish() & !Self::PACED | self.0 & Self::PACED)
    }

    pub(super) fn is_paced(self) -> bool {
        self.0 & Self::PACED != 0
    }

    pub(super) fn key(self) -> u64 {
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

/// How requests are classified: by method, or as the user says.
#[derive(Clone, Default)]
pub(super) struct RequestClassifier(Option<Arc<Closure>>);

impl RequestClassifier {
    pub(super) fn new(closure: impl Fn(&Method, &Uri, &HeaderMap) -> RequestClass + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(closure)))
    }

    pub(super) fn classify<B>(&self, request: &http::Request<B>) -> RequestClass {
        match &self.0 {
            None => RequestClass::of(request.method()),
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
