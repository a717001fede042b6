//! What is printed: bytes for programs, text for people.

use crate::exit::Exit;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// Calls `then`, on another thread, when nobody reads what is written to standard output any more: for commands that may
/// write nothing for long. Does nothing where the system does not say so; there it shows when something is written.
#[cfg(unix)]
pub fn when_closed(then: impl FnOnce() + Send + 'static) {
    use rustix::event::{PollFd, PollFlags, poll};
    std::thread::spawn(move || {
        let stdout = io::stdout();
        loop {
            // Only what is always looked for: an error or the other side's end.
            let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut polled, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            if polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                then();
            }
            return;
        }
    });
}

#[cfg(not(unix))]
pub fn when_closed(_: impl FnOnce() + Send + 'static) {}

/// Ends a command that has nothing to clear away, since its output is closed.
pub fn exit() {
    std::process::exit(0);
}

/// Whether the output was closed by who read it.
pub fn is_closed(exit: &Exit) -> bool {
    matches!(exit, Exit::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes bytes to standard output.
pub fn write(bytes: &[u8]) -> Result<(), Exit> {
    let mut output = io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(Exit::Output)
}

/// Writes a line to standard output.
pub fn line(text: &str) -> Result<(), Exit> {
    write(format!("{text}\n").as_bytes())
}

/// Writes a message. For a terminal it is text, ends with a line feed, and its control characters are shown, so that it
/// cannot move the cursor or worse; `raw` leaves them. For a file or a pipe it is written as it is, and with a line feed if
/// `is_line`.
pub fn message(bytes: &[u8], is_line: bool, raw: bool) -> Result<(), Exit> {
    let is_terminal = io::stdout().is_terminal();
    let mut text = match is_terminal && !raw {
        true => shown(bytes).into_owned().into_bytes(),
        false => bytes.to_vec(),
    };
    if (is_line || is_terminal) && !(is_terminal && (text.is_empty() || text.ends_with(b"\n"))) {
        text.push(b'\n');
    }
    write(&text)
}

/// A message as text, with its control characters shown; but not line feeds and tabs.
pub fn shown(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if !text.chars().any(is_control) {
        return text;
    }
    let show = |c: char| if is_control(c) { c.escape_unicode().to_string() } else { c.into() };
    text.chars().map(show).collect::<String>().into()
}

/// Characters that control a terminal, or change the direction of a text (Unicode Standard Annex 9).
fn is_control(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text in one line.
pub fn one_line(bytes: &[u8]) -> String {
    shown(bytes).replace('\n', "\\n").replace('\t', "\\t")
}

/// Whether colours are wanted: on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
pub fn has_colours() -> bool {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !no_colour
}

/// A bar for what takes long, of so many bytes if that is known. It is drawn to standard error, and only to a terminal.
pub fn bar(what: &str, size: Option<u64>) -> ProgressBar {
    let target = match io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(size, target).with_message(what.to_owned());
    let template = match size {
        Some(_) => "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}",
        None => "{msg} {bytes} {bytes_per_sec}",
    };
    // It is constant, and correct.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_cannot_control_a_terminal() {
        assert_eq!(shown(b"one\ttwo\nthree"), "one\ttwo\nthree");
        assert_eq!(shown(b"\x1b[2Jgone\r"), "\\u{1b}[2Jgone\\u{d}");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(one_line(b"one\ntwo"), "one\\ntwo");
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }
}
