//! The file of an export: a line for each note.

use crate::Failure;
use crate::protocol::NOTE_MAX;
use std::io::{BufRead, Read};

/// The bytes of the longest line with its end: each of a note's may take two.
const LINE_MAX: usize = 2 * NOTE_MAX + 2;

/// A note as a line, without its end. A CR is written as `\r`, so that it is not taken for a part of the end.
pub fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

/// Reads a line with its end, which is LF, or CR and LF as editors on Windows write it. `false`: there is none.
pub fn read(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, Failure> {
    line.clear();
    input.take(LINE_MAX as u64).read_until(b'\n', line)?;
    if line.len() == LINE_MAX && !line.ends_with(b"\n") {
        return Err(format!("a line of {LINE_MAX} bytes or more is longer than any note").into());
    }
    Ok(!line.is_empty())
}

/// The note of a line.
pub fn unescaped(line: &[u8]) -> Result<String, Failure> {
    let ends = [&b"\r\n"[..], b"\n"];
    let line = ends.iter().find_map(|end| line.strip_suffix(*end)).unwrap_or(line);
    let mut text = String::with_capacity(line.len());
    let mut rest = std::str::from_utf8(line)?.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => match rest.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                other => text.push(other.unwrap_or('\\')),
            },
            other => text.push(other),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn notes_of(file: &[u8]) -> Result<Vec<String>, Failure> {
        let (mut input, mut line, mut notes) = (file, Vec::new(), Vec::new());
        while read(&mut input, &mut line)? {
            notes.push(unescaped(&line)?);
        }
        Ok(notes)
    }

    /// Characters of any kind, most of them those that mean something here.
    fn character() -> impl Strategy<Value = char> {
        prop_oneof![Just('\r'), Just('\n'), Just('\\'), Just('r'), Just('n'), any::<char>()]
    }

    proptest! {
        #[test]
        fn notes_are_what_they_were(
            notes in prop::collection::vec(prop::collection::vec(character(), 0..12), 0..6),
        ) {
            let notes: Vec<String> = notes.into_iter().map(String::from_iter).collect();
            let file: String = notes.iter().map(|note| escaped(note) + "\n").collect();
            prop_assert_eq!(notes_of(file.as_bytes()).unwrap(), notes);
        }
    }

    #[test]
    fn lines_that_a_person_has_written_are_notes() {
        for (file, notes) in [
            ("", &[][..]),
            ("\n", &[""]),
            ("milk\nbread", &["milk", "bread"]),
            ("milk\r\nbread\r\n", &["milk", "bread"]),
            ("a CR at the end\r", &["a CR at the end\r"]),
            ("one \\ more, \\x, \\", &["one  more, x, \\"]),
        ] {
            assert_eq!(notes_of(file.as_bytes()).unwrap(), notes, "{file:?}");
        }
        assert!(notes_of(b"\xFF\n").is_err());
    }

    #[test]
    fn the_longest_note_has_a_line_and_a_longer_line_is_no_note() {
        let longest = "\r".repeat(NOTE_MAX);
        let file = escaped(&longest);
        for end in ["", "\n", "\r\n"] {
            assert_eq!(notes_of(format!("{file}{end}").as_bytes()).unwrap(), [&longest[..]]);
        }
        let error = notes_of(&vec![b'x'; LINE_MAX]).unwrap_err().to_string();
        assert!(error.contains("131074 bytes"), "{error}");
        assert!(notes_of(&vec![b'x'; LINE_MAX - 1]).is_ok(), "the service refuses it");
    }
}
