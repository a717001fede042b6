//! How many clients are served at once: `Instances`. On Windows these are instances of the pipe, on
//! Unix a further client waits in the backlog.

use crate::common::{PATIENCE, connected, message, next, pattern, unique_name, welcomed};
use msgpipe::framing::{Framing, Layer, Native};
use msgpipe::{
    ClientOptions, Event, Goodbye, Instances, Limits, LocalServer, MessageClient, MessageServer,
    ServerOptions,
};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Long enough for an unexpected client to be accepted.
const A_WHILE: Duration = Duration::from_millis(100);

/// This crate's own framing, and where there is one that of the operating system.
fn framings() -> Vec<Arc<dyn Framing>> {
    vec![
        Arc::new(Native::new(Layer::Messages, 1 << 20)),
        #[cfg(any(windows, target_os = "linux", target_os = "android"))]
        Arc::new(msgpipe::framing::OsMessage::new(64 * 1024)),
    ]
}

fn listen(name: &str, framing: &Arc<dyn Framing>, count: usize) -> LocalServer {
    let options = ServerOptions::new().instances(Instances::Fixed(count)).framing(framing.clone());
    options.bind_messages(name).unwrap()
}

fn connect(name: &str, framing: &Arc<dyn Framing>) -> MessageClient {
    let mut limits = Limits::default();
    limits.connect = PATIENCE;
    let options = ClientOptions::new().limits(limits).framing(framing.clone());
    options.connect_messages(name).unwrap()
}

/// That a client's message arrives, and the server's answer.
#[track_caller]
fn is_served(client: &MessageClient, server: &mut LocalServer) {
    client.send("hello").unwrap();
    let (id, hello) = message(server);
    server.send(id, hello).unwrap();
    assert!(server.poll(Some(Duration::ZERO)).unwrap().is_none());
    assert_eq!(client.receive(Some(PATIENCE)).unwrap(), "hello");
}

#[test]
fn the_fixed_number_is_exact_and_the_next_client_waits() {
    for framing in framings() {
        for count in [1, 2, 4] {
            let name = unique_name();
            let mut server = listen(&name, &framing, count);
            let mut clients = Vec::new();
            for _ in 0..count {
                clients.push(connect(&name, &framing));
                connected(&mut server);
            }
            thread::scope(|scope| {
                let one_more = scope.spawn(|| {
                    let client = connect(&name, &framing);
                    client.send("at last").unwrap();
                    assert_eq!(client.receive(Some(PATIENCE)).unwrap(), "at last");
                });
                let nobody = server.poll(Some(A_WHILE)).unwrap();
                assert!(nobody.is_none(), "{} clients: {nobody:?}", count + 1);
                clients.iter().for_each(|client| is_served(client, &mut server));
                assert!(!one_more.is_finished());

                drop(clients.pop());
                let Event::Closed(..) = next(&mut server) else { panic!("nobody left") };
                let came = connected(&mut server);
                let (id, at_last) = message(&mut server);
                assert_eq!((id, &at_last[..]), (came, &b"at last"[..]));
                server.send(id, at_last).unwrap();
                let Event::Closed(..) = next(&mut server) else { panic!("nobody left") };
                one_more.join().unwrap();
            });
            clients.iter().for_each(|client| is_served(client, &mut server));
        }
    }
}

#[test]
fn zero_instances_count_as_one() {
    let framing = &framings()[0];
    let name = unique_name();
    let mut server = listen(&name, framing, 0);
    let client = connect(&name, framing);
    connected(&mut server);
    is_served(&client, &mut server);
}

#[test]
fn a_silent_client_takes_one_instance_only() {
    for framing in framings() {
        let name = unique_name();
        let mut server = listen(&name, &framing, 4);
        let silent: Vec<_> = (0..3).map(|_| connect(&name, &framing)).collect();
        for _ in &silent {
            connected(&mut server);
        }
        for _ in 0..20 {
            let client = connect(&name, &framing);
            connected(&mut server);
            is_served(&client, &mut server);
            drop(client);
            let Event::Closed(..) = next(&mut server) else { panic!("nobody left") };
        }
        silent.iter().for_each(|client| is_served(client, &mut server));
    }
}

/// A client that closes with unread replies, and one that is closed with unread messages: the next
/// client of the same instance gets none of it.
#[test]
fn a_reused_instance_holds_nothing_of_the_last_client() {
    const CYCLES: u8 = 120;
    const SIZE: usize = 10_000;
    for framing in framings() {
        let name = unique_name();
        let mut server = listen(&name, &framing, 1);
        for cycle in 0..CYCLES {
            let client = connect(&name, &framing);
            let id = welcomed(&mut server);
            for _ in 0..3 {
                client.send(pattern(SIZE, cycle)).unwrap();
            }
            for _ in 0..3 {
                server.send(id, pattern(SIZE, !cycle).into()).unwrap();
            }
            let (mut client, mut heard) = (Some(client), 0);
            match cycle % 3 {
                0 => server.close(id, Goodbye::new(100, "enough")),
                1 => drop(client.take()),
                _ => {}
            }
            loop {
                match next(&mut server) {
                    Event::Message(from, message) => {
                        assert_eq!(from, id);
                        assert!(message == pattern(SIZE, cycle), "the message of another");
                        heard += 1;
                    }
                    Event::Closed(ended, _) => break assert_eq!(ended, id),
                    event => panic!("{event:?}"),
                }
                if cycle % 3 == 2 && heard == 3 {
                    let client = client.take().unwrap();
                    for _ in 0..3 {
                        let answer = client.receive(Some(PATIENCE)).unwrap();
                        assert!(answer == pattern(SIZE, !cycle), "the answer to another");
                    }
                }
            }
            assert_eq!(heard, if cycle % 3 == 0 { 0 } else { 3 });
        }
    }
}

#[cfg(windows)]
mod on_pipes {
    //! The instances as seen by other programs, which open the pipe as a file.

    use super::*;
    use crate::common::closed;
    use crate::common::program::Program;
    use msgpipe::framing::OsMessage;
    use std::fs::{File, OpenOptions};
    use std::io;

    /// The error of CreateFile if every instance has a client.
    const PIPE_BUSY: i32 = 231;

    fn open(pipe: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(pipe)
    }

    #[test]
    fn a_further_client_finds_the_pipe_busy() {
        for framing in framings() {
            for count in [1, 2, 4] {
                let server = listen(&unique_name(), &framing, count);
                // All of them are there before the server looks.
                let mut clients: Vec<File> =
                    (0..count).map(|_| open(server.endpoint()).unwrap()).collect();
                let busy = open(server.endpoint()).unwrap_err();
                assert_eq!(busy.raw_os_error(), Some(PIPE_BUSY), "{count}: {busy}");
                let mut server = server;
                for _ in 0..count {
                    connected(&mut server);
                }
                let busy = open(server.endpoint()).unwrap_err();
                assert_eq!(busy.raw_os_error(), Some(PIPE_BUSY), "{count}: {busy}");
                // As many as leave can come.
                for _ in 0..count {
                    drop(clients.remove(0));
                    closed(&mut server);
                    clients.push(open(server.endpoint()).unwrap());
                    assert!(open(server.endpoint()).is_err());
                    connected(&mut server);
                }
            }
        }
    }

    /// `WaitNamedPipe` waits in it while it is busy.
    #[test]
    fn a_classic_client_waits_for_an_instance() {
        let framing: Arc<dyn Framing> = Arc::new(OsMessage::new(4096));
        for count in [1, 4] {
            let mut server = listen(&unique_name(), &framing, count);
            let pipe = server.endpoint().to_owned();
            let mut clients: Vec<File> = (0..count).map(|_| open(&pipe).unwrap()).collect();
            for _ in 0..count {
                connected(&mut server);
            }
            for timeout in ["0", "50"] {
                let turned_away =
                    Program::start("text_client", [&pipe, "--timeout", timeout]).end();
                assert_eq!(
                    (turned_away.status, &turned_away.lines[..]),
                    (Some(3), &["busy".into()][..])
                );
            }
            let waiting = Program::start("text_client", [pipe.as_str(), "is it my turn?"]);
            let nobody = server.poll(Some(A_WHILE)).unwrap();
            assert!(nobody.is_none(), "{nobody:?}");
            drop(clients.pop());
            closed(&mut server);
            let came = connected(&mut server);
            let (id, text) = message(&mut server);
            assert_eq!(id, came);
            server.send(id, text).unwrap();
            assert_eq!(closed(&mut server).0, id);
            assert_eq!(waiting.end().succeeded(), ["is it my turn?"]);
        }
    }

    /// Of one instance only, the name is busy at most between one client and the next, and never missing.
    /// The clients are read, or refused.
    #[test]
    fn the_name_stays_between_the_last_client_and_the_next() {
        const CYCLES: usize = 200;
        for framing in framings() {
            for welcome in [true, false] {
                let options = ServerOptions::new().instances(Instances::Fixed(1));
                let options = options.framing(framing.clone()).authorize(move |_| welcome);
                let mut server = options.bind_messages(unique_name().as_str()).unwrap();
                let (pipe, waker) = (server.endpoint().to_owned(), server.waker());
                let coming = thread::spawn(move || {
                    let outcome = connect_and_close(&pipe, CYCLES);
                    waker.wake();
                    outcome
                });
                let mut came = 0;
                loop {
                    match next(&mut server) {
                        Event::Connected(_) => came += 1,
                        Event::Woken => break,
                        _ => {}
                    }
                }
                coming.join().unwrap().unwrap();
                // The last client may not have been accepted yet.
                assert!(if welcome { came + 1 >= CYCLES } else { came == 0 }, "{came} came");
            }
        }
    }

    fn connect_and_close(pipe: &str, cycles: usize) -> io::Result<()> {
        let mut came = 0;
        while came < cycles {
            match open(pipe) {
                Ok(client) => drop(client),
                Err(error) if error.raw_os_error() == Some(PIPE_BUSY) => continue,
                Err(error) => return Err(error),
            }
            came += 1;
        }
        Ok(())
    }
}
