//! Stacks of layers: their order, their types, and the versions that go together.
//!
//! # The order
//!
//! From the outside in:
//!
//! 1. the caller's timeout (`TimeoutLayer`),
//! 2. the identity of the request (`SetRequestIdLayer` for an idempotency key), which all attempts
//!    share,
//! 3. a body that can be sent twice ([`ReplayBodyLayer`](crate::replay::ReplayBodyLayer)),
//! 4. [`TurrisLayer`](crate::TurrisLayer),
//! 5. layers that describe single attempts (`TraceLayer`) or bound them (`TimeoutLayer`),
//! 6. the client.
//!
//! ```no_run
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http::{HeaderName, Request};
//! use http_body_util::combinators::UnsyncBoxBody;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{ServiceBuilder, ServiceExt, timeout::TimeoutLayer};
//! use tower_http::{request_id::{MakeRequestUuid, SetRequestIdLayer}, trace::TraceLayer};
//! use turris_auth::replay::{ReplayBody, ReplayBodyLayer};
//! use turris_auth::{BoxError, Credentials, Environment, TurrisLayer};
//!
//! // Any body, streams too. (Its error is a concrete one: see `guide::compile_errors`.)
//! type Body = UnsyncBoxBody<Bytes, std::io::Error>;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), BoxError> {
//! # let body = UnsyncBoxBody::default();
//! let client = Client::builder(TokioExecutor::new()).build_http::<ReplayBody<Body>>();
//! let turris = ServiceBuilder::new()
//!     // For everything below together, including the waits for rate limits.
//!     .layer(TimeoutLayer::new(Duration::from_secs(300)))
//!     // The vendor answers a repeated key with the first response.
//!     .layer(SetRequestIdLayer::new(HeaderName::from_static("idempotency-key"), MakeRequestUuid))
//!     // Keeps up to 64 KiB for a second attempt. Bodies in memory need no such layer.
//!     .layer(ReplayBodyLayer::new())
//!     .layer(TurrisLayer::new(Credentials::from_env()?, Environment::Production))
//!     // Each attempt is a span of its own. The token is marked sensitive, so no trace shows it.
//!     .layer(TraceLayer::new_for_http())
//!     .service(client);
//!
//! let url = Environment::Production.url("/v1/downstream-entities/onboarding/invite")?;
//! let request = Request::post(url).header("content-type", "application/json").body(body)?;
//! let response = turris.oneshot(request).await?;
//! println!("{}", response.status());
//! # Ok(())
//! # }
//! ```
//!
//! | body | 401 and 429 are retried | add |
//! | --- | --- | --- |
//! | `Full<Bytes>` | yes | nothing |
//! | boxed, streaming, hyper's, axum's, tonic's | up to 64 KiB (settable); above that, the response goes to the caller | `ReplayBodyLayer` above, `ReplayBody<Body>` in the client's type |
//! | the same, without that layer | no: the response goes to the caller | `.token_service(..)`, since no token request can be made of such a body |
//!
//! # The type of a stack
//!
//! The state of a web service needs a type. Without other layers it is short:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::client::legacy::{Client, connect::HttpConnector};
//! use turris_auth::Turris;
//!
//! #[derive(Clone)]
//! struct App {
//!     turris: Turris<Client<HttpConnector, Full<Bytes>>>,
//! }
//! ```
//!
//! Layers such as `TraceLayer` change the type of the response's body. Below
//! [`TurrisLayer`](crate::TurrisLayer) such a stack can still be named:
//!
//! ```
//! # use bytes::Bytes;
//! # use http_body_util::Full;
//! # use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
//! # use tower::ServiceBuilder;
//! # use turris_auth::{ConfigError, Credentials, Environment, Turris, TurrisLayer};
//! use tower_http::trace::{HttpMakeClassifier, Trace, TraceLayer};
//!
//! type Traced = Turris<Trace<Client<HttpConnector, Full<Bytes>>, HttpMakeClassifier>>;
//!
//! fn traced(layer: TurrisLayer) -> Traced {
//!     let client = Client::builder(TokioExecutor::new()).build_http();
//!     ServiceBuilder::new().layer(layer).layer(TraceLayer::new_for_http()).service(client)
//! }
//! # traced(TurrisLayer::new(Credentials::new("m2m-client-abc123", "secret")?, Environment::Sandbox));
//! # Ok::<(), ConfigError>(())
//! ```
//!
//! If the type becomes too long, box the stack. `BoxCloneSyncService` can be cloned and shared
//! between threads, and the body of the response is boxed with it:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
//! use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
//! use tower_http::trace::TraceLayer;
//! use turris_auth::{BoxError, TurrisLayer};
//! # use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
//! # use turris_auth::{ConfigError, Credentials, Environment};
//!
//! type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
//! type Boxed = BoxCloneSyncService<Request<Full<Bytes>>, Response<AnyBody>, BoxError>;
//!
//! fn boxed(layer: TurrisLayer, client: Client<HttpConnector, Full<Bytes>>) -> Boxed {
//!     let stack = ServiceBuilder::new()
//!         .layer(TraceLayer::new_for_http())
//!         .layer(layer)
//!         .service(client)
//!         .map_response(|response| {
//!             response.map(|body| body.map_err(BoxError::from).boxed_unsync())
//!         })
//!         .map_err(BoxError::from);
//!     BoxCloneSyncService::new(stack)
//! }
//! # let client = Client::builder(TokioExecutor::new()).build_http();
//! # boxed(TurrisLayer::new(Credentials::new("m2m-client-abc123", "secret")?, Environment::Sandbox), client);
//! # Ok::<(), ConfigError>(())
//! ```
//!
//! The allocation for each request is small beside the request itself. Take the
//! [handle](crate::Turris::handle) before you box the stack. If the layer has a token service of
//! its own, the layer also has a handle.
//!
//! # What you have
//!
//! | you have | what to paste | request bodies | a 401 is retried |
//! | --- | --- | --- | --- |
//! | nothing yet | `TurrisClient`, feature `client` | JSON | always |
//! | hyper-util's client, HTTP/1.1 or HTTP/2, plain or TLS | [`TurrisLayer`](crate::TurrisLayer) around `Client<_, B>` | any `B: From<Bytes>`, as `Full<Bytes>` | in memory: always; streams: with `ReplayBodyLayer` |
//! | reqwest | `ReqwestClient`, feature `reqwest`; `ReqwestService` for other layers | `reqwest::Body` | in memory: always; streams: with `ReplayBodyLayer` |
//! | reqwest-middleware | a middleware of 30 lines, [`reqwest_middleware.rs`](https://github.com/turris-auth/turris-auth/blob/main/crates/stacks/examples/reqwest_middleware.rs) | as reqwest | as reqwest |
//! | axum, as a service that calls Turris | the client or the stack in the state, [`axum_service.rs`](https://github.com/turris-auth/turris-auth/blob/main/crates/stacks/examples/axum_service.rs) | as above | as above |
//! | axum, as a proxy | [`axum_proxy`](https://github.com/turris-auth/turris-auth/tree/main/crates/stacks/examples/axum_proxy) | `ReplayBody<axum::body::Body>` | streams up to 64 KiB |
//! | tonic | [`grpc`](https://docs.rs/turris-auth/latest/turris_auth/grpc/), feature `tonic`; a separate HTTP client fetches the tokens | calls of all four kinds, with `ReplayBodyLayer` | with `ReplayBodyLayer`; so is an `UNAUTHENTICATED` that is the whole response |
//! | tower's `Balance`, `Hedge`, `Reconnect`, `SpawnReady` | `Buffer::new(it, bound)` around them, since the layer clones the service that it wraps | those of the service inside | as above |
//!
//! # Versions
//!
//! | crate | works with | note |
//! | --- | --- | --- |
//! | `http` 1, `http-body` 1, `tower` 0.5 | hyper 1, hyper-util 0.1, hyper-rustls 0.27, tower-http 0.6 and 0.7 | |
//! | `axum` 0.8 (`axum-core` 0.5) | feature `axum` | tonic 0.14 uses it too |
//! | `tonic` 0.14 | feature `tonic` | needs prost 0.14 |
//! | `reqwest` 0.13 | feature `reqwest` | reqwest-middleware 0.5 uses it too |
//!
//! Versions of `http` before 1, and so hyper 0.14, axum 0.6, tonic 0.11 and reqwest 0.11, have
//! other types. Two versions of one crate in a program show as the error "expected `Request`, found
//! `Request`": `cargo tree --duplicates` finds them.
