//! What a server says of itself to tools.

use super::Answering;
use crate::clock;
use crate::counts::CallCounts;
use crate::message_server::MessageServer;
use crate::text::escaped;
use std::fmt::Write;

/// The most clients that are named: a look at them is for a person, and the reply is made in the server's loop.
const CLIENTS: usize = 64;

impl<M: MessageServer> Answering<M> {
    /// Lines of keys and values.
    pub(super) fn info(&self) -> String {
        let counts = self.outbox.tally.read();
        let limits = &self.limits;
        let mut text = String::new();
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{key}={value}");
        };
        line("version", &env!("CARGO_PKG_VERSION"));
        line("endpoint", &escaped(self.messages.endpoint()));
        line("pid", &std::process::id());
        line("uptime_ms", &clock::since(self.started).as_millis());
        line("clients", &counts.clients());
        line("clients_ever", &counts.connected);
        calls("requests", &counts.requests, &mut line);
        line("requests_refused", &counts.refused);
        line("requests_waiting", &counts.waiting);
        calls("calls_to_clients", &counts.calls, &mut line);
        line("notifications_received", &counts.notifications_received);
        line("notifications_sent", &counts.notifications_sent);
        line("messages_dropped", &counts.dropped);
        line("received_messages", &counts.received.messages);
        line("received_bytes", &counts.received.bytes);
        line("sent_messages", &counts.sent.messages);
        line("sent_bytes", &counts.sent.bytes);
        line("memory_bytes", &counts.memory);
        line("limit_memory_bytes", &limits.memory);
        line("limit_message_bytes", &limits.message);
        line("limit_clients", &limits.connections);
        line("limit_in_flight", &limits.in_flight);
        // Those that have been there longest, so that the same ones are named each time.
        let mut clients: Vec<_> = self.callers.iter().collect();
        clients.sort_unstable_by_key(|(connection, _)| **connection);
        for (connection, caller) in clients.into_iter().take(CLIENTS) {
            let open = caller.machine.peer_open();
            let said = format!("{}, {open} requests open", caller.origin.peer);
            line(&format!("client.{}", connection.number()), &said);
        }
        text
    }
}

fn calls(of: &str, counts: &CallCounts, line: &mut dyn FnMut(&str, &dyn std::fmt::Display)) {
    line(&format!("{of}_begun"), &counts.begun);
    line(&format!("{of}_open"), &counts.open());
    line(&format!("{of}_replied"), &counts.replied);
    line(&format!("{of}_failed"), &counts.failed);
    line(&format!("{of}_cancelled"), &counts.cancelled);
    line(&format!("{of}_late"), &counts.late);
    line(&format!("{of}_closed"), &counts.closed);
}
