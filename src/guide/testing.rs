//! Your own code against the emulator.
//!
//! The feature `emulator` has an embedded Turris: real tokens that expire and can be revoked, the documented limits,
//! faults on request, and counters. Add the crate once more, for tests only:
//!
//! ```toml
//! [dev-dependencies]
//! turris-auth = { version = "0.1", features = ["emulator"] }
//! ```
//!
//! Let your code take the service and the [`Environment`](crate::Environment) from outside, and a test can give it the
//! emulator's:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body::Body;
//! use http_body_util::{BodyExt, Full};
//! use tower::{BoxError, Layer, Service, ServiceExt};
//! use turris_auth::{Environment, TurrisAuthLayer, emulator::{Emulator, Endpoint, Fault}};
//!
//! /// The code to be tested.
//! async fn agencies<S, B>(api: S, environment: &Environment) -> Result<Bytes, BoxError>
//! where
//!     S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError>,
//!     B: Body<Error: Into<BoxError>>,
//! {
//!     let request = Request::get(environment.url("/v1/agencies")?).body(Full::default())?;
//!     let response = api.oneshot(request).await?;
//!     match response.status() {
//!         StatusCode::OK => Ok(response.into_body().collect().await.map_err(Into::into)?.to_bytes()),
//!         status => Err(format!("the agencies are not to be had: {status}").into()),
//!     }
//! }
//!
//! // In a test: `#[tokio::test(start_paused = true)]`. Time passes as fast as the test can go.
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let turris = Emulator::builder().build()?;
//! let layer = TurrisAuthLayer::new(turris.credentials(), turris.environment());
//! let api = layer.layer(turris.service());
//! let environment = turris.environment();
//!
//! // What you expect of every day.
//! assert!(agencies(api.clone(), &environment).await?.starts_with(b"{"));
//!
//! // A token that is revoked under you: the caller sees nothing of it.
//! turris.revoke_all_tokens();
//! agencies(api.clone(), &environment).await?;
//! assert_eq!(turris.counters().unauthorized, 1);
//!
//! // A token that has expired.
//! tokio::time::advance(std::time::Duration::from_secs(2 * 60 * 60)).await;
//! agencies(api.clone(), &environment).await?;
//! assert_eq!(turris.counters().token_requests, 3);
//!
//! // An API that fails.
//! turris.fault(Endpoint::prefix("/v1/agencies"), Fault::status(StatusCode::BAD_GATEWAY).times(1));
//! let error = agencies(api, &environment).await.unwrap_err();
//! assert_eq!(error.to_string(), "the agencies are not to be had: 502 Bad Gateway");
//! # Ok(())
//! # }
//! ```
//!
//! In memory, as here, the emulator obeys paused time. To test the HTTP client as well,
//! [`Emulator::start`](https://docs.rs/turris-auth/latest/turris_auth/emulator/struct.Emulator.html#method.start) serves on a
//! loopback port; leave time alone there. Other languages, and you by hand, can use
//! `cargo run --example emulator`.
