//! Redaction: finds and hides secrets in external texts, in every encoding in which a server may
//! quote them.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::{LONGEST_TEXT, is_visible, visible};

/// The text that replaces a secret.
const HIDDEN: &str = "[secret]";

/// The largest number of nested encodings, for example HTML in JSON in a URL.
const LAYERS: u32 = 3;

/// The largest number of interpretations of a text that the search follows at once.
const MAX_READINGS: usize = 64;

/// HTML's names of the ASCII characters that are neither letters nor digits.
const NAMED: &[(&str, u8)] = &[
    ("quot", b'"'),
    ("apos", b'\''),
    ("amp", b'&'),
    ("lt", b'<'),
    ("gt", b'>'),
    ("sol", b'/'),
    ("bsol", b'\\'),
    ("excl", b'!'),
    ("num", b'#'),
    ("dollar", b'$'),
    ("percnt", b'%'),
    ("lpar", b'('),
    ("rpar", b')'),
    ("ast", b'*'),
    ("plus", b'+'),
    ("comma", b','),
    ("period", b'.'),
    ("colon", b':'),
    ("semi", b';'),
    ("equals", b'='),
    ("quest", b'?'),
    ("commat", b'@'),
    ("lsqb", b'['),
    ("lbrack", b'['),
    ("rsqb", b']'),
    ("rbrack", b']'),
    ("Hat", b'^'),
    ("lowbar", b'_'),
    ("grave", b'`'),
    ("lcub", b'{'),
    ("lbrace", b'{'),
    ("verbar", b'|'),
    ("vert", b'|'),
    ("rcub", b'}'),
    ("rbrace", b'}'),
    ("Tab", b'\t'),
    ("NewLine", b'\n'),
    ("nbsp", b' '),
];

/// A text whose secrets have been replaced.
pub(super) struct Redacted {
    /// The first [`LONGEST_TEXT`] characters, and at most one more mark.
    pub(super) text: Zeroizing<String>,
    /// Whether the text contained a secret.
    pub(super) found: bool,
}

/// Returns `text` with a mark in place of each of `secrets`, and without the characters that
/// [`visible`] removes.
///
/// A secret is found in plain form and in the encodings of JSON, URLs and HTML, which may be
/// nested. Each character may be encoded or plain. The search assumes that an outer encoding leaves
/// letters and digits plain. A text that only looks like a secret is hidden too, which does no
/// harm.
pub(super) fn redact(text: &str, secrets: &[&str]) -> Redacted {
    let secrets: Vec<_> = secrets.iter().map(|secret| visible(secret)).filter(|secret| !secret.is_empty()).collect();
    let text = visible(text);
    // The buffer is large enough never to grow, because a buffer that grows leaves a copy of its
    // content behind. Each step adds a mark or a character, so the last step exceeds the limit by a
    // mark at most.
    let mut kept = Zeroizing::new(String::with_capacity((LONGEST_TEXT + HIDDEN.len() + 1) * 4));
    let (mut characters, mut found, mut rest) = (0, false, text.as_str());
    while let Some(character) = rest.chars().next()
        && characters <= LONGEST_TEXT
    {
        let longest = secrets.iter().filter_map(|secret| quoted_at_start(rest, secret)).max();
        match longest {
            Some(length) => {
                kept.push_str(HIDDEN);
                characters += HIDDEN.len();
                found = true;
                rest = tail(rest, length);
            }
            None => {
                kept.push(character);
                characters += 1;
                rest = tail(rest, character.len_utf8());
            }
        }
    }
    Redacted { text: kept, found }
}

/// Returns `text` without its first `length` bytes. If they end within a character, that character
/// is dropped too.
fn tail(text: &str, length: usize) -> &str {
    (length..=text.len()).find_map(|start| text.get(start..)).unwrap_or_default()
}

/// Returns the largest number of bytes at the start of `text` that encode `secret`.
fn quoted_at_start(text: &str, secret: &str) -> Option<usize> {
    let (text, secret) = (text.as_bytes(), secret.as_bytes());
    // Pairs of two numbers: the bytes of the secret that are found, and the bytes of the text that
    // are read. The pair with the fewest found bytes comes first.
    let mut followed = BTreeSet::from([(0, 0)]);
    let mut longest = None;
    while let Some((found, read)) = followed.pop_first() {
        let left = secret.get(found..).unwrap_or_default();
        if left.is_empty() {
            longest = longest.max(Some(read));
            continue;
        }
        for unit in units(text.get(read..).unwrap_or_default(), LAYERS) {
            if left.starts_with(unit.bytes()) {
                followed.insert((found + unit.bytes().len(), read + unit.length));
            } else if found > 0 && unit.is_invisible() {
                followed.insert((found, read + unit.length));
            }
        }
        // Only a row of backslashes has so many interpretations. The first and the last
        // interpretation treat all backslashes alike, so an interpretation in the middle is
        // dropped.
        if followed.len() > MAX_READINGS {
            let middle = followed.iter().nth(MAX_READINGS / 2).copied();
            followed.retain(|reading| Some(*reading) != middle);
        }
    }
    longest
}

/// A byte or a character at the start of a text, and the number of bytes that encode it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Unit {
    utf8: [u8; 4],
    utf8_length: usize,
    length: usize,
}

impl Unit {
    fn byte(byte: u8, length: usize) -> Self {
        Self { utf8: [byte, 0, 0, 0], utf8_length: 1, length }
    }

    fn character(code: u32, length: usize) -> Option<Self> {
        let mut utf8 = [0; 4];
        let utf8_length = char::from_u32(code)?.encode_utf8(&mut utf8).len();
        Some(Self { utf8, utf8_length, length })
    }

    fn bytes(&self) -> &[u8] {
        self.utf8.get(..self.utf8_length).unwrap_or_default()
    }

    /// Returns whether the search for the secret skips this character.
    fn is_invisible(&self) -> bool {
        str::from_utf8(self.bytes()).is_ok_and(|text| !text.chars().any(is_visible))
    }

    fn is(&self, byte: u8) -> bool {
        self.bytes() == [byte]
    }
}

/// Returns all interpretations of the start of `text`, in up to `layers` nested encodings.
fn units(text: &[u8], layers: u32) -> Vec<Unit> {
    let Some(&first) = text.first() else { return Vec::new() };
    let mut all = vec![Unit::byte(first, 1)];
    if layers == 0 || !b"%&\\+".contains(&first) {
        return all;
    }
    for start in units(text, layers - 1) {
        let rest = text.get(start.length..).unwrap_or_default();
        let decoded = match start.bytes() {
            b"%" => hexadecimal(rest, 2)
                .and_then(|code| u8::try_from(code).ok())
                .map(|byte| Unit::byte(byte, 2))
                .into_iter()
                .collect(),
            // A space in form encoding.
            b"+" => vec![Unit::byte(b' ', 0)],
            b"&" => entity(rest, layers - 1).into_iter().collect(),
            b"\\" => escape(rest, layers - 1),
            _ => vec![Unit { length: 0, ..start }],
        };
        for unit in decoded {
            let unit = Unit { length: start.length + unit.length, ..unit };
            if !all.contains(&unit) {
                all.push(unit);
            }
        }
    }
    all
}

/// Returns the value of the first `digits` characters as a hexadecimal number.
fn hexadecimal(text: &[u8], digits: usize) -> Option<u32> {
    let digits = str::from_utf8(text.get(..digits)?).ok()?;
    // `from_str_radix` would accept a sign too.
    if digits.starts_with('+') { None } else { u32::from_str_radix(digits, 16).ok() }
}

/// Decodes the part of an HTML entity after the `&`.
fn entity(text: &[u8], layers: u32) -> Option<Unit> {
    let mut length = 0;
    let mut name = String::new();
    // The longest entities are numbers of seven digits.
    while name.len() < 10 {
        let text = text.get(length..).unwrap_or_default();
        if text.first().is_some_and(u8::is_ascii_alphanumeric) {
            name.push(char::from(text.first().copied().unwrap_or_default()));
            length += 1;
        } else if let Some(unit) =
            units(text, layers).into_iter().find(|unit| unit.is(b'#')).filter(|_| name.is_empty())
        {
            name.push('#');
            length += unit.length;
        } else {
            // A name without a semicolon is an entity too.
            length += units(text, layers).into_iter().find(|unit| unit.is(b';')).map_or(0, |unit| unit.length);
            break;
        }
    }
    let code = match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        },
        None => u32::from(NAMED.iter().find(|(named, _)| *named == name)?.1),
    };
    Unit::character(code, length)
}

/// Decodes the part after the backslash of an escape of JSON, JavaScript or a similar language.
fn escape(text: &[u8], layers: u32) -> Vec<Unit> {
    let short = |byte| vec![Unit::byte(byte, 1)];
    match text.first() {
        Some(b'b') => short(8),
        Some(b'f') => short(12),
        Some(b'n') => short(b'\n'),
        Some(b'r') => short(b'\r'),
        Some(b't') => short(b'\t'),
        Some(b'x') => hexadecimal(text.get(1..).unwrap_or_default(), 2)
            .and_then(|code| Unit::character(code, 3))
            .into_iter()
            .collect(),
        Some(b'u') => unicode(text.get(1..).unwrap_or_default(), layers).into_iter().collect(),
        Some(other) if other.is_ascii_alphanumeric() => Vec::new(),
        // The character itself, such as `"`, `/` or `\`.
        _ => units(text, layers),
    }
}

/// Decodes the part after `\u`: four digits with an optional second surrogate, or up to six digits
/// in braces.
fn unicode(text: &[u8], layers: u32) -> Option<Unit> {
    if let Some(opening) = units(text, layers).into_iter().find(|unit| unit.is(b'{')) {
        let braced = text.get(opening.length..)?;
        let digits = braced.iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
        let closing = units(braced.get(digits..)?, layers).into_iter().find(|unit| unit.is(b'}'))?;
        return Unit::character(hexadecimal(braced, digits)?, 1 + opening.length + digits + closing.length);
    }
    let first = hexadecimal(text, 4)?;
    if let Some(unit) = Unit::character(first, 5) {
        return Some(unit);
    }
    let rest = text.get(4..).unwrap_or_default();
    let backslash = units(rest, layers).into_iter().filter(|unit| unit.is(b'\\')).find_map(|unit| {
        let second = rest.get(unit.length..)?.strip_prefix(b"u")?;
        Some((hexadecimal(second, 4)?, unit.length + 5))
    });
    let (second, length) = backslash?;
    let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    let character = char::decode_utf16(pair).next()?.ok()?;
    Unit::character(u32::from(character), 5 + length)
}

#[cfg(test)]
mod tests;
