//! A TLS session as two streams that block, for two threads.

use rustls::Connection;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bytes that are read from the socket at once: a record of TLS, and a little.
const CHUNK: usize = 18 * 1024;

/// The session has a lock that is held only while bytes are encrypted or decrypted, never while the socket blocks: a
/// side that cannot write must still read, or both could wait for each other.
struct Session {
    tls: Mutex<Connection>,
    /// Whoever writes to the socket has it: records leave in the order in which they were encrypted.
    sending: Mutex<()>,
    socket: TcpStream,
}

/// The direction from the peer.
pub struct Reader {
    session: Arc<Session>,
    /// What has arrived and was not decrypted: a session takes nothing more while it has bytes for the application.
    records: VecDeque<u8>,
}

/// The direction to the peer. Dropped, it says goodbye.
pub struct Writer(Arc<Session>);

/// Splits a session whose handshake is over.
pub fn split(tls: Connection, socket: TcpStream) -> (Reader, Writer) {
    let session = Session { tls: Mutex::new(tls), sending: Mutex::new(()), socket };
    let session = Arc::new(session);
    (Reader { session: session.clone(), records: VecDeque::new() }, Writer(session))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Sends what the session has to send.
    fn send(&self, _sending: &MutexGuard<'_, ()>) -> io::Result<()> {
        loop {
            let mut records = Vec::new();
            let mut tls = lock(&self.tls);
            while tls.wants_write() {
                tls.write_tls(&mut records)?;
            }
            drop(tls);
            if records.is_empty() {
                return Ok(());
            }
            (&self.socket).write_all(&records)?;
        }
    }

    /// Decrypts some of what has arrived; without any, notes the end.
    fn decrypt(&self, records: &mut VecDeque<u8>) -> io::Result<()> {
        let mut tls = lock(&self.tls);
        tls.read_tls(records)?;
        let processed = tls.process_new_packets();
        let answers = tls.wants_write();
        drop(tls);
        if answers {
            // Whoever writes now sends it too.
            if let Ok(sending) = self.sending.try_lock() {
                self.send(&sending)?;
            }
        }
        processed.map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut chunk = [0; CHUNK];
        loop {
            match lock(&self.session.tls).reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An end without a goodbye is an error of rustls: somebody may have cut the connection.
                read => return read,
            }
            if self.records.is_empty() {
                let read = (&self.session.socket).read(&mut chunk)?;
                self.records.extend(&chunk[..read]);
            }
            self.session.decrypt(&mut self.records)?;
        }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sending = lock(&self.0.sending);
        // As much as the session buffers at once.
        let written = lock(&self.0.tls).writer().write(bytes)?;
        self.0.send(&sending)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.send(&lock(&self.0.sending))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.0.tls).send_close_notify();
        // The peer may have gone.
        let _ = self.flush();
        let _ = self.0.socket.shutdown(Shutdown::Write);
    }
}
