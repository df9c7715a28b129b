//! aws-smithy-runtime's lazy identity cache, and the header as its bearer scheme writes it.

use std::{sync::Arc, time::SystemTime};

use aws_smithy_async::{rt::sleep::TokioSleep, time::SystemTimeSource};
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime_api::client::{
    identity::{Identity, IdentityFuture, ResolveCachedIdentity, ResolveIdentity, SharedIdentityResolver, http::Token},
    runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
};
use aws_smithy_types::config_bag::ConfigBag;
use http::Request;
use tower::{BoxError, service_fn};
use turris_auth_instructions::work::Content;

use super::{bearer, send};
use crate::scenarios::{Caller, source::Source};

pub fn aws(source: &Source) -> impl Caller + use<> {
    let components = RuntimeComponentsBuilder::for_tests()
        .with_sleep_impl(Some(TokioSleep::new()))
        .with_time_source(Some(SystemTimeSource::new()))
        .build()
        .expect("all components");
    let shared = Arc::new((IdentityCache::lazy().build(), components, ConfigBag::base()));
    let resolver = SharedIdentityResolver::new(Resolver(source.clone()));
    service_fn(move |request: Request<Content>| {
        let (shared, resolver) = (Arc::clone(&shared), resolver.clone());
        async move {
            let (cache, components, config) = &*shared;
            let identity = cache.resolve_cached_identity(resolver, components, config).await?;
            let token = identity.data::<Token>().ok_or("an identity of another kind")?;
            send(request, bearer(token.token())?).await
        }
    })
}

struct Resolver(Source);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl ResolveIdentity for Resolver {
    fn resolve_identity<'a>(&'a self, _: &'a RuntimeComponents, _: &'a ConfigBag) -> IdentityFuture<'a> {
        IdentityFuture::new(async move {
            let (token, lifetime) = self.0.fetch().await.map_err(BoxError::from)?;
            let expiration = Some(SystemTime::now() + lifetime);
            Ok(Identity::new(Token::new(token, expiration), expiration))
        })
    }
}
