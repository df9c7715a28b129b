//! Reads texts from a JSON document without leaving copies in freed memory.
//!
//! serde_json assembles a text with escapes in its own buffer and frees the buffer without
//! zeroising it. So if a document may contain a secret, its values are taken raw ([`RawValue`]) and
//! unescaped here.

use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// Returns the fields of a JSON object. A value that is not an object is not parsed, because
/// serde_json's error would quote it. For the same reason the type of every field should be
/// [`RawValue`].
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    if json.trim_ascii_start().starts_with(b"{") { serde_json::from_slice(json).ok() } else { None }
}

/// Returns the text of a JSON string. `None` for other values, and for a string with an unpaired
/// surrogate.
pub(crate) fn text(value: &RawValue) -> Option<Zeroizing<String>> {
    let mut rest = value.get().strip_prefix('"')?.strip_suffix('"')?;
    // An escape is at least as long as its character, so the buffer never grows and never leaves a
    // copy behind.
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
            // `RawValue` holds valid JSON, so this character is `"`, `\` or `/`.
            itself => itself,
        };
        text.push(character);
        rest = characters.as_str();
    }
    text.push_str(rest);
    Some(text)
}

/// Returns the character that the four digits after `\u` encode, and the rest of the text. If the
/// digits are the first half of a surrogate pair, the second half is consumed too.
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
