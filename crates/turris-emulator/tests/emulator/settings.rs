//! Tests that unusable settings are refused by name.

use turris_emulator::{Emulator, RateLimitHeaders};

use super::{ID, SECRET, builder, emulator};

#[tokio::test]
async fn settings_that_cannot_be_used_are_named() {
    let near = |remaining_percent| RateLimitHeaders::Near { remaining_percent };
    for (builder, named) in [
        (Emulator::builder().client("", SECRET), "client id"),
        (builder().client("second", ""), "client secret"),
        (builder().rate_limit_headers(near(101)), "remaining_percent"),
    ] {
        let error = builder.clone().build().unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(named), "{error}");
    }
    assert!(builder().rate_limit_headers(near(100)).build().is_ok());
}

#[test]
fn a_client_without_a_secret_is_not_added() {
    let emulator = emulator();
    assert!(emulator.put_client(ID, "").is_err());
    assert!(emulator.put_client("", "its secret").is_err());
    assert_eq!(emulator.client_secret(), SECRET);
}

#[tokio::test]
async fn an_emulator_returns_its_address() {
    let in_memory = emulator();
    assert_eq!((in_memory.base_url(), in_memory.address()), ("http://localhost", None));
    let emulator = builder().start().await.unwrap();
    assert_eq!(emulator.base_url(), format!("http://{}", emulator.address().unwrap()));
}
