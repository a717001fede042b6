//! `msgpipe doctor`.

use crate::args::Common;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::{list, output};
use msgpipe::{Client, Endpoint, Limits, NAME_MAX, Server};
use std::env;
use std::thread;
use std::time::Instant;

/// Counts what is wrong.
#[derive(Default)]
struct Checks {
    wrong: usize,
}

impl Checks {
    fn good(&mut self, text: &str) -> Result<(), Exit> {
        output::line(&format!("ok       {text}"))
    }

    fn note(&mut self, text: &str) -> Result<(), Exit> {
        output::line(&format!("note     {text}"))
    }

    fn wrong(&mut self, text: &str, what_to_do: &str) -> Result<(), Exit> {
        self.wrong += 1;
        output::line(&format!("WRONG    {text}"))?;
        output::line(&format!("         {what_to_do}"))
    }
}

pub fn run(common: &Common) -> Result<(), Exit> {
    let limits = Limits::default().with_connect(common.timeout).with_call(common.timeout);
    let mut checks = Checks::default();
    checks.note(&format!(
        "msgpipe {}, {} {}",
        env!("CARGO_PKG_VERSION"),
        env::consts::OS,
        env::consts::ARCH
    ))?;
    place(&mut checks)?;
    system::directories(&mut checks)?;
    lengths(&mut checks)?;
    variables(&mut checks)?;
    left_behind(&mut checks, &limits)?;
    round_trip(&mut checks, &limits)?;
    system::limits(&mut checks)?;
    match checks.wrong {
        0 => output::line("all is well"),
        _ => Err(Exit::Found),
    }
}

/// Where names are.
fn place(checks: &mut Checks) -> Result<(), Exit> {
    match Endpoint::name("com.example.notes")
        .map_err(msgpipe::Error::from)
        .and_then(|it| it.locate())
    {
        Ok(path) => checks.good(&format!("the name com.example.notes is {}", path.display())),
        Err(error) => {
            checks.wrong(&error.to_string(), "No server of this user can have a plain name.")
        }
    }
}

/// How long a name may be here.
fn lengths(checks: &mut Checks) -> Result<(), Exit> {
    let fits = |len: &usize| Endpoint::name(&"n".repeat(*len)).is_ok_and(|it| it.locate().is_ok());
    match (1..=NAME_MAX).rev().find(fits) {
        Some(NAME_MAX) => checks.good(&format!("names of up to {NAME_MAX} characters fit")),
        Some(longest) => checks.wrong(
            &format!("names of more than {longest} characters do not fit: the directory's path is too long for a socket"),
            &format!("Every name of up to {NAME_MAX} characters should: choose a shorter XDG_RUNTIME_DIR."),
        ),
        // It was said above.
        None => Ok(()),
    }
}

/// What decides where names are.
fn variables(checks: &mut Checks) -> Result<(), Exit> {
    match env::var_os("XDG_RUNTIME_DIR").filter(|_| cfg!(unix)) {
        Some(directory) if !std::path::Path::new(&directory).is_dir() => checks.wrong(
            &format!("XDG_RUNTIME_DIR is {}, which is no directory", directory.to_string_lossy()),
            "Unset it, or create the directory, with mode 700: programs without it use another place.",
        ),
        Some(directory) if !directory.to_string_lossy().starts_with("/run/user/") => checks.note(&format!(
            "XDG_RUNTIME_DIR is {}: programs without it look for names elsewhere",
            directory.to_string_lossy()
        )),
        _ => Ok(()),
    }
}

/// Whether a server and a client find each other.
fn round_trip(checks: &mut Checks, limits: &Limits) -> Result<(), Exit> {
    let name = format!("msgpipe-doctor.{}", std::process::id());
    let interrupt = Interrupt::install()?;
    let server = match Server::bind_with(name.as_str(), limits.clone()) {
        Ok(server) => server,
        Err(error) => {
            return checks.wrong(&format!("no server can listen: {error}"), "See the text above.");
        }
    };
    let (stopper, interrupted) = (server.stopper(), server.stopper());
    interrupt.stops(move || interrupted.stop());
    let serving = thread::spawn(move || server.serve(|request| request.into_body()));
    let began = Instant::now();
    let called =
        Client::connect_with(name.as_str(), limits.clone()).and_then(|client| client.call("hello"));
    let took = began.elapsed();
    stopper.stop();
    let served = serving.join();
    if interrupt.has_come() {
        return Err(Exit::Interrupted);
    }
    match (called, served) {
        (Ok(reply), Ok(Ok(()))) if reply == "hello" => {
            checks.good(&format!("a server and a client found each other in {took:.0?}"))
        }
        (Err(error), _) | (_, Ok(Err(error))) => {
            checks.wrong(&format!("a client could not call: {error}"), "See the text above.")
        }
        _ => checks.wrong("a client got another reply", "This is a defect of msgpipe."),
    }
}

/// Sockets without servers.
fn left_behind(checks: &mut Checks, limits: &Limits) -> Result<(), Exit> {
    let names = match Endpoint::names() {
        Ok(names) => names,
        Err(error) => return checks.note(&error.to_string()),
    };
    let look = |name: &str| {
        let connected = Client::connect_with(name, limits.clone());
        matches!(connected, Err(msgpipe::Error::NoServer { .. })).then(|| name.to_owned())
    };
    let mut stale: Vec<String> = list::for_each(&names, look).into_iter().flatten().collect();
    stale.sort_unstable();
    match stale.len() {
        0 => checks.good(&format!("{} names have servers", names.len())),
        // The next server takes it over.
        _ => checks.note(&format!(
            "{} of {} names have no server, as {}",
            stale.len(),
            names.len(),
            stale[0]
        )),
    }
}

#[cfg(unix)]
mod system {
    use super::{Checks, Exit};
    use crate::places;
    use rustix::process::{Resource, getrlimit};

    /// Each client is one descriptor; the server and its application have some of their own.
    const DESCRIPTORS: u64 = 256;

    /// Who can write where names are.
    pub fn directories(checks: &mut Checks) -> Result<(), Exit> {
        let faults = places::faults();
        faults.iter().try_for_each(|fault| checks.wrong(&fault.text, &fault.what_to_do))
    }

    pub fn limits(checks: &mut Checks) -> Result<(), Exit> {
        match getrlimit(Resource::Nofile).current {
            Some(most) if most < DESCRIPTORS => checks.wrong(
                &format!("a process may open {most} files"),
                "A server has one for each client: raise it with ulimit -n, or LimitNOFILE= of systemd.",
            ),
            Some(most) => checks.good(&format!("a process may open {most} files, one for each client")),
            None => checks.good("a process may open any number of files"),
        }
    }
}

#[cfg(not(unix))]
mod system {
    use super::{Checks, Exit};

    pub fn directories(_: &mut Checks) -> Result<(), Exit> {
        Ok(())
    }

    pub fn limits(_: &mut Checks) -> Result<(), Exit> {
        Ok(())
    }
}
