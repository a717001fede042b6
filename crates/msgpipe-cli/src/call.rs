//! `msgpipe call`.

use crate::args::{Call, Common};
use crate::exit::Exit;
use crate::foreign;
use crate::output;
use crate::{body, target};
use msgpipe::{Client, Error, Upload};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// The bytes of a part of an upload: as much as a system's buffer of a connection holds.
const PART: usize = 64 * 1024;

pub fn run(common: &Common, args: &Call) -> Result<(), Exit> {
    let mut sink = Sink::new(args);
    let body = || body::read(args.body.as_deref(), args.file.as_deref(), common.message_limit);
    if let Some(framing) = common.framing {
        if args.upload.is_some() || args.stream || args.method != 0 || args.json.is_some() {
            let text =
                "--framing is for servers without calls: they have no methods, parts or uploads";
            return Err(Exit::Usage(text.to_owned()));
        }
        return sink.take(&foreign::call(common, &args.name, framing, body()?)?, false);
    }
    if args.upload.is_some() && args.stream {
        return Err(Exit::Usage("--upload and --stream do not go together".to_owned()));
    }
    // Before it connects: what cannot be read is not the server's affair.
    let upload = args.upload.as_deref().map(body::open).transpose()?;
    let mut body = if upload.is_none() { body()? } else { Vec::new() };
    if let Some(method) = args.json.as_deref() {
        if body.is_empty() {
            // No arguments, and the reply in JSON.
            body = b"{}".to_vec();
        }
        check_json(method, &body)?;
    }
    let method = args.json.as_deref().map_or(args.method, msgpipe::typed::number);
    let client = target::client(common, &args.name)?.with_method(method);
    match (upload, &args.upload) {
        (Some((reader, size)), Some(path)) => {
            sink.take(&send_parts(&client, reader, size, path, common.timeout)?, false)
        }
        _ if args.stream => {
            let mut parts = client.stream(body)?;
            if args.output.is_none() {
                output::when_closed(output::exit);
            }
            let bar = output::bar("received", None);
            while let Some(part) = parts.next_within(common.timeout)? {
                bar.inc(part.len() as u64);
                bar.suspend(|| sink.take(&part, true))?;
            }
            bar.finish_and_clear();
            Ok(())
        }
        _ => sink.take(&client.call(body)?, false),
    }?;
    sink.finish()
}

/// A server would say so too, but in the words of a program.
fn check_json(method: &str, body: &[u8]) -> Result<(), Exit> {
    let parsed: Result<serde_json::Map<String, serde_json::Value>, _> =
        serde_json::from_slice(body);
    parsed.map(drop).map_err(|error| {
        let text = "the arguments are an object in JSON, as {\"text\": \"milk\"}";
        Exit::Usage(format!("{method}: {text}: {error}"))
    })
}

fn send_parts(
    client: &Client,
    mut reader: Box<dyn Read>,
    size: Option<u64>,
    path: &Path,
    timeout: Duration,
) -> Result<msgpipe::bytes::Bytes, Exit> {
    let (give, parts) = mpsc::sync_channel(1);
    let (tell, told) = mpsc::channel();
    let upload = client.upload()?;
    // A server need not take what is sent: this thread waits for the other only as long as it may. It ends with the process.
    let sending = thread::spawn(move || send_each(upload, &parts, &tell));
    let mut sent = 0;
    let bar = output::bar("sent", size);
    let mut buffer = vec![0; PART];
    loop {
        let read = match reader.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read,
        };
        let read =
            read.map_err(|error| Exit::System(format!("reading {}", path.display()), error))?;
        if read == 0 {
            break;
        }
        if give.send(buffer[..read].to_vec()).is_err() {
            break;
        }
        match told.recv_timeout(timeout) {
            // Its reply says why it takes no more.
            Ok(Err(Error::Stopped { .. })) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(sent) => sent?,
            Err(RecvTimeoutError::Timeout) => {
                let path = path.display();
                return Err(Exit::Late(format!(
                    "timed out after {timeout:?}: the server takes no more of {path} after {sent} bytes"
                )));
            }
        }
        sent += read as u64;
        bar.inc(read as u64);
    }
    drop(give);
    let upload = sending.join().map_err(|_| {
        Exit::System(format!("sending {}", path.display()), io::Error::other("its thread panicked"))
    })?;
    let reply = upload.finish()?.wait();
    bar.finish_and_clear();
    Ok(reply?)
}

/// Sends parts, and tells what became of each, to the end of them or to the first that cannot be sent.
fn send_each(
    mut upload: Upload,
    parts: &Receiver<Vec<u8>>,
    tell: &Sender<Result<(), Error>>,
) -> Upload {
    for part in parts {
        let sent = upload.send(part);
        let is_over = sent.is_err();
        if tell.send(sent).is_err() || is_over {
            break;
        }
    }
    upload
}

/// Where a reply goes. A file is made when a reply is there: until then an older one stays as it is.
struct Sink {
    path: Option<PathBuf>,
    file: Option<File>,
    raw: bool,
}

impl Sink {
    fn new(args: &Call) -> Sink {
        Sink { path: args.output.clone(), file: None, raw: args.raw }
    }

    /// Takes a reply, or a part of one, which is a line of its own.
    fn take(&mut self, bytes: &[u8], is_line: bool) -> Result<(), Exit> {
        let Some(path) = &self.path else {
            return output::message(bytes, is_line, self.raw);
        };
        let failed = |error| Exit::System(format!("writing {}", path.display()), error);
        let file = match self.file.take() {
            Some(file) => file,
            None => File::create(path).map_err(failed)?,
        };
        self.file.insert(file).write_all(bytes).map_err(failed)
    }

    /// A reply without parts is an empty file.
    fn finish(mut self) -> Result<(), Exit> {
        match self.path.is_some() && self.file.is_none() {
            true => self.take(b"", false),
            false => Ok(()),
        }
    }
}
