//! Random plans for two endpoints: framings, limits, cuts, messages and ends.

use bytes::Bytes;
use msgpipe::framing::{Framing, Layer, LengthPrefix, Lines, Native};
use msgpipe::memory::Faults;
use proptest::prelude::*;
use std::sync::Arc;

/// A framing without its limit.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Native,
    LengthPrefix { big: bool, counted: bool },
    Lines,
}

/// How the connection ends.
#[derive(Clone, Debug)]
pub enum End {
    /// The client closes once it has received so many messages, whatever it is sending.
    ClientCloses { received: usize },
    /// It closes once it has sent and received all.
    ClientIsDone,
    /// The server closes once it has received more than so many messages.
    ServerCloses { received: usize, code: u16, text: String },
    /// The connection breaks when the client has sent so many bytes, or by its close.
    Breaks { after: u64 },
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    /// The largest message of each side.
    pub client_limit: usize,
    pub server_limit: usize,
    /// How much may wait on each side.
    pub queued: usize,
    chunk: usize,
    capacity: usize,
    /// The first is small, and there is one: the server answers it with all of its own.
    pub to_server: Vec<Message>,
    pub to_client: Vec<Message>,
    pub end: End,
}

/// A message in few words: its bytes count up from the first, or are all the same.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    size: usize,
    first: u8,
    counts: bool,
}

impl Message {
    pub fn bytes(&self) -> Bytes {
        let step = u8::from(self.counts);
        (0..self.size).map(|at| self.first.wrapping_add(step.wrapping_mul(at as u8))).collect()
    }
}

impl Plan {
    fn framing(&self, limit: usize) -> Arc<dyn Framing> {
        match self.kind {
            Kind::Native => Arc::new(Native::new(Layer::Messages, limit)),
            Kind::Lines => Arc::new(Lines::new(limit)),
            Kind::LengthPrefix { big, counted } => {
                let framing = match big {
                    true => LengthPrefix::big_endian(limit),
                    false => LengthPrefix::little_endian(limit),
                };
                Arc::new(if counted { framing.counting_header() } else { framing })
            }
        }
    }

    pub fn server_framing(&self) -> Arc<dyn Framing> {
        self.framing(self.server_limit)
    }

    pub fn client_framing(&self) -> Arc<dyn Framing> {
        self.framing(self.client_limit)
    }

    pub fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        faults.chunk = self.chunk;
        faults.capacity = self.capacity;
        if let End::Breaks { after } = self.end {
            faults.reset_after = Some(after);
        }
        faults
    }

    /// Whether the framing has words for why a connection ends.
    pub fn has_goodbyes(&self) -> bool {
        matches!(self.kind, Kind::Native)
    }

    /// Whether a message is accepted at either end.
    pub fn carries(&self, message: &[u8]) -> bool {
        carries(self.kind, self.client_limit.min(self.server_limit), message)
    }
}

fn carries(kind: Kind, limit: usize, message: &[u8]) -> bool {
    let is_line = !message.contains(&b'\n');
    message.len() <= limit && (is_line || !matches!(kind, Kind::Lines))
}

/// What a stream's cuts, a framing's pieces and its limits are around.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        3 => 0..3_usize,
        4 => 0..300_usize,
        2 => 255..=257_usize,
        1 => 4094..=4098_usize,
        1 => 9_999..=10_001_usize,
    ]
}

fn messages(most: usize) -> impl Strategy<Value = Vec<Message>> {
    // Lines refuse some of those that count up.
    let message = (sizes(), 11..=255_u8, any::<bool>()).prop_map(|(size, first, counts)| Message {
        size,
        first,
        counts,
    });
    prop::collection::vec(message, 0..most)
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![
        1 => (0..25_usize).prop_map(|received| End::ClientCloses { received }),
        1 => Just(End::ClientIsDone),
        3 => (0..12_usize, any::<u16>(), "[a-z ä]{0,40}")
            .prop_map(|(received, code, text)| End::ServerCloses { received, code, text }),
        1 => (1..30_000_u64).prop_map(|after| End::Breaks { after }),
    ]
}

pub fn plans() -> impl Strategy<Value = Plan> {
    let kind = prop_oneof![
        2 => Just(Kind::Native),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(big, counted)| Kind::LengthPrefix { big, counted }),
        1 => Just(Kind::Lines),
    ];
    // From what every peer takes (docs/PROTOCOL.md, section 5).
    let limit = || prop_oneof![Just(256_usize), 257..5_000_usize, Just(10_000), Just(1 << 20)];
    let cuts = prop_oneof![
        Just((usize::MAX, 65_536)),
        (1..50_usize, Just(65_536)),
        (1..5_000_usize, 16..5_000_usize),
        (Just(usize::MAX), 1..40_usize),
    ];
    let queued = prop_oneof![Just(1_usize), 1..2_000_usize, Just(1 << 20)];
    (kind, limit(), limit(), queued, cuts, messages(20), messages(20), ends()).prop_map(
        |(kind, client_limit, mut server_limit, queued, cuts, to_server, to_client, mut end)| {
            // Framings that do not tell their limits are set up with the same on both sides.
            if !matches!(kind, Kind::Native) {
                server_limit = client_limit;
            }
            let hello = Message { size: 5, first: b'h', counts: false };
            let to_server: Vec<_> = [hello].into_iter().chain(to_server).collect();
            let limit = client_limit.min(server_limit);
            let count = |messages: &[Message]| {
                messages.iter().filter(|m| carries(kind, limit, &m.bytes())).count()
            };
            // Who waits for more than it is sent waits for ever.
            match &mut end {
                End::ServerCloses { received, .. } => *received %= count(&to_server),
                End::ClientCloses { received } => *received %= count(&to_client) + 1,
                End::ClientIsDone | End::Breaks { .. } => {}
            }
            let (chunk, capacity) = cuts;
            Plan {
                kind,
                client_limit,
                server_limit,
                queued,
                chunk,
                capacity,
                to_server,
                to_client,
                end,
            }
        },
    )
}
