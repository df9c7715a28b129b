//! Tests that the examples work. The examples are part of this crate, so that they are built only
//! once.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../examples/axum_service.rs"]
mod axum_service;
#[path = "../../examples/live.rs"]
mod live;
#[path = "../../examples/reqwest_middleware.rs"]
mod reqwest_middleware;

mod axum_proxy;
mod axum_proxy_failures;
mod axum_proxy_headers;
mod axum_service_tests;
mod live_tests;
mod prometheus;
mod reqwest_middleware_tests;
#[path = "../../../stack-tests/tests/stacks/support.rs"]
mod support;
