//! [`TryCloneBody`], and what implements it of the standard library, `bytes` and `http-body-util`.

use std::pin::Pin;

use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::{
    BodyStream, Channel, Collected, Either, Empty, Full, Limited, StreamBody,
    combinators::{BoxBody, Fuse, InspectErr, InspectFrame, MapErr, MapFrame, UnsyncBoxBody, WithTrailers},
};

/// A request body of which another copy can be had, so that the request can be sent a second time.
///
/// It is implemented for the bodies of `http-body-util`, and behind features of their names for
/// those of hyper, axum, tonic and reqwest. Bodies that hold their content can be copied. Boxed and
/// streaming ones cannot, unless they have nothing to send:
/// [`ReplayBodyLayer`](crate::replay::ReplayBodyLayer) makes them so. It also helps where a body
/// has no implementation at all, such as `MapErr` around a stream that is not `Clone`.
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
    /// A copy of this body, or `None` if there is no way to have one.
    ///
    /// As long as nothing has been read of `self`, the copy yields what `self` yields: the same
    /// bytes, then the same trailers. So the time to ask is before the body is sent. Of a body that
    /// has been read from in part, most copies only have the rest; that of a
    /// [`ReplayBody`](crate::replay::ReplayBody) always begins with the first byte.
    ///
    /// `None` is no error. The body itself can still be sent, once.
    fn try_clone(&self) -> Option<Self>;

    /// Whether this copy, of which nothing has been read, can still be read from its beginning, as
    /// far as is known.
    ///
    /// It is for whoever took a copy and thinks of sending it. Where copies hold their content, as
    /// most do, the answer is always `true`. Copies of a [`ReplayBody`](crate::replay::ReplayBody)
    /// share what was kept while another one was sent, and that may have turned out to be too long
    /// to keep.
    fn is_replayable(&self) -> bool {
        true
    }

    /// The same for whoever has decided to send this copy, now or after a wait: if it is `true`, it
    /// stays so.
    ///
    /// An earlier copy of a [`ReplayBody`](crate::replay::ReplayBody) that a connection is still
    /// sending, the answer notwithstanding, ends here. It could go on to where the body is too long
    /// to keep.
    fn begin_exclusive(&self) -> bool {
        self.is_replayable()
    }
}

/// Bodies, and types that stand in for one, that hold their content: a clone is a copy.
macro_rules! by_clone {
    ($([$($generics:tt)*] $body:ty),* $(,)?) => {$(
        impl<$($generics)*> TryCloneBody for $body {
            fn try_clone(&self) -> Option<Self> {
                Some(self.clone())
            }
        }
    )*};
}

// `Limited` shows nothing of the body in it. Its own `Clone` cannot be relied on for just any body:
// that of a `StreamBody` may be another handle of the same queue. Hence these, by name.
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

/// Bodies whose content cannot be had twice, or cannot be reached from outside of `http-body-util`.
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

/// Boxed bodies do not show what they hold, but they tell when it is nothing.
macro_rules! if_ended {
    ($($body:ident),*) => {$(
        /// `None`, unless the body is at its end before anything is read: then another empty one.
        impl<D: Buf + 'static, E> TryCloneBody for $body<D, E> {
            fn try_clone(&self) -> Option<Self> {
                self.is_end_stream().then(Self::default)
            }
        }
    )*};
}

if_ended!(BoxBody, UnsyncBoxBody);

/// Adapters with a function. The function can only be had together with the body, by `Clone`; but
/// the body in the copy is the one that its own [`TryCloneBody`] makes, since not every clone is a
/// copy.
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
