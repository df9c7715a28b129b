//! azure_core's bearer policy in a pipeline of two parts: the policy, and a transport that responds
//! at once.

use std::{
    fmt,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Poll, Waker},
};

use async_trait::async_trait;
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{
        AsyncRawResponse, Context, Method, Request, StatusCode, Url,
        headers::Headers,
        policies::{Policy, PolicyResult, auth::BearerTokenAuthorizationPolicy},
    },
    time::OffsetDateTime,
};
use http::Response;
use tower::{BoxError, service_fn};
use turris_auth_instructions::{
    contenders::{Run, Runner},
    work::{Content, URI},
};

use crate::scenarios::{Caller, runtime, source::Source};

/// The same pipeline without the policy.
pub const AZURE_BARE: &str = "azure_bare";

type Pipeline = Vec<Arc<dyn Policy>>;

/// For the scenarios. Each incoming request is replaced by a request of azure_core's own type.
pub fn azure(source: &Source) -> impl Caller + use<> {
    let pipeline = Arc::new(pipeline(source));
    service_fn(move |_: http::Request<Content>| {
        let pipeline = Arc::clone(&pipeline);
        async move {
            let mut request = request();
            pipeline[0].send(&Context::new(), &mut request, &pipeline[1..]).await?;
            Ok::<_, BoxError>(Response::new(Content::default()))
        }
    })
}

fn pipeline(source: &Source) -> Pipeline {
    let policy = BearerTokenAuthorizationPolicy::new(Arc::new(Credential(source.clone())), ["scope"]);
    vec![Arc::new(policy), Arc::new(Transport)]
}

pub fn runner() -> Runner {
    let pipeline = pipeline(&Source::issuing(std::time::Duration::ZERO, std::time::Duration::from_secs(86_400)));
    let sent = runtime().block_on(async {
        let mut request = request();
        pipeline[0].send(&Context::new(), &mut request, &pipeline[1..]).await
    });
    assert!(sent.is_ok(), "the first request fails");
    drive(pipeline)
}

pub fn bare_runner() -> Runner {
    drive(vec![Arc::new(Transport)])
}

fn drive(pipeline: Pipeline) -> Runner {
    Box::new(move |requests| {
        let mut task = std::task::Context::from_waker(Waker::noop());
        for _ in 0..requests {
            let mut request = request();
            let context = Context::new();
            let response = pipeline[0].send(&context, &mut request, &pipeline[1..]);
            match pin!(response).poll(&mut task) {
                Poll::Ready(Ok(response)) => drop(black_box(response)),
                _ => panic!("there is no response"),
            }
        }
        Run { service_size: size_of::<BearerTokenAuthorizationPolicy>(), future_size: 0 }
    })
}

/// Creates the other contenders' request in azure_core's types.
#[inline(never)]
fn request() -> Request {
    let mut request = Request::new(Url::parse(URI).expect("a valid URL"), Method::Post);
    request.insert_header("accept", "application/json");
    request.insert_header("content-type", "application/json");
    request.insert_header("user-agent", "example/1.0");
    request.insert_header("idempotency-key", "0196f2c5-8d0c-7c5e-9b5e-0d4c9a2f6b11".to_owned());
    request.insert_header("x-request-id", "0196f2c5-8d0d-7a11-8f2e-5b7d3c1e9a42".to_owned());
    request.insert_header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    request.set_body(bytes::Bytes::from_static(b"{\"name\":\"Example Insurance Services\"}"));
    request
}

#[derive(Debug)]
struct Transport;

#[async_trait]
impl Policy for Transport {
    async fn send(&self, _: &Context, request: &mut Request, _: &[Arc<dyn Policy>]) -> PolicyResult {
        black_box(request);
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), bytes::Bytes::new()))
    }
}

struct Credential(Source);

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenCredential for Credential {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let (token, lifetime) = self.0.fetch().await.map_err(|error| {
            azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, error.to_string())
        })?;
        Ok(AccessToken::new(token, OffsetDateTime::now_utc() + lifetime))
    }
}
