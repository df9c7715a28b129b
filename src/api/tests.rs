use super::*;

#[test]
fn seconds_saturate_at_both_ends() {
    let cases = [
        (0.5, Duration::from_millis(500)),
        (-0.0, Duration::ZERO),
        (-1e308, Duration::ZERO),
        (f64::NEG_INFINITY, Duration::ZERO),
        (f64::NAN, Duration::ZERO),
        (1e308, Duration::MAX),
        (f64::INFINITY, Duration::MAX),
        (f64::MIN_POSITIVE, Duration::ZERO),
    ];
    for (seconds, expected) in cases {
        assert_eq!(saturating_seconds(seconds), expected, "{seconds}");
    }
}

/// Returns the part that is kept of a text without secrets.
fn printable(text: &str) -> Option<Box<str>> {
    cut(&visible(text))
}

#[test]
fn shown_text_has_no_control_characters_and_a_bounded_length() {
    assert_eq!(printable("plain, and \u{e9}\u{1f980}").as_deref(), Some("plain, and \u{e9}\u{1f980}"));
    assert_eq!(printable(" \0a\r\nb\u{7f}\u{85}c\u{1b}[2J ").as_deref(), Some("abc[2J"));
    assert_eq!(printable("a\u{202e}b\u{2066}c\u{2028}d\u{200b}e\u{feff}f\u{61c}").as_deref(), Some("abcdef"));
    assert_eq!(printable(""), None);
    assert_eq!(printable(" \n\u{202e}\0 "), None);
    let long = "\u{1f980}".repeat(10_000);
    assert_eq!(printable(&long).unwrap().chars().count(), 512);
    assert_eq!(printable(&"x".repeat(512)).unwrap().len(), 512);
}
