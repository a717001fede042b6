//! Reading the vectors: the format is in `tests/vectors/README.md`.

use std::fs;
use std::path::PathBuf;

/// One part of a file: `[name] argument`, then bytes.
pub struct Part {
    pub name: String,
    pub argument: String,
    pub bytes: Vec<u8>,
}

pub struct Vector {
    pub file: String,
    pub parts: Vec<Part>,
}

impl Vector {
    pub fn parse(file: &str, text: &str, known: &[&str]) -> Vector {
        let mut parts: Vec<Part> = Vec::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some((name, argument)) = line.strip_prefix('[').and_then(|l| l.split_once(']')) {
                assert!(known.contains(&name), "{file}: unknown part [{name}]");
                let (name, argument) = (name.to_owned(), argument.trim().to_owned());
                let bytes = Vec::new();
                parts.push(Part { name, argument, bytes });
            } else if !line.is_empty() {
                let part =
                    parts.last_mut().unwrap_or_else(|| panic!("{file}: bytes before a part"));
                part.bytes.extend(hex(line));
            }
        }
        assert!(!parts.is_empty(), "{file}: nothing in it");
        Vector { file: file.to_owned(), parts }
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Part> {
        self.parts.iter().filter(move |part| part.name == name)
    }

    pub fn find<'a>(&'a self, name: &'a str) -> Option<&'a Part> {
        let mut all = self.all(name);
        let first = all.next();
        assert!(all.next().is_none(), "{}: several parts [{name}]", self.file);
        first
    }

    pub fn get<'a>(&'a self, name: &'a str) -> &'a Part {
        self.find(name).unwrap_or_else(|| panic!("{}: no part [{name}]", self.file))
    }

    pub fn limit(&self) -> usize {
        self.get("limit").argument.parse().expect("a limit is a number")
    }
}

/// Bytes in hexadecimal; `78*100` is a hundred times the byte 78.
pub fn hex(line: &str) -> Vec<u8> {
    let byte =
        |digits: &str| u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("no hex: {line}"));
    let bytes = |word: &str| match word.split_once('*') {
        Some((digits, count)) => vec![byte(digits); count.parse().expect("a count is a number")],
        None => vec![byte(word)],
    };
    line.split_whitespace().flat_map(bytes).collect()
}

/// What a side says in a conversation of the protocol page, the first or the second.
pub fn said(page: &str, conversation: usize, side: &str) -> Vec<u8> {
    let blocks = page.split("```text\n").skip(1);
    let mut blocks = blocks.filter_map(|block| block.split("```").next());
    let block = blocks.nth(conversation).expect("the conversation was not found");
    let lines = block.lines().filter_map(|line| line.strip_prefix(side));
    lines.flat_map(|line| hex(line.split('#').next().unwrap_or_default())).collect()
}

/// A code and a text: `404 no such note`.
pub fn code_and_text(argument: &str) -> (u16, String) {
    let (code, text) = argument.split_once(' ').unwrap_or((argument, ""));
    (code.parse().expect("a code is a number"), text.to_owned())
}

/// The checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The vectors of a kind. Every file of the folder must be of one, or be known.
pub fn vectors(kind: &str, known_parts: &[&str]) -> Vec<Vector> {
    const KINDS: [&str; 3] = ["frames-", "calls-", "streams-"];
    const OTHERS: [&str; 6] =
        ["README.md", "calls.rs", "file.rs", "frames.rs", "rules.rs", "streams.rs"];
    assert!(KINDS.contains(&kind));
    let folder = root().join("tests/vectors");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let is_vector = file.ends_with(".txt") && KINDS.iter().any(|kind| file.starts_with(kind));
        assert!(is_vector || OTHERS.contains(&&*file), "what is tests/vectors/{file}?");
        if file.starts_with(kind) && is_vector {
            let text = fs::read_to_string(&path).expect("a vector is UTF-8");
            found.push(Vector::parse(&file, &text, known_parts));
        }
    }
    found
}
