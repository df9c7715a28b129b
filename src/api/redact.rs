//! Finds and hides secrets in texts from outside, in whatever encoding a server quotes them.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::{LONGEST_TEXT, is_visible, visible};

/// What stands in the place of a secret.
const HIDDEN: &str = "[secret]";

/// How many encodings may lie one around the other: HTML in JSON in a URL, or JSON three times.
const LAYERS: u32 = 3;

/// How many ways to read a text are followed at once.
const MOST_READINGS: usize = 64;

/// The names that HTML has for the characters of ASCII that are neither letters nor digits.
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

/// A text without the secrets that were in it.
pub(super) struct Redacted {
    /// As much of the text as is kept, and a little more.
    pub(super) text: Zeroizing<String>,
    /// Whether there was a secret in it.
    pub(super) found: bool,
}

/// `text` with a mark in the place of each of `secrets`, and without what [`visible`] leaves out.
///
/// A secret is found as it is, and encoded as JSON, in a URL or in HTML, or as several of these one around the other; each
/// of its characters may be encoded or not. (No encoding around another one encodes letters and digits.) A text that merely
/// looks like a secret is hidden too, which does no harm.
pub(super) fn redact(text: &str, secrets: &[&str]) -> Redacted {
    let secrets: Vec<_> = secrets.iter().map(|secret| visible(secret)).filter(|secret| !secret.is_empty()).collect();
    let text = visible(text);
    // It does not grow and leave a copy behind: each step adds a mark or a character, and the last one goes beyond the
    // limit by less than a mark.
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

/// What follows the first `length` bytes, and what is left of the character that they end in.
fn tail(text: &str, length: usize) -> &str {
    (length..=text.len()).find_map(|start| text.get(start..)).unwrap_or_default()
}

/// How many bytes at the start of `text` are `secret`, in any encoding: the most that can be meant.
fn quoted_at_start(text: &str, secret: &str) -> Option<usize> {
    let (text, secret) = (text.as_bytes(), secret.as_bytes());
    // How far the secret has been found, and how far the text has been read for that: the least found first.
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
        // Only a row of backslashes can be read in many ways. The ways in which all of them are encoded alike are the
        // first and the last.
        if followed.len() > MOST_READINGS {
            let middle = followed.iter().nth(MOST_READINGS / 2).copied();
            followed.retain(|reading| Some(*reading) != middle);
        }
    }
    longest
}

/// A byte or a character at the start of a text, and how many bytes of the text encode it.
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

    /// Whether the secret is searched for without this character.
    fn is_invisible(&self) -> bool {
        str::from_utf8(self.bytes()).is_ok_and(|text| !text.chars().any(is_visible))
    }

    fn is(&self, byte: u8) -> bool {
        self.bytes() == [byte]
    }
}

/// All that the start of `text` can mean, in up to `layers` encodings.
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
            // In a form, a space.
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

/// The number that the first `digits` characters are.
fn hexadecimal(text: &[u8], digits: usize) -> Option<u32> {
    let digits = str::from_utf8(text.get(..digits)?).ok()?;
    // `from_str_radix` takes a sign, too.
    if digits.starts_with('+') { None } else { u32::from_str_radix(digits, 16).ok() }
}

/// What stands behind the `&` of an HTML entity.
fn entity(text: &[u8], layers: u32) -> Option<Unit> {
    let mut length = 0;
    let mut name = String::new();
    // The longest are numbers with seven digits.
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
            // A name without a semicolon is one, too.
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

/// What stands behind the backslash of an escape of JSON, JavaScript or a language like it.
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

/// What stands behind `\u`: four digits, perhaps with a second half, or up to six in braces.
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
