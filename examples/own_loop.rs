//! A client in a loop of the application's own, beside something else that the loop waits for.
//!
//! ```text
//! cargo run --example own_loop
//! ```
//!
//! The loop stands for that of a window. It never blocks on the server: it starts a call at each line of its input (here
//! lines that a thread writes, as a person would click), and takes replies, and what the server sends unasked, when its
//! waitable is signalled. On Unix it waits with poll(2) for the descriptors of both. On Windows a window's loop gives the
//! handle of the waitable to `MsgWaitForMultipleObjectsEx` (`Waitable` shows it); this example has no window, and waits
//! for the one thing.

use msgpipe::{Call, Client, Incoming, Server, ServerMessage, Waitable};
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

/// The clicks after which the loop ends.
const CLICKS: usize = 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("own_loop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let name = format!("msgpipe.example.own_loop.{}", std::process::id());
    let server = Server::bind(name.as_str())?;
    let stopper = server.stopper();
    // Its replies come later, from a thread for each.
    let serving = thread::spawn(move || {
        server.serve_deferred(|request, responder| {
            thread::spawn(move || responder.reply(request.body()));
        })
    });
    let client = Client::connect(name.as_str())?;
    let (clicks, _person) = clicks()?;
    let waitable = client.waitable()?;
    let replies = Window { incoming: client.incoming()?, client, calls: Vec::new(), clicks }
        .show(&waitable)?;
    println!("{replies} replies");
    stopper.stop();
    serving.join().map_err(|_| "the server panicked")??;
    Ok(())
}

/// A stream on which clicks come, and its other end.
fn clicks() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let person = TcpStream::connect(listener.local_addr()?)?;
    let mut hand = person.try_clone()?;
    thread::spawn(move || (0..CLICKS).try_for_each(|_| hand.write_all(b"c")));
    let (clicks, _) = listener.accept()?;
    clicks.set_nonblocking(true)?;
    Ok((clicks, person))
}

struct Window {
    client: Client,
    incoming: Incoming,
    /// What it waits for.
    calls: Vec<Call>,
    clicks: TcpStream,
}

impl Window {
    /// The loop. Returns the number of replies.
    fn show(mut self, waitable: &Waitable) -> Result<usize, Box<dyn Error>> {
        let (mut clicked, mut replies) = (0, 0);
        while replies < CLICKS {
            wait(waitable, &self.clicks)?;
            for _ in 0..self.take_clicks()? {
                clicked += 1;
                self.calls.push(self.client.start(format!("click {clicked}"))?);
            }
            // Reads replies too.
            self.incoming.dispatch(|message| match message {
                ServerMessage::Notification(news) => println!("news: {:?}", news.body()),
                other => println!("{other:?}"),
            })?;
            let ended = self.calls.iter_mut().map(Call::try_wait).collect::<Vec<_>>();
            let mut is_open = ended.iter().map(Option::is_none);
            self.calls.retain(|_| is_open.next().unwrap_or(true));
            for reply in ended.into_iter().flatten() {
                println!("{}", String::from_utf8_lossy(&reply?));
                replies += 1;
            }
        }
        Ok(replies)
    }

    /// The number of clicks that have come.
    fn take_clicks(&mut self) -> io::Result<usize> {
        let mut clicks = [0; CLICKS];
        match self.clicks.read(&mut clicks) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            read => read,
        }
    }
}

/// Waits until there is something to do for one of them.
#[cfg(unix)]
fn wait(waitable: &Waitable, clicks: &TcpStream) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut polled = [PollFd::new(waitable, PollFlags::IN), PollFd::new(clicks, PollFlags::IN)];
    poll(&mut polled, None)?;
    Ok(())
}

/// Waits until the client has something to do, and looks at the other now and then.
#[cfg(not(unix))]
fn wait(waitable: &Waitable, _clicks: &TcpStream) -> io::Result<()> {
    waitable.wait(Some(std::time::Duration::from_millis(10)))?;
    Ok(())
}
