//! The inputs that the fuzzer has kept: together they reach all that it has reached.

use std::path::Path;

/// Runs a target with each input in `fuzz/corpus`. The published package has no fuzzer, and so none.
pub fn replay(target: &str, check: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    if !corpus.exists() {
        return;
    }
    let inputs = std::fs::read_dir(corpus.join(target)).expect("each target has a corpus");
    let mut count = 0;
    for input in inputs {
        let input = input.expect("the directory can be read").path();
        println!("{}", input.display()); // of a failure
        check(&std::fs::read(&input).expect("the input can be read"));
        count += 1;
    }
    assert!(count > 0, "the corpus of {target} is empty");
}
