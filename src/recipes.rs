//! Recipes: what applications want most often, in a few lines each. They are run as tests.
//!
//! In each of them a server and its client are in one process, so that it can be run; the name is that of the application.
//!
//! - [My handlers block](#my-handlers-block)
//! - [My window must not block](#my-window-must-not-block)
//! - [My plug-in is a child process](#my-plug-in-is-a-child-process)
//! - [Push to everybody](#push-to-everybody)
//! - [A large file with bounded memory](#a-large-file-with-bounded-memory)
//! - [Progress of a long job, with cancel](#progress-of-a-long-job-with-cancel)
//! - [Retry safely](#retry-safely)
//! - [Start the server when it is needed](#start-the-server-when-it-is-needed)
//! - [Stop at Ctrl-C](#stop-at-ctrl-c)
//! - [Calls or messages?](#calls-or-messages)
//!
//! # My handlers block
//!
//! Give them threads of the server's own: a bounded number, a queue for each client, and an error that says so when it
//! is full. See [`Workers`](crate::Workers), with a table of what else there is.
//!
//! ```
//! # let name = format!("msgpipe.recipe.block.{}", std::process::id());
//! use msgpipe::{Client, Server, Workers};
//!
//! let server = Server::bind(name.as_str())?;
//! # let stopper = server.stopper();
//! # let serving =
//! std::thread::spawn(move || {
//!     server.serve_workers(Workers::new().threads(8), |request| {
//!         std::fs::read(String::from_utf8_lossy(&request.body()).as_ref()).map_err(|e| e.to_string())
//!     })
//! });
//! let client = Client::connect(name.as_str())?;
//! let text = client.call("Cargo.toml")?;
//! assert!(text.starts_with(b"["));
//! # stopper.stop();
//! # serving.join().unwrap()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # My window must not block
//!
//! Start calls and take their replies when the client has something to do. The loop of the window waits for the client's
//! [`Waitable`](crate::Waitable), a descriptor or a handle, beside its own events; its page has the loop of a Windows
//! program. `examples/own_loop.rs` is a whole program.
//!
//! ```
//! # let name = format!("msgpipe.recipe.window.{}", std::process::id());
//! # let server = msgpipe::Server::bind(name.as_str())?;
//! # let stopper = server.stopper();
//! # let serving = std::thread::spawn(move || server.serve(|request| request.body()));
//! let client = msgpipe::Client::connect(name.as_str())?;
//! let waitable = client.waitable()?;
//! let mut call = client.start("what a click wants to know")?; // does not wait for the reply
//! let reply = loop {
//!     waitable.wait(None)?; // the window's loop, which waits for this and for its own events
//!     client.dispatch()?;
//!     if let Some(reply) = call.try_wait() {
//!         break reply?;
//!     }
//! };
//! assert_eq!(reply, "what a click wants to know");
//! # stopper.stop();
//! # serving.join().unwrap()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # My plug-in is a child process
//!
//! Then it needs no name that another program could take: [`Client::spawn`](crate::Client::spawn) connects the two, and each
//! learns of the other's end. `examples/plugin.rs` is a whole program.
//!
//! ```
//! # if std::env::args().any(|argument| argument == "--plugin") || std::env::var_os("MSGPIPE_RECIPE").is_some() {
//! // the plug-in
//! msgpipe::Server::inherited()?.serve(|request| request.body())?; // returns when the host has gone
//! #     std::process::exit(0);
//! # }
//! # let plugin = std::env::current_exe()?;
//! # let mut command = std::process::Command::new(plugin);
//! # // A test runs this in a program of many: its child has to be told which it is.
//! # command.arg("recipes").env("MSGPIPE_RECIPE", "1").stdout(std::process::Stdio::null());
//! // the host
//! # #[cfg(any())]
//! let mut command = std::process::Command::new("notes-plugin");
//! let (client, mut child) = msgpipe::Client::spawn(&mut command)?;
//! assert_eq!(client.call("hello")?, "hello");
//! drop(client); // the end of the connection, and so of the plug-in
//! assert!(child.wait()?.success());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Push to everybody
//!
//! Clients subscribe with a call whose reply never ends; [`Topic`](crate::Topic) publishes to all of them, and
//! [`WhenFull`](crate::WhenFull) says what happens to who is too slow. To send something to one client, keep its
//! [`Connection`](crate::Connection).
//!
//! ```
//! # let name = format!("msgpipe.recipe.push.{}", std::process::id());
//! use msgpipe::{Client, Server, Topic};
//!
//! let news = Topic::default();
//! let publisher = news.clone();
//! let server = Server::bind(name.as_str())?;
//! # let stopper = server.stopper();
//! # let serving =
//! std::thread::spawn(move || server.serve_deferred(move |_, responder| news.subscribe(responder)));
//!
//! let client = Client::connect(name.as_str())?;
//! let mut heard = client.stream("subscribe")?;
//! while publisher.publish("something has happened").queued == 0 {
//!     std::thread::yield_now(); // nobody has subscribed yet
//! }
//! assert_eq!(heard.next().unwrap()?, "something has happened");
//! # stopper.stop();
//! # serving.join().unwrap()?;
//! # Ok::<_, msgpipe::Error>(())
//! ```
//!
//! # A large file with bounded memory
//!
//! Send it in parts: neither side holds more than [`Limits::call_window`](crate::Limits::call_window), and a disk that is
//! slow slows down the sender. An upload that is dropped is cancelled, and one that stalls is given up: write to a
//! temporary file of its own, which the crate tempfile removes after an error, and rename it at the end.
//!
//! ```
//! # let name = format!("msgpipe.recipe.file.{}", std::process::id());
//! # let directory = std::env::temp_dir().join(&name);
//! # std::fs::create_dir_all(&directory)?;
//! # let (from, to) = (directory.join("from"), directory.join("to"));
//! # std::fs::write(&from, vec![7; 3 << 20])?;
//! # let place = directory.clone();
//! use std::{fs, io, io::Write, time::Duration};
//!
//! let server = msgpipe::Server::bind(name.as_str())?.accept_streams();
//! # let stopper = server.stopper();
//! # let serving =
//! std::thread::spawn(move || {
//!     server.serve_workers(msgpipe::Workers::new(), move |request| {
//!         let mut file = tempfile::NamedTempFile::new_in(&place)?; // in the directory of `to`
//!         let mut parts = request.into_parts();
//!         while let Some(part) = parts.next_within(Duration::from_secs(30))? {
//!             file.write_all(&part)?; // `next_within` fails if the upload is incomplete
//!         }
//!         file.persist(&to)?;
//!         Ok::<_, msgpipe::Failure>("stored")
//!     })
//! });
//! # let mut given_up = msgpipe::Client::connect(name.as_str())?.upload()?;
//! # given_up.send("the first part")?;
//! # while fs::read_dir(&directory)?.count() < 2 { std::thread::yield_now(); }
//! # drop(given_up);
//! let mut upload = msgpipe::Client::connect(name.as_str())?.upload()?;
//! io::copy(&mut io::BufReader::with_capacity(64 * 1024, fs::File::open(&from)?), &mut upload)?;
//! assert_eq!(upload.finish()?.wait()?, "stored");
//! # stopper.stop();
//! # serving.join().unwrap()?;
//! # assert_eq!(fs::metadata(directory.join("to"))?.len(), 3 << 20);
//! # assert_eq!(fs::read_dir(&directory)?.count(), 2); // nothing of what was given up
//! # fs::remove_dir_all(directory)?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Progress of a long job, with cancel
//!
//! The reply is a stream: a part for each step, the last one is the result. Dropping the stream cancels the job: the
//! handler's next `send` says so, and [`on_interrupt`](crate::PartSender::on_interrupt) tells one that does not send.
//!
//! ```
//! # let name = format!("msgpipe.recipe.progress.{}", std::process::id());
//! # let (tell, told) = std::sync::mpsc::channel();
//! # let tell = std::sync::Mutex::new(tell);
//! let server = msgpipe::Server::bind(name.as_str())?;
//! # let stopper = server.stopper();
//! # let serving =
//! std::thread::spawn(move || {
//!     server.serve_workers_deferred(msgpipe::Workers::new(), move |_, responder| {
//!         let mut parts = responder.into_parts();
//!         for percent in 0.. {
//!             // ... a step of the job ...
//!             if parts.send(format!("{percent} %")).is_err() {
//! #               tell.lock().unwrap().send(()).unwrap();
//!                 return; // cancelled, or the client has gone
//!             }
//!         }
//!         parts.finish();
//!     })
//! });
//! let client = msgpipe::Client::connect(name.as_str())?;
//! let mut job = client.stream("a long job")?;
//! assert_eq!(job.next().unwrap()?, "0 %");
//! drop(job); // cancel
//! # client.call("").ok();
//! # told.recv()?;
//! # stopper.stop();
//! # serving.join().unwrap()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Retry safely
//!
//! A request that was certainly not begun can be sent again without being carried out twice
//! ([`Error::is_not_begun`](crate::Error::is_not_begun)); another one only if carrying it out twice does no harm. A
//! [`ReconnectingClient`](crate::ReconnectingClient) does that, waits for a server that is being restarted, and takes
//! subscriptions up again.
//!
//! ```
//! # let name = format!("msgpipe.recipe.retry.{}", std::process::id());
//! # let serve = |name: &str| {
//! #     let server = msgpipe::Server::bind(name)?;
//! #     let stopper = server.stopper();
//! #     Ok::<_, msgpipe::Error>((stopper, std::thread::spawn(move || server.serve(|request| request.body()))))
//! # };
//! # let (stopper, serving) = serve(&name)?;
//! use msgpipe::{Backoff, ClientOptions};
//!
//! let client = ClientOptions::new().reconnecting(name.as_str(), Backoff::new())?;
//! assert_eq!(client.call("add a note")?, "add a note"); // once at most
//! # stopper.stop();
//! # serving.join().unwrap()?;
//! // ... the server is restarted ...
//! # let (stopper, serving) = serve(&name)?;
//! assert_eq!(client.idempotent().call("list the notes")?, "list the notes"); // again, if need be
//! # stopper.stop();
//! # serving.join().unwrap()?;
//! # Ok::<_, msgpipe::Error>(())
//! ```
//!
//! # Start the server when it is needed
//!
//! [`ClientOptions::start_with`](crate::ClientOptions::start_with) takes the command. Of many clients that do so at once,
//! one server serves; [`Start`](crate::Start) says what the server's program has to do. `examples/notes` is a whole service.
//!
//! ```
//! # let name = format!("msgpipe.recipe.start.{}", std::process::id());
//! use msgpipe::{ClientOptions, Start};
//!
//! # let command = std::process::Command::new("this program does not exist");
//! # #[cfg(any())]
//! let command = std::process::Command::new("/usr/libexec/notes-server");
//! let connected = ClientOptions::new().start_with(Start::command(command)).connect(name.as_str());
//! match connected {
//!     Ok(client) => println!("{:?}", client.call("hello")?),
//!     Err(error) => eprintln!("{error}"), // with the exit status, and what the server has said
//! }
//! # Ok::<_, msgpipe::Error>(())
//! ```
//!
//! # Stop at Ctrl-C
//!
//! [`Stopper::stop`](crate::Stopper::stop) may be called from any thread; the crate ctrlc does so. What was begun is
//! answered, for [`Limits::drain`](crate::Limits::drain) at most.
//!
//! # Calls or messages?
//!
//! Take calls ([`Server`](crate::Server), [`Client`](crate::Client)) unless you have a reason: they have replies, errors,
//! deadlines, cancels, streams and backpressure, and all of it is in one protocol with clients in other languages. Take
//! messages ([`MessageServer`](crate::MessageServer), [`MessageClient`](crate::MessageClient)) for a protocol that
//! exists already, with a [`Framing`](crate::framing::Framing) for its bytes, or if each side only ever tells the other.
//!
//! ```
//! # let name = format!("msgpipe.recipe.levels.{}", std::process::id());
//! use msgpipe::{Event, MessageClient, MessageServer, ServerOptions, framing::Lines};
//!
//! let framing = Lines::new(1000); // of a protocol with lines of text
//! let mut server = ServerOptions::new().framing(framing).bind_messages(name.as_str())?;
//! # let client =
//! std::thread::spawn(move || {
//!     let client = msgpipe::ClientOptions::new().framing(framing).connect_messages(name.as_str())?;
//!     client.send("hello")?;
//!     client.receive(None)
//! });
//! while let Some(event) = server.poll(None)? {
//!     if let Event::Message(from, line) = event {
//!         server.send(from, line.to_ascii_uppercase().into())?;
//! #       break;
//!     }
//! }
//! # while !client.is_finished() { server.poll(Some(std::time::Duration::from_millis(1)))?; }
//! # assert_eq!(client.join().unwrap()?, "HELLO");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
