//! What a side announces with its first frame: entries of a type, a length and a value.

use super::credit::MESSAGE_COST;
use super::frame::HEAD_MAX;
use super::violation::Broken;
use crate::text::cut;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Types from this number on may be ignored by who does not know them; others end the connection.
const IGNORABLE: u16 = 0x8000;

/// The most bytes of the name of a program.
pub(crate) const NAME_MAX: usize = 64;

const BODY: u16 = 1;
const CALLS: u16 = 2;
const CALL_WINDOW: u16 = 3;
const CONNECTION_WINDOW: u16 = 4;
/// Only told, so it may be ignored.
const NAME: u16 = 0x8001;

/// What a side accepts. A setting that is not sent has the value of [`Settings::assumed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The largest body of a message, in bytes.
    pub body: u32,
    /// The most calls of the peer that may be open.
    pub calls: u32,
    /// The credit of each call at its beginning, and the most of its messages that may have arrived and not been
    /// taken. Half of it is the largest message that is sent without being announced. In bytes, with
    /// [`MESSAGE_COST`](super::MESSAGE_COST) for each message.
    pub call_window: u64,
    /// The same for all calls of the peer together. At least the window of a call.
    pub connection_window: u64,
    /// The name and version of the program.
    pub name: String,
    /// An ignorable entry without a meaning, of this type. It shows whether the peer ignores what it does not
    /// know (RFC 8701 gives the reason).
    pub grease: Option<u16>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            body: 16 << 20,
            calls: 1024,
            call_window: 2 * ((1 << 20) + HEAD_MAX as u64 + MESSAGE_COST),
            connection_window: 8 << 20,
            name: String::new(),
            grease: None,
        }
    }
}

/// The calls that every peer takes.
pub(crate) const ASSUMED_CALLS: u32 = 128;

impl Settings {
    /// What holds before the settings have arrived, and for what they do not say. Each side accepts it from the
    /// first byte on, but for a body over its own limit.
    pub fn assumed() -> Settings {
        Settings {
            body: 240,
            calls: ASSUMED_CALLS,
            call_window: 64 << 10,
            connection_window: 256 << 10,
            name: String::new(),
            grease: None,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        let mut entry = |kind: u16, value: &[u8]| {
            out.put_u16_le(kind);
            out.put_u16_le(value.len() as u16);
            out.put_slice(value);
        };
        entry(BODY, &self.body.to_le_bytes());
        entry(CALLS, &self.calls.to_le_bytes());
        entry(CALL_WINDOW, &self.call_window.to_le_bytes());
        entry(CONNECTION_WINDOW, &self.connection_window.to_le_bytes());
        if !self.name.is_empty() {
            entry(NAME, cut(&self.name, NAME_MAX).as_bytes());
        }
        if let Some(kind) = self.grease {
            entry(kind | IGNORABLE, b"ignore");
        }
        out.freeze()
    }

    /// The settings of the peer: what it does not send keeps the value of `self`.
    pub(crate) fn decode(mut self, mut body: Bytes) -> Result<Settings, Broken> {
        while !body.is_empty() {
            let kind = body.try_get_u16_le().map_err(|_| Broken::SettingsCutOff)?;
            let len = usize::from(body.try_get_u16_le().map_err(|_| Broken::SettingsCutOff)?);
            if len > body.len() {
                return Err(Broken::SettingsCutOff);
            }
            let value = body.split_to(len);
            match kind {
                BODY => self.body = number(kind, value)? as u32,
                CALLS => self.calls = number(kind, value)? as u32,
                // Less than the default would break the promise that it is accepted from the first byte on.
                CALL_WINDOW => self.call_window = self.call_window.max(number(kind, value)?),
                CONNECTION_WINDOW => {
                    self.connection_window = self.connection_window.max(number(kind, value)?);
                }
                NAME => self.name = cut(&String::from_utf8_lossy(&value), NAME_MAX).to_owned(),
                kind if kind >= IGNORABLE => {}
                kind => return Err(Broken::UnknownSetting { kind }),
            }
        }
        Ok(self)
    }
}

/// The number of a setting, of the size that this setting has.
fn number(kind: u16, mut value: Bytes) -> Result<u64, Broken> {
    let size = if kind <= CALLS { 4 } else { 8 };
    match value.len() {
        len if len == size => Ok(value.get_uint_le(size)),
        len => Err(Broken::SettingSize { kind, len }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Settings {
        Settings {
            body: 1 << 30,
            calls: 7,
            call_window: 1 << 40,
            connection_window: u64::MAX,
            name: "notes/1.0".to_owned(),
            grease: None,
        }
    }

    #[test]
    fn settings_come_back_and_what_is_not_sent_is_the_default() {
        assert_eq!(Settings::assumed().decode(ours().encode()), Ok(ours()));
        assert_eq!(Settings::assumed().decode(Bytes::new()), Ok(Settings::assumed()));
        let small = Settings { call_window: 1, connection_window: 1, ..Settings::assumed() };
        assert_eq!(Settings::assumed().decode(small.encode()), Ok(Settings::assumed()));
    }

    #[test]
    fn an_unknown_setting_is_ignored_only_if_it_says_so() {
        for grease in [0, 0x1234, 0xFFFF] {
            let sent = Settings { grease: Some(grease), ..ours() };
            assert_eq!(Settings::assumed().decode(sent.encode()), Ok(ours()), "{grease}");
        }
        for kind in [0, 5, 0x7FFF] {
            let mut body = BytesMut::new();
            body.put_u16_le(kind);
            body.put_u16_le(0);
            let decoded = Settings::assumed().decode(body.freeze());
            assert_eq!(decoded, Err(Broken::UnknownSetting { kind }));
        }
    }

    #[test]
    fn settings_of_a_wrong_size_are_refused() {
        let whole = Settings { name: String::new(), ..ours() }.encode();
        let entries = [0, 8, 16, 28, 40];
        for len in 0..=whole.len() {
            let decoded = Settings::assumed().decode(whole.slice(..len));
            assert_eq!(decoded.is_ok(), entries.contains(&len), "{len}");
        }
        for (kind, len) in [(BODY, 3), (BODY, 5), (CALL_WINDOW, 4), (CONNECTION_WINDOW, 9)] {
            let mut body = BytesMut::new();
            body.put_u16_le(kind);
            body.put_u16_le(len);
            body.put_bytes(0, len.into());
            let decoded = Settings::assumed().decode(body.freeze());
            assert_eq!(decoded, Err(Broken::SettingSize { kind, len: len.into() }));
        }
    }
}
