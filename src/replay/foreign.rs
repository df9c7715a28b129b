//! [`TryCloneBody`](super::TryCloneBody) for the bodies of hyper, axum, tonic and reqwest, each
//! behind its feature.

/// Always `None`: the content arrives from the peer, and can be read only once.
#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
impl super::TryCloneBody for hyper::body::Incoming {
    fn try_clone(&self) -> Option<Self> {
        None
    }
}

/// An empty body if this body is empty. Otherwise `None`, because the content is boxed.
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl super::TryCloneBody for axum_core::body::Body {
    fn try_clone(&self) -> Option<Self> {
        http_body::Body::is_end_stream(self).then(Self::empty)
    }
}

/// An empty body if this body is empty. Otherwise `None`, because the content is boxed.
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl super::TryCloneBody for tonic::body::Body {
    fn try_clone(&self) -> Option<Self> {
        http_body::Body::is_end_stream(self).then(Self::empty)
    }
}

/// `None` for a stream. The bytes of a body in memory are copied: reqwest lends them, but does not
/// share them.
#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
impl super::TryCloneBody for reqwest::Body {
    fn try_clone(&self) -> Option<Self> {
        match self.as_bytes() {
            Some(bytes) => Some(bytes::Bytes::copy_from_slice(bytes).into()),
            None => http_body::Body::is_end_stream(self).then(Self::default),
        }
    }
}
