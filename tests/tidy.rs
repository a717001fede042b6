//! Keeps the rules of CONTRIBUTING.md and ARCHITECTURE.md that a compiler does not: it reads the
//! checkout's files. Each rule is one test; `tests/tidy/of_the_rules.rs` tests the rules themselves.

mod tidy {
    pub mod circles;
    mod of_the_rules;
    pub mod passing;
    pub mod rules;
    pub mod source;
}

use tidy::circles::circles;
use tidy::passing::not_passed_on;
use tidy::rules;
use tidy::source::{self, File, checkout};

/// Fails with the reason for the rule and each place that breaks it.
#[track_caller]
fn keep(reason: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{reason}\n  {}\n", complaints.join("\n  "));
}

#[test]
fn every_directory_is_read() {
    let least = [("src", 12), ("backends", 8), ("tests", 4), ("examples", 2), ("benches", 1)];
    keep(
        "the rules below read these directories; one that is not there passes them unread",
        &rules::missing_files(&checkout(), &least),
    );
    for backend in rules::BACKENDS {
        let room = format!("backends/{backend}");
        let is_there = |f: &File| f.path.starts_with(&room);
        assert!(checkout().iter().any(is_there), "{room} is gone: name it in tests/tidy/rules.rs");
    }
}

#[test]
fn src_depends_on_no_operating_system() {
    keep(
        "src/ is the same on every system, so that what is tested on one holds on all; \
         what differs belongs in backends/",
        &rules::os_in_src(&checkout()),
    );
}

#[test]
fn unsafe_stays_in_backends() {
    keep(
        "unsafe code is there for calls of the operating system, which only backends/ makes",
        &rules::unsafe_outside_backends(&checkout()),
    );
}

#[test]
fn modules_of_src_forbid_unsafe() {
    keep(
        "each module of src/ carries `#![forbid(unsafe_code)]`, as src/lib.rs cannot for all",
        &rules::modules_without_forbid(&checkout()),
    );
}

#[test]
fn one_path_attribute_reaches_backends() {
    keep(
        "backends/ hangs on one line of src/lib.rs; everything else is where Rust looks for it",
        &rules::path_attributes(&checkout()),
    );
}

#[test]
fn backends_depend_on_no_protocol() {
    keep(
        "a backend moves bytes and connections; what a message means is decided in src/",
        &rules::protocol_in_backends(&checkout()),
    );
}

#[test]
fn backends_import_no_other_backend() {
    keep(
        "a backend can be changed, or left out, with no look at another; \
         what two of them share is in backends/event_loop, which knows neither",
        &rules::backends_importing_one_another(&checkout()),
    );
}

#[test]
fn no_two_files_import_each_other() {
    keep(
        "of two files that import each other neither can be read, changed or moved without the other; \
         what both need belongs in a file of its own",
        &circles(&checkout()),
    );
}

#[test]
fn who_passes_a_server_of_messages_on_forgets_no_method() {
    keep(
        "a method of `MessageServer` with a default is passed on like the others, or the default answers in its place",
        &not_passed_on(&checkout()),
    );
}

#[test]
fn one_file_rests_on_what_mio_does_with_pipes() {
    keep(
        "what a newer mio may do otherwise stands in mio_pipe.rs, with the test that would show it",
        &rules::pipes_of_mios_elsewhere(&checkout()),
    );
}

#[test]
fn unsafe_says_why_it_is_sound() {
    keep(
        "a reader must be able to check each unsafe block against its own reason",
        &rules::unsafe_without_reason(&checkout()),
    );
}

#[test]
fn tests_do_not_sleep() {
    keep(
        "a sleep is too short on a loaded machine and too long on all others; wait for the event",
        &rules::sleeps_in_tests(&checkout()),
    );
}

#[test]
fn the_time_is_read_in_one_place() {
    keep(
        "a simulation sets the clock of all of src/, which is crate::clock; Instant::now is another one",
        &rules::clocks_of_their_own(&checkout()),
    );
}

#[test]
fn nothing_is_left_over() {
    keep(
        "what is committed is finished: no stand-ins, no tests that do not run, no dead code",
        &rules::left_overs(&checkout()),
    );
}

#[test]
fn files_stay_short() {
    keep("a file says one thing; a long one says several", &rules::long_files(&checkout()));
}

#[test]
fn files_say_what_they_are_for() {
    keep(
        "the first line of a file tells its reader whether to read on",
        &rules::files_without_purpose(&checkout()),
    );
}

#[test]
fn readme_names_the_tests_that_the_gate_runs() {
    const COMMAND: &str = "cargo test --workspace";
    let readme = source::read("README.md").expect("README.md can be read");
    assert!(readme.contains(COMMAND), "README.md does not tell its reader to run `{COMMAND}`");
    // The published package holds the tests without the gate.
    let is_package = source::read("Cargo.toml.orig").is_some();
    let gate = source::read(".ci/run");
    assert!(is_package || gate.is_some(), ".ci/run cannot be read");
    if let Some(gate) = gate {
        assert!(gate.contains(COMMAND), ".ci/run does not run `{COMMAND}`, which README.md names");
    }
}

#[test]
fn oldest_rust_is_the_same_everywhere() {
    let cargo = source::read("Cargo.toml").expect("Cargo.toml can be read");
    let clippy = source::read("clippy.toml").expect("clippy.toml can be read");
    let promised = rules::minor_version(&cargo, "rust-version");
    assert!(promised.is_some(), "Cargo.toml has no rust-version");
    assert_eq!(promised, rules::minor_version(&clippy, "msrv"), "Cargo.toml, clippy.toml");
}
