use proptest::prelude::*;

use super::*;

fn jwt(claims: &str) -> String {
    format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn the_lifetime_is_the_difference_of_two_claims() {
    let cases = [
        (r#"{"iat": 1763000000, "exp": 1763003600}"#, Duration::from_secs(3600)),
        (r#"{"exp": 1763000001.5, "sub": [{"iat": 1}], "iat": 1763000000}"#, Duration::from_millis(1500)),
        (r#"{"iat": 2, "exp": 1}"#, Duration::ZERO),
        (r#"{"iat": -1e308, "exp": 1e308}"#, Duration::MAX),
        (r#"{"iat": 0, "exp": 18446744073709551615}"#, Duration::MAX),
    ];
    for (claims, expected) in cases {
        assert_eq!(lifetime(&jwt(claims)), Some(expected), "{claims}");
    }
}

#[test]
fn a_token_without_both_claims_has_no_lifetime() {
    let nested = format!(r#"{{"iat": {}, "exp": 1}}"#, "[".repeat(10_000));
    let claims = [
        r#"{"exp": 1763003600}"#,
        r#"{"iat": 1763000000}"#,
        r#"{"iat": "1763000000", "exp": 1763003600}"#,
        r#"{"iat": null, "exp": 1763003600}"#,
        r#"{"iat": 1, "exp": 2, "exp": 3}"#,
        "null",
        "[1763000000, 1763003600]",
        "",
        "{",
        &nested,
    ];
    for claims in claims {
        assert_eq!(lifetime(&jwt(claims)), None, "{claims}");
    }
    let payload = BASE64_URL_SAFE_NO_PAD.encode(r#"{"iat": 1, "exp": 2}"#);
    for token in ["", "opaque", "a.b", "a.b.c", "..", &format!("a.{payload}"), &format!("a.{payload}.c.d")] {
        assert_eq!(lifetime(token), None, "{token}");
    }
    assert_eq!(lifetime(&format!("a.{payload}.c")), Some(Duration::from_secs(1)));
}

#[test]
fn the_payload_is_in_the_url_safe_alphabet() {
    // The claims contain two characters that the standard alphabet would encode with `+` and `/`.
    let claims = r#"{"iat": 1, "exp": 2, "name": "ÿÿ>>>???"}"#;
    let payload = BASE64_URL_SAFE_NO_PAD.encode(claims);
    assert!(payload.contains('-') || payload.contains('_'), "{payload}");
    assert_eq!(lifetime(&jwt(claims)), Some(Duration::from_secs(1)));
}

proptest! {
    #[test]
    fn no_token_panics(token in any::<String>(), payload in any::<Vec<u8>>()) {
        lifetime(&token);
        lifetime(&format!("a.{}.b", BASE64_URL_SAFE_NO_PAD.encode(payload)));
    }

    #[test]
    fn any_two_integers_work(iat in any::<i64>(), exp in any::<i64>()) {
        let lifetime = lifetime(&jwt(&format!(r#"{{"iat": {iat}, "exp": {exp}}}"#)));
        prop_assert!(lifetime.is_some());
        prop_assert!(exp > iat || lifetime == Some(Duration::ZERO));
    }
}
