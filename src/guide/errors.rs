//! Errors: their types, and how they fit `?`, anyhow, eyre and thiserror.
//!
//! | you call | the error | which part failed |
//! | --- | --- | --- |
//! | [`TurrisClient`](https://docs.rs/turris-auth/latest/turris_auth/client/) | `client::ClientError` | `kind()`; a status other than 2xx is an error |
//! | a [`Turris`](crate::Turris) | [`turris::Error`](crate::turris::Error) | [`kind()`](crate::turris::Error::kind): token, limit, client, deadline |
//! | a [`TurrisAuth`](crate::TurrisAuth) or [`TurrisBackoff`](crate::TurrisBackoff) alone, or under other layers of Tower | [`BoxError`](crate::BoxError) | [`TokenError::find_in`](crate::TokenError::find_in), else the client's own error, by a downcast |
//! | a [`TokenHandle`](crate::TokenHandle) | [`TokenError`](crate::TokenError) | [`kind()`](crate::TokenError::kind) |
//! | a builder, [`Credentials`](crate::Credentials), [`Environment`](crate::Environment) | [`ConfigError`](crate::ConfigError) | [`setting()`](crate::ConfigError::setting) |
//!
//! Every error names the failed part and a remedy, and shows no secret. Its text does not repeat
//! the text of its [source](std::error::Error::source), so print the whole chain.
//!
//! The layers return every status as a response: a 404, and also a 401 or a 429 that lasts.
//!
//! [`TokenError::find_in`](crate::TokenError::find_in) borrows a token error from inside another
//! error, however it is wrapped. `TokenError::try_from` takes it out of a `BoxError`.
//!
//! # What to do about a token error
//!
//! | [`TokenErrorKind`](crate::TokenErrorKind) | remedy |
//! | --- | --- |
//! | `InvalidCredentials`, `CredentialsProvider`, `Protocol`, `Blocked`, `Runtime` | a person: page the operator |
//! | `RateLimited`, `Unavailable`, `Timeout` | time: [`retry_after`](crate::TokenError::retry_after) says how long. A [`Turris`](crate::Turris) [has already waited](crate::turris#while-no-token-can-be-had) then, unless the time exceeds `max_wait` |
//!
//! # BoxError
//!
//! `?` turns every error here into a [`BoxError`](crate::BoxError):
//!
//! ```
//! use http_body_util::Full;
//! use tower::ServiceExt;
//! use turris_auth::{BoxError, Environment, TokenError, Turris};
//! # use tower::Layer;
//! # use turris_auth::{Credentials, TurrisLayer};
//! # use turris_emulator::{Emulator, EmulatorService as Client};
//!
//! async fn count(turris: Turris<Client>, environment: &Environment) -> Result<usize, BoxError> {
//!     let request = http::Request::get(environment.url("/v1/agencies")?);
//!     let request = request.body(Full::<bytes::Bytes>::default())?;
//!     let response = turris.oneshot(request).await?;
//!     Ok(response.headers().len())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! # let emulator = Emulator::builder().build()?;
//! # let credentials = Credentials::new(emulator.client_id(), "wrong")?;
//! # let environment = Environment::custom("http://localhost")?;
//! # let turris = TurrisLayer::new(credentials, environment.clone()).layer(emulator.service());
//! let error = count(turris, &environment).await.unwrap_err();
//! if let Some(token) = TokenError::find_in(&*error) {
//!     println!("no token ({}): try again in {:?}", token.kind(), token.retry_after());
//! }
//! # assert!(TokenError::find_in(&*error).is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # anyhow
//!
//! `?` and `.context(..)` take all errors here but `BoxError`, which does not implement `Error`. A
//! `BoxError` goes in with `anyhow::Error::from_boxed`:
//!
//! ```
//! use anyhow::Context;
//! use http::Response;
//! use turris_auth::{BoxError, Credentials, Environment, TokenError, TokenErrorKind};
//!
//! fn settings() -> anyhow::Result<(Credentials, Environment)> {
//!     let credentials = Credentials::from_env().context("the credentials of Turris")?;
//!     Ok((credentials, Environment::custom("https://gateway.example/turris")?))
//! }
//!
//! /// Takes the result of a stack of several layers.
//! fn sent(result: Result<Response<String>, BoxError>) -> anyhow::Result<Response<String>> {
//!     result.map_err(anyhow::Error::from_boxed).context("the agencies of Turris")
//! }
//! # async fn refused() -> BoxError {
//! #     use tower::{Layer, ServiceExt};
//! #     let emulator = turris_emulator::Emulator::builder().build().unwrap();
//! #     let wrong = turris_auth::Credentials::new(emulator.client_id(), "wrong").unwrap();
//! #     let environment = turris_auth::Environment::custom(emulator.base_url()).unwrap();
//! #     let request = http::Request::get(environment.url("/v1/agencies").unwrap());
//! #     let request = request.body(http_body_util::Full::<bytes::Bytes>::default()).unwrap();
//! #     let layer = turris_auth::TurrisAuthLayer::new(wrong, environment);
//! #     layer.layer(emulator.service()).oneshot(request).await.unwrap_err()
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let _ = settings();
//!
//! let error = sent(Err(refused().await)).unwrap_err();
//! let token = TokenError::find_in(error.as_ref()).unwrap();
//! assert_eq!(token.kind(), TokenErrorKind::InvalidCredentials);
//! println!("{error:#}"); // the whole chain in one line
//! # }
//! ```
//!
//! # eyre
//!
//! As with anyhow. A `BoxError` goes in with `eyre::eyre!`:
//!
//! ```
//! use http::Response;
//! use turris_auth::{BoxError, TokenError, TokenErrorKind};
//!
//! fn sent(result: Result<Response<String>, BoxError>) -> eyre::Result<Response<String>> {
//!     result.map_err(|error| eyre::eyre!(error))
//! }
//! # async fn refused() -> BoxError {
//! #     use tower::{Layer, ServiceExt};
//! #     let emulator = turris_emulator::Emulator::builder().build().unwrap();
//! #     let wrong = turris_auth::Credentials::new(emulator.client_id(), "wrong").unwrap();
//! #     let environment = turris_auth::Environment::custom(emulator.base_url()).unwrap();
//! #     let request = http::Request::get(environment.url("/v1/agencies").unwrap());
//! #     let request = request.body(http_body_util::Full::<bytes::Bytes>::default()).unwrap();
//! #     let layer = turris_auth::TurrisAuthLayer::new(wrong, environment);
//! #     layer.layer(emulator.service()).oneshot(request).await.unwrap_err()
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//!
//! let error = sent(Err(refused().await)).unwrap_err();
//! let token = TokenError::find_in(error.as_ref()).unwrap();
//! assert_eq!(token.kind(), TokenErrorKind::InvalidCredentials);
//! # }
//! ```
//!
//! # thiserror
//!
//! Let `#[from]` or `#[source]` hold the error. [`TokenError::find_in`](crate::TokenError::find_in)
//! then finds it through your error:
//!
//! ```
//! use turris_auth::{BoxError, ConfigError, TokenError, turris};
//!
//! #[derive(Debug, thiserror::Error)]
//! enum SyncError {
//!     #[error("the settings cannot be used")]
//!     Settings(#[from] ConfigError),
//!     #[error("the agencies are out of reach")]
//!     Turris(#[from] turris::Error),
//!     #[error("the uploads are out of reach")]
//!     Uploads(#[source] BoxError),
//! }
//!
//! impl SyncError {
//!     fn token_error(&self) -> Option<&TokenError> {
//!         TokenError::find_in(self)
//!     }
//! }
//! # let error = SyncError::Uploads("lost".into());
//! # assert!(error.token_error().is_none());
//! # let _ = (|error: ConfigError| SyncError::from(error), |error: turris::Error| SyncError::from(error));
//! ```
