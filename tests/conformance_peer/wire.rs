//! Prefaces, headers and frames, written from `docs/PROTOCOL.md`: they share no code with the crate.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a side may take for what it must do at once.
const PATIENCE: Duration = Duration::from_secs(20);

pub const REQUEST: u8 = 1;
pub const DATA: u8 = 2;
pub const ERROR: u8 = 3;
pub const ABORT: u8 = 4;
pub const STOP: u8 = 5;
pub const CANCEL: u8 = 6;
pub const CREDIT: u8 = 7;
pub const CONNECTION_CREDIT: u8 = 8;
pub const ADMIT: u8 = 9;
pub const DRAIN: u8 = 10;
pub const SETTINGS: u8 = 11;

/// A frame to be sent.
#[derive(Clone, Default)]
pub struct Frame {
    kind: u8,
    flags: u8,
    code: u16,
    id: u32,
    numbers: [u32; 2],
    fields: Vec<u8>,
    body: Vec<u8>,
    /// So many bytes are missing at its end.
    cut: usize,
}

pub fn frame(kind: u8, id: u32) -> Frame {
    Frame { kind, id, ..Frame::default() }
}

/// A unary request.
pub fn unary(id: u32) -> Frame {
    frame(REQUEST, id).flags(3).body(b"ping")
}

impl Frame {
    pub fn flags(self, flags: u8) -> Frame {
        Frame { flags: self.flags | flags, ..self }
    }

    pub fn code(self, code: u16) -> Frame {
        Frame { code, ..self }
    }

    pub fn numbers(self, first: u32, second: u32) -> Frame {
        Frame { numbers: [first, second], ..self }
    }

    pub fn limit(self, limit: u64) -> Frame {
        self.numbers(limit as u32, (limit >> 32) as u32)
    }

    /// Before the metadata.
    pub fn total(self, total: u32) -> Frame {
        Frame { fields: total.to_le_bytes().to_vec(), ..self }.flags(4)
    }

    pub fn metadata(mut self, metadata: &[u8]) -> Frame {
        self.fields.extend((metadata.len() as u16).to_le_bytes());
        self.fields.extend(metadata);
        self.flags(8)
    }

    pub fn body(self, body: &[u8]) -> Frame {
        Frame { body: body.to_vec(), ..self }
    }

    pub fn sized(self, len: usize) -> Frame {
        Frame { body: vec![b'x'; len], ..self }
    }

    pub fn cut(self, cut: usize) -> Frame {
        Frame { cut, ..self }
    }

    /// With the header.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut payload = vec![self.kind, self.flags];
        payload.extend(self.code.to_le_bytes());
        payload.extend(self.id.to_le_bytes());
        self.numbers.iter().for_each(|number| payload.extend(number.to_le_bytes()));
        payload.extend(&self.fields);
        payload.extend(&self.body);
        payload.truncate(payload.len() - self.cut);
        let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
        bytes.extend([0, 0]);
        with_check(&mut bytes);
        bytes.extend(payload);
        bytes
    }
}

/// CRC-16/IBM-3740.
fn with_check(bytes: &mut Vec<u8>) {
    let mut crc = 0xFFFF_u16;
    for byte in &*bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    bytes.extend(crc.to_le_bytes());
}

pub fn preface() -> Vec<u8> {
    let mut bytes = b"\xE5msg\x01\x01\x01\0".to_vec();
    bytes.extend((2_u32 << 20).to_le_bytes());
    bytes.extend([0, 0]);
    with_check(&mut bytes);
    bytes
}

/// The entry of a setting.
pub fn setting(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value].concat()
}

/// What a side says in its preface and its settings.
#[derive(Clone, Debug)]
pub struct Said {
    pub frame: usize,
    pub body: u64,
    pub calls: u64,
    pub window: u64,
    pub connection: u64,
}

/// What has arrived.
#[derive(Debug)]
pub enum Heard {
    Frame { kind: u8, flags: u8, code: u16, id: u32, limit: u64, body: Vec<u8> },
    Goodbye { code: u16, text: String },
    Closed,
    Silence,
}

/// A connection to the side that is tested.
pub struct Link {
    stream: UnixStream,
    arrived: Vec<u8>,
}

impl Link {
    pub fn new(stream: UnixStream) -> Link {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Link { stream, arrived: Vec::new() }
    }

    /// The other side may have closed: reading finds that.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn send(&mut self, frames: &[Frame]) {
        self.write(&frames.iter().flat_map(Frame::to_bytes).collect::<Vec<u8>>());
    }

    /// So many bytes.
    fn take(&mut self, size: usize) -> Result<Vec<u8>, Heard> {
        while self.arrived.len() < size {
            let mut buffer = [0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Heard::Closed),
                Ok(read) => self.arrived.extend(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Err(Heard::Silence);
                }
                Err(_) => return Err(Heard::Closed),
            }
        }
        let rest = self.arrived.split_off(size);
        Ok(std::mem::replace(&mut self.arrived, rest))
    }

    pub fn next(&mut self) -> Heard {
        self.try_next().unwrap_or_else(|end| end)
    }

    fn try_next(&mut self) -> Result<Heard, Heard> {
        let header = self.take(8)?;
        let payload = self.take(u32_at(&header, 0) as usize)?;
        if header[4] == 1 {
            let text = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
            return Ok(Heard::Goodbye { code: u16_at(&payload, 0), text });
        }
        assert!(payload.len() >= 16, "a frame of {} bytes arrived", payload.len());
        let limit = u64::from(u32_at(&payload, 8)) | u64::from(u32_at(&payload, 12)) << 32;
        Ok(Heard::Frame {
            kind: payload[0],
            flags: payload[1],
            code: u16_at(&payload, 2),
            id: u32_at(&payload, 4),
            limit,
            body: payload[16..].to_vec(),
        })
    }

    /// The preface and the settings of the other side, which come first.
    pub fn hear_beginning(&mut self) -> Result<Said, String> {
        let preface = self.take(16).map_err(|end| format!("no preface: {end:?}"))?;
        let frame = u32_at(&preface, 8) as usize;
        let mut said =
            Said { frame, body: 240, calls: 128, window: 64 << 10, connection: 256 << 10 };
        let Heard::Frame { kind: SETTINGS, body, .. } = self.next() else {
            return Err("[S1] the first frame is not settings".to_owned());
        };
        let mut rest = &body[..];
        while rest.len() >= 4 {
            let (kind, len) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
            let value = rest.get(4..4 + len).ok_or("[S3] an entry that is cut off")?;
            let number = value.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            match kind {
                1 => said.body = number,
                2 => said.calls = number,
                3 => said.window = said.window.max(number),
                4 => said.connection = said.connection.max(number),
                _ => {}
            }
            rest = &rest[4 + len..];
        }
        Ok(said)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(1, |it| u16::from_le_bytes([it[0], it[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
