//! Middleware that makes request bodies replayable, so that a request can be sent twice.
//!
//! To send a request again, a layer needs a copy of its body. The trait [`TryCloneBody`] makes that
//! copy. Bodies in memory, such as `http_body_util::Full`, need nothing else. [`ReplayBodyLayer`]
//! makes every other request body replayable, including streams. It wraps the body in a
//! [`ReplayBody`], which keeps the frames as they are sent, up to a limit. A copy first reads the
//! kept frames, and then goes on with the source.
//!
//! A body above the limit is still sent, but cannot be sent again. The layers below learn this from
//! [`TryCloneBody::is_replayable`], and return the response that would have led to a retry.
//!
//! Put this layer above the layers that send requests again. Several such layers, for instance
//! [`auth`](crate::auth) under [`backoff`](crate::backoff), share the kept frames of one
//! [`ReplayBody`]. A second `ReplayBodyLayer` is of no use: it only adds a second list of frames.
//!
//! # Examples
//!
//! With the defaults, and a service that sends each body twice:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::{BodyExt, Empty, StreamBody};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use turris_auth::{BoxError, replay::{ReplayBody, ReplayBodyLayer, TryCloneBody}};
//! # use http_body::Frame;
//! # type Stream = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, BoxError>>>>;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut client = ServiceBuilder::new().layer(ReplayBodyLayer::new()).service(service_fn(
//!     async |request: Request<ReplayBody<Stream>>| {
//!         let copy = request.body().try_clone().expect("nothing has passed the limit yet");
//!         // The first attempt gets no further than the first frame.
//!         let mut first = request.into_body();
//!         let _ = first.frame().await;
//!         // The second attempt sends everything.
//!         assert!(copy.is_replayable());
//!         assert_eq!(copy.collect().await?.to_bytes(), "to be sent twice");
//!         // The first attempt then ends with an error.
//!         assert!(first.frame().await.is_some_and(|frame| frame.is_err()));
//!         Ok::<_, BoxError>(Response::new(Empty::<Bytes>::new()))
//!     },
//! ));
//!
//! let frames = ["to be ", "sent ", "twice"].map(|data| Ok(Frame::data(Bytes::from(data))));
//! let body = StreamBody::new(futures_util::stream::iter(Vec::from(frames)));
//! let response = client.ready().await?.call(Request::post("/").body(body)?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! Customised: a larger limit, for documents of up to 8 MiB:
//!
//! ```
//! use turris_auth::replay::ReplayBodyLayer;
//!
//! let layer = ReplayBodyLayer::new().limit(8 * 1024 * 1024);
//! # let _ = layer;
//! ```

mod body;
mod buffer;
mod error;
mod foreign;
mod kept_frames;
mod layer;
mod reader;
mod service;
mod try_clone;

pub use body::ReplayBody;
pub use error::ReplayBodyError;
pub use layer::ReplayBodyLayer;
pub use service::ReplayBodyService;
pub use try_clone::TryCloneBody;

/// The default number of bytes that are kept of each body: 64 KiB.
///
/// This is enough for the JSON of an ordinary API request, and little enough for a thousand
/// requests at once.
pub const DEFAULT_LIMIT: usize = 64 * 1024;
