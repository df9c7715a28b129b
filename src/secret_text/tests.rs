use proptest::prelude::*;

use super::*;

fn read(json: &str) -> Option<String> {
    text(serde_json::from_str(json).unwrap()).map(|text| text.to_string())
}

#[test]
fn every_escape_is_undone() {
    let cases = [
        (r#""""#, ""),
        (r#""plain""#, "plain"),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""a\u0041\u00e9\uFFFDz""#, "aA\u{e9}\u{fffd}z"),
        (r#""\ud83d\uDE00!""#, "\u{1f600}!"),
        (r#""\u0000""#, "\0"),
        (r#""\\u0041 \\\\n""#, r"\u0041 \\n"),
        ("  \"spaces around\" ", "spaces around"),
    ];
    for (json, expected) in cases {
        assert_eq!(read(json).as_deref(), Some(expected), "{json}");
    }
}

#[test]
fn a_value_that_is_not_a_text_is_none() {
    for json in [
        "null",
        "7",
        "true",
        "[\"a\"]",
        "{\"a\": \"b\"}",
        "[]",
        "\"\\ud83d\"",
        "\"\\ud83d\\n\"",
        "\"\\ud83dabcdef\"",
        "\"\\ude00\\ud83d\"",
    ] {
        assert_eq!(read(json), None, "{json}");
    }
}

proptest! {
    #[test]
    fn texts_are_read_as_serde_json_reads_them(content in r#"([a-z"é🦀]|\\["\\/bfnrtu]|\\u(00[0-9a-f]{2}|[dD][89a-fA-F]{3}|[0-9A-Fa-f]{4})){0,12}"#) {
        let json = format!("\"{content}\"");
        let expected: Option<String> = serde_json::from_str(&json).ok();
        let Ok(value) = serde_json::from_str::<&RawValue>(&json) else {
            prop_assert_eq!(expected, None);
            return Ok(());
        };
        prop_assert_eq!(text(value).map(|text| text.to_string()), expected);
    }

    #[test]
    fn a_written_text_is_read_back(text in any::<String>()) {
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(read(&json), Some(text));
    }
}
