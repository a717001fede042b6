//! The body of an error on the wire: the length of its text, the text, the details.

use super::frame::{ENVELOPE_LEN, ERROR_MAX, Frame, Kind};
use super::violation::Broken;
use crate::error::ErrorReply;
use crate::text::cut;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The most bytes of an error's text. It is for people.
pub(crate) const TEXT_MAX: usize = 4096;

/// The frame of an error, of at most `largest` bytes. A longer text is cut; details that do not fit are left
/// out, since a part of them would be read as something else.
pub(crate) fn encode(id: u32, error: &ErrorReply, largest: usize) -> Frame {
    let room = largest.saturating_sub(ENVELOPE_LEN + 2).min(ERROR_MAX);
    let text = cut(&error.text, TEXT_MAX.min(room));
    let mut body = BytesMut::with_capacity(2 + text.len() + error.details.len());
    body.put_u16_le(text.len() as u16);
    body.put_slice(text.as_bytes());
    if text.len() + error.details.len() <= room {
        body.put_slice(&error.details);
    }
    Frame { body: body.freeze(), ..Frame::new(Kind::Error { code: error.code }, id) }
}

/// The error in the body of such a frame.
pub(crate) fn decode(code: u16, mut body: Bytes) -> Result<ErrorReply, Broken> {
    let len = usize::from(body.try_get_u16_le().map_err(|_| Broken::ErrorBody)?);
    if len > body.len() {
        return Err(Broken::ErrorBody);
    }
    let text = String::from_utf8_lossy(&body.split_to(len)).into_owned();
    Ok(ErrorReply::new(code, text).with_details(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: usize, details: usize) -> ErrorReply {
        let error = ErrorReply::new(404, "t".repeat(text)).with_details(vec![7; details]);
        let frame = Frame::decode(encode(2, &error, usize::MAX).to_bytes()).unwrap();
        decode(404, frame.body).unwrap()
    }

    #[test]
    fn an_error_comes_back_and_its_limits_are_exact() {
        for (text, details, has) in [
            (0, 0, (0, 0)),
            (TEXT_MAX - 1, 1, (TEXT_MAX - 1, 1)),
            (TEXT_MAX, 1, (TEXT_MAX, 1)),
            (TEXT_MAX + 1, 1, (TEXT_MAX, 1)),
            (100, ERROR_MAX - 101, (100, ERROR_MAX - 101)),
            (100, ERROR_MAX - 100, (100, ERROR_MAX - 100)),
            (100, ERROR_MAX - 99, (100, 0)),
        ] {
            let error = sent(text, details);
            assert_eq!((error.code, error.text.len(), error.details.len()), (404, has.0, has.1));
        }
    }

    #[test]
    fn a_body_without_its_text_is_refused() {
        for (body, is_error) in [
            (&b""[..], false),
            (b"\x01", false),
            (b"\x00\x00", true),
            (b"\x03\x00ab", false),
            (b"\x02\x00ab", true),
        ] {
            assert_eq!(decode(1, Bytes::from_static(body)).is_ok(), is_error, "{body:?}");
        }
    }
}
