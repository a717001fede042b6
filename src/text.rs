//! Texts that come from a peer, or go to one.
#![forbid(unsafe_code)]

/// The front of a text, of `most` bytes at most, cut between two characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let most = most.min(text.len());
    let end = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        for (most, front) in [(0, ""), (1, "a"), (2, "a"), (3, "aé"), (4, "aéb"), (5, "aéb")] {
            assert_eq!(cut("aéb", most), front, "{most}");
        }
    }
}
