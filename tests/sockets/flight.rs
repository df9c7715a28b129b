use http::{StatusCode, Version};
use tokio::task::JoinSet;

use super::support::{Api, VERSIONS, api, get, send, started};
use turris_auth::emulator::Emulator;

const CALLERS: usize = 1_000;

async fn all_succeed(emulator: &Emulator, api: &Api, version: Version) {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (api, request) = (api.clone(), get(emulator, "/v1/agencies"));
        callers.spawn(async move { send(&api, request).await.unwrap() });
    }
    while let Some(answer) = callers.join_next().await {
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.version), (StatusCode::OK, version));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_cost_one_fetch_cold_and_one_after_a_revocation() {
    for version in VERSIONS {
        let emulator = started().await;
        let api = api(&emulator, version);
        all_succeed(&emulator, &api, version).await;
        assert_eq!(emulator.counters().token_requests, 1, "{version:?}, cold");

        emulator.revoke_all_tokens();
        all_succeed(&emulator, &api, version).await;
        let counters = emulator.counters();
        assert_eq!(counters.token_requests, 2, "{version:?}, revoked");
        // Every 401 was followed by exactly one retry.
        assert_eq!(counters.requests, 2 * CALLERS as u64 + 2 + counters.unauthorized, "{version:?}");
    }
}
