//! `msgpipe serve`.

mod exec;
#[cfg(unix)]
mod polled;
#[cfg(not(unix))]
mod threads;

use crate::args::{Common, Serve};
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::{foreign, output, target};
use msgpipe::{ServerOptions, Workers};
use std::io::{self, Write as _};

pub fn run(common: &Common, args: &Serve) -> Result<(), Exit> {
    if let Some(framing) = common.framing {
        return match args.echo {
            true => foreign::echo(common, &args.name, framing),
            false => Err(Exit::Usage("--framing goes with --echo only".to_owned())),
        };
    }
    let endpoint = target::endpoint(&args.name)?;
    let interrupt = Interrupt::install()?;
    let server = ServerOptions::new().limits(target::limits(common)?).bind(endpoint)?;
    let stopper = server.stopper();
    let unread = server.stopper();
    interrupt.stops(move || stopper.stop());
    announce(server.endpoint(), move || unread.stop())?;
    match args.exec.split_first() {
        None => server.serve(|request| request.into_body())?,
        Some((program, arguments)) => {
            let (program, arguments) = (program.clone(), arguments.to_vec());
            let limit = common.message_limit;
            server.serve_workers_deferred(Workers::new(), move |request, responder| {
                exec::run(&program, &arguments, request, responder, limit);
            })?;
        }
    }
    Ok(())
}

/// Says where it listens, for those who wait for it. When they have closed the output, `stop` ends the server.
pub fn announce(endpoint: &str, stop: impl FnOnce() + Send + 'static) -> Result<(), Exit> {
    let said = output::line(&format!("listening at {endpoint}"));
    if said.as_ref().is_err_and(output::is_closed) {
        say_unread();
    }
    said?;
    output::when_closed(|| {
        say_unread();
        stop();
    });
    Ok(())
}

fn say_unread() {
    let text = "msgpipe: the output was closed: the server stops";
    // Perhaps that is closed too.
    let _ = writeln!(io::stderr(), "{text}");
}
