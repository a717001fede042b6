//! The byte vectors of `tests/vectors/`, and the conversations at the end of `docs/PROTOCOL.md`: what
//! this crate sends is exactly that, and what it makes of such bytes is what stands there.

mod vectors {
    mod calls;
    mod file;
    mod frames;
    mod rules;
    mod streams;
}
