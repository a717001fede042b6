//! The Rust files of the checkout, with comments and literals separated from code.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub struct File {
    /// From the checkout's root, with `/` on every system.
    pub path: String,
    pub text: String,
    /// `text` with spaces in place of comments, strings and character literals.
    pub code: String,
}

/// An identifier or keyword in [`File::code`].
#[derive(Clone, Copy)]
pub struct Word<'a> {
    pub text: &'a str,
    /// Its first byte in the code it was found in.
    pub start: usize,
}

impl File {
    pub fn new(path: &str, text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        let code = blank_comments_and_literals(&text);
        Self { path: path.to_owned(), text, code }
    }

    /// Whether it lies in one of these top-level directories.
    pub fn is_in(&self, rooms: &[&str]) -> bool {
        rooms.contains(&self.path.split('/').next().unwrap_or_default())
    }

    pub fn words(&self) -> Vec<Word<'_>> {
        words(&self.code)
    }

    /// The number, from 1, of the line that holds this byte of the code.
    pub fn line_at(&self, byte: usize) -> usize {
        1 + self.code.bytes().take(byte).filter(|b| *b == b'\n').count()
    }

    /// A readable finding for this byte of the code.
    pub fn complaint(&self, byte: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.line_at(byte))
    }
}

pub fn words(code: &str) -> Vec<Word<'_>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = 0;
    while let Some(start) = code[rest..].find(is_word).map(|at| rest + at) {
        let end = code[start..].find(|c| !is_word(c)).map_or(code.len(), |at| start + at);
        found.push(Word { text: &code[start..end], start });
        rest = end;
    }
    found
}

/// The file at this path of the checkout, if there is one.
pub fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// Every Rust file of the rooms that the rules speak of.
pub fn checkout() -> Vec<File> {
    let mut files = Vec::new();
    for room in ["src", "backends", "tests", "examples", "benches", "fuzz"] {
        collect(&root(), room, &mut files);
    }
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(root: &Path, directory: &str, files: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(root.join(directory)) else {
        return; // the rules' minimum of files says so if it matters
    };
    for entry in entries {
        let entry = entry.expect("a directory of the checkout can be read");
        let name = entry.file_name().into_string().expect("file names are UTF-8");
        let path = format!("{directory}/{name}");
        if entry.file_type().expect("a file's type can be read").is_dir() {
            if name != "target" {
                collect(root, &path, files);
            }
        } else if Path::new(&name).extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(entry.path()).expect("source files are UTF-8");
            files.push(File::new(&path, &text));
        }
    }
}

fn blank_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = not_code_until(&chars, at).unwrap_or(at).min(chars.len());
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The end of the comment or literal that begins at `at`, if one does.
fn not_code_until(chars: &[char], at: usize) -> Option<usize> {
    let next = |n: usize| chars.get(at + n).copied();
    match (chars[at], next(1)) {
        ('/', Some('/')) => Some(find(chars, at, &['\n'])),
        ('/', Some('*')) => Some(block_comment_end(chars, at)),
        ('"', _) => Some(string_end(chars, at + 1)),
        ('r', Some('"' | '#')) => raw_string_end(chars, at),
        ('\'', Some('\\')) => Some(find(chars, at + 3, &['\'']) + 1),
        ('\'', Some(_)) if next(2) == Some('\'') => Some(at + 3),
        _ => None, // a lifetime's quote among others
    }
}

/// Where `needle` next begins at or after `from`; else the end.
fn find(chars: &[char], from: usize, needle: &[char]) -> usize {
    let tail = chars.get(from..).unwrap_or_default();
    tail.windows(needle.len()).position(|w| w == needle).map_or(chars.len(), |n| from + n)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// For `r"…"`, `r#"…"#` and the same behind `b` or `c`; not for `r#name`.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let before = chars[..at].iter().rev().take_while(|c| c.is_alphanumeric() || **c == '_').count();
    if before > 1 || (before == 1 && !matches!(chars[at - 1], 'b' | 'c')) {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    Some(find(chars, at + 2 + hashes, &close) + close.len())
}
