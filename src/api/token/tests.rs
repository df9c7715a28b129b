use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;
use crate::api::encode;

const TIMESTAMP: &str = "2025-11-12T20:49:03.293Z";

fn decode(body: &str) -> TokenResponse {
    TokenResponse::decode(body.as_bytes(), "").unwrap_or_else(|error| panic!("{error} in {body}"))
}

/// Returns the faulty field. Asserts that the error does not show `secret`.
fn fault(body: &str, secret: &str) -> &'static str {
    let Err(error) = TokenResponse::decode(body.as_bytes(), "") else { panic!("this is no token answer: {body}") };
    let shown = format!("{error} {error:?}");
    assert!(shown.starts_with(&format!("`{}` {}", error.field, error.problem)), "{shown}");
    assert!(secret.is_empty() || !shown.contains(secret), "{shown}");
    error.field
}

#[test]
fn the_request_is_the_documented_object() {
    let body = encode_token_request("m2m-client-abc123", "s\"e\\c\nrét\0");
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, serde_json::json!({ "clientId": "m2m-client-abc123", "clientSecret": "s\"e\\c\nrét\0" }));
}

#[test]
fn the_request_is_written_into_a_buffer_that_never_grows() {
    // A control character becomes six bytes, which is the longest escape.
    for secret in [String::new(), "x".repeat(100_000), "\0".repeat(100_000), "\"".repeat(1_000), "é🦀".repeat(999)] {
        let body = encode_token_request(&secret, &secret);
        assert_eq!(body.capacity(), body.len());
    }
}

#[test]
fn the_token_is_read_in_every_documented_shape() {
    let bodies = [
        // The form of the OpenAPI schema.
        r#"{"data": {"accessToken": "a.b.c", "expiresIn": 3600, "tokenType": "Bearer"}, "requestId": "dev-1",
            "timestamp": "2025-11-12T20:49:03.293Z"}"#,
        // The form of the vendor's authentication guide.
        r#"{"statusCode": 201, "data": {"accessToken": "a.b.c"}, "timestamp": "2025-11-12T20:49:03.293Z"}"#,
        // The form of the vendor's JavaScript sample.
        r#"{"access_token": "a.b.c"}"#,
        // The form of RFC 6749.
        r#"{"access_token": "a.b.c", "token_type": "bearer", "expires_in": 3600, "scope": "all"}"#,
        r#"{"accessToken": "a.b.c", "tokenType": "BEARER", "expiresIn": "3600"}"#,
        r#"{"data": {"access_token": "a.b.c", "token_type": null, "expires_in": null}}"#,
        r#"{"data": null, "access_token": "a.b.c"}"#,
        r#"{"data": {"access\u005ftoken": "a\u002eb.c"}}"#,
    ];
    for body in bodies {
        let answer = decode(body);
        assert_eq!(&**answer.access_token, "a.b.c", "{body}");
        assert_eq!(answer.lifetime, Duration::from_secs(3600), "{body}");
    }
}

#[test]
fn a_token_in_data_counts_before_a_token_at_the_top() {
    let answer = decode(
        r#"{"access_token": "outer", "expires_in": 1, "tokenType": "mac", "data": {"accessToken": "inner", "expiresIn": 2}}"#,
    );
    assert_eq!(&**answer.access_token, "inner");
    assert_eq!(answer.lifetime, Duration::from_secs(2));
    assert_eq!(fault(r#"{"access_token": "outer", "data": {}}"#, "outer"), "data.accessToken");
}

#[test]
fn the_lifetime_is_any_sort_of_number() {
    let cases = [
        ("3600", Duration::from_secs(3600)),
        ("3600.5", Duration::from_millis(3_600_500)),
        ("3.6e3", Duration::from_secs(3600)),
        (r#""3600""#, Duration::from_secs(3600)),
        (r#"" 3600.0 ""#, Duration::from_secs(3600)),
        (r#""+3.6e3""#, Duration::from_secs(3600)),
        ("0", Duration::ZERO),
        ("-0.0", Duration::ZERO),
        ("-5", Duration::ZERO),
        ("-9223372036854775808", Duration::ZERO),
        ("-99999999999999999999", Duration::ZERO),
        (r#""-5""#, Duration::ZERO),
        ("1e-9", Duration::from_nanos(1)),
        ("18446744073709551615", Duration::from_secs(u64::MAX)),
        ("18446744073709551616", Duration::MAX),
        ("1e308", Duration::MAX),
        (r#""1e308""#, Duration::MAX),
        (r#""1e999""#, Duration::MAX),
        (r#""99999999999999999999999""#, Duration::MAX),
    ];
    for (expires_in, expected) in cases {
        let answer = decode(&format!(r#"{{"data": {{"accessToken": "a", "expiresIn": {expires_in}}}}}"#));
        assert_eq!(answer.lifetime, expected, "{expires_in}");
        let answer = decode(&format!(r#"{{"expires_in": {expires_in}, "access_token": "a"}}"#));
        assert_eq!(answer.lifetime, expected, "{expires_in}");
    }
}

#[test]
fn a_lifetime_that_is_no_number_is_an_error() {
    for expires_in in [
        "true",
        "{}",
        "[3600]",
        r#""""#,
        r#"" ""#,
        r#""abc""#,
        r#""NaN""#,
        r#""inf""#,
        r#""-inf""#,
        r#""infinity""#,
        r#""1h""#,
        r#""1 2""#,
        r#""0x10""#,
        r#""e""#,
        r#""-""#,
        r#""1,5""#,
        r#""٣""#,
    ] {
        let body = format!(r#"{{"data": {{"accessToken": "s3cret", "expiresIn": {expires_in}}}}}"#);
        assert_eq!(fault(&body, "s3cret"), "data.expiresIn", "{body}");
        let body = format!(r#"{{"access_token": "s3cret", "expires_in": {expires_in}}}"#);
        assert_eq!(fault(&body, "s3cret"), "expiresIn", "{body}");
    }
    // These values are not JSON.
    for expires_in in ["NaN", "Infinity", "1e999", "+1", "01"] {
        let body = format!(r#"{{"data": {{"accessToken": "s3cret", "expiresIn": {expires_in}}}}}"#);
        assert_eq!(fault(&body, "s3cret"), "body", "{body}");
    }
}

#[test]
fn a_missing_lifetime_is_that_of_the_jwt_or_an_hour() {
    let jwt = |claims: &str| format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims));
    let lifetime = |token: &str, more: &str| {
        decode(&format!(r#"{{"data": {{"accessToken": "{token}"{more}}}}}"#)).lifetime.as_secs()
    };
    let token = jwt(r#"{"iat": 1763000000, "exp": 1763000900}"#);
    assert_eq!(lifetime(&token, ""), 900);
    assert_eq!(lifetime(&token, r#", "expiresIn": null"#), 900);
    assert_eq!(lifetime(&token, r#", "expiresIn": 60"#), 60);
    assert_eq!(lifetime(&jwt(r#"{"exp": 1763000900}"#), ""), 3600);
    assert_eq!(lifetime("opaque", ""), 3600);
}

#[test]
fn a_token_that_is_not_of_the_bearer_grammar_is_an_error() {
    let longest = "x".repeat(16 * 1024);
    for token in ["a", "-._~+/", "a=", "abc==", "A-Z.a_z~0+9/", r"a\/b", &longest] {
        let answer = decode(&format!(r#"{{"access_token": "{token}"}}"#));
        assert_eq!(&**answer.access_token, token.replace('\\', ""));
    }
    let too_long = "x".repeat(16 * 1024 + 1);
    for token in [
        "",
        " ",
        "=",
        "==",
        "a=b",
        "a b",
        " a",
        "a ",
        r"s3cret\r\nx-evil: 1",
        r"s3cret\n",
        r"s3cret\u0000",
        r"s3cret\t",
        "s3cret\u{e9}",
        r"s3cret\u00e9",
        "Bearer s3cret",
        "s3cret,",
        r#"s3cret\""#,
        "s3cret:",
        "s3cret%20",
        &too_long,
    ] {
        assert_eq!(fault(&format!(r#"{{"data": {{"accessToken": "{token}"}}}}"#), "s3cret"), "data.accessToken");
        assert_eq!(fault(&format!(r#"{{"access_token": "{token}"}}"#), "s3cret"), "accessToken");
    }
    for token in ["null", "1", "true", "[]", r#"["s3cret"]"#, r#"{"s3cret": "s3cret"}"#] {
        assert_eq!(fault(&format!(r#"{{"data": {{"accessToken": {token}}}}}"#), "s3cret"), "data.accessToken");
    }
}

#[test]
fn a_type_that_is_not_bearer_is_an_error() {
    for token_type in [r#""mac""#, r#""DPoP""#, r#""""#, r#""Bearer ""#, "1", "false", r#"["Bearer"]"#, "{}"] {
        let body = format!(r#"{{"data": {{"accessToken": "s3cret", "tokenType": {token_type}}}}}"#);
        assert_eq!(fault(&body, "s3cret"), "data.tokenType");
        let body = format!(r#"{{"access_token": "s3cret", "token_type": {token_type}}}"#);
        assert_eq!(fault(&body, "s3cret"), "tokenType");
    }
}

#[test]
fn a_repeated_field_is_an_error() {
    let cases = [
        (r#"{"data": {"accessToken": "s3cret", "accessToken": "s3cret"}}"#, "data.accessToken"),
        (r#"{"data": {"accessToken": "s3cret", "access_token": "s3cret2"}}"#, "data.accessToken"),
        (r#"{"data": {"access_token": null, "accessToken": "s3cret"}}"#, "data.accessToken"),
        (r#"{"data": {"accessToken": "s3cret", "expiresIn": 1, "expires_in": 1}}"#, "data.expiresIn"),
        (r#"{"data": {"accessToken": "s3cret", "tokenType": "bearer", "tokenType": "bearer"}}"#, "data.tokenType"),
        (r#"{"access_token": "s3cret", "access\u005ftoken": "s3cret"}"#, "accessToken"),
        (r#"{"access_token": "s3cret", "expires_in": 1, "expires_in": 2}"#, "expiresIn"),
        (r#"{"access_token": "s3cret", "requestId": "a", "request_id": "b"}"#, "requestId"),
        (r#"{"data": {"accessToken": "s3cret"}, "data": {"accessToken": "s3cret"}}"#, "data"),
        (r#"{"data": {"accessToken": "s3cret"}, "data": null}"#, "data"),
    ];
    for (body, field) in cases {
        assert_eq!(fault(body, "s3cret"), field, "{body}");
    }
    // Fields that have no meaning for this crate may be repeated.
    decode(r#"{"access_token": "a", "scope": 1, "scope": 2, "more": {"access_token": 1, "accessToken": 2}}"#);
}

#[test]
fn a_body_that_is_not_an_object_is_an_error() {
    let empty_object_bodies = ["{}", r#"{"statusCode": 201}"#, r#"{"data": null}"#];
    for body in empty_object_bodies {
        assert_eq!(fault(body, ""), "data.accessToken", "{body}");
    }
    for body in ["", " ", "<html>s3cret</html>", "null", "\"s3cret\"", "[]", r#"["s3cret", 3600, "Bearer"]"#, "1", "{"]
    {
        assert_eq!(fault(body, "s3cret"), "body", "{body}");
    }
    for data in [r#""s3cret""#, "1", "true", r#"["s3cret", 3600, "Bearer"]"#] {
        assert_eq!(fault(&format!(r#"{{"access_token": "s3cret", "data": {data}}}"#), "s3cret"), "data");
    }
    let truncated = r#"{"data": {"accessToken": "s3cret", "expiresIn": 3600"#;
    assert_eq!(fault(truncated, "s3cret"), "body");
    assert_eq!(fault(r#"{"access_token": "s3cret"} and more"#, "s3cret"), "body");
    assert!(TokenResponse::decode(b"{\"access_token\": \"\xff\"}", "").is_err_and(|error| error.field == "body"));
}

#[test]
fn ten_thousand_levels_of_nesting_are_an_error() {
    let (open, close) = ("[".repeat(10_000), "]".repeat(10_000));
    let objects = format!("{}1{}", r#"{"data":"#.repeat(10_000), "}".repeat(10_000));
    for body in [
        open.clone(),
        format!("{open}{close}"),
        format!(r#"{{"data": {open}{close}}}"#),
        format!(r#"{{"data": {{"accessToken": {open}{close}}}}}"#),
        format!(r#"{{"junk": {open}{close}, "access_token": "s3cret"}}"#),
        r#"{"data":"#.repeat(10_000),
        objects,
    ] {
        assert_eq!(fault(&body, "s3cret"), "body");
    }
    // A field without a meaning may be nested to a moderate depth.
    let (open, close) = ("[".repeat(100), "]".repeat(100));
    decode(&format!(r#"{{"junk": {open}{close}, "access_token": "a"}}"#));
}

#[test]
fn the_request_id_is_kept_if_it_is_a_text() {
    let request_id = |value: &str| decode(&format!(r#"{{"access_token": "s3cret", "requestId": {value}}}"#)).request_id;
    assert_eq!(request_id(r#""dev-1""#).as_deref(), Some("dev-1"));
    assert_eq!(request_id(r#""a\r\nb""#).as_deref(), Some("ab"));
    assert_eq!(request_id("7"), None);
    assert_eq!(request_id("{}"), None);
    assert_eq!(request_id("null"), None);
    assert_eq!(request_id(r#""for s3cret""#), None);
    assert_eq!(request_id(&format!(r#""{:508}s3cret""#, "")), None);
    // The search skips the invisible characters between the letters.
    assert_eq!(request_id(r#""for s3\u200bcr\r\net""#), None);
    let wrapped = r#"{"data": {"accessToken": "a"}, "request_id": "dev-2"}"#;
    assert_eq!(decode(wrapped).request_id.as_deref(), Some("dev-2"));
}

#[test]
fn debug_output_has_no_token() {
    let answer = decode(r#"{"access_token": "s3cret", "requestId": "dev-1"}"#);
    assert!(!format!("{answer:?}").contains("s3cret"));
}

/// JSON that is similar enough to a token response to reach every branch.
fn any_json() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        prop::sample::select(vec![
            "data",
            "accessToken",
            "access_token",
            "expiresIn",
            "expires_in",
            "tokenType",
            "token_type",
            "requestId",
            "request_id",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| format!("{value:e}")),
        any::<String>().prop_map(|value| serde_json::Value::from(value).to_string()),
        "[-0-9+.eE]{0,8}".prop_map(|value| format!("{value:?}")),
        "[-A-Za-z0-9._~+/]{1,20}={0,2}".prop_map(|value| format!("{value:?}")),
        Just("\"Bearer\"".to_owned()),
    ];
    leaf.prop_recursive(4, 32, 6, move |value| {
        prop_oneof![
            prop::collection::vec(value.clone(), 0..6).prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((key.clone(), value), 0..6).prop_map(|entries| {
                let entries: Vec<_> =
                    entries.iter().map(|(key, value)| format!("{}:{value}", serde_json::Value::from(&**key))).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_body_panics(body in any::<Vec<u8>>()) {
        let _ = TokenResponse::decode(&body, "");
    }

    #[test]
    fn no_json_panics_and_every_token_is_fit_for_a_header(body in any_json()) {
        if let Ok(answer) = TokenResponse::decode(body.as_bytes(), "") {
            prop_assert!(is_b64token(&answer.access_token));
            let header = http::HeaderValue::try_from(format!("Bearer {}", *answer.access_token));
            prop_assert!(header.is_ok());
        }
    }

    #[test]
    fn what_the_server_encodes_decodes_to_itself(
        access_token in "[-A-Za-z0-9._~+/]{1,200}={0,3}",
        expires_in in any::<u64>(),
        request_id in "[!-~]{1,64}",
    ) {
        let answer = TokenResponse::decode(&encode::token_response(&access_token, expires_in, &request_id, TIMESTAMP), "");
        let answer = answer.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&**answer.access_token, &*access_token);
        prop_assert_eq!(answer.lifetime, Duration::from_secs(expires_in));
        // The request id may contain a short token by chance.
        let expected = Some(&*request_id).filter(|request_id| !request_id.contains(&access_token));
        prop_assert_eq!(answer.request_id.as_deref(), expected);
    }

    #[test]
    fn what_the_client_encodes_decodes_to_itself(client_id in any::<String>(), client_secret in any::<String>()) {
        let body = encode_token_request(&client_id, &client_secret);
        prop_assert_eq!(body.capacity(), body.len());
        let (id, secret) = encode::decode_token_request(&body).unwrap();
        prop_assert_eq!((id, &**secret), (client_id, &*client_secret));
    }
}
