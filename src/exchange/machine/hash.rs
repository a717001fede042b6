//! Comparing states: equal states have equal hashes, in whatever order their calls are in the table.

use super::Machine;
use std::hash::{Hash, Hasher};

impl<T: Hash> Hash for Machine<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Machine {
            side,
            config: _, // the same for the life of the machine
            peer,
            is_settled,
            largest_frame,
            calls,
            briefs,
            own_ids,
            peer_ids,
            own_open,
            own_sent,
            peer_open,
            refused_open,
            refused: _, // it is only counted
            window,
            credit,
            unsent_settings,
            unsent_grease,
            drain,
            peer_drains,
            is_full,
            lists,
            turn,
            held: _, // sums over the calls
            partials: _,
            piece_bytes: _,
            soonest: _, // a bound that only saves work
        } = self;
        (side, peer, is_settled, largest_frame, own_ids, peer_ids, own_open, own_sent, peer_open)
            .hash(state);
        (window, credit, unsent_settings, unsent_grease, drain, peer_drains).hash(state);
        (refused_open, is_full, &**lists, turn).hash(state);
        let mut sorted: Vec<_> = calls.iter().collect();
        sorted.sort_unstable_by_key(|(id, _)| **id);
        sorted.hash(state);
        let mut sorted: Vec<_> = briefs.iter().collect();
        sorted.sort_unstable_by_key(|(id, _)| *id);
        sorted.hash(state);
    }
}
