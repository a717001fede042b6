//! An interface in a file, which a test compares with what is built.

use super::{Described, Interface, compat};
use std::fs;
use std::path::Path;

/// The variable that lets [`check_interface`] write its file.
const VARIABLE: &str = "MSGPIPE_INTERFACE";

/// For a test of one line: fails if the service does not work any more with the version that the file describes. To write the file,
/// the first time and at each release, run the test with `MSGPIPE_INTERFACE=write`.
///
/// What is added since then, and breaks nothing, passes. [`compat`](super::compat()) says what breaks.
///
/// # Panics
/// Something is broken, or the file cannot be read or written.
///
/// ```no_run
/// # use msgpipe::typed;
/// # #[typed::service] trait Sums { fn add(&self, a: u64, b: u64) -> u64; }
/// #[test]
/// fn old_clients_and_servers_still_work() {
///     typed::check_interface::<SumsClient>("tests/sums.json");
/// }
/// ```
pub fn check_interface<D: Described>(file: impl AsRef<Path>) {
    let (file, now) = (file.as_ref(), Interface::of::<D>());
    let name = file.display();
    if std::env::var_os(VARIABLE).is_some_and(|it| it == "write") {
        let written = fs::write(file, now.to_json() + "\n");
        return written.unwrap_or_else(|error| panic!("{name} cannot be written: {error}"));
    }
    let before = match fs::read_to_string(file) {
        Ok(before) => before,
        Err(error) => panic!("{name} cannot be read: {error}; to write it: {VARIABLE}=write"),
    };
    let before = Interface::from_json(&before);
    let before = before.unwrap_or_else(|error| panic!("{name} is no interface: {error}"));
    let breaks: Vec<String> = compat(&before, &now).iter().map(|it| format!("\n  {it}")).collect();
    assert!(
        breaks.is_empty(),
        "this does not work any more with what {name} describes:{}\nIf that is meant: {VARIABLE}=write",
        breaks.concat()
    );
}
