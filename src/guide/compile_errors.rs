//! Compile errors of stacks, with their causes and remedies.
//!
//! If `.oneshot()` or `.ready()` says that "trait bounds were not satisfied", wrap the stack in
//! [`check_service`](crate::check_service), or in [`check_spawn`](crate::check_spawn) if its
//! requests are sent from spawned tasks. The compiler then names the bound that is missing. These
//! causes are common:
//!
//! | the compiler says | cause | remedy |
//! | --- | --- | --- |
//! | "a token cannot be fetched through the wrapped service" | the body is [boxed](#a-boxed-body) or [text](#a-string-as-the-body), and a token request cannot be made of it | `ReplayBodyLayer` above, or `.token_service(..)` |
//! | "`Clone` is not satisfied" | [the client is not `Clone`](#a-client-that-is-not-clone) | tower's `Buffer` around the client |
//! | "`Client: Service<..>` is not satisfied", "`Service<Request> for Client`" | [reqwest's client](#reqwests-client-under-a-layer) takes only its own type of request | `ReqwestService` in its place |
//! | "`Service<..Request<ReplayBody<..>>>` is not implemented" | [the client takes another body](#a-replay-layer-over-a-client-of-plain-bodies) than `ReplayBodyLayer` sends | `ReplayBody<B>` in the client's type |
//! | "cannot be sent from a spawned task", "is not general enough" | [the body's error is a `BoxError`](#a-boxed-error-in-a-spawned-task) | a concrete error |
//!
//! # A boxed body
//!
//! The body of a token request is made from bytes, and a boxed body is not `From<Bytes>`.
//!
//! ```compile_fail
//! use bytes::Bytes;
//! use http_body_util::combinators::UnsyncBoxBody;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::Layer;
//! use turris_auth::{Credentials, Environment, TurrisLayer, check_service};
//!
//! type Body = UnsyncBoxBody<Bytes, std::io::Error>;
//!
//! # fn main() -> Result<(), turris_auth::BoxError> {
//! let layer = TurrisLayer::new(Credentials::from_env()?, Environment::Sandbox);
//! let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
//! check_service::<Body, _>(layer.layer(client));
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! error[E0277]: a token cannot be fetched through the wrapped service `…`
//! …
//! note: the request body must be `From<Bytes>`, such as `Full<Bytes>`…
//! note: `turris_auth::replay::ReplayBodyLayer` above this layer makes any body `From<Bytes>`
//! note: `.token_service(..)` of the layer's builder fetches through another service, …
//! note: required by a bound in `check_service`
//! ```
//!
//! [`ReplayBodyLayer`](crate::replay::ReplayBodyLayer) makes the body `From<Bytes>`, and lets it be
//! sent again after a 401 or a 429. It changes the body that the client sends, so the client's type
//! names [`ReplayBody`](crate::replay::ReplayBody):
//!
//! ```
//! # use bytes::Bytes;
//! # use http_body_util::combinators::UnsyncBoxBody;
//! # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! # use tower::ServiceBuilder;
//! # use turris_auth::{Credentials, Environment, TurrisLayer, check_service, replay::{ReplayBody, ReplayBodyLayer}};
//! # type Body = UnsyncBoxBody<Bytes, std::io::Error>;
//! # fn main() -> Result<(), turris_auth::BoxError> {
//! # let credentials = Credentials::new("m2m-client-abc123", "secret")?;
//! let stack = ServiceBuilder::new()
//!     .layer(ReplayBodyLayer::new())
//!     .layer(TurrisLayer::new(credentials, Environment::Sandbox))
//!     .service(Client::builder(TokioExecutor::new()).build_http::<ReplayBody<Body>>());
//! check_service::<Body, _>(stack);
//! # Ok(())
//! # }
//! ```
//!
//! # A `String` as the body
//!
//! Text is not `From<Bytes>` either.
//!
//! ```compile_fail
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::Layer;
//! use turris_auth::{Credentials, Environment, TurrisLayer, check_service};
//!
//! # fn main() -> Result<(), turris_auth::BoxError> {
//! let layer = TurrisLayer::new(Credentials::from_env()?, Environment::Sandbox);
//! let client = Client::builder(TokioExecutor::new()).build_http::<String>();
//! check_service::<String, _>(layer.layer(client));
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! error[E0277]: a token cannot be fetched through the wrapped service `…`
//! …
//! the trait `TokenTransport<…, String>` is not implemented for `ThroughInner`
//! …
//! note: the request body must be `From<Bytes>`, such as `Full<Bytes>`…
//! note: required by a bound in `check_service`
//! ```
//!
//! `Full<Bytes>` is the body for content in memory: `Full::from(text)` makes one from a `String`.
//!
//! # A client that is not `Clone`
//!
//! The layers send a request a second time on a clone of the client.
//!
//! ```compile_fail
//! use std::task::{Context, Poll};
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{Layer, Service};
//! use turris_auth::{BoxError, Credentials, Environment, TurrisLayer, check_service};
//!
//! struct OneConnection;
//!
//! impl Service<Request<Full<Bytes>>> for OneConnection {
//!     type Response = Response<Full<Bytes>>;
//!     type Error = BoxError;
//!     type Future = std::future::Ready<Result<Self::Response, BoxError>>;
//!
//!     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
//!         Poll::Ready(Ok(()))
//!     }
//!
//!     fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
//!         std::future::ready(Ok(Response::default()))
//!     }
//! }
//!
//! # fn main() -> Result<(), BoxError> {
//! let layer = TurrisLayer::new(Credentials::from_env()?, Environment::Sandbox);
//! check_service::<Full<Bytes>, _>(layer.layer(OneConnection));
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! error[E0277]: the trait bound `OneConnection: Clone` is not satisfied
//! the trait `Clone` is not implemented for `OneConnection`
//! …
//! note: required by a bound in `check_service`
//! ```
//!
//! Derive `Clone` if a clone can share the connection. Otherwise put tower's `Buffer` around the
//! client. Its handles can be cloned:
//!
//! ```
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use tower::{Layer, Service, buffer::Buffer};
//! # use turris_auth::{BoxError, Credentials, Environment, TurrisLayer, check_service};
//! # use std::task::{Context, Poll};
//! # struct OneConnection;
//! # impl Service<Request<Full<Bytes>>> for OneConnection {
//! #     type Response = Response<Full<Bytes>>;
//! #     type Error = BoxError;
//! #     type Future = std::future::Ready<Result<Self::Response, BoxError>>;
//! #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
//! #         Poll::Ready(Ok(()))
//! #     }
//! #     fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
//! #         std::future::ready(Ok(Response::default()))
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! # let layer = TurrisLayer::new(Credentials::new("m2m-client-abc123", "secret")?, Environment::Sandbox);
//! check_service::<Full<Bytes>, _>(layer.layer(Buffer::new(OneConnection, 64)));
//! # Ok(())
//! # }
//! ```
//!
//! # reqwest's client under a layer
//!
//! `reqwest::Client` is a Tower service of `reqwest::Request`. It also follows redirects by itself,
//! out of the layer's sight.
//!
//! ```compile_fail
//! use tower::Layer;
//! use turris_auth::{Credentials, Environment, TurrisLayer, check_service};
//!
//! # fn main() -> Result<(), turris_auth::BoxError> {
//! let layer = TurrisLayer::new(Credentials::from_env()?, Environment::Sandbox);
//! check_service::<reqwest::Body, _>(layer.layer(reqwest::Client::new()));
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! error[E0277]: the trait bound `…Client: Service<…>` is not satisfied
//! …
//! impl tower_service::Service<Request> for Client {
//! …
//! note: required by a bound in `check_service`
//! …
//! // remedies: docs.rs/turris-auth/latest/turris_auth/guide/compile_errors/
//! ```
//!
//! With the feature `reqwest` there is
//! [`ReqwestService`](https://docs.rs/turris-auth/latest/turris_auth/reqwest/), which takes
//! `http::Request` and follows no redirect:
//!
#![cfg_attr(feature = "reqwest", doc = "```")]
#![cfg_attr(not(feature = "reqwest"), doc = "```ignore")]
//! # use tower::Layer;
//! # use turris_auth::{Credentials, Environment, TurrisLayer, check_service};
//! use turris_auth::reqwest::ReqwestService;
//!
//! # fn main() -> Result<(), turris_auth::BoxError> {
//! # let layer = TurrisLayer::new(Credentials::new("m2m-client-abc123", "secret")?, Environment::Sandbox);
//! let client = ReqwestService::new(reqwest::Client::builder())?;
//! check_service::<reqwest::Body, _>(layer.layer(client));
//! # Ok(())
//! # }
//! ```
//!
//! # A replay layer over a client of plain bodies
//!
//! [`ReplayBodyLayer`](crate::replay::ReplayBodyLayer) turns the body `B` of a request into
//! `ReplayBody<B>`, and the client has to take that body.
//!
//! ```compile_fail
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::ServiceBuilder;
//! use turris_auth::{
//!     Credentials, Environment, TurrisLayer, check_service, replay::ReplayBodyLayer,
//! };
//!
//! # fn main() -> Result<(), turris_auth::BoxError> {
//! let stack = ServiceBuilder::new()
//!     .layer(ReplayBodyLayer::new())
//!     .layer(TurrisLayer::new(Credentials::from_env()?, Environment::Sandbox))
//!     .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
//! check_service::<Full<Bytes>, _>(stack);
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! error[E0277]: the trait bound `…Client<…>: Service<…ReplayBody<…>>` is not satisfied
//! …
//! note: required by a bound in `check_service`
//! …
//! // remedies: docs.rs/turris-auth/latest/turris_auth/guide/compile_errors/
//! ```
//!
//! Either write `build_http::<ReplayBody<Full<Bytes>>>()`, or leave the layer out: bodies in
//! memory, such as `Full<Bytes>`, can be sent again without it.
//!
//! # A boxed error in a spawned task
//!
//! The compiler loses the lifetime of a boxed error when it looks into a task
//! ([rust-lang/rust#110338]).
//!
//! ```compile_fail
//! use bytes::Bytes;
//! use http_body_util::combinators::UnsyncBoxBody;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::ServiceBuilder;
//! use turris_auth::{
//!     BoxError, Credentials, Environment, TurrisLayer, check_spawn,
//!     replay::{ReplayBody, ReplayBodyLayer},
//! };
//!
//! type Body = UnsyncBoxBody<Bytes, BoxError>;
//!
//! # fn main() -> Result<(), BoxError> {
//! let stack = ServiceBuilder::new()
//!     .layer(ReplayBodyLayer::new())
//!     .layer(TurrisLayer::new(Credentials::from_env()?, Environment::Sandbox))
//!     .service(Client::builder(TokioExecutor::new()).build_http::<ReplayBody<Body>>());
//! check_spawn::<Body, _>(stack);
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! error[E0277]: requests whose body has the error `…` cannot be sent from a spawned task
//! …
//! note: this is a limit of the compiler, which loses the lifetime in the box
//! note: give the body a concrete error: `UnsyncBoxBody<Bytes, std::io::Error>`, `axum::body::Body`
//! note: `.map_err(std::io::Error::other)` turns any boxed error into one
//! note: required by a bound in `check_spawn`
//! ```
//!
//! Give the body a concrete error:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
//! use turris_auth::BoxError;
//!
//! fn concrete(body: UnsyncBoxBody<Bytes, BoxError>) -> UnsyncBoxBody<Bytes, std::io::Error> {
//!     body.map_err(std::io::Error::other).boxed_unsync()
//! }
//! ```
//!
//! [rust-lang/rust#110338]: https://github.com/rust-lang/rust/issues/110338
