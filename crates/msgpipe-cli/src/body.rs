//! The bodies of requests: from the command line, a file, or standard input.

use crate::exit::Exit;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a body of at most `limit` bytes.
pub fn read(text: Option<&str>, file: Option<&Path>, limit: usize) -> Result<Vec<u8>, Exit> {
    match (text, file) {
        (Some("-"), _) => all(&mut io::stdin().lock(), "standard input", limit),
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(path)) => {
            let (mut file, _) = open(path)?;
            all(&mut file, &path.display().to_string(), limit)
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// A reader of a file, or of standard input for `-`, and its size if that is known.
pub fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), Exit> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let failed = |error| Exit::System(format!("reading {}", path.display()), error);
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    Ok((Box::new(file), meta.is_file().then_some(meta.len())))
}

/// All that a reader has, but not more than `limit` bytes: what never ends would fill the memory.
fn all(reader: &mut dyn Read, name: &str, limit: usize) -> Result<Vec<u8>, Exit> {
    let mut bytes = Vec::new();
    let most = limit as u64 + 1;
    let read = reader.take(most).read_to_end(&mut bytes);
    read.map_err(|error| Exit::System(format!("reading {name}"), error))?;
    if bytes.len() > limit {
        return Err(Exit::Usage(format!(
            "{name} has more than {limit} bytes: raise --message-limit, or send it in parts with --upload"
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_limit() {
        for (size, fits) in [(9, true), (10, true), (11, false)] {
            let read = all(&mut io::repeat(7).take(size), "seven", 10);
            assert_eq!(read.is_ok(), fits, "{size}");
        }
    }
}
