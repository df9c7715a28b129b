//! The server's responses: tokens, errors, and the lifetime inside a token.
//!
//! `serde_json::Value` is the second opinion. It reads the same documents with independent code.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde_json::Value;

use turris_auth::fuzz_bridge;

/// Checks the body of a successful response of the token endpoint.
pub fn token_answer(body: &[u8]) {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let fuzz_bridge::Token { text: token, lifetime, request_id, shown } = match fuzz_bridge::token_response(body) {
        Ok(answer) => answer,
        Err(problem) => {
            assert_eq!(document.is_none(), problem.starts_with("is not JSON"), "{problem}");
            return;
        }
    };
    let document = document.expect("a token is in a JSON document");
    let fields = document.get("data").filter(|data| !data.is_null()).unwrap_or(&document);
    let field = |name, other| fields.get(name).or_else(|| fields.get(other)).filter(|value| !value.is_null());

    let token = &*token;
    assert_eq!(field("accessToken", "access_token").and_then(Value::as_str), Some(token));
    assert!(token.len() <= 16 * 1024);
    assert_is_b64token(token);
    assert!(HeaderValue::try_from(format!("Bearer {token}")).is_ok());
    if let Some(token_type) = field("tokenType", "token_type") {
        assert!(token_type.as_str().is_some_and(|text| text.eq_ignore_ascii_case("bearer")), "{token_type}");
    }

    match field("expiresIn", "expires_in") {
        None => assert_eq!(lifetime, fuzz_bridge::jwt_lifetime(token).unwrap_or(Duration::from_secs(3600))),
        Some(Value::Number(seconds)) => match seconds.as_u64() {
            Some(seconds) => assert_eq!(lifetime, Duration::from_secs(seconds)),
            None => assert_eq!(lifetime, saturated(seconds.as_f64().unwrap())),
        },
        Some(Value::String(text)) => match text.trim().parse() {
            Ok(seconds) => assert_eq!(lifetime, Duration::from_secs(seconds)),
            Err(_) => assert_eq!(lifetime, saturated(text.trim().parse().expect("a number"))),
        },
        Some(other) => panic!("a lifetime was read from {other}"),
    }

    if let Some(request_id) = &request_id {
        assert_is_fit_for_logs(request_id);
        assert!(!request_id.contains(token), "the token is in a text that is logged");
    }
    // Shorter tokens may be part of the text by chance.
    assert!(token.len() < 64 || !shown.contains(token));
}

/// Checks the claims of a JWT, given as JSON, as two numbers or as a whole token.
pub fn jwt_lifetime(data: &[u8]) {
    if let Ok(token) = str::from_utf8(data)
        && let Some(_lifetime) = fuzz_bridge::jwt_lifetime(token)
    {
        assert_eq!(token.matches('.').count(), 2);
    }

    let of_claims =
        |claims: &[u8]| fuzz_bridge::jwt_lifetime(&format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims)));
    let lifetime = of_claims(data);
    // A part that the parser skips may be nested deeper than `Value` follows. Then the second
    // opinion has no document.
    if let Ok(document) = serde_json::from_slice::<Value>(data) {
        let claim = |name| document.get(name).and_then(Value::as_f64);
        match (lifetime, claim("iat").zip(claim("exp"))) {
            (Some(lifetime), Some((iat, exp))) => assert_eq!(lifetime, saturated(exp - iat)),
            (Some(lifetime), None) => panic!("{lifetime:?} was read from {document}"),
            // A claim that occurs more than once.
            (None, _) => {}
        }
    }

    if let Some((iat, rest)) = data.split_first_chunk()
        && let Some((exp, _)) = rest.split_first_chunk()
    {
        let (iat, exp) = (i64::from_le_bytes(*iat), i64::from_le_bytes(*exp));
        let lifetime = of_claims(format!(r#"{{"iat":{iat},"exp":{exp}}}"#).as_bytes());
        assert_eq!(lifetime, Some(saturated(exp as f64 - iat as f64)));
        let (iat, exp) = (f64::from_bits(iat.cast_unsigned()), f64::from_bits(exp.cast_unsigned()));
        if iat.is_finite() && exp.is_finite() {
            let lifetime = of_claims(format!(r#"{{"exp":{exp:e},"iat":{iat:e}}}"#).as_bytes());
            assert!(lifetime.is_some_and(|lifetime| exp > iat || lifetime.is_zero()));
        }
    }
}

/// Checks the body of an error response. The input is the client secret, a newline, and the body.
pub fn error_object(data: &[u8]) {
    const HIDDEN: &str = "[secret]";
    let (secret, body) = super::split_at_first(data, b'\n').unwrap_or((b"", data));
    let plain = fuzz_bridge::error_response(body, None);
    assert_is_bounded(&plain);
    let Ok(secret) = str::from_utf8(secret) else { return };
    let answer = fuzz_bridge::error_response(body, Some(secret));
    assert_is_bounded(&answer);
    if secret.is_empty() {
        assert_eq!(answer, plain);
        return;
    }
    // `Credentials` accepts no control characters.
    if secret.contains(char::is_control) {
        return;
    }
    let quoted = Value::from(secret).to_string();
    let quoted = &quoted[1..quoted.len() - 1];
    for text in answer.iter().flatten() {
        // The mark itself may contain the secret (`e`). After a cut, a part of the mark may be
        // left, and may contain it too.
        let text = if text.chars().count() < 512 { text.replace(HIDDEN, "\0") } else { continue };
        let quotes = |secret: &str| !secret.is_empty() && text.contains(secret);
        assert!(!quotes(secret) && !quotes(quoted), "{secret:?} is in {text:?}");
    }
}

fn assert_is_bounded(answer: &[Vec<Box<str>>; 3]) {
    let [_, _, messages] = answer;
    assert!(messages.len() <= 8);
    answer.iter().flatten().for_each(|text| assert_is_fit_for_logs(text));
}

fn assert_is_fit_for_logs(text: &str) {
    assert!(!text.is_empty() && text.chars().count() <= 512, "{text:?}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
    // Two characters that reorder text, a character that hides text, and a character that ends a
    // line.
    assert!(!text.contains(['\u{202e}', '\u{2066}', '\u{200b}', '\u{2028}']), "{text:?}");
}

/// RFC 6750, section 2.1, character by character.
fn assert_is_b64token(token: &str) {
    let mut ended = false;
    for (index, character) in token.chars().enumerate() {
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '.' | '_' | '~' | '+' | '/' if !ended => {}
            '=' if index > 0 => ended = true,
            other => panic!("{other:?} at {index} of a token"),
        }
    }
    assert!(!token.is_empty());
}

fn saturated(seconds: f64) -> Duration {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) => duration,
        Err(_) if seconds > 0.0 => Duration::MAX,
        Err(_) => Duration::ZERO,
    }
}
