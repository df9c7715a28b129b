//! google-cloud-auth's cache. It has no place for a source of one's own, so the token comes from a metadata server on
//! loopback, once; the scenarios, which need a source that counts and fails, leave it out.

use google_cloud_auth::credentials::{CacheableResource, Credentials, mds};
use http::{Extensions, Request};
use tower::{BoxError, Service, service_fn};
use turris_auth_instructions::{
    contenders::Runner,
    work::{Content, Inner, jwt},
};

use super::within_runtime;
use crate::scenarios::{Caller, end_to_end, runtime};

pub fn runner() -> Runner {
    let answer = format!(r#"{{"access_token":"{}","expires_in":86400,"token_type":"Bearer"}}"#, jwt());
    let server = end_to_end::server(answer.into());
    let setup = runtime();
    let credentials = setup.block_on(async {
        let credentials = mds::Builder::default().with_endpoint(format!("http://{server}")).build();
        let credentials = credentials.expect("credentials");
        credentials.headers(Extensions::new()).await.expect("a token");
        credentials
    });
    // Its background task lives on this runtime.
    let mut send = within_runtime(google(&credentials));
    Box::new(move |requests| {
        let _alive = &setup;
        send(requests)
    })
}

pub fn google(credentials: &Credentials) -> impl Caller + use<> {
    let credentials = credentials.clone();
    service_fn(move |mut request: Request<Content>| {
        let credentials = credentials.clone();
        async move {
            match credentials.headers(Extensions::new()).await? {
                CacheableResource::New { data, .. } => request.headers_mut().extend(data),
                CacheableResource::NotModified => return Err(BoxError::from("no headers")),
            }
            Ok(Inner.call(request).await?)
        }
    })
}
