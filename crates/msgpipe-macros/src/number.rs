//! The number of a method on the wire.

/// FNV-1a with 32 bits; 0 means no method, and becomes 1. `docs/TYPED.md` has it for other languages; msgpipe has the same
/// function, with a test that the two agree.
pub fn number(name: &str) -> u32 {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}
