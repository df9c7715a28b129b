//! Texts out of a JSON document, read without a copy that stays behind in freed memory.
//!
//! serde_json puts a text with escapes together in a buffer of its own, and frees that as it is. So where a document may
//! hold a secret, its values are taken as they stand in it ([`RawValue`]), and unescaped here.

use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// The fields of a JSON object, if that is what it is. Anything else is not read at all: the error that says what it is quotes
/// it. The fields should all be [`RawValue`]s, for the same reason.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    if json.trim_ascii_start().starts_with(b"{") { serde_json::from_slice(json).ok() } else { None }
}

/// The text that a JSON value is. `None` for one that is no string, or that has half of a surrogate pair in it.
pub(crate) fn text(value: &RawValue) -> Option<Zeroizing<String>> {
    let mut rest = value.get().strip_prefix('"')?.strip_suffix('"')?;
    // No escape is shorter than what it stands for, so it does not grow and leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(rest.len()));
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let mut characters = escape.chars();
        let character = match characters.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (character, after) = code_point(characters.as_str())?;
                characters = after.chars();
                character
            }
            // `RawValue` holds valid JSON, so it is one of `"`, `\` and `/`.
            itself => itself,
        };
        text.push(character);
        rest = characters.as_str();
    }
    text.push_str(rest);
    Some(text)
}

/// The character that the four digits after `\u` stand for, with those of the second half where they are one half of a
/// surrogate pair, and what comes after.
fn code_point(digits: &str) -> Option<(char, &str)> {
    let (first, rest) = code_unit(digits)?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Some((character, rest));
    }
    let (second, rest) = code_unit(rest.strip_prefix("\\u")?)?;
    let character = char::decode_utf16([first, second]).next()?.ok()?;
    Some((character, rest))
}

fn code_unit(digits: &str) -> Option<(u16, &str)> {
    let (unit, rest) = digits.split_at_checked(4)?;
    Some((u16::from_str_radix(unit, 16).ok()?, rest))
}

#[cfg(test)]
mod tests;
