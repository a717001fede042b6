//! Properties of the plain framings, `LengthPrefix` and `Lines`: whatever is sent arrives, however
//! it is cut; whatever arrives, what comes out of it is what was in it.

mod framings_cases;

use framings_cases::{damaged, whole};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_cut_of_any_messages_gives_the_same_messages(stream in whole()) {
        stream.check();
    }

    #[test]
    fn any_bytes_give_the_messages_in_them_and_a_named_end(stream in damaged()) {
        stream.check();
    }
}
