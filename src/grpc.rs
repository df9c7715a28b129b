//! Support for gRPC with tonic: layers around a channel, retries of calls, and the status of a call
//! without a token.
//!
//! A gRPC server gets a Turris token as a bearer token in `authorization`, like any HTTP server. So
//! [`TurrisAuthLayer`](crate::TurrisAuthLayer) wraps a tonic `Channel` like any other client. This
//! page describes what is different with gRPC. The module needs the feature `tonic`, which enables
//! neither tonic's transport nor its server.
//!
//! # Examples
//!
//! With the two settings that a channel needs. An ordinary HTTP client fetches the token in place
//! of the channel. The URIs of a channel are relative, so the layer has to be told to authorize
//! them.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tonic::{body::Body, transport::Endpoint};
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//! use tower::ServiceBuilder;
//! use turris_auth::replay::{ReplayBody, ReplayBodyLayer};
//! use turris_auth::{Credentials, Environment, TurrisAuthLayer};
//! use turris_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! let turris = Emulator::start().await?;
//! let credentials = Credentials::new(turris.client_id(), turris.client_secret())?;
//! let environment = Environment::custom(turris.base_url())?;
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let server_url = format!("http://{}", listener.local_addr()?);
//! # let (_reporter, health) = tonic_health::server::health_reporter();
//! # let wants_a_token = |request: tonic::Request<()>| match request.metadata().contains_key("authorization") {
//! #     true => Ok(request),
//! #     false => Err(tonic::Status::unauthenticated("a token is wanted")),
//! # };
//! # let server = tonic::transport::Server::builder()
//! #     .layer(tonic::service::InterceptorLayer::new(wants_a_token))
//! #     .add_service(health)
//! #     .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener));
//! # tokio::spawn(server);
//!
//! let layer = TurrisAuthLayer::builder(credentials, environment)
//!     .token_service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>())
//!     .authorize_relative_uris()
//!     .build()?;
//! let channel = ServiceBuilder::new()
//!     .layer(ReplayBodyLayer::new())
//!     .layer(layer)
//!     .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
//!     .service(Endpoint::from_shared(server_url)?.connect_lazy());
//!
//! let mut client = HealthClient::new(channel);
//! client.check(HealthCheckRequest::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The token goes to the server of the channel. Outside of tests, use an `https` endpoint.
//!
//! Customised: longer messages can be sent again, and the server's `PERMISSION_DENIED` means that
//! the token has expired.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tonic::{body::Body, transport::Endpoint};
//! use tower::ServiceBuilder;
//! use turris_auth::{ResponseClass, TurrisAuthLayer, replay::{ReplayBody, ReplayBodyLayer}};
//! # use turris_auth::{Credentials, Environment};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), turris_auth::BoxError> {
//! # let credentials = Credentials::new("m2m-client-abc123", "secret")?;
//! let layer = TurrisAuthLayer::builder(credentials, Environment::Sandbox)
//!     .token_service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>())
//!     .authorize_relative_uris()
//!     .classify_responses(|status, headers| match headers.get("grpc-status") {
//!         Some(code) if code == "7" => ResponseClass::Unauthorized,
//!         _ => ResponseClass::of(status, headers),
//!     })
//!     .build()?;
//! let channel = ServiceBuilder::new()
//!     .layer(ReplayBodyLayer::new().limit(4 * 1024 * 1024))
//!     .layer(layer)
//!     .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
//!     .service(Endpoint::from_static("https://grpc.example").connect_lazy());
//! # let _ = channel;
//! # Ok(())
//! # }
//! ```
//!
//! # Bodies and repeated calls
//!
//! tonic boxes the messages of a call, so the layer cannot copy them by itself. Two lines of the
//! examples solve this:
//!
//! - [`ReplayBodyLayer`] above the layer keeps the messages as they are sent, up to [a
//!   limit](crate::replay::DEFAULT_LIMIT).
//! - `map_request` below the layer turns that body into a tonic body.
//!
//! This works for all four kinds of calls. If a call is a stream, its first part is sent again, and
//! the stream then continues. Both lines are optional. Without them the status of a refused call
//! goes to the caller, and the next call has a new token.
//!
//! | response | the layer |
//! | --- | --- |
//! | `UNAUTHENTICATED` as the whole response (*trailers-only*) | replaces the token and sends the call once more, as after a 401 |
//! | the same, to the retry or to a call that is longer than the limit | returns it |
//! | `UNAUTHENTICATED` after the response has begun | returns it: messages may have been delivered already |
//! | `PERMISSION_DENIED` | returns it, like a 403 |
//! | `RESOURCE_EXHAUSTED` | returns it, like a 429: see below |
//! | a status that is not a number | returns it |
//!
//! [`ResponseClass::of`] makes these decisions, and [`classify_responses`] replaces it. Everything
//! else is as [`auth`](crate::auth) describes.
//!
//! # Rate limits
//!
//! [`TurrisBackoffLayer`] goes between [`ReplayBodyLayer`] and the auth layer. It waits out a
//! trailers-only `RESOURCE_EXHAUSTED` like a 429. The wait is `grpc-retry-pushback-ms`, or one
//! second if the pushback is zero. If the pushback is negative or not a number, the server forbids
//! a retry, and the status goes to the caller.
//!
//! Every gRPC call is a `POST`. By default the layer sends only 60 `POST`s a minute, the documented
//! limit of Turris's HTTP API. For a server with other limits, switch pacing off:
//!
//! ```
//! use turris_auth::backoff::TurrisBackoffLayer;
//!
//! let layer = TurrisBackoffLayer::builder().pacing(false).build()?;
//! # let _ = layer;
//! # Ok::<(), turris_auth::ConfigError>(())
//! ```
//!
//! # Errors
//!
//! If a call is not sent because there is no token, it ends with a `tonic::Status` that is made
//! from the [`TokenError`]. The table below has the codes. [`TokenError::find_in`] finds the error
//! in such a status, but not in a status of the server:
//!
//! ```
//! use tonic::{Code, Status};
//! use turris_auth::TokenError;
//!
//! fn explain(status: &Status) -> String {
//!     match TokenError::find_in(status) {
//!         Some(error) => format!("no token: {}", error.kind()),
//!         None => format!("the server says: {}", status.message()),
//!     }
//! }
//! # assert_eq!(explain(&Status::new(Code::Unauthenticated, "go away")), "the server says: go away");
//! ```
//!
//! The layer does this for requests whose `content-type` is `application/grpc`. Other requests get
//! the [`TokenError`] itself. If your own server uses a [`TokenHandle`](crate::TokenHandle), `?`
//! converts the error to the same status.
//!
//! | [kind](TokenErrorKind) | code |
//! | --- | --- |
//! | `InvalidCredentials` | `UNAUTHENTICATED` |
//! | `CredentialsProvider` | `UNAUTHENTICATED`: gRPC's code for a client that cannot obtain its credentials |
//! | `RateLimited` | `RESOURCE_EXHAUSTED` |
//! | `Unavailable` | `UNAVAILABLE` |
//! | `Timeout` | `DEADLINE_EXCEEDED` |
//! | `Blocked` | `PERMISSION_DENIED` |
//! | `Protocol`, `Runtime` | `INTERNAL` |
//!
//! [`ReplayBodyLayer`]: crate::replay::ReplayBodyLayer
//! [`TurrisBackoffLayer`]: crate::backoff::TurrisBackoffLayer
//! [`ResponseClass::of`]: crate::ResponseClass::of
//! [`classify_responses`]: crate::auth::TurrisAuthLayerBuilder::classify_responses

use std::sync::Arc;

use tonic::{Code, Status};

use crate::{TokenError, TokenErrorKind};

/// Converts the error of a call without a token into a status.
///
/// The status has the error's message. Its source is the error, so [`TokenError::find_in`] finds
/// the error. The [module](crate::grpc) has the table of codes.
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl From<TokenError> for Status {
    fn from(error: TokenError) -> Self {
        let code = match error.kind() {
            TokenErrorKind::InvalidCredentials | TokenErrorKind::CredentialsProvider => Code::Unauthenticated,
            TokenErrorKind::RateLimited => Code::ResourceExhausted,
            TokenErrorKind::Unavailable => Code::Unavailable,
            TokenErrorKind::Timeout => Code::DeadlineExceeded,
            TokenErrorKind::Blocked => Code::PermissionDenied,
            TokenErrorKind::Protocol | TokenErrorKind::Runtime => Code::Internal,
        };
        let mut status = Self::new(code, error.to_string());
        status.set_source(Arc::new(error));
        status
    }
}

#[cfg(test)]
mod tests;
