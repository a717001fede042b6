//! What the children of the tests do. The test program starts itself again with a role.

use msgpipe::{Client, Error, Server, ServerOptions};
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

const ROLE: &str = "MSGPIPE_TEST_ROLE";

/// The methods of the role `serve`.
pub const HOLD: u32 = 1;
pub const COUNT: u32 = 2;
pub const TAKE_AGAIN: u32 = 3;
pub const CANCELLED: u32 = 4;
pub const PEER: u32 = 5;
pub const INPUT: u32 = 6;

/// The line of a role that is ready.
pub const READY: &str = "ready to be killed";

/// This test program in a role.
pub fn role(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_child_plays_its_role", "--nocapture"]);
    command.env(ROLE, role).stdout(Stdio::null());
    command
}

/// Plays the role of this process, if it has one.
pub fn play() {
    match std::env::var(ROLE).as_deref() {
        Ok("serve") => serve(),
        Ok("exits") => std::process::exit(7),
        Ok("panics") => panic!("as it is to"),
        Ok("parks") => park(),
        Ok("hangs") => hang(ServerOptions::new()),
        Ok("hangs and is ended") => hang(ServerOptions::new().exit_after_parent(Duration::ZERO)),
        Ok("host") => host("serve"),
        Ok("host of one that hangs") => host("hangs and is ended"),
        Ok("without a parent") => {
            let error = Server::inherited().unwrap_err();
            assert!(matches!(error, Error::Misuse { .. }), "{error}");
            std::io::stderr().write_all(format!("said: {error}\n").as_bytes()).unwrap();
        }
        Ok("over standard streams") => {
            let server = Server::over_stdio().unwrap_err();
            let client = Client::over_stdio().unwrap_err();
            assert!(matches!(server, Error::Misuse { .. }), "{server}");
            assert_eq!(server.to_string(), client.to_string());
            std::io::stderr().write_all(format!("said: {server}\n").as_bytes()).unwrap();
        }
        Ok(role) => panic!("no role {role:?}"),
        Err(_) => {}
    }
}

fn park() {
    loop {
        thread::park();
    }
}

fn hang(options: ServerOptions) {
    let server = options.inherited().unwrap();
    server
        .serve(|_| -> &'static str {
            loop {
                thread::park()
            }
        })
        .unwrap();
}

/// A parent in the middle of a call to its child.
fn host(child: &str) {
    let (client, child) = Client::spawn(role(child).stdout(Stdio::inherit())).unwrap();
    let call = client.with_method(HOLD).start("held").unwrap();
    if client.server().pid != Some(child.id()) {
        return;
    }
    println!("{READY}");
    let _ = call.wait();
    park();
}

fn serve() {
    let server = Server::inherited().unwrap();
    let mut held = Vec::new();
    let cancelled = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    server
        .serve_deferred(move |request, responder| match request.method() {
            HOLD => {
                let cancelled = cancelled.clone();
                responder.on_interrupt(move |_| {
                    cancelled.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                });
                held.push(responder);
            }
            COUNT => {
                thread::spawn(move || {
                    let mut parts = responder.into_parts();
                    for number in 0_u32.. {
                        if parts.send(number.to_string()).is_err() {
                            return;
                        }
                    }
                });
            }
            TAKE_AGAIN => responder.reply(Server::inherited().unwrap_err().to_string()),
            CANCELLED => {
                let count = cancelled.load(std::sync::atomic::Ordering::SeqCst);
                responder.reply(count.to_string());
            }
            PEER => responder.reply(request.peer().pid.unwrap_or_default().to_string()),
            INPUT => {
                let read = std::io::read_to_string(std::io::stdin());
                responder.reply(format!("{read:?}"));
            }
            _ => responder.reply(request.into_body()),
        })
        .unwrap();
}
