//! A hostile client: a connection in memory, to which a script writes.

use super::frames::{self, Frames};
use super::observed::{Observed, Seen};
use super::script::Script;
use bytes::BytesMut;
use msgpipe::framing::{Framing, LengthPrefix, SendQueue};
use msgpipe::framing::{Layer, Native};
use msgpipe::memory::{Control, Faults, Hub, MemoryStream};
use msgpipe::{ClientStream, Limits};
use std::io::IoSlice;
use std::time::Instant;

/// The framing of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Plain {
    Native,
    Prefix,
}

impl Plain {
    /// Of a side that takes whatever can be sent.
    pub fn unlimited(self) -> Box<dyn Framing> {
        match self {
            Plain::Native => Box::new(Native::new(Layer::Calls, u32::MAX as usize)),
            Plain::Prefix => Box::new(LengthPrefix::big_endian(u32::MAX as usize)),
        }
    }

    /// The bytes of a frame in the stream.
    pub fn wrap(self, frame: &[u8]) -> Vec<u8> {
        let mut queue = SendQueue::default();
        let encoded = self.unlimited().encoder().encode(&[], frame.to_vec().into(), &mut queue);
        encoded.expect("a frame of a test is not too large");
        queue.to_bytes().to_vec()
    }

    /// What comes before the first frame.
    pub fn begun(self) -> Vec<u8> {
        let mut queue = SendQueue::default();
        self.unlimited().encoder().begin(&mut queue);
        queue.to_bytes().to_vec()
    }
}

/// One connection of a client.
pub struct Hostile {
    stream: MemoryStream,
    control: Control,
    framing: Plain,
    frames: Frames,
    observed: Observed,
    /// What is made and not written: it is cut anywhere.
    unwritten: BytesMut,
}

impl Hostile {
    pub fn connect(hub: &Hub, framing: Plain, faults: Faults) -> Option<Hostile> {
        let stream = hub.connect_with("server", faults).ok()?;
        Some(Hostile {
            control: stream.control(),
            stream,
            framing,
            frames: Frames::new(true),
            observed: Observed::new(&*framing.unlimited(), true),
            unwritten: BytesMut::new(),
        })
    }

    /// Faults that a script chooses.
    pub fn faults(script: &mut Script<'_>) -> Faults {
        let mut faults = Faults::default();
        faults.chunk = script.of(&[usize::MAX, usize::MAX, 1, 7, 100]);
        faults.capacity = script.of(&[64 * 1024, 64 * 1024, 1, 100, 5000]);
        faults.reset_after = script.once_in(8).then(|| u64::from(script.u16()));
        faults
    }

    /// Puts a legal beginning into the stream, mostly.
    pub fn begin(&mut self, script: &mut Script<'_>) {
        let mut begun = self.framing.begun();
        if script.once_in(8) {
            let at = script.below(16).min(begun.len().saturating_sub(1));
            if let Some(byte) = begun.get_mut(at) {
                *byte = script.byte();
            }
        }
        self.unwritten.extend_from_slice(&begun);
        let settings =
            if script.is() { frames::settings(script) } else { frames::plain_settings() };
        self.put(&settings);
    }

    /// Puts a frame into the stream.
    pub fn frame(&mut self, script: &mut Script<'_>) {
        self.frames.others = self.observed.latest;
        let frame = self.frames.next(script);
        self.put(&frame);
    }

    pub fn put(&mut self, frame: &[u8]) {
        let wrapped = self.framing.wrap(frame);
        self.unwritten.extend_from_slice(&wrapped);
    }

    /// Puts bytes into the stream that need not be a frame.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.unwritten.extend_from_slice(bytes);
    }

    /// The header of a frame, of which nothing follows: the next bytes become its payload.
    pub fn promise(&mut self, size: u32) {
        let header = match self.framing {
            Plain::Native => {
                let mut header = [&size.to_le_bytes()[..], &[0, 0]].concat();
                header.extend(crc16(&header).to_le_bytes());
                header
            }
            Plain::Prefix => size.to_be_bytes().to_vec(),
        };
        self.unwritten.extend_from_slice(&header);
    }

    /// Writes up to `most` bytes.
    pub fn write(&mut self, most: usize) {
        let mut left = most;
        while left > 0 && !self.unwritten.is_empty() {
            let some = &self.unwritten[..left.min(self.unwritten.len())];
            let Ok(written) = self.stream.write(&[IoSlice::new(some)]) else { return };
            let written = self.unwritten.split_to(written);
            self.observed.sent(&written);
            left -= written.len();
        }
    }

    /// Reads up to `most` bytes. Returns the frames that are whole by now.
    pub fn read(&mut self, most: usize) -> Vec<Seen> {
        let (mut seen, mut left) = (Vec::new(), most);
        while left > 0 {
            let mut buffer = BytesMut::with_capacity(left.min(4096));
            match self.stream.read(&mut buffer, Some(Instant::now())) {
                Ok(1..) => {}
                _ => break,
            }
            left = left.saturating_sub(buffer.len());
            seen.extend(self.observed.received(&buffer));
        }
        seen
    }

    pub fn control(&self) -> &Control {
        &self.control
    }
}

impl Drop for Hostile {
    /// What is stalled does not even end.
    fn drop(&mut self) {
        self.control.resume();
    }
}

/// Limits that a script chooses. In memory and time they are either far away, or reached at once.
pub fn limits(script: &mut Script<'_>) -> Limits {
    let mut limits = Limits::default();
    limits.message = script.of(&[20_000, 70_000, 64, 240, 1000, 0]);
    limits.in_flight = script.of(&[1024, 8, 1, 2]);
    limits.queued = script.of(&[1 << 20, 1, 500, 20_000]);
    limits.call_window = script.of(&[0, 1 << 20]);
    limits.connection_window = script.of(&[0, 1 << 20]);
    limits.connections = script.of(&[16, 2, 3]);
    limits
}

/// CRC-16/CCITT-FALSE, bit by bit.
pub fn crc16(bytes: &[u8]) -> u16 {
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    bits.fold(0xFFFF, |crc, bit| {
        let out = crc & 0x8000 != 0;
        (crc << 1) ^ if out != bit { 0x1021 } else { 0 }
    })
}
