//! The alternatives to the layers, each around the same source and the same inner service.
//!
//! All of them attach the token, and none of them sends a request again after a 401. So the
//! benchmarks compare them with `auth_without_retry`.

mod aws;
mod azure;
mod by_hand;
mod google;
mod moka_cache;

use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use tower::{BoxError, Service, ServiceExt};
use turris_auth_instructions::{
    contenders::{self, BARE, Contender, Runner},
    work::{Content, Inner, request},
};

pub use self::{
    aws::aws,
    azure::{AZURE_BARE, azure},
    by_hand::{arc_swap, std_rwlock, tokio_mutex, tokio_rwlock},
    moka_cache::moka,
};
use crate::scenarios::{Caller, runtime, source::Source};

/// Returns the peers' hot paths, and the floor of the peer that has its own request type.
pub fn contenders() -> Vec<Contender> {
    vec![
        Contender { name: "arc_swap_by_hand", floor: BARE, prepare: || warmed(arc_swap) },
        Contender { name: "std_rwlock", floor: BARE, prepare: || warmed(std_rwlock) },
        Contender { name: "tokio_rwlock", floor: BARE, prepare: || warmed(tokio_rwlock) },
        Contender { name: "tokio_mutex_filter", floor: BARE, prepare: || warmed(tokio_mutex) },
        Contender { name: "moka", floor: BARE, prepare: || warmed(moka) },
        Contender { name: AZURE_BARE, floor: AZURE_BARE, prepare: azure::bare_runner },
        Contender { name: "azure_core", floor: AZURE_BARE, prepare: azure::runner },
        Contender { name: "aws_smithy", floor: BARE, prepare: || warmed(aws) },
        Contender { name: "google_cloud_auth", floor: BARE, prepare: google::runner },
    ]
}

/// Creates a runner whose service has its token.
fn warmed<S: Caller>(make: fn(&Source) -> S) -> Runner {
    let service = make(&Source::issuing(Duration::ZERO, Duration::from_secs(86_400)));
    within_runtime(service)
}

/// Sends one request, and then all others in the context of the runtime, because some peers need
/// its timers.
fn within_runtime<S: Caller>(service: S) -> Runner {
    let runtime = runtime();
    assert!(runtime.block_on(service.clone().oneshot(request())).is_ok(), "the first request fails");
    let mut send = contenders::runner(service);
    Box::new(move |requests| {
        let _context = runtime.enter();
        send(requests)
    })
}

/// The content of the handwritten caches.
#[derive(Clone)]
struct Held {
    authorization: HeaderValue,
    expires: Instant,
}

impl Held {
    async fn fetch(source: &Source) -> Result<Self, BoxError> {
        let (token, lifetime) = source.fetch().await?;
        Ok(Self { authorization: bearer(&token)?, expires: Instant::now() + lifetime })
    }

    fn current(held: Option<&Self>) -> Option<HeaderValue> {
        held.filter(|held| Instant::now() < held.expires).map(|held| held.authorization.clone())
    }
}

fn bearer(token: &str) -> Result<HeaderValue, BoxError> {
    let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))?;
    authorization.set_sensitive(true);
    Ok(authorization)
}

async fn send(mut request: Request<Content>, authorization: HeaderValue) -> Result<Response<Content>, BoxError> {
    request.headers_mut().insert(AUTHORIZATION, authorization);
    Ok(Inner.call(request).await?)
}
