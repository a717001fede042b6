//! The forms of values on the wire.

use super::scan;
use serde::Serialize;
use serde::de::DeserializeSeed;
use serde_path_to_error::{Deserializer as Tracked, Track};
use std::fmt;

/// The form of the values of a call. The first byte of the arguments says which one it is, so nothing else has to; the
/// reply has the same.
///
/// | | first byte | for |
/// |---|---|---|
/// | MessagePack, fields by name | a map: 0x80 to 0x8f, 0xde, 0xdf | programs: the default |
/// | JSON | `{`, or white space before it | scripts, and looking at what is sent |
///
/// Both find fields and variants by their names: so a field can be added, removed or moved (`docs/TYPED.md` says when
/// that breaks a call).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// MessagePack.
    #[default]
    MessagePack,
    /// JSON.
    Json,
}

/// Why a value was not encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecError {
    /// Where in the value, as in `note.tags[2]`; empty: the value itself, or not known.
    pub(super) place: String,
    pub(super) problem: String,
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.is_empty() {
            true => f.write_str(&self.problem),
            false => write!(f, "at `{}`: {}", self.place, self.problem),
        }
    }
}

impl std::error::Error for CodecError {}

impl CodecError {
    pub(super) fn whole(problem: String) -> CodecError {
        CodecError { place: String::new(), problem }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::MessagePack => "MessagePack",
            Codec::Json => "JSON",
        })
    }
}

/// Room for small values without another allocation.
const ROOM: usize = 128;

/// A byte that no JSON and no MessagePack begins with: kept for what is not self-describing.
const UNUSED: u8 = 0xc1;

impl Codec {
    /// Of arguments that begin so. Without a byte there are none, and the reply is MessagePack.
    ///
    /// # Errors
    /// Neither begins so.
    pub(super) fn of(arguments: &[u8]) -> Result<Codec, CodecError> {
        match arguments.first() {
            None | Some(0x80..=0x8f | 0xde | 0xdf) => Ok(Codec::MessagePack),
            Some(b'{' | b' ' | b'\n' | b'\r' | b'\t') => Ok(Codec::Json),
            Some(&byte) => {
                let what = if byte == UNUSED { "an unknown codec" } else { "no arguments" };
                let problem = format!(
                    "{what}: they are a map in MessagePack or JSON, and this begins with {byte:#04x}"
                );
                Err(CodecError { place: String::new(), problem })
            }
        }
    }

    pub(super) fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, CodecError> {
        let mut bytes = Vec::with_capacity(ROOM);
        let encoded = match self {
            Codec::MessagePack => {
                let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
                value.serialize(&mut serializer).map_err(|error| error.to_string())
            }
            Codec::Json => {
                serde_json::to_writer(&mut bytes, value).map_err(|error| error.to_string())
            }
        };
        encoded.map_err(|problem| CodecError { place: String::new(), problem })?;
        Ok(bytes)
    }

    /// Decodes one whole value. Only if that fails it is decoded once more, to find the place.
    pub(super) fn decode<'b, S>(self, bytes: &'b [u8], seed: &S) -> Result<S::Value, CodecError>
    where
        S: DeserializeSeed<'b> + Clone,
    {
        let whole = |problem| CodecError { place: String::new(), problem };
        match self {
            Codec::MessagePack => {
                scan::check(bytes).map_err(whole)?;
                let mut plain = message_pack(bytes);
                let decoded = seed.clone().deserialize(&mut plain);
                decoded.map_err(|error| {
                    let place = place(&mut message_pack(bytes), seed.clone());
                    CodecError { place, problem: error.to_string() }
                })
            }
            Codec::Json => {
                let mut plain = serde_json::Deserializer::from_slice(bytes);
                let decoded = seed.clone().deserialize(&mut plain).map_err(|error| {
                    let mut again = serde_json::Deserializer::from_slice(bytes);
                    let place = place(&mut again, seed.clone());
                    CodecError { place, problem: error.to_string() }
                })?;
                plain.end().map_err(|error| whole(error.to_string()))?;
                Ok(decoded)
            }
        }
    }
}

type Slice<'b> = rmp_serde::decode::ReadRefReader<'b, [u8]>;

fn message_pack(bytes: &[u8]) -> rmp_serde::Deserializer<Slice<'_>> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    // One more than what was looked for: the decoder counts the value itself, too.
    deserializer.set_max_depth(scan::NESTING_MAX + 1);
    deserializer
}

/// Where decoding fails.
fn place<'b, D, S>(deserializer: D, seed: S) -> String
where
    D: serde::Deserializer<'b>,
    S: DeserializeSeed<'b>,
{
    let mut track = Track::new();
    let failed = seed.deserialize(Tracked::new(deserializer, &mut track)).is_err();
    let path = track.path().to_string();
    if failed && path != "." { path } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;
    use std::marker::PhantomData;

    /// A recursive type, as an expression is: its variants are not counted by the decoder of MessagePack.
    #[derive(Debug, Deserialize, Serialize)]
    enum Expression {
        Number(i64),
        Minus(Box<Expression>),
        All(Vec<Expression>),
    }

    fn minus(depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            bytes.extend_from_slice(b"\x81\xa5Minus");
        }
        bytes.extend_from_slice(b"\x81\xa6Number\x07");
        bytes
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow_of_the_stack() {
        let work = || {
            let seed = PhantomData::<Expression>;
            let codec = Codec::MessagePack;
            codec.decode(&minus(scan::NESTING_MAX - 1), &seed).unwrap();
            for depth in [scan::NESTING_MAX, 100_000] {
                let failed = codec.decode(&minus(depth), &seed).unwrap_err();
                assert!(failed.problem.contains("inside each other"), "{failed}");
            }
            let json = |depth: usize| {
                format!("{}{{\"Number\":7}}{}", "{\"Minus\":".repeat(depth), "}".repeat(depth))
            };
            Codec::Json.decode(json(100).as_bytes(), &seed).unwrap();
            assert!(Codec::Json.decode(json(100_000).as_bytes(), &seed).is_err());
            // The search for the place goes as deep.
            let bad = [&minus(scan::NESTING_MAX - 2)[..], b""].concat();
            let bad = [&bad[..bad.len() - 9], b"\x81\xa6Number\xc0"].concat();
            assert!(codec.decode(&bad, &seed).unwrap_err().place.starts_with("Minus.Minus"));
        };
        // What a main thread of Windows has.
        let thread = std::thread::Builder::new().stack_size(1024 * 1024);
        thread.spawn(work).unwrap().join().unwrap();
    }

    #[test]
    fn a_value_comes_back_in_both() {
        let all = Expression::All(vec![
            Expression::Number(-7),
            Expression::Minus(Box::new(Expression::Number(1))),
        ]);
        for codec in [Codec::MessagePack, Codec::Json] {
            let bytes = codec.encode(&all).unwrap();
            let back = codec.decode(&bytes, &PhantomData::<Expression>).unwrap();
            assert_eq!(format!("{all:?}"), format!("{back:?}"));
        }
    }

    #[test]
    fn the_first_byte_says_the_codec() {
        let arguments = BTreeMap::from([("name", 7)]);
        for codec in [Codec::MessagePack, Codec::Json] {
            assert_eq!(Codec::of(&codec.encode(&arguments).unwrap()), Ok(codec));
        }
        assert_eq!(Codec::of(b""), Ok(Codec::MessagePack));
        assert_eq!(Codec::of(b" {}"), Ok(Codec::Json));
        for begin in [0x90, 0xc1, b'[', b'"', 0] {
            assert!(Codec::of(&[begin]).is_err());
        }
    }
}
