//! The restricted access token: a fallback if no access token can be obtained.
//!
//! A *restricted access token* is a long-lived secret that the vendor binds to a list of addresses.
//! The API takes it in the header `x-restricted-access-token`, in place of an access token. It
//! bridges an outage of the token endpoint.
//!
//! The layer uses it only if it is set, and only for a request that would fail otherwise:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{Layer, ServiceExt};
//! use turris_auth::{BoxError, Credentials, Environment, TurrisAuthLayer};
//! use turris_emulator::{Emulator, Endpoint, Fault};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let turris = Emulator::builder().build()?;
//! let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
//! let environment = Environment::custom(turris.base_url())?;
//! let layer = TurrisAuthLayer::builder(credentials, environment.clone())
//!     .token_service(turris.service())
//!     .restricted_access_token("the-restricted-access-token")
//!     .build()?;
//!
//! turris.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
//! let api = layer.layer(tower::service_fn(|request: Request<Full<Bytes>>| async move {
//!     let headers = request.headers();
//!     assert!(headers.contains_key("x-restricted-access-token"));
//!     assert!(!headers.contains_key("authorization"));
//!     Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
//! }));
//! let request = Request::get(environment.url("/v1/agencies")?).body(Full::default())?;
//! assert_eq!(api.oneshot(request).await?.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! Know this before you set it:
//!
//! * It replaces every [`TokenError`](crate::TokenError), even for wrong credentials, and so hides
//!   these errors from callers. Watch `turris_auth_token_fetches_total` and
//!   `turris_auth_restricted_access_token_total`, or the warnings in the log.
//! * The first requests of an outage wait until the fetch has failed, which `token_timeout` bounds.
//!   While fetching cools down, requests are sent at once.
//! * A 401 to the restricted access token is returned: there is no other token to try.
//! * If a client below the layer follows redirects, it sends this header to other hosts. Such
//!   clients remove `Authorization`, but do not know this header. Follow redirects above the layer
//!   only.
//! * Under a [`TurrisBackoffLayer`](crate::TurrisBackoffLayer) requests no longer wait for a token,
//!   because there is no `TokenError` to wait out.
