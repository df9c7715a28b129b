//! The wire format of the Turris API, as pure functions from bytes to values, without IO and
//! without a clock.

#[cfg(test)]
pub(crate) mod encode;
pub(crate) mod error;
mod json;
pub(crate) mod jwt;
pub(crate) mod limits;
mod redact;
pub(crate) mod token;

use std::time::Duration;

use zeroize::Zeroizing;

/// Converts seconds to a duration. Negative values and NaN become zero, and too large values become
/// [`Duration::MAX`].
fn saturating_seconds(seconds: f64) -> Duration {
    // `max` of NaN and a number is the number.
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// Returns `text` without control characters and without characters that reorder, join or hide the
/// text around them. Such characters could forge or garble a log line.
///
/// Every search in an external text uses this form, because such a character may split the word
/// that is searched for.
fn visible(text: &str) -> Zeroizing<String> {
    // The text may be a secret. The buffer is allocated once, because a buffer that grows leaves a
    // copy of its content behind.
    let mut visible = Zeroizing::new(String::with_capacity(text.len()));
    visible.extend(text.chars().filter(|&character| is_visible(character)));
    visible
}

fn is_visible(character: char) -> bool {
    let reorders_or_hides = matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !character.is_control() && !reorders_or_hides
}

/// The largest number of characters that is kept of an external text.
const LONGEST_TEXT: usize = 512;

/// Returns the first [`LONGEST_TEXT`] characters of `text`, trimmed, unless the result is empty.
fn cut(text: &str) -> Option<Box<str>> {
    let end = text.char_indices().nth(LONGEST_TEXT).map_or(text.len(), |(end, _)| end);
    let kept = text.get(..end).unwrap_or_default().trim();
    (!kept.is_empty()).then(|| kept.into())
}

#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod tests;
