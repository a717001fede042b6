//! The last lines of what a started server wrote to standard error.

use crate::error::STDERR_LINES;
use crate::text::escaped;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// The most bytes that are read: some lines of the usual length, and a screen of a long one.
const BYTES: u64 = 4096;

/// The last lines of a file, without control characters, of what was written from `start` on. Empty if they cannot be
/// read: the error that they belong to is worth more than that.
pub(super) fn last_lines(mut file: &File, start: u64) -> Vec<String> {
    let mut read = || -> io::Result<(Vec<u8>, bool)> {
        let end = file.seek(SeekFrom::End(0))?;
        let from = end.saturating_sub(BYTES).max(start.min(end));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        // It may grow meanwhile.
        file.take(BYTES).read_to_end(&mut bytes)?;
        Ok((bytes, from > start))
    };
    read().map_or_else(|_| Vec::new(), |(bytes, is_cut)| lines_of(&bytes, is_cut))
}

/// The last lines of a text. `is_cut`: its front is missing, so its first line may be half of one, and that is left out
/// if there is another.
fn lines_of(bytes: &[u8], is_cut: bool) -> Vec<String> {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let whole = if is_cut && lines.len() > 2 { &lines[1..] } else { &lines[..] };
    let mut texts: Vec<String> = whole
        .iter()
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .map(|line| escaped(&String::from_utf8_lossy(line)).into_owned())
        .collect();
    texts.split_off(texts.len().saturating_sub(STDERR_LINES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: usize) -> String {
        (0..count).map(|number| format!("line {number}\n")).collect()
    }

    #[test]
    fn the_last_lines_are_taken_and_no_more_than_their_number() {
        for count in [0, 1, STDERR_LINES - 1, STDERR_LINES, STDERR_LINES + 1] {
            let lines = lines_of(numbered(count).as_bytes(), false);
            assert_eq!(lines.len(), count.min(STDERR_LINES));
            assert_eq!(lines.last(), count.checked_sub(1).map(|it| format!("line {it}")).as_ref());
        }
    }

    #[test]
    fn bytes_of_any_kind_become_text_without_control_characters() {
        let lines = lines_of(b"\xff\xfe\r\n\n\x1b[2J\0 end", false);
        assert_eq!(lines, ["\u{fffd}\u{fffd}", "\\u{1b}[2J\\u{0} end"]);
    }

    #[test]
    fn a_line_without_its_front_is_shown_only_if_it_is_alone() {
        assert_eq!(lines_of(b"lf\nwhole\n", true), ["whole"]);
        assert_eq!(lines_of(b"a long line without its front\n", true).len(), 1);
        assert_eq!(lines_of(b"a long line without its front", true).len(), 1);
    }

    #[test]
    fn a_file_is_read_from_its_start_and_at_most_some_bytes_of_it() {
        let path = std::env::temp_dir().join(format!("msgpipe.tail.{}", std::process::id()));
        for (size, start, kept) in [
            (0, 0, 0),
            (BYTES - 1, 0, BYTES - 1),
            (BYTES, 0, BYTES),
            (BYTES + 1, 0, BYTES),
            (10 << 20, 0, BYTES),
            (100, 40, 60),
            (100, 100, 0),
            (100, 101, 0), // it was cut meanwhile
        ] {
            std::fs::write(&path, vec![b'x'; size as usize]).unwrap();
            let lines = last_lines(&File::open(&path).unwrap(), start);
            let length: usize = lines.iter().map(String::len).sum();
            assert_eq!(length as u64, kept, "{size} {start}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
