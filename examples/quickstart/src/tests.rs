//! Tests that the demonstration meets its expectations, and reports a missed expectation.

use std::time::Duration;

use serde_json::Value;

use crate::{
    phases::{ALLOWANCE, Demo},
    report,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_phase_meets_its_expectations() {
    turris_test_support::trace::if_asked_for();
    let demo = Demo::start().await.unwrap();
    let phases = vec![
        demo.cold(200).await.unwrap(),
        demo.revoked(200).await.unwrap(),
        demo.outage(20).await.unwrap(),
        demo.expiry(Duration::from_secs(1)).await.unwrap(),
        Demo::rate_limited(2 * ALLOWANCE as usize).await.unwrap(),
    ];
    for phase in &phases {
        assert!(phase.problems().is_empty(), "{:?}", phase.problems());
        assert!(!phase.story.is_empty());
    }
    assert_eq!((phases[0].token_fetches, phases[1].token_fetches), (1, 1));
    assert_eq!((phases[2].succeeded, phases[2].failed), (20, 20));
    assert_eq!(phases[3].failed, 0);
    assert_eq!((phases[4].succeeded, phases[4].failed, phases[4].token_fetches), (120, 0, 1));
    // The server admits the second half only after its window is over.
    assert!(phases[4].p99_us >= 2_000_000, "{:?}", phases[4]);

    let json: Value = serde_json::from_str(&report::json(&phases).unwrap()).unwrap();
    let names: Vec<_> = json["phases"].as_array().unwrap().iter().map(|phase| &phase["name"]).collect();
    assert_eq!(names, ["cold", "revoked", "outage", "expiry", "rate_limited"]);
    for phase in json["phases"].as_array().unwrap() {
        let fields = phase.as_object().unwrap();
        let numbers = ["requests", "succeeded", "failed", "token_fetches", "unauthorized", "rate_limited"];
        for number in numbers.iter().chain(&["connections", "p50_us", "p99_us"]) {
            assert!(fields[*number].is_u64(), "{number} in {phase}");
        }
        assert_eq!(fields.len(), 10);
        assert!(phase["p50_us"].as_u64() <= phase["p99_us"].as_u64());
        assert_ne!(phase["p99_us"], Value::from(0));
    }
    assert_eq!(report::table(&phases).lines().count(), 7);
}

#[tokio::test]
async fn a_missed_expectation_is_reported() {
    let demo = Demo::start().await.unwrap();
    assert!(demo.cold(3).await.unwrap().problems().is_empty());
    // The layer has a token already, so this is not a cold start.
    let phase = demo.cold(3).await.unwrap();
    let [problem] = phase.problems() else { panic!("{:?}", phase.problems()) };
    assert!(problem.starts_with("cold: expected exactly 1 token fetch"), "{problem}");

    demo.emulator.put_client("m2m-client-emulator", "rotated").unwrap();
    let phase = demo.revoked(3).await.unwrap();
    assert_eq!((phase.succeeded, phase.failed), (0, 3));
    let [problem] = phase.problems() else { panic!("{:?}", phase.problems()) };
    assert!(problem.starts_with("revoked: expected no request to fail"), "{problem}");
    assert!(problem.contains("refused the credentials"), "{problem}");
}
