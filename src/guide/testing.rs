//! Tests of your own code against the emulator.
//!
//! The crate [`turris-emulator`](https://docs.rs/turris-emulator) is an embedded Turris: real
//! tokens that expire and can be revoked, the documented limits, faults on request, and counters.
//! Add it for tests only:
//!
//! ```toml
//! [dev-dependencies]
//! turris-emulator = "0.1"
//! ```
//!
//! Time can be paused if the emulator is used in memory, under a layer. A
//! [`TurrisClient`](#with-turrisclient-or-to-test-the-http-client-as-well) and a client of reqwest
//! use sockets, so their tests wait in real time, but not for long.
//!
//! Let your code take the service and the [`Environment`](crate::Environment) as arguments. A test
//! then passes the emulator's service and environment:
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body::Body;
//! use http_body_util::{BodyExt, Full};
//! use tower::{Layer, Service, ServiceExt};
//! use turris_auth::{BoxError, Credentials, Environment, TokenError, TokenErrorKind, TurrisLayer};
//! use turris_emulator::{Emulator, Endpoint, Fault};
//!
//! /// The code to be tested.
//! async fn agencies<S, B>(api: S, environment: &Environment) -> Result<Bytes, BoxError>
//! where
//!     S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>>,
//!     B: Body<Error: Into<BoxError>>,
//! {
//!     let request = Request::get(environment.url("/v1/agencies")?).body(Full::default())?;
//!     let response = api.oneshot(request).await.map_err(Into::into)?;
//!     match response.status() {
//!         StatusCode::OK => {
//!             Ok(response.into_body().collect().await.map_err(Into::into)?.to_bytes())
//!         }
//!         status => Err(format!("the API answered {status}").into()),
//!     }
//! }
//!
//! // In a test: `#[tokio::test(start_paused = true)]`. Time passes as fast as the test can go.
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let emulator = Emulator::builder().build()?;
//! let credentials = Credentials::new(emulator.client_id(), emulator.client_secret())?;
//! let environment = Environment::custom(emulator.base_url())?;
//! let api = TurrisLayer::new(credentials, environment.clone()).layer(emulator.service());
//!
//! // The ordinary case.
//! assert!(agencies(api.clone(), &environment).await?.starts_with(b"{"));
//!
//! // 401: the token is revoked. Your code does not notice.
//! emulator.revoke_all_tokens();
//! agencies(api.clone(), &environment).await?;
//! assert_eq!(emulator.counters().unauthorized, 1);
//!
//! // 429: a rate limit. Your code waits.
//! let refused = Fault::status(StatusCode::TOO_MANY_REQUESTS).times(1);
//! emulator.fault(Endpoint::prefix("/v1/agencies"), refused);
//! agencies(api.clone(), &environment).await?;
//!
//! // An outage of the token endpoint, while the token expires. Your code gets an error in the end.
//! emulator.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
//! tokio::time::advance(Duration::from_secs(2 * 60 * 60)).await;
//! let error = agencies(api.clone(), &environment).await.unwrap_err();
//! let token_error = TokenError::find_in(&*error).expect("a token error");
//! assert_eq!(token_error.kind(), TokenErrorKind::Unavailable);
//!
//! // The outage ends. The next request gets a new token.
//! emulator.clear_faults();
//! agencies(api.clone(), &environment).await?;
//!
//! // An API that fails.
//! let failed = Fault::status(StatusCode::BAD_GATEWAY).times(1);
//! emulator.fault(Endpoint::prefix("/v1/agencies"), failed);
//! let error = agencies(api, &environment).await.unwrap_err();
//! assert_eq!(error.to_string(), "the API answered 502 Bad Gateway");
//! # Ok(())
//! # }
//! ```
//!
//! In memory, as here, the emulator obeys paused time.
//!
//! # With `TurrisClient`, or to test the HTTP client as well
//!
//! [`Emulator::start`](https://docs.rs/turris-emulator/latest/turris_emulator/struct.Emulator.html#method.start)
//! serves on a loopback port. Do not pause time there. Short times keep such a test quick:
//!
//! | to test | on the emulator | on the client |
//! | --- | --- | --- |
//! | a 401 | `revoke_all_tokens()` | |
//! | a 429 | `Fault::status(TOO_MANY_REQUESTS)` with a `Retry-After` of a second | |
//! | an outage | `Fault::status(SERVICE_UNAVAILABLE)` | `max_wait` or `max_retries`, since the client [waits](crate::turris#while-no-token-can-be-had) for the end of the outage |
//! | expiry | `set_token_lifetime(..)` of a second | |
//!
#![cfg_attr(feature = "client", doc = "```")]
#![cfg_attr(not(feature = "client"), doc = "```ignore")]
//! use std::time::Duration;
//! use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
//! use turris_auth::{BoxError, Credentials, Environment, TokenErrorKind, TurrisClient};
//! use turris_emulator::{Emulator, Endpoint, Fault};
//!
//! // In a test: `#[tokio::test]`.
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let emulator = Emulator::start().await?;
//! let credentials = Credentials::new(emulator.client_id(), emulator.client_secret())?;
//! let environment = Environment::custom(emulator.base_url())?;
//! let turris = TurrisClient::builder(credentials, environment)
//!     .layer(|layer| layer.max_wait(Duration::from_millis(1_500)))
//!     .build()?;
//!
//! // 429: your code waits for a second.
//! let refused = Fault::status(StatusCode::TOO_MANY_REQUESTS)
//!     .with_header(RETRY_AFTER, HeaderValue::from_static("1"))
//!     .times(1);
//! emulator.fault(Endpoint::prefix("/v1/agencies"), refused);
//! turris.get("/v1/agencies").await?;
//! assert_eq!(emulator.counters().rate_limited, 1);
//!
//! // An outage of the token endpoint when a new token is due. Your code gets an error in the end.
//! emulator.fault(Endpoint::Token, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
//! turris.handle().invalidate();
//! let error = turris.get("/v1/agencies").await.unwrap_err();
//! let token_error = error.token_error().expect("there is no token");
//! assert_eq!(token_error.kind(), TokenErrorKind::Unavailable);
//! # Ok(())
//! # }
//! ```
//!
//! For programs in other languages, and by hand, `cargo run -p turris-emulator` in this repository
//! serves the emulator.
