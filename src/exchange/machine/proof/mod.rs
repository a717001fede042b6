//! The proof of the machine: two of them, joined by wires, do all that they can, in any order.
//!
//! `world` holds two machines, the wires and the applications; `heard` checks every event; `exhaustive` visits all
//! states of small worlds; `random` runs long programs in large ones; `hostile` feeds one machine with frames
//! that no honest one sends, and `rules` breaks each rule once. `order`, `told`, `limits`, `brief` and `memory`
//! join two machines (`pair`) for one behaviour at a time: who sends next, what a side is told, how much there may
//! be, what is sent at once, and what is refused without memory.
//!
//! `scripts/prove-calls` runs it at full size.

mod acts;
mod app;
mod brief;
mod exhaustive;
mod heard;
mod hostile;
mod limits;
mod memory;
mod order;
mod pair;
mod programs;
mod random;
mod rules;
mod scopes;
mod told;
mod world;

use super::Machine;
use crate::exchange::credit::Window;
use crate::exchange::ids::is_lane;

impl<T> Machine<T> {
    /// Nothing is left of calls that are over, and the credit of both sides adds up.
    fn check_rest(&self, other: &Machine<T>) {
        let left: Vec<u32> = self.calls.keys().copied().filter(|id| !is_lane(*id)).collect();
        assert!(left.is_empty(), "entries of calls that are over: {left:?}");
        assert!(self.briefs.is_empty(), "entries of brief calls that are over");
        assert_eq!((self.own_open, self.peer_open, self.refused_open), (0, 0, 0));
        assert_eq!(self.held(), 0, "bytes are held");
        assert!(
            self.lists.urgent.is_empty()
                && self.lists.refusals.is_empty()
                && self.lists.waiting.is_empty()
        );
        assert_eq!(self.window.held(), 0, "credit of the connection is lost");
        let (received, _, granted) = self.window.sums();
        let (limit, used) = other.credit.sums();
        assert_eq!(received, used, "one side counts other bytes than the other");
        // A grant that is not due yet is less than half of the window.
        assert!(limit <= granted && !self.window.is_due() || !self.is_settled || !other.is_settled);
        for (id, lane) in &self.calls {
            assert_eq!(lane.incoming.window.held(), 0, "credit of lane {id} is lost");
            let Some(its) = other.calls.get(id) else { continue };
            let (received, used) = (lane.incoming.window.sums().0, its.outgoing.credit.sums().1);
            assert!(self.is_own(*id) || received == used, "lane {id}: {received} of {used}");
        }
    }

    /// What holds in every state.
    fn check(&self) {
        let held: usize = self.calls.values().map(|call| call.held()).sum();
        assert_eq!(self.held(), held, "what is held is counted wrongly");
        let partials = self.calls.values().filter(|call| call.incoming.is_owed()).count();
        assert_eq!(self.partials(), partials, "incomplete messages are counted wrongly");
        let refused = self.calls.values().filter(|call| call.is_refused).count();
        assert_eq!(self.refused_open, refused, "refused calls are counted wrongly");
        let deadlines = self.calls.values().filter_map(|call| call.deadline);
        let deadlines = deadlines.chain(self.briefs.iter().filter_map(|(_, brief)| brief.deadline));
        let first = deadlines.min();
        assert!(first.is_none() || self.soonest <= first && self.soonest.is_some(), "a deadline");
        let settings = &self.config.settings;
        let size = settings.connection_window.max(self.config.assumed.connection_window);
        check_window("the connection", &self.window, size);
        let (limit, used) = self.credit.sums();
        assert!(used <= limit, "more was sent than granted");
        let calls = self.calls.iter().filter(|(id, _)| !is_lane(**id));
        let own = calls.clone().filter(|(id, call)| self.is_own(**id) && !call.is_closed()).count();
        let briefs = self.briefs.iter().filter(|(id, brief)| self.is_own(*id) && !brief.is_over);
        let (own_briefs, all_briefs) = (briefs.count(), self.briefs.iter().count());
        let own_over = self.briefs.iter().filter(|(_, brief)| brief.is_over).count();
        assert_eq!(self.own_open, own + own_briefs, "its own calls are counted wrongly");
        let sent = calls.clone().filter(|(_, call)| call.is_sent && !call.is_closed()).count();
        assert_eq!(self.own_sent, sent + own_briefs, "its sent calls are counted wrongly");
        let peers = calls.filter(|(id, call)| !self.is_own(**id) && !call.is_refused).count();
        let peers = peers + all_briefs - own_briefs - own_over;
        assert_eq!(self.peer_open, peers, "the calls of the peer are counted wrongly");
        for (id, call) in &self.calls {
            check_window("a call", &call.incoming.window, self.call_window());
            let is_dropped = !call.incoming.wants_more();
            assert!(
                !is_dropped || call.incoming.held() == 0,
                "call {id}: it holds what is dropped"
            );
            let queued = call.outgoing.queued();
            assert!(
                !call.outgoing.is_empty() || queued == 0,
                "call {id}: {queued} bytes of nothing"
            );
            let (limit, used) = call.outgoing.credit.sums();
            assert!(used <= limit, "call {id}: more was sent than granted");
        }
    }
}

/// A peer has used no more than it was granted, and was granted no more than fits.
fn check_window(of: &str, window: &Window, size: u64) {
    let (received, taken, granted) = window.sums();
    assert!(received <= granted, "{of}: more was received than granted");
    assert!(taken <= received, "{of}: more was taken than received");
    assert!(granted <= taken + size, "{of}: more was granted than fits");
}
