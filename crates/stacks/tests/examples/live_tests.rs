//! Tests of `examples/live.rs` against an emulator.

use turris_auth::Credentials;
use turris_emulator::Emulator;
use turris_test_support::EmulatorExt;

use crate::live::{ask, with_causes};

#[tokio::test]
async fn good_credentials_get_the_answer() {
    turris_test_support::trace::if_asked_for();
    let emulator = Emulator::start().await.unwrap();
    let answer = ask(emulator.credentials(), emulator.environment()).await.unwrap();
    assert!(answer.contains("m2m-client-emulator"), "{answer}");
}

#[tokio::test]
async fn bad_credentials_are_named_and_not_shown() {
    turris_test_support::trace::if_asked_for();
    let emulator = Emulator::start().await.unwrap();
    let credentials = Credentials::new("m2m-client-emulator", "not the secret").unwrap();
    let error = ask(credentials, emulator.environment()).await.unwrap_err();
    let shown = with_causes(&*error);
    assert!(shown.contains("refused the credentials (status 401") && shown.contains("check the client id"), "{shown}");
    assert!(!shown.contains("not the secret"));
}

#[tokio::test]
async fn an_unreachable_server_is_an_error_with_its_causes() {
    let emulator = Emulator::start().await.unwrap();
    let (credentials, environment) = (emulator.credentials(), emulator.environment());
    emulator.shutdown().await;
    let shown = with_causes(&*ask(credentials, environment).await.unwrap_err());
    assert!(shown.contains("could not be reached") && shown.contains("check the network"), "{shown}");
    assert!(shown.contains("\n  because: ") && shown.to_lowercase().contains("refused"), "{shown}");
}
