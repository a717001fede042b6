//! The command line.

use crate::exit::STATUS;
use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Calls servers of local IPC, shows what they do, and finds what is wrong.
///
/// NAME is a name as com.example.notes, a path with a slash in it, a pipe that begins with \\.\pipe\, or an
/// abstract name of Linux that begins with @.
#[derive(Debug, Parser)]
#[command(name = "msgpipe", version, after_help = STATUS, max_term_width = 100)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands have.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// How long to wait for a server: for a connection, for each reply, and until it takes more of an upload; not for
    /// standard input. 500ms, 10s, 5m
    #[arg(long, short = 't', global = true, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// The framing of a server that does not use this library's own; the messages then are all there is, without calls
    #[arg(long, short = 'F', global = true, value_enum)]
    pub framing: Option<FramingName>,
    /// The largest message, in bytes
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 16 << 20)]
    pub message_limit: usize,
    /// Talk to a server of any user, not only of this one and of the system's
    #[arg(long, global = true)]
    pub trust_anyone: bool,
}

/// The framings of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FramingName {
    /// Each message is a line
    Lines,
    /// Four bytes with the length before each message, the highest first
    Len32be,
    /// Four bytes with the length before each message, the lowest first
    Len32le,
    /// Each message is one of the system: of a message-mode pipe, or of a SOCK_SEQPACKET socket
    Os,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Asks a server whether it is there, and how long that takes
    Ping(Ping),
    /// Sends a request, and prints the reply
    Call(Call),
    /// Prints what a server sends unasked
    Listen(Listen),
    /// Serves a name: an echo, or a command for each request
    Serve(Serve),
    /// Lists the servers of this user, and what others have left behind
    List(List),
    /// Prints what a server says of itself: counters, limits, clients, methods
    Inspect(Inspect),
    /// Shows the frames between a server and its clients, while they are sent
    Tap(Tap),
    /// Measures the time of calls to a server, or to one that it starts for that
    Bench(Bench),
    /// Says what a new version of a typed service breaks for clients or servers of an old one
    Compat(Compat),
    /// Checks what names, directories, permissions and limits are here, and says what is wrong
    Doctor,
    /// Prints the completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Prints the manual page, for man -l -
    Man,
}

#[derive(Debug, clap::Args)]
pub struct Ping {
    /// The server
    pub name: String,
    /// How many times to ask
    #[arg(long, short = 'c', default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// The pause between two of them
    #[arg(long, short = 'i', value_name = "TIME", default_value = "200ms", value_parser = duration)]
    pub interval: Duration,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("from").args(["body", "file", "upload"])))]
pub struct Call {
    /// The server
    pub name: String,
    /// The request; `-` reads it from standard input
    pub body: Option<String>,
    /// Read the request from a file
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Send a file in parts, for a server that takes requests in parts; `-` reads standard input
    #[arg(long, short = 'u', value_name = "FILE")]
    pub upload: Option<PathBuf>,
    /// The number of the method, as 7 or 0x1f
    #[arg(long, short = 'm', value_name = "NUMBER", default_value = "0", value_parser = number)]
    pub method: u32,
    /// The name of a method of a typed service, as Notes.add; the request is its arguments in JSON, as {"text": "milk"}
    #[arg(long, short = 'j', value_name = "METHOD", conflicts_with = "method")]
    pub json: Option<String>,
    /// The reply has any number of parts: print each when it comes. Without this such a reply is an error
    #[arg(long, short = 's')]
    pub stream: bool,
    /// Write the reply to a file
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print control characters to a terminal as they are
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, clap::Args)]
pub struct Listen {
    /// The server
    pub name: String,
    /// End after so many messages
    #[arg(long, short = 'c', value_name = "NUMBER")]
    pub count: Option<u64>,
    /// Print control characters to a terminal as they are
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("what").required(true).args(["echo", "exec"])))]
pub struct Serve {
    /// The name
    pub name: String,
    /// Reply with what was asked
    #[arg(long)]
    pub echo: bool,
    /// Run this command for each request: its standard input is the request, its output the reply. The rest of
    /// the command line are its arguments. What it leaves behind with its output open is killed a second after its
    /// end, on Unix
    #[arg(long, value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    pub exec: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Print JSON, an array of objects
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// The server
    pub name: String,
    /// Print JSON, an object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Tap {
    /// The server
    pub name: String,
    /// Print so many bytes of each body, if the server shows them
    #[arg(long, short = 'b', value_name = "BYTES", default_value_t = 0)]
    pub bodies: usize,
    /// Print JSON, an object for each line
    #[arg(long, conflicts_with = "pcap")]
    pub json: bool,
    /// Write a file for Wireshark, with the dissector of docs/wireshark
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// End after so many lines
    #[arg(long, short = 'c', value_name = "NUMBER")]
    pub count: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub struct Compat {
    /// The description of the old version, as `inspect --json` has it in methods, or a test's golden file
    pub old: PathBuf,
    /// That of the new version
    pub new: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct Bench {
    /// The server, which is asked with pings. Without it, a server is started for the measurement
    pub name: Option<String>,
    /// The sizes of the requests, in bytes
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_value = "64,4096,65536")]
    pub size: Vec<usize>,
    /// How long to measure each size
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub time: Duration,
    /// How many calls to have in flight at once
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub in_flight: u16,
    /// Draw the times into an SVG file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// A number with a unit: ms, s or m.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "not a number with a unit, as 10s".to_owned())?;
    let millis = match &text[digits.len()..] {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        unit => return Err(format!("the unit is ms, s or m, not \"{unit}\"")),
    };
    // A year: more is a mistake, and adding it to a clock always works.
    let most = 365 * 24 * 3_600_000;
    let millis = millis.filter(|millis| (1..=most).contains(millis));
    millis.map(Duration::from_millis).ok_or_else(|| "it is from 1ms to a year".to_owned())
}

/// A number, decimal or hexadecimal.
fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn times_and_numbers_are_read_with_their_limits() {
        assert_eq!(duration("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("525600m"), Ok(Duration::from_secs(365 * 24 * 3600)));
        for wrong in ["", "s", "1", "1h", "-1s", "0ms", "525601m", "99999999999999999999s", "1.5s"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!((number("7"), number("0x1f")), (Ok(7), Ok(31)));
        assert!(number("4294967296").is_err() && number("0x").is_err() && number("-1").is_err());
    }
}
