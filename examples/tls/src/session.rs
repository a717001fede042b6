//! A TLS session as two streams that block, for two threads.

use rustls::Connection;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The bytes that are read from the socket at once: a record of TLS, and a little.
const CHUNK: usize = 18 * 1024;

/// The session has a lock that is held only while bytes are encrypted or decrypted, never while the socket blocks: a
/// side that cannot write must still read, or both could wait for each other.
struct Session {
    tls: Mutex<Connection>,
    /// Whoever writes to the socket has it: records leave in the order in which they were encrypted.
    sending: Mutex<()>,
    /// A thread is on its way to send what the session has to send.
    is_answering: AtomicBool,
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
    let (tls, sending, is_answering) = (Mutex::new(tls), Mutex::new(()), AtomicBool::new(false));
    let session = Arc::new(Session { tls, sending, is_answering, socket });
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
    fn decrypt(self: &Arc<Self>, records: &mut VecDeque<u8>) -> io::Result<()> {
        let mut tls = lock(&self.tls);
        tls.read_tls(records)?;
        let processed = tls.process_new_packets();
        let answers = tls.wants_write();
        drop(tls);
        let answered = if answers { self.answer() } else { Ok(()) };
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        answered
    }

    /// Has an answer of the session sent, as an alert is: soon, and not on this thread, which has to read. Answers are
    /// rare, and a thread is there only for as long as they take; two at most, of which one waits for the other. (The
    /// answer to a change of keys is none of them: rustls sends it before the next bytes of the application.)
    fn answer(self: &Arc<Self>) -> io::Result<()> {
        if self.is_answering.swap(true, Ordering::SeqCst) {
            return Ok(()); // that thread has not begun to look what there is
        }
        let session = self.clone();
        let thread = thread::Builder::new().name("an answer of TLS".to_owned());
        let answering = thread.spawn(move || {
            let sending = lock(&session.sending);
            session.is_answering.store(false, Ordering::SeqCst);
            // Whoever reads or writes next finds the connection broken as well.
            let _ = session.send(&sending);
        });
        answering.map(drop).inspect_err(|_| self.is_answering.store(false, Ordering::SeqCst))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{Authority, SERVER, server_name};
    use rustls::{ClientConnection, ServerConnection};
    use std::net::TcpListener;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// What no session can decrypt: a record of the application with four bytes.
    const GARBAGE: [u8; 9] = [23, 3, 3, 0, 4, 1, 2, 3, 4];

    /// The two ends of a connection after the handshake, the client's first.
    fn ends() -> [(Connection, TcpStream); 2] {
        let authority = Authority::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let config = authority.server(authority.issue(SERVER).unwrap()).unwrap();
        let mut ours = ServerConnection::new(config).unwrap();
        let config = authority.client(authority.issue("anna.example").unwrap()).unwrap();
        let mut theirs = ClientConnection::new(config, server_name().unwrap()).unwrap();
        let shaking = thread::spawn(move || {
            while theirs.is_handshaking() {
                theirs.complete_io(&mut client).unwrap();
            }
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            (theirs.into(), client)
        });
        while ours.is_handshaking() {
            ours.complete_io(&mut server).unwrap();
        }
        [shaking.join().unwrap(), (ours.into(), server)]
    }

    /// Reads on a thread of its own; the receiver gets what the read returns.
    fn read(mut reader: Reader) -> std::sync::mpsc::Receiver<io::Result<usize>> {
        let (tell, told) = channel();
        thread::spawn(move || tell.send(reader.read(&mut [0; 10])));
        told
    }

    /// The writer looks whether there is something to send, and has its right to send for a moment longer: an answer
    /// that comes then is sent all the same, though nothing else is ever written.
    #[test]
    fn an_answer_is_sent_while_the_writer_stops_sending() {
        let [(mut theirs, mut client), (ours, server)] = ends();
        let (reader, writer) = split(ours, server);
        let sending = lock(&writer.0.sending);
        let read = read(reader);
        client.write_all(&GARBAGE).unwrap();
        read.recv_timeout(PATIENCE).unwrap().unwrap_err();
        drop(sending);
        let alert = loop {
            assert!(theirs.read_tls(&mut client).unwrap() > 0);
            if let Err(alert) = theirs.process_new_packets() {
                break alert;
            }
        };
        assert!(matches!(alert, rustls::Error::AlertReceived(_)), "{alert:?}");
        assert!(!writer.0.is_answering.load(Ordering::SeqCst));
    }

    /// The peer does not read, and nobody sends: who reads must not wait until there is room for an answer.
    #[test]
    fn an_answer_that_cannot_be_sent_does_not_hold_up_the_reader() {
        let [(_, mut client), (ours, server)] = ends();
        let (reader, writer) = split(ours, server);
        let mut socket = &writer.0.socket;
        socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        while socket.write(&[0; 1 << 16]).is_ok() {}
        socket.set_write_timeout(None).unwrap();
        let read = read(reader);
        client.write_all(&GARBAGE).unwrap();
        read.recv_timeout(PATIENCE).unwrap().unwrap_err();
        // Nothing is left behind.
        let session = Arc::downgrade(&writer.0);
        writer.0.socket.shutdown(Shutdown::Both).unwrap();
        drop(writer);
        while session.upgrade().is_some() {
            thread::yield_now();
        }
    }

    /// Both sides write and read at once, and change their keys meanwhile.
    #[test]
    fn keys_change_while_both_sides_send() {
        const ROUNDS: u32 = 300;
        let run = |(tls, socket): (Connection, TcpStream)| {
            let (mut reader, mut writer) = split(tls, socket);
            let reading = thread::spawn(move || {
                for round in 0..ROUNDS {
                    let mut read = [0; 4];
                    reader.read_exact(&mut read).unwrap();
                    assert_eq!(u32::from_be_bytes(read), round);
                }
                reader
            });
            let writing = thread::spawn(move || {
                for round in 0..ROUNDS {
                    if round % 10 == 0 {
                        lock(&writer.0.tls).refresh_traffic_keys().unwrap();
                    }
                    writer.write_all(&round.to_be_bytes()).unwrap();
                }
                writer
            });
            (reading, writing)
        };
        let ends = ends().map(run).map(|(reading, writing)| (reading.join(), writing.join()));
        assert!(ends.iter().all(|(reading, writing)| reading.is_ok() && writing.is_ok()));
    }
}
