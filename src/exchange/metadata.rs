//! Metadata of a message: pairs of a key and a value.

use super::frame::METADATA_MAX;
use super::violation::Broken;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Pairs of a key and a value, in order. A key may come more than once.
///
/// ```
/// use msgpipe::exchange::Metadata;
/// let metadata = Metadata::default().with(b"trace", b"00-4bf9-00f0-01")?;
/// assert_eq!(metadata.get(b"trace").unwrap(), "00-4bf9-00f0-01");
/// # Ok::<_, msgpipe::exchange::DoesNotFit>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// The pairs as they are on the wire.
    bytes: Bytes,
}

/// The pair does not fit: keys have 1 to 255 bytes, values up to 65 535, all of them 4096 together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "keys have 1 to 255 bytes, and all keys and values together at most 4096 with their lengths"
)]
pub struct DoesNotFit;

impl Metadata {
    /// These metadata with one more pair.
    ///
    /// # Errors
    /// The pair does not fit: see [`DoesNotFit`].
    pub fn with(self, key: &[u8], value: &[u8]) -> Result<Metadata, DoesNotFit> {
        let (Ok(key_len @ 1..), Ok(value_len)) =
            (u8::try_from(key.len()), u16::try_from(value.len()))
        else {
            return Err(DoesNotFit);
        };
        if self.bytes.len() + 3 + key.len() + value.len() > METADATA_MAX {
            return Err(DoesNotFit);
        }
        let mut bytes = BytesMut::from(self.bytes);
        bytes.put_u8(key_len);
        bytes.put_slice(key);
        bytes.put_u16_le(value_len);
        bytes.put_slice(value);
        Ok(Metadata { bytes: bytes.freeze() })
    }

    /// Metadata as a peer sent them.
    pub(crate) fn decode(bytes: Bytes) -> Result<Metadata, Broken> {
        let metadata = Metadata { bytes };
        if metadata.is_empty() {
            return Ok(metadata); // as most messages have it
        }
        let mut read = 0;
        for (key, value) in metadata.pairs() {
            read += 3 + key.len() + value.len();
        }
        match read == metadata.bytes.len() {
            true => Ok(metadata),
            false => Err(Broken::Metadata),
        }
    }

    /// The pairs. It ends where the bytes are no pair.
    pub fn pairs(&self) -> impl Iterator<Item = (Bytes, Bytes)> {
        let mut rest = self.bytes.clone();
        std::iter::from_fn(move || {
            let key_len = usize::from(rest.try_get_u8().ok().filter(|len| *len > 0)?);
            let key = (key_len <= rest.len()).then(|| rest.split_to(key_len))?;
            let value_len = usize::from(rest.try_get_u16_le().ok()?);
            let value = (value_len <= rest.len()).then(|| rest.split_to(value_len))?;
            Some((key, value))
        })
    }

    /// The first value of a key.
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.pairs().find(|(its, _)| its == key).map(|(_, value)| value)
    }

    /// The pairs as they are on the wire.
    pub(crate) fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// A copy that is no slice of another buffer.
    pub(crate) fn to_owned_bytes(&self) -> Metadata {
        Metadata { bytes: Bytes::copy_from_slice(&self.bytes) }
    }

    /// The bytes on the wire.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn made(pairs: &Pairs) -> Metadata {
        pairs.iter().fold(Metadata::default(), |all, (key, value)| all.with(key, value).unwrap())
    }

    proptest! {
        #[test]
        fn pairs_come_back(pairs in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..9), prop::collection::vec(any::<u8>(), 0..9)), 0..9,
        )) {
            let decoded = Metadata::decode(made(&pairs).as_bytes().clone()).unwrap();
            let read: Pairs = decoded.pairs().map(|(key, value)| (key.into(), value.into())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn any_bytes_are_pairs_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(metadata) = Metadata::decode(Bytes::from(bytes.clone())) {
                let pairs: Pairs =
                    metadata.pairs().map(|(key, value)| (key.into(), value.into())).collect();
                let again = made(&pairs);
                prop_assert_eq!(&again.as_bytes()[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn the_limits_are_exact() {
        for (key, value, fits) in [
            (0, 1, false),
            (1, 0, true),
            (255, 0, true),
            (256, 0, false),
            (1, METADATA_MAX - 5, true),
            (1, METADATA_MAX - 4, true),
            (1, METADATA_MAX - 3, false),
        ] {
            let made = Metadata::default().with(&vec![b'k'; key], &vec![b'v'; value]);
            assert_eq!(made.is_ok(), fits, "{key} and {value}");
        }
    }
}
