//! Functions that make the compiler name the bound that a stack does not satisfy.

use http::Request;
use http_body::Body;
use tower_service::Service;

/// Returns `stack` unchanged, and makes the compiler name the bound that the stack does not
/// satisfy.
///
/// Methods such as [`oneshot`](tower::ServiceExt::oneshot) and [`ready`](tower::ServiceExt::ready)
/// only report that "trait bounds were not satisfied". This function requires the bound directly,
/// so the compiler reports its cause. `B` is the body of the requests that you send. [The
/// guide](crate::guide::compile_errors) explains each message and its remedy.
///
/// The function costs nothing at run time and can stay in the program.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceBuilder;
/// use turris_auth::{Credentials, Environment, TurrisLayer, check_service};
///
/// let credentials = Credentials::new("m2m-client-abc123", "secret")?;
/// let stack = ServiceBuilder::new()
///     .layer(TurrisLayer::new(credentials, Environment::Sandbox))
///     .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
/// let stack = check_service::<Full<Bytes>, _>(stack);
/// # let _ = stack;
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
pub fn check_service<B, S>(stack: S) -> S
where
    // The compiler shows the next line under its message, together with the comment.
    S: Service<Request<B>>, // remedies: docs.rs/turris-auth/latest/turris_auth/guide/compile_errors/
{
    stack
}

/// Like [`check_service`], for a stack whose requests are sent from a spawned task.
///
/// [`tokio::spawn`] and the handlers of axum and tonic require futures that are `Send`. If a part
/// of the future is not `Send`, or if the body's error is a [`BoxError`](crate::BoxError), the
/// compiler's own message is about lifetimes or about a trait that is "not general enough". With
/// this function the compiler names the actual cause.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::combinators::UnsyncBoxBody;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceBuilder;
/// use turris_auth::{
///     Credentials, Environment, TurrisLayer, check_spawn,
///     replay::{ReplayBody, ReplayBodyLayer},
/// };
///
/// type Body = UnsyncBoxBody<Bytes, std::io::Error>;
///
/// let credentials = Credentials::new("m2m-client-abc123", "secret")?;
/// let stack = ServiceBuilder::new()
///     .layer(ReplayBodyLayer::new())
///     .layer(TurrisLayer::new(credentials, Environment::Sandbox))
///     .service(Client::builder(TokioExecutor::new()).build_http::<ReplayBody<Body>>());
/// let stack = check_spawn::<Body, _>(stack);
/// # let _ = stack;
/// # Ok::<(), turris_auth::ConfigError>(())
/// ```
pub fn check_spawn<B, S>(stack: S) -> S
where
    S: Service<Request<B>, Future: Send + 'static>, // remedies: docs.rs/turris-auth/latest/turris_auth/guide/compile_errors/
    S: Clone + Send + 'static,
    B: Body<Error: SpawnableError> + Send + 'static,
{
    stack
}

/// Error of a request body that a spawned task can send: any concrete error type.
///
/// All types that implement [`Error`](std::error::Error) implement `SpawnableError`.
/// `Box<dyn Error>` implements neither: the compiler forgets the lifetime in the box while it
/// checks a task ([rust-lang/rust#110338](https://github.com/rust-lang/rust/issues/110338)).
///
/// # Examples
///
/// ```
/// use turris_auth::SpawnableError;
///
/// fn spawnable<E: SpawnableError>() {}
/// spawnable::<std::io::Error>();
/// spawnable::<std::convert::Infallible>();
/// ```
#[diagnostic::on_unimplemented(
    message = "requests whose body has the error `{Self}` cannot be sent from a spawned task",
    note = "this is a limit of the compiler, which loses the lifetime in the box",
    note = "give the body a concrete error: `UnsyncBoxBody<Bytes, std::io::Error>`, `axum::body::Body`",
    note = "`.map_err(std::io::Error::other)` turns any boxed error into one"
)]
pub trait SpawnableError {}

#[diagnostic::do_not_recommend]
impl<E: std::error::Error> SpawnableError for E {}
