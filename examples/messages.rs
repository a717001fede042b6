//! A chat room with plain messages: all members receive what one member sends.
//!
//! ```text
//! cargo run --example messages                     # a room and a few members that send, then all end
//! cargo run --example messages -- room [NAME]      # the room alone, until it is killed
//! cargo run --example messages -- join NICK [NAME] # one member: sends typed lines to the others
//! ```
//!
//! The name is `msgpipe.example.chat` unless another is given. (Alone, the room is a second process,
//! `messages child NAME`, that closes when its standard input ends.)

use msgpipe::{ConnectionId, Error, Event, LocalServer, MessageClient, MessageServer};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

const NAME: &str = "msgpipe.example.chat";

/// The room prints this when members can connect.
const OPEN: &str = "the room is open at";

/// The members when the example runs alone, and the lines that each of them sends.
const MEMBERS: usize = 5;
const LINES: usize = 3;

/// A deadline that is not reached normally.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => by_itself(),
        ["room"] => room(NAME, false).map_err(Into::into),
        ["room", name] => room(name, false).map_err(Into::into),
        ["child", name] => room(name, true).map_err(Into::into),
        ["join", nick] => join(nick, NAME),
        ["join", nick, name] => join(nick, name),
        _ => Err("usage: messages [room [NAME] | join NICK [NAME]]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("messages: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The room: one thread, any number of members.
fn room(name: &str, until_input_ends: bool) -> Result<(), Error> {
    let mut server = LocalServer::bind(name)?;
    println!("{OPEN} {}", server.endpoint());
    if until_input_ends {
        let waker = server.waker();
        thread::spawn(move || {
            std::io::stdin().lines().for_each(drop);
            waker.wake();
        });
    }
    let mut members: HashSet<ConnectionId> = HashSet::new();
    while let Some(event) = server.poll(None)? {
        match event {
            Event::Connected(member) => {
                members.insert(member);
                let greeting = format!("welcome, there are {} of us", members.len());
                // Refused if a member has disconnected, which does not matter here.
                let _ = server.send(member, greeting.into());
            }
            Event::Message(from, line) => {
                for &member in members.iter().filter(|&&member| member != from) {
                    // One that does not read holds nobody up, and misses nothing unseen: it is put out.
                    if server.send(member, line.clone()).is_err() {
                        server.abort(member);
                    }
                }
            }
            Event::Closed(member, reason) => {
                members.remove(&member);
                println!("a member has left ({reason}), {} are here", members.len());
            }
            Event::Woken => break,
            _ => {}
        }
    }
    Ok(())
}

/// One member: sends typed lines, prints received ones.
fn join(nick: &str, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = MessageClient::connect(name)?;
    let listener = client.clone();
    thread::spawn(move || {
        while let Ok(line) = listener.receive(None) {
            println!("{}", String::from_utf8_lossy(&line));
        }
        println!("the room has closed");
    });
    for line in std::io::stdin().lines() {
        client.send(format!("{nick}: {}", line?))?;
    }
    Ok(())
}

/// A room as a second process, and members in this one that send until all have received all lines.
fn by_itself() -> Result<(), Box<dyn std::error::Error>> {
    // A unique name, so that two runs at once do not interfere.
    let name = format!("{NAME}.{}", std::process::id());
    let mut room = Command::new(std::env::current_exe()?)
        .args(["child", &name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let talked = open(&mut room).and_then(|()| talk(&name));
    drop(room.stdin.take());
    room.wait()?;
    println!("{} lines were heard", talked?);
    Ok(())
}

/// Waits until the room is open.
fn open(room: &mut Child) -> Result<(), Box<dyn std::error::Error>> {
    let output = room.stdout.take().ok_or("the room has no output")?;
    let mut output = BufReader::new(output);
    let mut first_line = String::new();
    output.read_line(&mut first_line)?;
    print!("{first_line}");
    // Read the room's further output, so that the room never blocks.
    thread::spawn(move || {
        output.lines().map_while(Result::ok).for_each(|line| println!("room: {line}"))
    });
    if first_line.starts_with(OPEN) { Ok(()) } else { Err("the room did not open".into()) }
}

/// Connects the members, which then all send at once. Returns the number of received lines.
fn talk(name: &str) -> Result<usize, Box<dyn std::error::Error>> {
    let members: Vec<MessageClient> =
        (0..MEMBERS).map(|_| MessageClient::connect(name)).collect::<Result<_, _>>()?;
    for member in &members {
        println!("{}", String::from_utf8_lossy(&member.receive(Some(PATIENCE))?));
    }
    let talking: Vec<_> = members
        .into_iter()
        .enumerate()
        .map(|(number, member)| thread::spawn(move || talk_and_listen(number, &member)))
        .collect();
    let mut heard = 0;
    for member in talking {
        heard += member.join().map_err(|_| "a member panicked")??;
    }
    Ok(heard)
}

/// One member sends its lines and receives those of all others.
fn talk_and_listen(number: usize, member: &MessageClient) -> Result<usize, Error> {
    for line in 1..=LINES {
        member.send(format!("member {number} says line {line}"))?;
    }
    let others = (MEMBERS - 1) * LINES;
    for _ in 0..others {
        let line = member.receive(Some(PATIENCE))?;
        if number == 0 {
            println!("{}", String::from_utf8_lossy(&line));
        }
    }
    Ok(others)
}
