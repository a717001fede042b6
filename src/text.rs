//! Texts that a peer sends or receives.
#![forbid(unsafe_code)]

use std::borrow::Cow;

/// The first characters of a text, at most `most` bytes.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let most = most.min(text.len());
    let end = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

/// A peer's text with its control characters escaped, so that it cannot forge a line in a log, or move the
/// cursor of a terminal.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_control) {
        return text.into();
    }
    let escape = |c: char| if is_control(c) { c.escape_unicode().to_string() } else { c.into() };
    text.chars().map(escape).collect::<String>().into()
}

/// Control characters, and those that change the direction or the lines of a text
/// (Unicode Standard Annex 9; U+2028 and U+2029).
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        for (text, printed) in [
            ("no such note: 7", "no such note: 7"),
            ("ä → ß 👍", "ä → ß 👍"),
            ("bye\nroot logged in", "bye\\u{a}root logged in"),
            ("\u{1b}[2J\r\t\0", "\\u{1b}[2J\\u{d}\\u{9}\\u{0}"),
            ("a\u{202e}b\u{2028}c\u{85}d", "a\\u{202e}b\\u{2028}c\\u{85}d"),
        ] {
            assert_eq!(escaped(text), printed);
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (most, front) in [(0, ""), (1, "a"), (2, "a"), (3, "aé"), (4, "aéb"), (5, "aéb")] {
            assert_eq!(cut("aéb", most), front, "{most}");
        }
    }
}
