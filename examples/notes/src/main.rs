//! Notes, kept by a background service: what a small application on msgpipe looks like.
//!
//! ```text
//! notes add TEXT          keeps a note, and prints its number; starts the service if there is none
//! notes list              prints all notes
//! notes get NUMBER        prints one
//! notes watch             prints each new note, until Ctrl-C
//! notes export [FILE]     writes all notes to a file, or to standard output, one in each line
//! notes import FILE       keeps each line of a file as a note: all of them, or none
//! notes status            says what the service does
//! notes stop              stops the service
//! notes serve             is the service
//! ```
//!
//! The service belongs to its user and a name, and keeps its notes in a directory: the environment variables `NOTES_NAME`
//! and `NOTES_DIR` choose others. Exit status: 0, 1 if it failed, 2 if it was called wrongly.
//!
//! A file has a line for each note, in which `\n`, `\r` and `\\` stand for LF, CR and the backslash. A list, an export or
//! an import may take a minute, an import may bring 16 MiB, and 16 of them run at once.
#![forbid(unsafe_code)]

mod client;
mod lines;
mod protocol;
mod server;
mod store;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;

/// An error for a person to read.
type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: notes add TEXT | list | get NUMBER | watch | export [FILE] | import FILE | status | stop | serve";

/// Which service this is.
struct Place {
    name: String,
    directory: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = place().and_then(|place| match arguments[..] {
        ["serve"] => server::serve(&place),
        ["add", text] => client::add(&place, text),
        ["list"] => client::list(&place),
        ["get", number] => client::get(&place, number),
        ["watch"] => client::watch(&place),
        ["export"] => client::export(&place, None),
        ["export", file] => client::export(&place, Some(file.as_ref())),
        ["import", file] => client::import(&place, file.as_ref()),
        ["status"] => client::status(&place),
        ["stop"] => client::stop(&place),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("notes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn place() -> Result<Place, Failure> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let name = variable("NOTES_NAME").unwrap_or_else(|| "com.example.notes".into());
    let name = name.into_string().map_err(|_| "NOTES_NAME is not UTF-8")?;
    let home = |name, below| variable(name).map(|home| PathBuf::from(home).join(below));
    let directory = variable("NOTES_DIR")
        .map(PathBuf::from)
        .or_else(|| home("XDG_DATA_HOME", "notes"))
        .or_else(|| home("LOCALAPPDATA", "notes"))
        .or_else(|| home("HOME", ".local/share/notes"))
        .ok_or("there is no home directory: set NOTES_DIR")?;
    // The service may have another working directory.
    Ok(Place { name, directory: std::path::absolute(directory)? })
}
