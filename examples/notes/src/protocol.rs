//! What the service and its clients say to each other.

use msgpipe::ErrorReply;

/// Keeps a note. The request is its text, the reply its number.
pub const ADD: u32 = 1;
/// All notes: a part for each, as [`Note::encode`] makes it.
pub const LIST: u32 = 2;
/// One note. The request is its number, the reply its text.
pub const GET: u32 = 3;
/// Notes from now on, as they are kept: a part for each.
pub const WATCH: u32 = 4;
/// As [`LIST`], with the number of notes as the first part.
pub const EXPORT: u32 = 5;
/// Keeps many notes: a part for each text. The reply is how many there were.
pub const IMPORT: u32 = 6;
/// What the service does, for a person to read.
pub const STATUS: u32 = 7;
/// Stops the service.
pub const STOP: u32 = 8;

/// The code of the error for a note that is not there. Codes from 100 on are the application's.
pub const NO_SUCH_NOTE: u16 = 404;
/// The code of the error for a request that makes no sense.
pub const BAD_REQUEST: u16 = 400;
/// The code of the error for an import, a list or an export that took too long.
pub const TOO_SLOW: u16 = 408;
/// The code of the error for an import that is too large.
pub const TOO_LARGE: u16 = 413;
/// The code of the error for an import, a list or an export while as many run as may.
pub const BUSY: u16 = 503;

/// The bytes of the longest note.
pub const NOTE_MAX: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub number: u64,
    pub text: String,
}

impl Note {
    /// Its number, 8 bytes, the first the most significant; then its text.
    pub fn encode(&self) -> Vec<u8> {
        [&self.number.to_be_bytes()[..], self.text.as_bytes()].concat()
    }

    pub fn decode(bytes: &[u8]) -> Option<Note> {
        let (number, text) = bytes.split_first_chunk()?;
        let text = std::str::from_utf8(text).ok()?;
        Some(Note { number: u64::from_be_bytes(*number), text: text.to_owned() })
    }
}

/// The text of a note, as a client has sent it.
pub fn text_of(bytes: &[u8]) -> Result<String, ErrorReply> {
    if bytes.len() > NOTE_MAX {
        let text = format!("a note of {} bytes is over the limit of {NOTE_MAX}", bytes.len());
        return Err(ErrorReply::new(BAD_REQUEST, text));
    }
    let text = String::from_utf8(bytes.to_vec());
    text.map_err(|_| ErrorReply::new(BAD_REQUEST, "a note is a text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_what_it_was() {
        for text in ["", "milk", "Käse\nand a second line"] {
            let note = Note { number: 0x0102_0304_0506_0708, text: text.to_owned() };
            let bytes = note.encode();
            assert_eq!(bytes[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
            assert_eq!(Note::decode(&bytes), Some(note));
        }
        assert_eq!(Note::decode(b"1234567"), None);
        assert_eq!(Note::decode(b"12345678\xFF"), None);
    }
}
