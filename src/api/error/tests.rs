use proptest::prelude::*;

use super::*;
use crate::api::encode;

const TIMESTAMP: &str = "2025-11-12T20:49:03.293Z";

fn expected(request_id: Option<&str>, error_type: Option<&str>, messages: &[&str]) -> ErrorResponse {
    ErrorResponse {
        request_id: request_id.map(Into::into),
        error_type: error_type.map(Into::into),
        messages: messages.iter().map(|&message| message.into()).collect(),
    }
}

#[test]
fn the_object_may_be_whole_or_partial() {
    let cases = [
        (
            r#"{"statusCode": 401, "requestId": "dev-1", "errorType": "unauthorized", "errorMessage": ["a", "b"],
                "timestamp": "2025-11-12T20:49:03.293Z", "details": {"deep": [1]}}"#,
            expected(Some("dev-1"), Some("unauthorized"), &["a", "b"]),
        ),
        (r#"{"requestId": "dev-1"}"#, expected(Some("dev-1"), None, &[])),
        (r#"{"errorType": "unauthorized"}"#, expected(None, Some("unauthorized"), &[])),
        (r#"{"errorMessage": "only one"}"#, expected(None, None, &["only one"])),
        (r#"{"errorMessage": []}"#, expected(None, None, &[])),
        ("{}", expected(None, None, &[])),
    ];
    for (body, expected) in cases {
        assert_eq!(ErrorResponse::decode_without(body.as_bytes(), &[]), expected, "{body}");
    }
}

#[test]
fn a_field_of_another_type_does_not_spoil_the_others() {
    let cases = [
        (
            r#"{"requestId": 7, "errorType": "forbidden", "errorMessage": ["a"]}"#,
            expected(None, Some("forbidden"), &["a"]),
        ),
        (r#"{"requestId": "r", "errorType": ["forbidden"], "errorMessage": {"a": 1}}"#, expected(Some("r"), None, &[])),
        (
            r#"{"requestId": "r", "errorType": null, "errorMessage": [1, "a", null, ["b"], "", "c"]}"#,
            expected(Some("r"), None, &["a", "c"]),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(ErrorResponse::decode_without(body.as_bytes(), &[]), expected, "{body}");
    }
}

#[test]
fn a_body_that_is_not_the_object_says_nothing() {
    let unclosed = r#"{"a":"#.repeat(10_000);
    let bodies: [&[u8]; 8] = [
        b"",
        b"<html><body>502 Bad Gateway</body></html>",
        b"null",
        b"\"unauthorized\"",
        br#"["dev-1", "unauthorized", ["a"]]"#,
        br#"{"requestId": "r""#,
        b"\xff\xfe{\0}\0",
        unclosed.as_bytes(),
    ];
    for body in bodies {
        assert_eq!(
            ErrorResponse::decode_without(body, &[]),
            ErrorResponse::default(),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
}

#[test]
fn ten_thousand_levels_of_nesting_do_not_spoil_the_other_fields() {
    let nested = [("[", "]"), (r#"{"a":"#, "}")].map(|(open, close)| open.repeat(10_000) + "1" + &close.repeat(10_000));
    for nested in nested {
        let body =
            format!(r#"{{"requestId": "r", "details": {nested}, "errorType": {nested}, "errorMessage": {nested}}}"#);
        assert_eq!(ErrorResponse::decode_without(body.as_bytes(), &[]), expected(Some("r"), None, &[]));
        let body = format!(r#"{{"errorMessage": ["a", {nested}, "b"]}}"#);
        assert_eq!(ErrorResponse::decode_without(body.as_bytes(), &[]), expected(None, None, &["a", "b"]));
    }
}

#[test]
fn the_last_value_of_a_repeated_field_counts() {
    let body = br#"{"requestId": "a", "errorMessage": ["a"], "requestId": "b", "errorMessage": "b"}"#;
    assert_eq!(ErrorResponse::decode_without(body, &[]), expected(Some("b"), None, &["b"]));
}

#[test]
fn texts_are_bounded_and_without_control_characters() {
    let long = "x".repeat(2_000);
    let messages: Vec<_> = (0..100).map(|_| &*long).collect();
    let answer = ErrorResponse::decode_without(
        &encode::error_response(400, "a\r\nset-cookie: b", "\u{1b}[31mred", &messages, TIMESTAMP),
        &[],
    );
    assert_eq!(answer.request_id.as_deref(), Some("aset-cookie: b"));
    assert_eq!(answer.error_type.as_deref(), Some("[31mred"));
    assert_eq!(answer.messages.len(), 8);
    assert!(answer.messages.iter().all(|message| message.len() == 512));
}

#[test]
fn a_response_that_is_no_error_has_its_request_id() {
    let body = encode::token_response("a.b.c", 3600, "dev-1", TIMESTAMP);
    assert_eq!(ErrorResponse::decode_without(&body, &[]), expected(Some("dev-1"), None, &[]));
}

#[test]
fn a_secret_that_the_server_quotes_is_left_out() {
    let cut = format!("{}s3cret", "x".repeat(509));
    let messages = ["clientSecret 's3cret' is too short, s3cret", &cut, "harmless"];
    let body = encode::error_response(400, "s3cret", "s3cret_refused", &messages, TIMESTAMP);
    let answer = ErrorResponse::decode_without(&body, &["s3cret"]);
    assert_eq!(answer.request_id.as_deref(), Some("[secret]"));
    assert_eq!(answer.error_type.as_deref(), Some("[secret]_refused"));
    assert_eq!(&*answer.messages[0], "clientSecret '[secret]' is too short, [secret]");
    assert!(answer.messages[1].ends_with("x[se"), "{}", answer.messages[1]);
    assert_eq!(&*answer.messages[2], "harmless");
    assert_eq!(ErrorResponse::decode_without(&body, &[""]), ErrorResponse::decode_without(&body, &[]));
}

#[test]
fn a_secret_is_left_out_whatever_unprintable_characters_are_in_it() {
    let read = |message: &str, secret: &str| {
        ErrorResponse::decode_without(&encode::error_response(400, "r", "t", &[message], TIMESTAMP), &[secret]).messages
    };
    // The secret has line breaks and invisible characters inside.
    assert_eq!(&*read("s3c\r\nret or s3\u{200b}cr\u{202e}et", "s3cret")[0], "[secret] or [secret]");
    assert_eq!(&*read("it was s3\u{200b}cret or s3cret", "s3\u{200b}cret")[0], "it was [secret] or [secret]");
    assert_eq!(&*read("it was s3\u{1f}cret", "s3\u{1f}cret")[0], "it was [secret]");
    assert_eq!(&*read(r"it was s3\u001fcret", "s3\u{1f}cret")[0], "it was [secret]");
    assert_eq!(&*read("there is none", "\u{200b}")[0], "there is none");
}

proptest! {
    #[test]
    fn no_body_panics(body in any::<Vec<u8>>()) {
        ErrorResponse::decode_without(&body, &[]);
    }

    #[test]
    fn what_is_encoded_decodes_to_itself(
        status in 400u16..600,
        request_id in "[!-~]{1,64}",
        error_type in "[a-z_]{1,32}",
        messages in prop::collection::vec("[!-~]([ -~é🦀]{0,100}[!-~])?", 0..8),
    ) {
        let messages: Vec<_> = messages.iter().map(|message| &**message).collect();
        let body = encode::error_response(status, &request_id, &error_type, &messages, TIMESTAMP);
        prop_assert_eq!(ErrorResponse::decode_without(&body, &[]), expected(Some(&request_id), Some(&error_type), &messages));
    }

    #[test]
    fn all_texts_come_out_bounded_and_clean(text in any::<String>()) {
        let answer = ErrorResponse::decode_without(&encode::error_response(500, &text, &text, &[&*text; 12], TIMESTAMP), &[]);
        prop_assert!(answer.messages.len() <= 8);
        for text in answer.messages.iter().chain(&answer.request_id).chain(&answer.error_type) {
            prop_assert!(!text.is_empty() && text.chars().count() <= 512 && !text.contains(char::is_control));
        }
    }
}
