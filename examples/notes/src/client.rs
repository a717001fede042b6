//! The command line: each command is a call of the service.

use crate::protocol::{ADD, EXPORT, GET, IMPORT, LIST, Note, STATUS, STOP, WATCH};
use crate::{Failure, Place, lines};
use indicatif::{ProgressBar, ProgressStyle};
use msgpipe::{Backoff, Client, ClientOptions, Error, Parts, Received, ReconnectingClient, Start};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long `stop` waits for the end of the service: longer than it drains.
const STOPPING: Duration = Duration::from_secs(10);

/// Connects when it is used, and starts the service if there is none.
fn service(place: &Place) -> Result<ReconnectingClient, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve").env("NOTES_NAME", &place.name).env("NOTES_DIR", &place.directory);
    let options = ClientOptions::new().start_with(Start::command(command));
    Ok(options.reconnecting(place.name.as_str(), Backoff::new())?)
}

fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_ref())?;
    output.write_all(b"\n")?;
    Ok(output.flush()?)
}

fn decode(part: &[u8]) -> Result<Note, Failure> {
    Note::decode(part).ok_or_else(|| "the service has sent something else than a note".into())
}

pub fn add(place: &Place, text: &str) -> Result<(), Failure> {
    // Not sent again if it may have been kept already.
    print(service(place)?.with_method(ADD).call(text)?)
}

pub fn get(place: &Place, number: &str) -> Result<(), Failure> {
    print(service(place)?.with_method(GET).idempotent().call(number)?)
}

pub fn status(place: &Place) -> Result<(), Failure> {
    let client = service(place)?.client()?;
    if let Some(pid) = client.server().pid {
        print(format!("process {pid}"))?;
    }
    print(client.with_method(STATUS).call("")?)
}

pub fn list(place: &Place) -> Result<(), Failure> {
    let client = service(place)?.client()?;
    for part in client.with_method(LIST).stream("")? {
        let Note { number, text } = decode(&part?)?;
        print(format!("{number}\t{text}"))?;
    }
    Ok(())
}

pub fn watch(place: &Place) -> Result<(), Failure> {
    for received in service(place)?.with_method(WATCH).subscribe("")? {
        match received? {
            Received::Part(part) => {
                let Note { number, text } = decode(&part)?;
                print(format!("{number}\t{text}"))?;
            }
            Received::Gap(why) => eprintln!("notes: some may be missing here: {why}"),
            _ => {}
        }
    }
    Ok(())
}

/// Stops a service that runs; without one there is nothing to do.
pub fn stop(place: &Place) -> Result<(), Failure> {
    let client = match Client::connect(place.name.as_str()) {
        Err(Error::NoServer { .. }) => return Ok(()),
        connected => connected?,
    };
    let incoming = client.incoming()?;
    client.with_method(STOP).call("")?;
    // The connection ends when the service does; its name is free a little later.
    incoming.for_each(drop);
    let until = Instant::now() + STOPPING;
    while Instant::now() < until {
        if let Err(Error::NoServer { .. }) = Client::connect(place.name.as_str()) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err("the service has been told to stop, and still ends, or another one was started".into())
}

/// A bar on a terminal; nothing elsewhere.
fn bar(count: u64) -> Result<ProgressBar, Failure> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} notes, {eta}")?;
    Ok(ProgressBar::new(count).with_style(style))
}

pub fn export(place: &Place, file: Option<&Path>) -> Result<(), Failure> {
    let client = service(place)?.client()?;
    let mut parts = client.with_method(EXPORT).stream("")?;
    let count = parts.next().transpose()?.unwrap_or_default();
    let bar = bar(std::str::from_utf8(&count)?.parse()?)?;
    match file {
        None => write_notes(parts, &bar, io::stdout().lock())?,
        Some(file) => {
            write_file(file, parts, &bar).map_err(|error| format!("{}: {error}", file.display()))?
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Nobody finds half a file: until it is complete it has a name that no other file has. It is for its user only, as the
/// notes are.
fn write_file(file: &Path, parts: Parts, bar: &ProgressBar) -> Result<(), Failure> {
    if file.exists() && !file.is_file() {
        return Err("it is there, and is no file".into());
    }
    let directory = file.parent().filter(|it| !it.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    // Dropped before its end it is removed.
    let unfinished = tempfile::Builder::new().prefix(".notes-export-").tempfile_in(directory)?;
    write_notes(parts, bar, unfinished.as_file())?;
    unfinished.as_file().sync_all()?;
    unfinished.persist(file)?;
    Ok(())
}

fn write_notes(parts: Parts, bar: &ProgressBar, output: impl Write) -> Result<(), Failure> {
    let mut output = BufWriter::new(output);
    for part in parts {
        writeln!(output, "{}", lines::escaped(&decode(&part?)?.text))?;
        bar.inc(1);
    }
    Ok(output.flush()?)
}

pub fn import(place: &Place, file: &Path) -> Result<(), Failure> {
    let opened = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let bytes = opened.metadata()?.len();
    let client = service(place)?.client()?;
    let mut upload = client.with_method(IMPORT).upload()?;
    let bar = ProgressBar::new(bytes)
        .with_style(ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes}, {eta}")?);
    let (mut input, mut line) = (BufReader::new(opened), Vec::new());
    while lines::read(&mut input, &mut line)? {
        match upload.send(lines::unescaped(&line)?) {
            Ok(()) => bar.inc(line.len() as u64),
            Err(Error::Stopped { .. }) => break, // its reply says why
            Err(error) => return Err(error.into()),
        }
    }
    let count = upload.finish()?.wait()?;
    bar.finish_and_clear();
    print(count)
}
