//! The number of a method on the wire.

/// The first of the numbers that are reserved for tools.
const RESERVED: u32 = 0xffff_ff00;

/// FNV-1a with 32 bits; 0 means no method, and becomes 1; the last 256 numbers are reserved, and become those less 256. `docs/TYPED.md` has it for other languages; msgpipe has the same
/// function, with a test that the two agree.
pub fn number(name: &str) -> u32 {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    match hash {
        0 => 1,
        RESERVED.. => hash - 256,
        _ => hash,
    }
}
