//! [`TryCloneBody`], and its implementations for the standard library, `bytes` and
//! `http-body-util`.

use std::pin::Pin;

use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::{
    BodyStream, Channel, Collected, Either, Empty, Full, Limited, StreamBody,
    combinators::{BoxBody, Fuse, InspectErr, InspectFrame, MapErr, MapFrame, UnsyncBoxBody, WithTrailers},
};

/// Request body that can be copied, so that the request can be sent a second time.
///
/// It is implemented for the bodies of `http-body-util`. The features `hyper`, `axum`, `tonic` and
/// `reqwest` add the bodies of those crates. Bodies that hold their content can be copied. Boxed
/// and streaming bodies cannot be copied, unless they are empty.
/// [`ReplayBodyLayer`](crate::replay::ReplayBodyLayer) makes such bodies replayable. It also helps
/// if a body does not implement this trait at all, such as `MapErr` around a stream that is not
/// `Clone`.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
/// use turris_auth::replay::TryCloneBody;
///
/// let body = Full::new(Bytes::from_static(b"{}"));
/// assert!(body.try_clone().is_some());
/// assert!(body.boxed().try_clone().is_none());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not known as a request body that can be sent twice",
    note = "put `turris_auth::replay::ReplayBodyLayer` above this layer: it makes any body one"
)]
pub trait TryCloneBody: Sized {
    /// Returns a copy of this body, or `None` if it cannot be copied.
    ///
    /// Make the copy before the body is sent. A copy of an unread body yields the same bytes, and
    /// then the same trailers. A copy of a body that has been read in part has only the rest of it.
    /// A copy of a [`ReplayBody`](crate::replay::ReplayBody) is an exception: it always begins with
    /// the first byte.
    ///
    /// `None` is not an error: the body itself can still be sent, once.
    fn try_clone(&self) -> Option<Self>;

    /// Returns whether this unread copy can still be read from its beginning, as far as is known
    /// now.
    ///
    /// A layer calls this function before it decides to send a copy. Most copies hold their
    /// content, so the result is `true`. Copies of a [`ReplayBody`](crate::replay::ReplayBody)
    /// share the frames that were kept while another copy was sent. For them the result is `false`
    /// if the body has turned out to be too long to keep.
    fn is_replayable(&self) -> bool {
        true
    }

    /// Like [`is_replayable`](Self::is_replayable), for a layer that has decided to send this copy
    /// now or after a wait. A result of `true` stays valid during the wait.
    ///
    /// A connection may still be sending an earlier copy of a
    /// [`ReplayBody`](crate::replay::ReplayBody), although the response has arrived. This function
    /// ends that copy, because further reading could make the body too long to keep.
    fn begin_exclusive(&self) -> bool {
        self.is_replayable()
    }
}

/// For bodies, and types used as bodies, that hold their content: a clone is a copy.
macro_rules! by_clone {
    ($([$($generics:tt)*] $body:ty),* $(,)?) => {$(
        impl<$($generics)*> TryCloneBody for $body {
            fn try_clone(&self) -> Option<Self> {
                Some(self.clone())
            }
        }
    )*};
}

// `Limited` gives no access to its inner body, and its clone is not a copy for every inner body:
// the clone of a `StreamBody` may be another handle to the same queue. So the possible inner bodies
// are listed by name.
by_clone! {
    [] (),
    [] Bytes,
    [] String,
    [] Vec<u8>,
    [] &'static str,
    [] &'static [u8],
    [D: Buf + Clone] Full<D>,
    [D] Empty<D>,
    [D: Buf + Clone] Limited<Full<D>>,
    [D] Limited<Empty<D>>,
    [] Limited<String>,
}

/// For bodies whose content can be read only once, or cannot be accessed from outside of
/// `http-body-util`.
macro_rules! never {
    ($([$($generics:tt)*] $body:ty),* $(,)?) => {$(
        /// Always `None`.
        impl<$($generics)*> TryCloneBody for $body {
            fn try_clone(&self) -> Option<Self> {
                None
            }
        }
    )*};
}

never! {
    [S] StreamBody<S>,
    [B] BodyStream<B>,
    [D, E] Channel<D, E>,
    [D] Collected<D>,
    [B] Fuse<B>,
    [B, F] WithTrailers<B, F>,
}

/// For boxed bodies: they hide their content, but report when they are empty.
macro_rules! if_ended {
    ($($body:ident),*) => {$(
        /// An empty body if this body is empty, otherwise `None`.
        impl<D: Buf + 'static, E> TryCloneBody for $body<D, E> {
            fn try_clone(&self) -> Option<Self> {
                self.is_end_stream().then(Self::default)
            }
        }
    )*};
}

if_ended!(BoxBody, UnsyncBoxBody);

/// For adapters with a function. The function can be copied only by cloning the adapter with its
/// inner body. Since not every clone of a body is a copy, the inner body is then replaced by a copy
/// that its own [`TryCloneBody`] makes.
macro_rules! with_function {
    ($($body:ident),*) => {$(
        impl<B: TryCloneBody + Clone, F: Clone> TryCloneBody for $body<B, F> {
            fn try_clone(&self) -> Option<Self> {
                let inner = self.get_ref().try_clone()?;
                let mut copy = self.clone();
                *copy.get_mut() = inner;
                Some(copy)
            }

            fn is_replayable(&self) -> bool {
                self.get_ref().is_replayable()
            }

            fn begin_exclusive(&self) -> bool {
                self.get_ref().begin_exclusive()
            }
        }
    )*};
}

with_function!(MapErr, MapFrame, InspectErr, InspectFrame);

impl<L: TryCloneBody, R: TryCloneBody> TryCloneBody for Either<L, R> {
    fn try_clone(&self) -> Option<Self> {
        match self {
            Self::Left(body) => body.try_clone().map(Self::Left),
            Self::Right(body) => body.try_clone().map(Self::Right),
        }
    }

    fn is_replayable(&self) -> bool {
        match self {
            Self::Left(body) => body.is_replayable(),
            Self::Right(body) => body.is_replayable(),
        }
    }

    fn begin_exclusive(&self) -> bool {
        match self {
            Self::Left(body) => body.begin_exclusive(),
            Self::Right(body) => body.begin_exclusive(),
        }
    }
}

impl<B: TryCloneBody> TryCloneBody for Box<B> {
    fn try_clone(&self) -> Option<Self> {
        (**self).try_clone().map(Box::new)
    }

    fn is_replayable(&self) -> bool {
        (**self).is_replayable()
    }

    fn begin_exclusive(&self) -> bool {
        (**self).begin_exclusive()
    }
}

impl<B: TryCloneBody> TryCloneBody for Pin<Box<B>> {
    fn try_clone(&self) -> Option<Self> {
        (**self).try_clone().map(Box::pin)
    }

    fn is_replayable(&self) -> bool {
        (**self).is_replayable()
    }

    fn begin_exclusive(&self) -> bool {
        (**self).begin_exclusive()
    }
}
