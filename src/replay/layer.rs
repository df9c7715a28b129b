//! [`ReplayBodyLayer`].

use tower_layer::Layer;

use super::{DEFAULT_BOUND, ReplayBodyService};

/// Makes every request body a [`ReplayBody`](super::ReplayBody), which can be sent again.
///
/// It belongs above the layers that repeat requests. One is enough for all of them: they share what it keeps.
/// See the [module](super) for examples.
///
/// # Examples
///
/// ```
/// use tower::Layer;
/// use turris_auth::replay::ReplayBodyLayer;
///
/// // Keeps up to a megabyte of a request for a second attempt.
/// let layer = ReplayBodyLayer::new().bound(1024 * 1024);
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayBodyLayer {
    bound: usize,
}

impl ReplayBodyLayer {
    /// A layer that keeps up to [`DEFAULT_BOUND`] bytes of each body.
    pub const fn new() -> Self {
        Self { bound: DEFAULT_BOUND }
    }

    /// Sets how many bytes are kept of each body.
    ///
    /// Default: [`DEFAULT_BOUND`]. Every number works: with 0, only bodies without content can be repeated; with
    /// [`usize::MAX`], all of them can, for as much memory as they take.
    #[must_use]
    pub const fn bound(mut self, bytes: usize) -> Self {
        self.bound = bytes;
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
        ReplayBodyService::new(inner, self.bound)
    }
}
