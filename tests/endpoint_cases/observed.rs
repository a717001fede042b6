//! Both directions of a connection as a third one sees them: what the honest side sends is what `docs/PROTOCOL.md` allows,
//! and ends each call of the other side at most once.

use bytes::{Bytes, BytesMut};
use msgpipe::framing::{Decoder, Framing, FramingError};
use std::collections::HashMap;

/// A direction, decoded as far as it can be.
struct Direction {
    decoder: Box<dyn Decoder>,
    input: BytesMut,
    /// The decoder has returned an error: nothing is read any more.
    end: Option<FramingError>,
}

impl Direction {
    fn new(framing: &dyn Framing) -> Direction {
        Direction { decoder: framing.decoder(), input: BytesMut::new(), end: None }
    }

    fn next(&mut self) -> Option<Bytes> {
        if self.end.is_some() {
            return None;
        }
        self.decoder.decode(&mut self.input).unwrap_or_else(|error| {
            self.end = Some(error);
            None
        })
    }
}

/// One call of the hostile side.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// How often its id was in a request.
    times: usize,
    /// How often the honest side has ended its direction of it.
    ended: usize,
}

/// A frame of the honest side, as far as these tests need it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub body: Bytes,
}

/// See the [module](self).
pub struct Observed {
    from_hostile: Direction,
    from_honest: Direction,
    /// The honest side is the server.
    honest_is_server: bool,
    asked: HashMap<u32, Asked>,
    /// The latest id of a request of the honest side.
    pub latest: u32,
    frames: usize,
}

impl Observed {
    pub fn new(framing: &dyn Framing, honest_is_server: bool) -> Observed {
        Observed {
            from_hostile: Direction::new(framing),
            from_honest: Direction::new(framing),
            honest_is_server,
            asked: HashMap::new(),
            latest: u32::from(honest_is_server),
            frames: 0,
        }
    }

    /// The hostile side has sent this.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.from_hostile.input.extend_from_slice(bytes);
        while let Some(frame) = self.from_hostile.next() {
            if frame.len() >= 16 && frame[0] == 1 {
                self.asked.entry(id(&frame)).or_default().times += 1;
            }
        }
    }

    /// The honest side has sent this. Returns the frames that are whole by now.
    pub fn received(&mut self, bytes: &[u8]) -> Vec<Seen> {
        self.from_honest.input.extend_from_slice(bytes);
        let mut seen = Vec::new();
        while let Some(frame) = self.from_honest.next() {
            seen.push(self.check(&frame));
        }
        let end = &self.from_honest.end;
        let is_end = matches!(end, None | Some(FramingError::Goodbye { .. }));
        assert!(is_end, "the honest side sends what cannot be decoded: {end:?}");
        seen
    }

    fn check(&mut self, frame: &Bytes) -> Seen {
        assert!(frame.len() >= 16, "no envelope: {frame:?}");
        let (kind, flags, id) = (frame[0], frame[1], id(frame));
        let code = u16::from_le_bytes([frame[2], frame[3]]);
        self.frames += 1;
        assert_eq!(self.frames == 1, kind == 11, "settings are first, and only once: {frame:?}");
        let allowed = [0_u8, 15, 15, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let allowed = allowed.get(usize::from(kind)).filter(|_| kind != 0);
        assert!(allowed.is_some_and(|all| flags & !all == 0), "kind or flags: {frame:?}");
        assert!(code == 0 || matches!(kind, 3 | 4), "a code: {frame:?}");
        let is_own = (id & 1 == 1) == self.honest_is_server;
        match kind {
            1 => {
                let is_later = (1..1 << 31).contains(&id.wrapping_sub(self.latest));
                assert!(is_own && id > 1 && is_later, "the id of a request: {frame:?}");
                self.latest = id;
            }
            3 => assert!(!is_own, "an error for an own call: {frame:?}"),
            6 => assert!(is_own, "a cancel of the other's call: {frame:?}"),
            8 | 10 | 11 => assert_eq!(id, 0, "{frame:?}"),
            _ => {}
        }
        if !is_own && id > 1 && !matches!(kind, 8 | 10 | 11) {
            let asked = self.asked.entry(id).or_default();
            assert!(asked.times > 0, "a frame for a call that was never opened: {frame:?}");
            assert!(
                asked.ended < asked.times || !matches!(kind, 2..=4),
                "a reply after its end: {frame:?}"
            );
            let ends = matches!(kind, 3 | 4) || (kind == 2 && flags & 2 != 0);
            asked.ended += usize::from(ends);
        }
        Seen { kind, flags, id, body: body(frame) }
    }
}

fn id(frame: &[u8]) -> u32 {
    u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]])
}

/// What follows the fields that the flags announce.
fn body(frame: &Bytes) -> Bytes {
    let mut at = 16;
    if frame[1] & 4 != 0 {
        at += 4;
    }
    if frame[1] & 8 != 0 {
        at += 2 + usize::from(u16::from_le_bytes([frame[at], frame[at + 1]]));
    }
    assert!(at <= frame.len(), "fields are missing: {frame:?}");
    frame.slice(at..)
}
