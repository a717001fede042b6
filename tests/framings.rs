//! Properties of the plain framings, `LengthPrefix` and `Lines`: whatever is sent arrives, however
//! it is cut; whatever arrives, what comes out of it is what was in it.

mod corpus;
mod framings_cases;
#[path = "framings_cases/random.rs"]
mod random;
#[path = "framings_cases/scripted.rs"]
mod scripted;

use proptest::prelude::*;
use random::{damaged, whole};

proptest! {
    #[test]
    fn any_cut_of_any_messages_gives_the_same_messages(stream in whole()) {
        stream.check();
    }

    /// The fuzzer runs the same function for longer.
    #[test]
    fn any_script_of_a_stream_gives_the_messages_in_it(
        script in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        scripted::check(&script);
    }

    #[test]
    fn any_bytes_give_the_messages_in_them_and_a_named_end(stream in damaged()) {
        stream.check();
    }
}

#[test]
fn the_corpus_of_the_fuzzer_still_passes() {
    corpus::replay("framings", scripted::check);
}
