//! Tests with `express-rate-limit`, which states its limit in four forms.

use std::time::Duration;

use http::Method;
use turris_auth_real_servers::{
    certificates::Certificates,
    client::{Library, Protocol, client, layered},
    express::{Express, Form},
    jobs::{self, request, send},
};

async fn a_job_of_four_times_the_limit(form: Form, library: Library) {
    const LIMIT: usize = 10;
    let express = Express::start(form, LIMIT as u32, Duration::from_secs(3));
    let environment = express.environment();
    let url = environment.url("/v1/work").unwrap().to_string();
    let root = Certificates::new().root;
    let api = layered(express.credentials(), environment, client(library, Protocol::Http1, &root));
    let outcome = jobs::run(&api, &Method::POST, &url, 4 * LIMIT, 4 * LIMIT, |_| {}).await;
    let counts = express.counts().await;
    println!("{form:?}: {} refused", counts.refused);
    outcome.assert_all_processed_once(4 * LIMIT, &counts.processed);
    // All requests are sent at once, because the limit is unknown before the first response. From
    // then on the stated limit is kept.
    assert!(counts.refused <= 4 * LIMIT as u64, "{form:?}: {} refused", counts.refused);
    assert_eq!((counts.tokens, counts.unauthorized), (1, 0));

    express.revoke_all_tokens().await;
    send(&api, request(Method::GET, &url, "after")).await.unwrap();
    let counts = express.counts().await;
    assert_eq!((counts.tokens, counts.unauthorized), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_in_x_ratelimit_fields_fails_no_request() {
    a_job_of_four_times_the_limit(Form::Legacy, Library::HyperUtil).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_in_the_fields_of_draft_6_fails_no_request() {
    a_job_of_four_times_the_limit(Form::Draft6, Library::Reqwest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_in_the_field_of_draft_7_fails_no_request() {
    a_job_of_four_times_the_limit(Form::Draft7, Library::HyperUtil).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_in_the_fields_of_draft_8_fails_no_request() {
    a_job_of_four_times_the_limit(Form::Draft8, Library::Reqwest).await;
}
