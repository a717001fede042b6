//! Files for Wireshark: the classic pcap format (draft-ietf-opsawg-pcap).

use crate::exit::Exit;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The magic of a file with times in microseconds, in the byte order of the writer: the lowest byte first here.
const MAGIC: u32 = 0xA1B2_C3D4;

/// The link type that is free for private use: `DLT_USER0`.
const USER0: u32 = 147;

/// The most bytes of a packet: more than a server shows of a frame.
const SNAP_LEN: u32 = 64 * 1024;

/// A file of what was seen: each packet is a part of a reply to tap, as `docs/PROTOCOL.md` says.
pub struct Capture {
    file: File,
    name: String,
}

impl Capture {
    pub fn create(path: &Path) -> Result<Capture, Exit> {
        let name = format!("writing {}", path.display());
        let file = File::create(path).map_err(|error| Exit::System(name.clone(), error))?;
        let mut capture = Capture { file, name };
        let mut head = Vec::new();
        head.extend(MAGIC.to_le_bytes());
        head.extend([2, 0, 4, 0]); // version 2.4
        head.extend([0; 8]); // reserved
        head.extend(SNAP_LEN.to_le_bytes());
        head.extend(USER0.to_le_bytes());
        capture.write(&head)?;
        Ok(capture)
    }

    /// Adds a packet. It is in the file when this returns: who reads along sees it at once.
    pub fn add(&mut self, at: SystemTime, bytes: &[u8]) -> Result<(), Exit> {
        self.write(&packet(at, bytes))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Exit> {
        let written: io::Result<()> = self.file.write_all(bytes);
        written.map_err(|error| Exit::System(self.name.clone(), error))
    }
}

fn packet(at: SystemTime, bytes: &[u8]) -> Vec<u8> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let kept = &bytes[..bytes.len().min(SNAP_LEN as usize)];
    let mut packet = Vec::with_capacity(16 + kept.len());
    // Unsigned seconds last until 2106.
    packet.extend((since.as_secs() as u32).to_le_bytes());
    packet.extend(since.subsec_micros().to_le_bytes());
    packet.extend((kept.len() as u32).to_le_bytes());
    packet.extend((bytes.len() as u32).to_le_bytes());
    packet.extend(kept);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_packet_has_its_time_and_its_limit() {
        let at = UNIX_EPOCH + Duration::from_micros(7_000_003);
        assert_eq!(
            packet(at, b"ab")[..],
            [7, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, b'a', b'b']
        );
        for (len, kept) in [(65_535, 65_535), (65_536, 65_536), (65_537, 65_536)] {
            assert_eq!(packet(at, &vec![0; len]).len(), 16 + kept);
        }
    }
}
