use proptest::prelude::*;

use super::*;

const SECRET: &str = "p/s\"w\\rd&<'+%é🦀=";

fn hidden(text: &str) -> String {
    redact(text, &[SECRET]).text.to_string()
}

fn json(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted[1..quoted.len() - 1].to_owned()
}

fn json_ascii(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect()
}

fn percent(text: &str) -> String {
    let byte =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

fn percent_in_lower_case(text: &str) -> String {
    let byte =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02x}") };
    text.bytes().map(byte).collect()
}

fn html(text: &str) -> String {
    let entity = |character| match character {
        '"' => "&quot;".to_owned(),
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '\'' => "&#39;".to_owned(),
        '/' => "&#x2F;".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(entity).collect()
}

/// An encoding of a text, and its name.
type Encoding = (&'static str, fn(&str) -> String);

/// All encodings in which a server may write a text.
fn encodings() -> Vec<Encoding> {
    vec![
        ("as it is", |text| text.to_owned()),
        ("json", json),
        ("json with slashes escaped", |text| json(text).replace('/', "\\/")),
        ("json in ascii", json_ascii),
        ("percent", percent),
        ("percent in lower case", percent_in_lower_case),
        ("a form", |text| percent(text).replace("%20", "+")),
        ("html", html),
        ("html in numbers", |text| text.chars().map(|character| format!("&#{};", u32::from(character))).collect()),
        ("html in hexadecimal numbers", |text| {
            text.chars().map(|character| format!("&#x{:x};", u32::from(character))).collect()
        }),
        ("html in names", |text| html(text).replace('\\', "&bsol;").replace('=', "&equals;").replace('%', "&percnt;")),
        ("javascript", |text| text.chars().map(|character| format!("\\u{{{:x}}}", u32::from(character))).collect()),
    ]
}

/// The encodings that leave letters and digits unchanged.
fn outer_encodings() -> Vec<Encoding> {
    encodings().into_iter().filter(|(_, encode)| encode("a1") == "a1").collect()
}

#[test]
fn a_secret_is_found_in_every_encoding_and_in_every_two_nested_encodings() {
    let cases = [SECRET.to_owned(), "plain".to_owned(), "with spaces and \u{e9}".to_owned(), r"\\\".to_owned()];
    for secret in &cases {
        for (inner_name, inner) in encodings() {
            for (outer_name, outer) in outer_encodings() {
                let text = format!("before {} after", outer(&inner(secret)));
                let redacted = redact(&text, &["another", secret]);
                assert!(redacted.found, "{secret} in {inner_name} in {outer_name}: {text}");
                assert_eq!(
                    &*redacted.text, "before [secret] after",
                    "{secret} in {inner_name} in {outer_name}: {text}"
                );
            }
        }
        let thrice = json(&json(&json(secret)));
        assert_eq!(&*redact(&format!("({thrice})"), &[secret]).text, "([secret])");
    }
}

#[test]
fn every_occurrence_is_hidden_and_nothing_else() {
    assert_eq!(
        hidden("no secret here: 100%, &c., C:\\dir\\new, &#1; %zz \\u12"),
        "no secret here: 100%, &c., C:\\dir\\new, &#1; %zz \\u12"
    );
    assert_eq!(hidden(&format!("{SECRET}{}", percent(SECRET))), "[secret][secret]");
    assert_eq!(hidden(&SECRET[..SECRET.len() - 1]), SECRET[..SECRET.len() - 1]);
    assert!(!redact("there is none", &["", "\u{200b}"]).found);
}

#[test]
fn a_text_of_nothing_but_escapes_is_read_in_a_bounded_time() {
    let size = turris_test_support::cases(512, 2_048);
    for text in ["\\".repeat(2 * size), "%25".repeat(size), "&amp;".repeat(size), "+".repeat(2 * size)] {
        for secret in ["\\".repeat(12), "%".repeat(12), "&".repeat(12), " ".repeat(12), format!("{}x", "\\".repeat(12))]
        {
            let redacted = redact(&text, &[&secret]);
            assert!(redacted.text.chars().count() <= LONGEST_TEXT + HIDDEN.len() + 1);
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_nothing_is_hidden_without_a_secret(text in "[\\\\%&#;xu{}+0-9a-fé🦀]{0,60}", secret in "[\\\\%&a-f0-9é🦀]{1,6}") {
        let redacted = redact(&text, &[&secret]);
        prop_assert_eq!(&*redact(&text, &[]).text, &text);
        prop_assert!(!redacted.text.replace(HIDDEN, "\0").contains(&secret));
        prop_assert_eq!(redacted.found, redacted.text.contains(HIDDEN));
    }

    #[test]
    fn any_secret_is_found_in_any_two_encodings(secret in "[ -~é🦀]{3,12}", inner in 0_usize..12, outer in 0_usize..8) {
        let (encodings, outer_encodings) = (encodings(), outer_encodings());
        let text = outer_encodings[outer].1(&encodings[inner].1(&secret));
        prop_assert!(redact(&text, &[&secret]).found, "{} in {}: {}", encodings[inner].0, outer_encodings[outer].0, text);
    }
}
