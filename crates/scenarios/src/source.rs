//! A token endpoint in memory that counts its calls and takes its time.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::sync::Notify;
use tower::{BoxError, Service};

use turris_auth_instructions::work::{Content, jwt};

/// A token endpoint. Clones are the same endpoint.
#[derive(Clone)]
pub struct Source(Arc<Script>);

struct Script {
    calls: AtomicUsize,
    takes: Takes,
    gives: Gives,
}

enum Takes {
    Time(Duration),
    UntilOpened(Notify),
}

#[derive(Clone, Copy)]
enum Gives {
    /// The n-th token begins with `n.`.
    Token { lifetime: Duration },
    /// A status that is not retried, so that a fetch makes one call.
    Failure,
}

/// The error of a source that refuses.
#[derive(Clone, Copy, Debug)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source refuses to issue a token")
    }
}

impl std::error::Error for Refused {}

impl Source {
    /// Creates a source that issues tokens after `delay`.
    pub fn issuing(delay: Duration, lifetime: Duration) -> Self {
        Self::new(Takes::Time(delay), Gives::Token { lifetime })
    }

    /// Creates a source that issues one token, valid for a day, when it is opened.
    pub fn gated() -> Self {
        Self::new(Takes::UntilOpened(Notify::new()), Gives::Token { lifetime: Duration::from_secs(86_400) })
    }

    /// Creates a source that fails after `delay`.
    pub fn failing(delay: Duration) -> Self {
        Self::new(Takes::Time(delay), Gives::Failure)
    }

    fn new(takes: Takes, gives: Gives) -> Self {
        Self(Arc::new(Script { calls: AtomicUsize::new(0), takes, gives }))
    }

    pub fn calls(&self) -> usize {
        self.0.calls.load(Ordering::Relaxed)
    }

    pub fn open(&self) {
        if let Takes::UntilOpened(gate) = &self.0.takes {
            gate.notify_one();
        }
    }

    /// Returns a token and its lifetime.
    pub async fn fetch(&self) -> Result<(String, Duration), Refused> {
        let call = self.0.calls.fetch_add(1, Ordering::Relaxed) + 1;
        match &self.0.takes {
            Takes::Time(delay) => tokio::time::sleep(*delay).await,
            Takes::UntilOpened(gate) => gate.notified().await,
        }
        match self.0.gives {
            Gives::Token { lifetime } => Ok((format!("{call}.{}", jwt()), lifetime)),
            Gives::Failure => Err(Refused),
        }
    }
}

impl Service<Request<Content>> for Source {
    type Response = Response<Content>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Content>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Content>) -> Self::Future {
        let source = self.clone();
        Box::pin(async move {
            let (status, body) = match source.fetch().await {
                Ok((token, lifetime)) => (201, token_answer(&token, lifetime)),
                Err(Refused) => (401, REFUSAL.to_owned()),
            };
            Ok(Response::builder().status(status).body(body.into())?)
        })
    }
}

const REFUSAL: &str = r#"{"statusCode":401,"requestId":"r","errorType":"UnauthorizedException","errorMessage":["Invalid client credentials"],"timestamp":"t","details":{}}"#;

fn token_answer(token: &str, lifetime: Duration) -> String {
    format!(
        r#"{{"data":{{"accessToken":"{token}","expiresIn":{},"tokenType":"Bearer"}},"requestId":"r","timestamp":"t"}}"#,
        lifetime.as_secs()
    )
}
