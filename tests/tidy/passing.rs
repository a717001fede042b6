//! Who passes on what is done with a server of messages passes on each method of the trait.

use super::source::{File, words};

/// The trait, and who passes it on: with the text before which the one ends and after which the other begins.
const TRAIT: (&str, &str) = ("src/message_server.rs", "pub trait MessageServer {");
const PASSED_ON: [(&str, &str); 2] = [
    ("src/message_server.rs", "macro_rules! forward_to_inner {"),
    ("tests/passing/mod.rs", "MessageServer for Passing<M, B> {"),
];

/// The names of the functions in this file from `begin` to the next brace at the beginning of a line.
fn functions<'f>(files: &'f [File], (path, begin): (&str, &str)) -> Option<Vec<&'f str>> {
    let code = &files.iter().find(|file| file.path == path)?.code;
    let code = &code[code.find(begin)?..];
    let code = &code[..code.find("\n}")?];
    let words = words(code);
    let named = words.windows(2).filter(|pair| pair[0].text == "fn");
    Some(named.map(|pair| pair[1].text).collect())
}

/// The methods that one of them does not pass on: the trait's default would answer in their place.
pub fn not_passed_on(files: &[File]) -> Vec<String> {
    let Some(all) = functions(files, TRAIT).filter(|all| !all.is_empty()) else {
        return vec![format!("{}: the trait is not there", TRAIT.0)];
    };
    let mut missing = Vec::new();
    for (path, begin) in PASSED_ON {
        match functions(files, (path, begin)) {
            None => missing.push(format!("{path}: `{begin}` is not there")),
            Some(passed) => {
                let left = all.iter().filter(|name| !passed.contains(name));
                missing.extend(left.map(|name| format!("{path}: `{name}`")));
            }
        }
    }
    missing
}
