//! What servers and clients count.
#![forbid(unsafe_code)]

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallEnd {
    /// With its reply, or with all parts of it.
    Replied,
    /// With an error reply, or with parts that are incomplete.
    Failed,
    /// Its caller cancelled it, or took no more of the reply. For a server also most calls whose caller's time was over:
    /// the caller cancels them then.
    Cancelled,
    /// Its deadline had passed.
    Late,
    /// Its connection had ended.
    Closed,
}

/// Calls, by how they have ended; part of [`ServerCounts`](crate::ServerCounts) and
/// [`ClientCounts`](crate::ClientCounts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallCounts {
    /// All calls that were begun.
    pub begun: u64,
    /// See [`CallEnd::Replied`].
    pub replied: u64,
    /// See [`CallEnd::Failed`].
    pub failed: u64,
    /// See [`CallEnd::Cancelled`].
    pub cancelled: u64,
    /// See [`CallEnd::Late`].
    pub late: u64,
    /// See [`CallEnd::Closed`].
    pub closed: u64,
}

impl CallCounts {
    /// Those that have ended.
    pub fn ended(&self) -> u64 {
        self.replied + self.failed + self.cancelled + self.late + self.closed
    }

    /// Those that are open.
    ///
    /// ```
    /// let (hub, limits) = (msgpipe::memory::Hub::new(), msgpipe::Limits::default());
    /// let _server = hub.listen_for_calls("nobody serves", limits.clone())?;
    /// let stream = Box::new(hub.connect("nobody serves")?);
    /// let client = msgpipe::Client::over(stream, "in memory", limits);
    /// let call = client.start("hello")?;
    /// assert_eq!((client.counts().calls.begun, client.counts().calls.open()), (1, 1));
    /// call.cancel();
    /// assert_eq!((client.counts().calls.cancelled, client.counts().calls.open()), (1, 0));
    /// # Ok::<_, msgpipe::Error>(())
    /// ```
    pub fn open(&self) -> u64 {
        self.begun.saturating_sub(self.ended())
    }

    /// One more has ended.
    pub(crate) fn ends(&mut self, how: CallEnd) {
        *match how {
            CallEnd::Replied => &mut self.replied,
            CallEnd::Failed => &mut self.failed,
            CallEnd::Cancelled => &mut self.cancelled,
            CallEnd::Late => &mut self.late,
            CallEnd::Closed => &mut self.closed,
        } += 1;
    }
}

/// What was sent or has arrived; part of [`ServerCounts`](crate::ServerCounts) and
/// [`ClientCounts`](crate::ClientCounts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages of the calls layer: a small call takes one in each direction, a large one several, and cancels and
    /// grants of credit are messages too.
    pub messages: u64,
    /// Their bytes, without the header of the framing.
    pub bytes: u64,
}

impl Traffic {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }
}
