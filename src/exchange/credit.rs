//! Flow-control credit: how much a side may send before its peer has taken what came before.
//!
//! Limits are absolute and only go up (as in QUIC, RFC 9000, section 4): the receiver's side compares two
//! numbers, and a grant that is lost in a newer one does no harm. A message is charged as a whole before its
//! first byte is sent, so messages that have begun never wait for credit, and never for each other.

/// The charge of a message besides its bytes. With it, messages without bytes have a price too.
pub const MESSAGE_COST: u64 = 64;

/// The largest charge of a message that is sent without being announced. The receiver grants credit again when
/// half of the window has been taken, so no more than the other half is sure to come.
pub(crate) fn largest(window: u64) -> u64 {
    window / 2
}

/// What this side may receive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// How much may be received and not taken.
    size: u64,
    received: u64,
    taken: u64,
    /// The limit that the peer knows, or is about to be sent.
    granted: u64,
}

/// The peer sent more than its credit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overrun {
    pub received: u64,
    pub granted: u64,
}

impl Window {
    /// A window of `size`, of which the peer knows.
    pub fn new(size: u64) -> Window {
        Window { size, received: 0, taken: 0, granted: size }
    }

    /// The largest charge of a message that is not announced.
    pub fn largest(&self) -> u64 {
        largest(self.size)
    }

    /// A message that costs `charge` has begun to arrive.
    pub fn receive(&mut self, charge: u64) -> Result<(), Overrun> {
        let received = self.received.saturating_add(charge);
        if received > self.granted {
            return Err(Overrun { received, granted: self.granted });
        }
        self.received = received;
        Ok(())
    }

    /// A message of this charge was taken. Whether a grant is due: half of the window has been taken since
    /// the last one. A grant for each message would cost a frame each.
    pub fn take(&mut self, charge: u64) -> bool {
        self.taken += charge;
        self.is_due()
    }

    pub fn is_due(&self) -> bool {
        let next = self.size.saturating_add(self.taken);
        next > self.granted && next - self.granted >= self.size / 2
    }

    /// Makes the grant: the new limit for the peer.
    pub fn grant(&mut self) -> u64 {
        self.granted = self.granted.max(self.size.saturating_add(self.taken));
        self.granted
    }

    /// What has been received and not taken.
    #[cfg(test)]
    pub fn held(&self) -> u64 {
        self.received.saturating_sub(self.taken)
    }

    /// What has been received, taken and granted.
    #[cfg(test)]
    pub fn sums(&self) -> (u64, u64, u64) {
        (self.received, self.taken, self.granted)
    }
}

/// What this side may send.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Credit {
    limit: u64,
    used: u64,
}

impl Credit {
    pub fn new(limit: u64) -> Credit {
        Credit { limit, used: 0 }
    }

    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    pub fn covers(&self, charge: u64) -> bool {
        charge <= self.left()
    }

    /// Spends credit that [covers](Credit::covers) the charge.
    pub fn spend(&mut self, charge: u64) {
        self.used += charge;
    }

    /// What was spent last was not sent.
    pub fn regain(&mut self, charge: u64) {
        self.used -= charge;
    }

    /// The peer's limit is at least this.
    pub fn raise(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// The limit, and what was used of it.
    #[cfg(test)]
    pub fn sums(&self) -> (u64, u64) {
        (self.limit, self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credit_is_exact() {
        for (charge, fits) in [(99, true), (100, true), (101, false)] {
            let mut window = Window::new(100);
            assert_eq!(window.receive(charge).is_ok(), fits, "{charge}");
            assert_eq!(Credit::new(100).covers(charge), fits, "{charge}");
        }
    }

    #[test]
    fn a_grant_is_due_when_half_was_taken() {
        for (taken, due) in [(49, false), (50, true), (51, true)] {
            let mut window = Window::new(100);
            window.receive(100).unwrap();
            assert_eq!(window.take(taken), due, "{taken}");
            assert_eq!(window.grant(), 100 + taken);
            assert!(!window.is_due());
            assert!(window.receive(taken + 1).is_err());
            assert_eq!(window.receive(taken), Ok(()));
        }
    }

    #[test]
    fn an_older_limit_changes_nothing() {
        let mut credit = Credit::new(10);
        credit.raise(20);
        credit.raise(15);
        assert_eq!(credit.left(), 20);
        credit.spend(20);
        assert!(credit.covers(0) && !credit.covers(1));
    }
}
