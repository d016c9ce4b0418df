//! Life: how often a segment has been allocated. It tells today's bytes from yesterday's.

/// Life of a segment; zero is "never allocated".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Life(u32);

impl Life {
    /// Never allocated.
    pub const NONE: Self = Self(0);

    /// From the stored number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The stored number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The life of the next allocation; `None` after 2^32 - 1 of them, when the segment is worn out
    /// for the format (a 16 MiB segment would by then have taken 64 PiB of writes).
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl std::fmt::Display for Life {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}
