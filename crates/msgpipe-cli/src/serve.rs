//! `msgpipe serve`.

mod exec;
#[cfg(unix)]
mod polled;
#[cfg(not(unix))]
mod threads;

use crate::args::{Common, Serve};
use crate::exit::Exit;
use crate::{foreign, output, target};
use msgpipe::{ServerOptions, Stopper, Workers};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn run(common: &Common, args: &Serve) -> Result<(), Exit> {
    if let Some(framing) = common.framing {
        return match args.echo {
            true => foreign::echo(common, &args.name, framing),
            false => Err(Exit::Usage("--framing goes with --echo only".to_owned())),
        };
    }
    let endpoint = target::endpoint(&args.name)?;
    let server = ServerOptions::new().limits(target::limits(common)?).bind(endpoint)?;
    let stopper = server.stopper();
    let unread = server.stopper();
    at_ctrl_c(move || stopper.stop())?;
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

/// Stops at Ctrl-C, and when the system asks the process to end.
pub fn at_ctrl_c(stop: impl FnMut() + Send + 'static) -> Result<(), Exit> {
    ctrlc::set_handler(stop).map_err(|error| {
        Exit::System("setting what Ctrl-C does".to_owned(), std::io::Error::other(error))
    })
}

/// At Ctrl-C and when the process is to end, stops this server, which removes its socket as at any other end; then the result
/// is true.
pub fn stop_at_ctrl_c(stopper: Stopper) -> Result<Arc<AtomicBool>, Exit> {
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let interrupted = is_interrupted.clone();
    at_ctrl_c(move || {
        interrupted.store(true, Ordering::SeqCst);
        stopper.stop();
    })?;
    Ok(is_interrupted)
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
