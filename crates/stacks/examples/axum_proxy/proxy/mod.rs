//! The proxy itself: it forwards everything under `/v1/` to Turris with the token, and answers
//! `/health` itself.

mod failure;
mod headers;
mod health;
mod target;

use std::{future::Future, io, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    middleware::{Next, from_fn},
    response::Response,
    routing::{any, get},
};
use http::{Method, Request, StatusCode, uri::PathAndQuery};
use hyper_util::client::legacy::{Client, connect::Connect};
use target::Refused;
use tokio::net::TcpListener;
use tower::{Layer, ServiceBuilder, ServiceExt, timeout::Timeout};
use turris_auth::{
    Environment, TokenHandle, TurrisAuth, TurrisAuthLayer,
    replay::{ReplayBody, ReplayBodyLayer, ReplayBodyService},
};

/// The caller's streamed body, made replayable for a retry after a 401.
pub(crate) type RequestBody = ReplayBody<Body>;

/// The state of a handler: a clone of the whole stack. All clones share one token and one pool of
/// connections.
#[derive(Clone)]
pub(crate) struct Proxy<C> {
    turris: Timeout<ReplayBodyService<TurrisAuth<Client<C, RequestBody>>>>,
    tokens: TokenHandle,
    environment: Environment,
}

impl<C: Connect + Clone + Send + Sync + 'static> Proxy<C> {
    /// Creates a proxy that forwards to `environment`, which must be the environment of `layer`,
    /// through `client`. `timeout` bounds the time until the head of a response, including the
    /// token and the retry after a 401.
    pub(crate) fn new(
        client: Client<C, RequestBody>,
        layer: TurrisAuthLayer,
        environment: Environment,
        timeout: Duration,
    ) -> Self {
        let authenticated = layer.layer(client);
        let tokens = authenticated.handle();
        let turris = ServiceBuilder::new().timeout(timeout).layer(ReplayBodyLayer::new()).service(authenticated);
        Self { turris, tokens, environment }
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/health", get(async |State(proxy): State<Self>| health::answer(&proxy.tokens.status())))
            .route("/v1/{*path}", any(async |State(proxy): State<Self>, request| proxy.forward(request).await))
            .fallback(async || failure::answer(StatusCode::NOT_FOUND, "only paths below /v1/ are forwarded"))
            .layer(from_fn(refuse_web_pages))
            .with_state(self)
    }

    async fn forward(self, request: Request<Body>) -> Response {
        // The response to a TRACE shows the request and with it the token (RFC 9110, section
        // 9.3.8). A CONNECT asks for a tunnel.
        if [Method::TRACE, Method::CONNECT].contains(request.method()) {
            return failure::answer(StatusCode::NOT_IMPLEMENTED, "the proxy does not forward this method");
        }
        match target::check(request.uri()) {
            Ok(()) => {}
            Err(Refused::TokenEndpoint) => {
                return failure::answer(StatusCode::FORBIDDEN, "the proxy fetches the tokens");
            }
            Err(Refused::Ambiguous) => {
                return failure::answer(
                    StatusCode::BAD_REQUEST,
                    "the path has an empty segment or one of dots; write it without",
                );
            }
        }
        let (mut head, body) = request.into_parts();
        headers::prepare_request(&mut head.headers, head.version);
        // A new request, because the old one's version and extensions belong to the server and not
        // to the client.
        let mut forwarded = Request::new(body);
        *forwarded.method_mut() = head.method;
        *forwarded.headers_mut() = head.headers;
        // Only the path and the query come from the caller, whatever form the request target has.
        match self.environment.url(head.uri.path_and_query().map_or("/", PathAndQuery::as_str)) {
            Ok(uri) => *forwarded.uri_mut() = uri,
            Err(error) => return failure::answer(StatusCode::BAD_REQUEST, &error.to_string()),
        }
        match self.turris.oneshot(forwarded).await {
            Ok(answer) => {
                let (mut head, body) = answer.into_parts();
                headers::remove_hop_by_hop(&mut head.headers);
                let mut response = Response::new(Body::new(body));
                *response.status_mut() = head.status;
                *response.headers_mut() = head.headers;
                response
            }
            Err(error) => failure::of(&*error),
        }
    }
}

async fn refuse_web_pages(request: Request<Body>, next: Next) -> Response {
    if headers::is_of_a_web_page(&request) {
        let message = "web pages may not use the proxy; call it by a loopback address";
        return failure::answer(StatusCode::FORBIDDEN, message);
    }
    next.run(request).await
}

/// Serves until `stop` is ready. Then it accepts no new connections, and finishes the requests that
/// are under way.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}
