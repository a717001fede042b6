//! A raw client: it writes any bytes.

use bytes::BytesMut;
use msgpipe::framing::{Decoder, Framing, FramingError, Layer, Native, SendQueue};
use msgpipe::{ClientStream, memory};
use std::io::{IoSlice, Read, Write};

/// A stream of bytes to a server. Dropping it closes it.
pub struct Raw(Kind);

enum Kind {
    Memory(memory::MemoryStream),
    Tcp(std::net::TcpStream),
    #[cfg(unix)]
    Socket(std::os::unix::net::UnixStream),
    #[cfg(windows)]
    Pipe(std::fs::File),
}

impl Raw {
    pub fn memory(stream: memory::MemoryStream) -> Raw {
        Raw(Kind::Memory(stream))
    }

    pub fn socket(socket: std::net::TcpStream) -> Raw {
        Raw(Kind::Tcp(socket))
    }

    #[cfg(unix)]
    pub fn local(name: &str) -> Raw {
        let path = path_of(name);
        Raw(Kind::Socket(std::os::unix::net::UnixStream::connect(path).unwrap()))
    }

    /// The simplest client: the pipe, opened as a file.
    #[cfg(windows)]
    pub fn local(name: &str) -> Raw {
        let pipe = pipe_of(name);
        let started = std::time::Instant::now();
        loop {
            // 231: all instances are busy for a moment.
            match std::fs::OpenOptions::new().read(true).write(true).open(&pipe) {
                Ok(file) => return Raw(Kind::Pipe(file)),
                Err(error)
                    if error.raw_os_error() == Some(231) && started.elapsed() < super::PATIENCE =>
                {
                    std::thread::yield_now();
                }
                Err(error) => panic!("{pipe}: {error}"),
            }
        }
    }

    /// Writes all of `bytes`. Returns whether the server took them.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        match &mut self.0 {
            Kind::Memory(stream) => write_memory(stream, bytes),
            Kind::Tcp(socket) => socket.write_all(bytes).is_ok(),
            #[cfg(unix)]
            Kind::Socket(socket) => socket.write_all(bytes).is_ok(),
            #[cfg(windows)]
            Kind::Pipe(pipe) => pipe.write_all(bytes).is_ok(),
        }
    }

    /// Reads up to 64 KiB; nothing once the server has closed.
    pub fn read(&mut self) -> Vec<u8> {
        self.read_up_to(64 * 1024)
    }

    /// Reads some bytes with a limit; none once the server has closed.
    pub fn read_up_to(&mut self, most: usize) -> Vec<u8> {
        let mut buffer = vec![0; most];
        let read = match &mut self.0 {
            Kind::Memory(stream) => {
                let mut bytes = BytesMut::with_capacity(most);
                return stream.read(&mut bytes, None).map_or(Vec::new(), |_| bytes.to_vec());
            }
            Kind::Tcp(socket) => socket.read(&mut buffer),
            #[cfg(unix)]
            Kind::Socket(socket) => socket.read(&mut buffer),
            #[cfg(windows)]
            Kind::Pipe(pipe) => pipe.read(&mut buffer),
        };
        buffer.truncate(read.unwrap_or(0));
        buffer
    }

    /// All bytes until the server closes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let some = self.read();
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }
}

fn write_memory(stream: &memory::MemoryStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match stream.write(&[IoSlice::new(bytes)]) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if stream.wait_writable(false, None).is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

/// The socket of a name.
#[cfg(unix)]
pub fn path_of(name: &str) -> std::path::PathBuf {
    msgpipe::Endpoint::name(name).unwrap().locate().unwrap()
}

/// The pipe of a name. The user in it comes from a separate server: to the one under test
/// only the raw client connects.
#[cfg(windows)]
fn pipe_of(name: &str) -> String {
    use msgpipe::MessageServer;
    let own = super::unique_name();
    let server = msgpipe::LocalServer::bind(own.as_str()).unwrap();
    server.endpoint().replace(&own, name)
}

/// The preface of a layer.
pub fn preface(layer: Layer) -> Vec<u8> {
    let mut queue = SendQueue::default();
    Native::new(layer, 1 << 20).encoder().begin(&mut queue);
    queue.to_bytes().to_vec()
}

/// A frame with this payload.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut queue = SendQueue::default();
    let payload = bytes::Bytes::copy_from_slice(payload);
    Native::new(Layer::Messages, 1 << 30)
        .encoder()
        .encode(&[], payload.into(), &mut queue)
        .unwrap();
    queue.to_bytes().to_vec()
}

/// A frame of calls: an envelope and a body.
pub fn envelope(kind: u8, flags: u8, id: u32, body: &[u8]) -> Vec<u8> {
    let mut envelope = [0; 16];
    (envelope[0], envelope[1]) = (kind, flags);
    envelope[4..8].copy_from_slice(&id.to_le_bytes());
    [&envelope, body].concat()
}

/// The settings of a side that takes much at once.
pub fn settings() -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, len, value) in [(1_u16, 4_u16, 16_u64 << 20), (3, 8, 64 << 20), (4, 8, 64 << 20)] {
        body.extend(kind.to_le_bytes());
        body.extend(len.to_le_bytes());
        body.extend(&value.to_le_bytes()[..len.into()]);
    }
    envelope(11, 0, 0, &body)
}

/// What a client for calls begins with: its preface and settings.
pub fn calls_begin() -> Vec<u8> {
    [preface(Layer::Calls), frame(&settings())].concat()
}

/// The id of the n-th call of a client.
pub fn id_of(number: u32) -> u32 {
    2 * number + 2
}

/// The n-th request, with this body.
pub fn request(number: u32, body: &[u8]) -> Vec<u8> {
    frame(&envelope(1, 3, id_of(number), body))
}

/// The bytes of a raw peer, decoded into frames: the goodbye at the end, if there is one.
pub fn goodbye_in(bytes: &[u8], layer: Layer) -> Option<(u16, String)> {
    let mut input = BytesMut::from(bytes);
    let mut decoder: Box<dyn Decoder> = Native::new(layer, 1 << 24).decoder();
    loop {
        match decoder.decode(&mut input) {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(FramingError::Goodbye { code, text }) => return Some((code, text)),
            Err(error) => panic!("the server sent {error}: {bytes:02x?}"),
        }
    }
}

/// The check of prefaces and headers: a second implementation of `docs/PROTOCOL.md`.
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut crc: u16 = 0xFFFF;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc
}
