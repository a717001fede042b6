//! `msgpipe compat`.

use crate::args::Compat;
use crate::exit::Exit;
use crate::{body, output};
use msgpipe::typed::{Interface, compat};
use std::path::Path;

/// The most bytes of a description: a thousand methods have less.
const MOST: usize = 16 << 20;

pub fn run(args: &Compat) -> Result<(), Exit> {
    let breaks = compat(&read(&args.old)?, &read(&args.new)?);
    for it in &breaks {
        output::line(&output::one_line(it.to_string().as_bytes()))?;
    }
    match breaks.len() {
        0 => output::line("nothing breaks"),
        _ => Err(Exit::Found),
    }
}

fn read(path: &Path) -> Result<Interface, Exit> {
    let bytes = body::read(None, Some(path), MOST)?;
    let text = String::from_utf8_lossy(&bytes);
    Interface::from_json(&text).map_err(|error| {
        Exit::Usage(format!("{} is no description of a typed service: {error}", path.display()))
    })
}
