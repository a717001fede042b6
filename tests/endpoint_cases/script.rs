//! The bytes of an input, read as a program: each choice takes the next bytes. Any bytes are a program, and after the last
//! byte zeros are read, so that an input can be cut anywhere.

/// The bytes that are left.
#[derive(Debug)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub fn new(bytes: &'a [u8]) -> Script<'a> {
        Script(bytes)
    }

    /// Whether no choice is left.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of bytes that are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// A number below `most`, which is at most 256.
    pub fn below(&mut self, most: usize) -> usize {
        usize::from(self.byte()) % most
    }

    pub fn is(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Up to `most` of the bytes that are left.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(self.below(most + 1).min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// As [`bytes`](Script::bytes), as text: what is no text becomes a replacement character.
    pub fn text(&mut self, most: usize) -> String {
        String::from_utf8_lossy(self.bytes(most)).into_owned()
    }
}
