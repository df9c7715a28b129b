//! [`ReplayBodyLayer`], the layer.

use tower_layer::Layer;

use super::{DEFAULT_LIMIT, ReplayBodyService};

/// Layer that turns every request body into a [`ReplayBody`](super::ReplayBody), which can be sent
/// again.
///
/// Put it above the layers that send requests again. One `ReplayBodyLayer` is enough for all of
/// them, since they share the kept frames. See the [module](super) for examples.
///
/// # Examples
///
/// ```
/// use tower::Layer;
/// use turris_auth::replay::ReplayBodyLayer;
///
/// // Keeps up to a megabyte of a request for a second attempt.
/// let layer = ReplayBodyLayer::new().limit(1024 * 1024);
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayBodyLayer {
    limit: usize,
}

impl ReplayBodyLayer {
    /// Returns a layer that keeps up to [`DEFAULT_LIMIT`] bytes of each body.
    pub const fn new() -> Self {
        Self { limit: DEFAULT_LIMIT }
    }

    /// Sets how many bytes are kept of each body.
    ///
    /// Default: [`DEFAULT_LIMIT`]. Every number is valid. With 0, only bodies without content can
    /// be sent again. With [`usize::MAX`], all bodies can be sent again, and each takes as much
    /// memory as it is long.
    #[must_use]
    pub const fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }
}

impl Default for ReplayBodyLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ReplayBodyLayer {
    type Service = ReplayBodyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ReplayBodyService::new(inner, self.limit)
    }
}
