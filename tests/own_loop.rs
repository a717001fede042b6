//! `examples/own_loop.rs`, which ends by itself.

#[path = "suite/common/program.rs"]
mod program;

use program::Program;
use std::process::Command;

#[test]
fn the_example_gets_a_reply_for_each_click() {
    // `cargo test` builds the examples beside the tests.
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples/own_loop");
    let example = example.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "run `cargo build --example own_loop` first");
    let mut program = Program::spawn("own_loop", Command::new(example));
    let lines: Vec<_> = (0..21).map(|_| program.line()).collect();
    for click in 1..=20 {
        assert!(lines.contains(&format!("click {click}")), "{lines:?}");
    }
    assert_eq!(lines[20], "20 replies");
    let ended = program.end();
    assert_eq!((ended.status, ended.errors.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.lines.is_empty(), "{ended:?}");
}
