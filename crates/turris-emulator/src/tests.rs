//! Tests that growing collections are swept.

use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;
use tokio::time::Instant;

use crate::{
    Limits,
    idempotency::StoredResponses,
    limits::{Kind, Windows},
    tokens::{InvalidToken, Tokens, random_uuid},
};

#[test]
fn windows_that_are_over_are_swept() {
    let (mut windows, limits, start) = (Windows::default(), Limits::default(), Instant::now());
    for number in 0..5_000_u64 {
        let now = start + Duration::from_millis(100 * number);
        assert!(windows.admit(Kind::Token, &number.to_string(), &limits, now).admitted);
        assert!(windows.len() <= 1_024, "{}", windows.len());
    }
}

#[test]
fn answers_that_are_too_old_are_swept() {
    let (mut answers, start) = (StoredResponses::default(), Instant::now());
    for number in 0..10_000_u64 {
        let now = start + Duration::from_secs(10 * number);
        answers.keep("client", "/path", random_uuid(), now, (StatusCode::CREATED, bytes::Bytes::new()));
        assert!(answers.len() <= 2_048, "{}", answers.len());
    }
}

#[test]
fn tokens_that_have_expired_are_swept_and_still_told_from_revoked_ones() {
    let mut tokens = Tokens::new(Duration::from_secs(100));
    let at = |second: u64| UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second);
    let first = tokens.issue("client", at(0)).access_token;
    assert!(tokens.check(&first, at(99)).is_ok());
    for second in 0..3_000 {
        tokens.issue("client", at(second));
        assert!(tokens.len() <= 1_025, "{}", tokens.len());
    }
    assert_eq!(tokens.check(&first, at(3_000)), Err(InvalidToken::Expired));
    let last = tokens.issue("client", at(3_000)).access_token;
    assert!(tokens.revoke(&last));
    assert_eq!(tokens.check(&last, at(3_000)), Err(InvalidToken::Revoked));
    assert_eq!(tokens.check("a.b.c", at(3_000)), Err(InvalidToken::Malformed));
}
