//! Frames of the calls layer that a script chooses: legal ones, nearly legal ones, and bytes that are none. It is written
//! from `docs/PROTOCOL.md`, and uses nothing of the crate.

use super::script::Script;

const REQUEST: u8 = 1;
const DATA: u8 = 2;
const ERROR: u8 = 3;
const ABORT: u8 = 4;
const STOP: u8 = 5;
const CANCEL: u8 = 6;
const CREDIT: u8 = 7;
const CONNECTION_CREDIT: u8 = 8;
const ADMIT: u8 = 9;
const DRAIN: u8 = 10;
const SETTINGS: u8 = 11;

const MESSAGE: u8 = 1;
const TOTAL: u8 = 4;
const METADATA: u8 = 8;

/// The sizes of bodies: small ones, and those beside a limit of the protocol or of these tests.
const SIZES: [usize; 20] = [
    0, 0, 1, 2, 3, 5, 16, 40, 64, 65, 100, 239, 240, 241, 1000, 1001, 4096, 16_386, 16_387, 20_000,
];

/// The methods of the servers of these tests, and those that every server answers itself.
const METHODS: [u32; 16] =
    [0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 0xFFFF_FF00, 0xFFFF_FF01, 0xFFFF_FF02, 0xFFFF_FF03];

/// What one side knows of the calls of a connection.
#[derive(Debug)]
pub struct Frames {
    is_client: bool,
    /// The id of its latest request.
    pub own: u32,
    /// The id of the other's latest request.
    pub others: u32,
    /// What is left of the message whose first piece was made last, and its call.
    rest: (u32, usize),
}

impl Frames {
    pub fn new(is_client: bool) -> Frames {
        let (own, others) = if is_client { (0, 1) } else { (1, 0) };
        Frames { is_client, own, others, rest: (own, 0) }
    }

    /// A frame; now and then with a byte changed, or cut off.
    pub fn next(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let mut frame = self.whole(script);
        match script.below(24) {
            11 => {
                let at = script.below(24).min(frame.len().saturating_sub(1));
                if let Some(byte) = frame.get_mut(at) {
                    *byte = script.byte();
                }
            }
            23 => frame.truncate(script.below(24)),
            _ => {}
        }
        frame
    }

    fn whole(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        // A client mostly asks, a server mostly replies.
        let choice = script.below(32);
        match (choice, self.is_client) {
            (0..=6, true) | (0, false) => self.request(script),
            (7..=10, true) | (7..=8, false) => self.begun(script, true),
            (1..=6, false) => self.reply(script),
            (9..=10, false) | (11..=13, _) => self.begun(script, false),
            (14..=17, _) => self.piece(script),
            (18, _) => self.error(script),
            (19, _) => plain(ABORT, self.id(script), code(script)),
            (20, _) => plain(STOP, self.id(script), 0),
            (21, _) => plain(CANCEL, self.id(script), 0),
            (22, _) => limit(CREDIT, self.id(script), script),
            (23, _) => limit(CONNECTION_CREDIT, zero_mostly(script), script),
            (24, _) => plain(ADMIT, self.id(script), 0),
            (25, _) => plain(DRAIN, zero_mostly(script), 0),
            (26, _) => settings(script),
            (27, _) => self.notification(script),
            (28, _) => self.ignorable(script),
            (29, _) => envelope(script.byte(), script.byte(), script.u16(), script.u32(), 0, 0),
            (30, _) => self.any(script),
            _ => script.bytes(30).to_vec(),
        }
    }

    /// The next id of this side; sometimes ids are left out.
    fn open(&mut self, script: &mut Script<'_>) -> u32 {
        let left_out = if script.once_in(16) { script.u32() & !1 } else { 0 };
        self.own = self.own.wrapping_add(2).wrapping_add(left_out);
        self.own
    }

    /// Mostly the id of a call that was opened.
    fn id(&mut self, script: &mut Script<'_>) -> u32 {
        let choice = script.below(16);
        let back = 2 * (choice as u32 / 4);
        match choice % 4 {
            0 | 1 if self.is_client => self.own.wrapping_sub(back),
            2 if !self.is_client => self.own.wrapping_sub(back),
            0..=2 => self.others.wrapping_sub(back),
            _ if choice == 15 => script.u32(),
            _ => script.below(10) as u32,
        }
    }

    /// A request of one message.
    fn request(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let (id, method, time) = (self.open(script), method(script), time(script));
        let flags = script.of(&[3, 3, 3, 3, 1, 11, 0, 2, 8]);
        let mut frame = envelope(REQUEST, flags, 0, id, method, time);
        put_metadata(&mut frame, flags, script);
        if flags & MESSAGE != 0 {
            put_body(&mut frame, script);
        }
        frame
    }

    /// The first piece of a message, or its announcement.
    fn begun(&mut self, script: &mut Script<'_>, asks: bool) -> Vec<u8> {
        let flags = script.of(&[TOTAL, TOTAL, TOTAL | METADATA, TOTAL | MESSAGE]);
        let mut frame = match asks {
            true => envelope(REQUEST, flags, 0, self.open(script), method(script), time(script)),
            false => envelope(DATA, flags, 0, self.id(script), 0, 0),
        };
        let id = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]);
        let total = match script.below(8) {
            0..=4 => script.of(&SIZES),
            5 | 6 => script.of(&[33_000, 40_000, 70_000, 70_001]),
            _ => script.u32() as usize,
        };
        frame.extend((total as u32).to_le_bytes());
        put_metadata(&mut frame, flags, script);
        let piece = script.of(&[0, 1, 10, 1000]).min(total);
        frame.extend(vec![b'p'; piece]);
        self.rest = (id, total - piece);
        frame
    }

    /// A further piece of the message that was begun last.
    fn piece(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let (id, rest) = self.rest;
        let rest = rest.min(70_002);
        let size = match script.below(6) {
            0..=2 => rest,
            3 => rest.min(1000),
            4 => rest / 2,
            _ => script.of(&SIZES),
        };
        let ends = if size >= rest { script.of(&[3, 3, 1, 0]) } else { script.of(&[0, 0, 0, 1]) };
        self.rest = (id, rest.saturating_sub(size));
        let mut frame = envelope(DATA, ends, 0, id, 0, 0);
        frame.extend(vec![b'q'; size]);
        frame
    }

    /// Data for a call that the other side has opened: mostly the whole reply.
    fn reply(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let flags = script.of(&[3, 3, 3, 1, 1, 2, 11, 0]);
        let id = if script.once_in(4) { self.id(script) } else { self.others };
        let mut frame = envelope(DATA, flags, 0, id, 0, 0);
        put_metadata(&mut frame, flags, script);
        if flags & MESSAGE != 0 {
            put_body(&mut frame, script);
        }
        frame
    }

    fn error(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let flags = script.of(&[0, 0, METADATA]);
        let mut frame = envelope(ERROR, flags, code(script), self.id(script), 0, 0);
        put_metadata(&mut frame, flags, script);
        let text = script.bytes(20);
        let len = if script.once_in(4) { script.u16() } else { text.len() as u16 };
        frame.extend(len.to_le_bytes());
        frame.extend(text);
        if script.once_in(8) {
            frame.extend(vec![b'd'; script.of(&[1, 16_384, 16_385])]);
        }
        frame
    }

    fn notification(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let lane = u32::from(self.is_client == script.once_in(8));
        let flags = script.of(&[1, 1, 9, 3, 2]);
        let mut frame = envelope(DATA, flags, 0, lane, method(script), 0);
        put_metadata(&mut frame, flags, script);
        put_body(&mut frame, script);
        frame
    }

    fn ignorable(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let kind = script.byte() | 0x80;
        let mut frame =
            envelope(kind, script.byte(), script.u16(), script.u32(), script.u32(), script.u32());
        frame.extend(script.bytes(10));
        frame
    }

    /// A known kind with any fields.
    fn any(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let kind = 1 + script.below(11) as u8;
        let mut frame =
            envelope(kind, script.byte(), script.u16(), self.id(script), script.u32(), 0);
        frame.extend(script.bytes(30));
        frame
    }
}

/// The first frame of a side; mostly a legal one.
pub fn settings(script: &mut Script<'_>) -> Vec<u8> {
    let mut frame = envelope(SETTINGS, 0, 0, 0, 0, 0);
    for _ in 0..script.below(6) {
        let kind = script.of(&[1, 2, 3, 4, 0x8001, 0x8002, 0xFFFF, 1, 2, 3, 4, 5, 0]);
        let number = script.of(&[0, 1, 64, 240, 1000, 20_000, 65_536, 1 << 20, u32::MAX]);
        let mut value = match kind {
            1 | 2 => number.to_le_bytes().to_vec(),
            3 | 4 => u64::from(number).to_le_bytes().to_vec(),
            _ => script.bytes(70).to_vec(),
        };
        match script.below(16) {
            15 => value.push(0),
            14 => value.truncate(4),
            _ => {}
        }
        let len = if script.once_in(24) { script.u16() } else { value.len() as u16 };
        frame.extend(u16::to_le_bytes(kind));
        frame.extend(len.to_le_bytes());
        frame.extend(value);
    }
    frame
}

/// The settings of a side that takes what a side takes without them.
pub fn plain_settings() -> Vec<u8> {
    envelope(SETTINGS, 0, 0, 0, 0, 0)
}

/// A request of one message.
pub fn unary(id: u32, method: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = envelope(REQUEST, 3, 0, id, method, 0);
    frame.extend(body);
    frame
}

fn envelope(kind: u8, flags: u8, code: u16, id: u32, first: u32, second: u32) -> Vec<u8> {
    let mut frame = vec![kind, flags];
    frame.extend(code.to_le_bytes());
    frame.extend([id, first, second].iter().flat_map(|number| number.to_le_bytes()));
    frame
}

fn plain(kind: u8, id: u32, code: u16) -> Vec<u8> {
    envelope(kind, 0, code, id, 0, 0)
}

fn limit(kind: u8, id: u32, script: &mut Script<'_>) -> Vec<u8> {
    let (low, high) = match script.below(4) {
        0 => (script.u32(), script.u32()),
        1 => (u32::MAX, u32::MAX),
        2 => (300_000, 0),
        _ => (u32::from(script.u16()), 0),
    };
    envelope(kind, 0, 0, id, low, high)
}

fn method(script: &mut Script<'_>) -> u32 {
    if script.once_in(16) { script.u32() } else { script.of(&METHODS) }
}

/// The times are long, or over at once: what is between them would end otherwise on a slow machine.
fn time(script: &mut Script<'_>) -> u32 {
    script.of(&[0, 0, 0, 0, 0, 0, 60_000, u32::MAX])
}

fn code(script: &mut Script<'_>) -> u16 {
    if script.once_in(4) { script.u16() } else { script.below(14) as u16 }
}

fn zero_mostly(script: &mut Script<'_>) -> u32 {
    if script.once_in(8) { script.u32() } else { 0 }
}

fn put_body(frame: &mut Vec<u8>, script: &mut Script<'_>) {
    match script.below(4) {
        0 => frame.extend(vec![b'b'; script.of(&SIZES)]),
        1 => frame.extend(vec![b'c'; script.of(&[70_000, 70_001, 33_000, 32_704, 32_705, 0])]),
        _ => frame.extend(script.bytes(20)),
    }
}

fn put_metadata(frame: &mut Vec<u8>, flags: u8, script: &mut Script<'_>) {
    if flags & METADATA == 0 {
        return;
    }
    let mut pairs = Vec::new();
    match script.below(8) {
        0..=2 => put_pair(&mut pairs, b"key", script.bytes(20)),
        3 => put_pair(&mut pairs, b"\0w", script.bytes(40)),
        4 => put_pair(&mut pairs, b"k", &vec![b'v'; script.of(&[4091, 4092, 4093])]),
        5 => (0..script.below(20)).for_each(|_| put_pair(&mut pairs, script.bytes(3), b"")),
        _ => pairs.extend(script.bytes(20)),
    }
    let len = if script.once_in(8) { script.u16() } else { pairs.len() as u16 };
    frame.extend(len.to_le_bytes());
    frame.extend(pairs);
}

fn put_pair(pairs: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    pairs.push(key.len() as u8);
    pairs.extend(key);
    pairs.extend((value.len() as u16).to_le_bytes());
    pairs.extend(value);
}
