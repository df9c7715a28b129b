//! gRPC with tonic: which layers a channel needs, what is repeated, and what a caller sees when there is no token.
//!
//! A gRPC server that takes Turris's tokens wants them as a bearer token in `authorization`, as any HTTP server does. So
//! [`TurrisAuthLayer`](crate::TurrisAuthLayer) goes on a tonic `Channel` as it goes on any other client; this module has what
//! is different about gRPC. It needs the feature `tonic`, which brings in neither tonic's transport nor its server.
//!
//! # Examples
//!
//! The whole stack. Two settings are not optional here: the token itself comes over an ordinary HTTP client, not over the
//! channel; and a channel is handed relative URIs, of which the layer must be told that they belong here.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tonic::{body::Body, transport::Endpoint};
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//! use tower::ServiceBuilder;
//! use turris_auth::{Credentials, Environment, TurrisAuthLayer, replay::{ReplayBody, ReplayBodyLayer}};
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
//! The token goes wherever the channel leads. Outside of tests that has to be an `https` endpoint.
//!
//! Customised: longer messages can be repeated, and a server whose `PERMISSION_DENIED` means that the token has expired:
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
//!     .layer(ReplayBodyLayer::new().bound(4 * 1024 * 1024))
//!     .layer(layer)
//!     .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
//!     .service(Endpoint::from_static("https://grpc.example").connect_lazy());
//! # let _ = channel;
//! # Ok(())
//! # }
//! ```
//!
//! # Which bodies, and what is repeated
//!
//! tonic boxes the messages of a call, so the layer cannot copy them by itself. [`ReplayBodyLayer`] above it keeps what has
//! been sent, up to [a bound](crate::replay::DEFAULT_BOUND), and the `map_request` below it makes a tonic body of that
//! again. It works for calls of all four kinds: what of a stream has been sent is sent again, and then the stream goes on.
//! Both lines can be left out. Then a refused call goes back to its caller, and the next one has a new token.
//!
//! | the server answers | the layer |
//! | --- | --- |
//! | `UNAUTHENTICATED` instead of a response (*trailers-only*) | replaces the token and sends the call once more, as after a 401 |
//! | the same, to the repeated call or to one that is longer than the bound | returns it |
//! | `UNAUTHENTICATED` after the response has begun | returns it: messages may have been delivered already |
//! | `PERMISSION_DENIED` | returns it, as it does a 403 |
//! | `RESOURCE_EXHAUSTED` | returns it, as it does a 429: see below |
//! | a status that is no number | returns it |
//!
//! [`ResponseClass::of`] is that judgement, and [`classify_responses`] replaces it. Everything else is as [`auth`](crate::auth)
//! says.
//!
//! # Rate limits
//!
//! [`TurrisBackoffLayer`] goes between [`ReplayBodyLayer`] and the auth layer. It waits out a trailers-only
//! `RESOURCE_EXHAUSTED` as it does a 429, for as long as `grpc-retry-pushback-ms` says, though not less than a second.
//! A pushback that is negative or no number says that the call must not be repeated: the status is the caller's then.
//!
//! Every gRPC call is a `POST`. To keep to the documented limit of Turris's own API, the layer holds back more than 60 of
//! those in a minute. For a server with limits of its own, switch that off:
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
//! A call that was not sent for want of a token ends with a `tonic::Status` of its own, made from the
//! [`TokenError`] as the table below says. [`TokenError::find_in`] finds the error in it, which tells the status
//! apart from one that the server has sent:
//!
//! ```
//! use tonic::{Code, Status};
//! use turris_auth::TokenError;
//!
//! fn explain(status: &Status) -> String {
//!     match TokenError::find_in(status) {
//!         Some(error) => format!("no token ({}), try again in {:?}", error.kind(), error.retry_after()),
//!         None => format!("the server says: {}", status.message()),
//!     }
//! }
//! # assert_eq!(explain(&Status::new(Code::Unauthenticated, "go away")), "the server says: go away");
//! ```
//!
//! The layer does this for requests whose `content-type` is `application/grpc`; others get the [`TokenError`] itself. Where a
//! server of one's own asks a [`TokenHandle`](crate::TokenHandle), `?` makes the same status.
//!
//! | [kind](TokenErrorKind) | code |
//! | --- | --- |
//! | `InvalidCredentials` | `UNAUTHENTICATED` |
//! | `CredentialsProvider` | `UNAUTHENTICATED`: gRPC's code for a client that cannot come by its credentials |
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

/// The status of a call that was not sent for want of a token.
///
/// Its message is the error's own, and the error is its source: [`TokenError::find_in`] finds it there. The
/// [module](crate::grpc) has the table of codes.
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
