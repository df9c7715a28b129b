//! What to send when no access token can be had.
//!
//! A *restricted access token* is a long-lived secret that the vendor binds to a list of addresses. The API takes it in
//! the header `x-restricted-access-token`, where there is no access token. It helps over an outage of the token endpoint.
//!
//! The layer uses one only if it is told to, and only where the request would fail for want of a token:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{BoxError, TurrisAuthLayer, emulator::{Emulator, Endpoint, Fault}};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let turris = Emulator::builder().build()?;
//! let layer = TurrisAuthLayer::builder(turris.credentials(), turris.environment())
//!     .token_service(turris.service())
//!     .restricted_access_token("the-restricted-access-token")
//!     .build()?;
//!
//! turris.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
//! let api = layer.layer(tower::service_fn(|request: Request<Full<Bytes>>| async move {
//!     let headers = request.headers();
//!     assert!(headers.contains_key("x-restricted-access-token") && !headers.contains_key("authorization"));
//!     Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
//! }));
//! let request = Request::get(turris.environment().url("/v1/agencies")?).body(Full::default())?;
//! assert_eq!(api.oneshot(request).await?.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! What to know before turning it on:
//!
//! * It covers every [`TokenError`](crate::TokenError), wrong credentials too, and so hides them from callers. Watch
//!   `turris_auth_token_fetches_total` and `turris_auth_restricted_access_token_total`, or the warnings in the log.
//! * The first requests of an outage wait until the fetch has failed, which `token_timeout` bounds. While fetching cools
//!   down, the others are sent at once.
//! * Its answer is the caller's. A 401 for it is returned: there is no other token to try.
//! * A client below the layer that follows redirects takes it along to other hosts: such clients know that
//!   `Authorization` is not to be sent there, and know nothing of this header. Follow redirects above the layer only.
//! * With a [`TurrisBackoffLayer`](crate::TurrisBackoffLayer) around it nothing waits for a token any longer, since there is
//!   no `TokenError` to wait out.
