//! The wire contract of the Turris API: bytes in, values out. No IO and no clock.

#[cfg(any(test, feature = "emulator"))]
pub(crate) mod encode;
pub(crate) mod error;
mod json;
pub(crate) mod jwt;
pub(crate) mod limits;
pub(crate) mod token;

use std::time::Duration;

use zeroize::Zeroizing;

/// Seconds as a duration: none for negative ones (and for NaN), [`Duration::MAX`] for more than it can hold.
fn saturating_seconds(seconds: f64) -> Duration {
    // The greater of NaN and a number is the number.
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// The part of a text from outside that is safe to keep and to log, if anything is left of it.
fn printable(text: &str) -> Option<Box<str>> {
    cut(&visible(text))
}

/// `text` without control characters and those that reorder, join or hide text around them, which could forge or garble a
/// log line.
///
/// What is looked for in a text is looked for in this: there may be such a character in the middle of it.
fn visible(text: &str) -> Zeroizing<String> {
    let reorders_or_hides = |c| matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    // It may be a secret, and does not grow and leave a copy behind.
    let mut visible = Zeroizing::new(String::with_capacity(text.len()));
    visible.extend(text.chars().filter(|&c| !c.is_control() && !reorders_or_hides(c)));
    visible
}

/// The first 512 characters, if there are any but spaces.
fn cut(text: &str) -> Option<Box<str>> {
    const KEPT: usize = 512;
    let end = text.char_indices().nth(KEPT).map_or(text.len(), |(end, _)| end);
    let kept = text.get(..end).unwrap_or_default().trim();
    (!kept.is_empty()).then(|| kept.into())
}

#[cfg(test)]
mod tests;
