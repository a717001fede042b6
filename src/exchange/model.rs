//! Calls against a simple model: any interleaving of requests, replies, unknown ids, duplicate
//! replies, deadlines and closes.

use super::{Calls, TooMany};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const LIMIT: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// A call, with a deadline so many ticks ahead.
    Register(Option<u64>),
    /// The reply to the n-th call there ever was: perhaps its second, or one of a call given up.
    Complete(usize),
    /// A reply to an id that was never given out.
    Stranger(u32),
    Abandon(usize),
    Withdraw(usize),
    /// So many ticks pass.
    Pass(u64),
    Close,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::option::of(0..6_u64).prop_map(Step::Register),
        6 => (0..12_usize).prop_map(Step::Complete),
        1 => (1000..1010_u32).prop_map(Step::Stranger),
        2 => (0..12_usize).prop_map(Step::Abandon),
        1 => (0..12_usize).prop_map(Step::Withdraw),
        3 => (0..4_u64).prop_map(Step::Pass),
        1 => Just(Step::Close),
    ]
}

/// What is known of a call that has not ended on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting(Option<u64>),
    Abandoned,
}

/// The model: what must be pending, and who has been ended.
#[derive(Default)]
struct Model {
    pending: BTreeMap<u32, State>,
    /// Who waits for which id; callers are numbered as they come.
    callers: BTreeMap<u32, usize>,
    ended: BTreeSet<usize>,
    now: u64,
}

impl Model {
    /// The caller of `id` is ended: must happen once.
    fn end(&mut self, id: u32, caller: Option<usize>) {
        let caller = caller.expect("somebody waited");
        assert_eq!(self.callers.get(&id), Some(&caller), "somebody else's outcome");
        assert!(self.ended.insert(caller), "caller {caller} was ended twice");
    }

    fn complete(&mut self, calls: &mut Calls<usize>, id: u32) {
        match self.pending.remove(&id) {
            None => assert_eq!(calls.complete(id).unwrap_err().id, id),
            Some(State::Abandoned) => assert_eq!(calls.complete(id), Ok(None)),
            Some(State::Waiting(_)) => self.end(id, calls.complete(id).expect("it is pending")),
        }
    }

    fn abandon(&mut self, calls: &mut Calls<usize>, id: u32) {
        match self.pending.get(&id) {
            Some(State::Waiting(_)) => {
                self.pending.insert(id, State::Abandoned);
                self.end(id, calls.abandon(id));
            }
            _ => assert_eq!(calls.abandon(id), None),
        }
    }

    fn withdraw(&mut self, calls: &mut Calls<usize>, id: u32) {
        match self.pending.remove(&id) {
            Some(State::Waiting(_)) => self.end(id, calls.withdraw(id)),
            _ => assert_eq!(calls.withdraw(id), None),
        }
    }

    fn pass(&mut self, calls: &mut Calls<usize>, start: Instant, ticks: u64) {
        self.now += ticks;
        let expired: BTreeSet<usize> =
            calls.expire(start + Duration::from_secs(self.now)).into_iter().collect();
        let due = |state: &State| matches!(state, State::Waiting(Some(at)) if *at <= self.now);
        let ids: Vec<u32> =
            self.pending.iter().filter(|(_, s)| due(s)).map(|(&id, _)| id).collect();
        assert_eq!(expired.len(), ids.len(), "expired too many or too few");
        for id in ids {
            self.pending.insert(id, State::Abandoned);
            let caller = self.callers[&id];
            self.end(id, expired.get(&caller).copied());
        }
    }

    fn close(&mut self, calls: &mut Calls<usize>) {
        let closed: BTreeSet<usize> = calls.close().into_iter().collect();
        let pending = std::mem::take(&mut self.pending);
        let waiting = pending.iter().filter(|(_, state)| matches!(state, State::Waiting(_)));
        let ids: Vec<u32> = waiting.map(|(&id, _)| id).collect();
        assert_eq!(closed.len(), ids.len());
        for id in ids {
            let caller = self.callers[&id];
            self.end(id, closed.get(&caller).copied());
        }
    }
}

proptest! {
    #[test]
    fn every_call_ends_exactly_once(steps in prop::collection::vec(steps(), 0..60)) {
        let start = Instant::now();
        let mut calls = Calls::new(LIMIT);
        let mut model = Model::default();
        let mut given: Vec<u32> = Vec::new();
        for step in steps {
            let nth = |n: usize| given.get(n % given.len().max(1)).copied().unwrap_or(u32::MAX);
            match step {
                Step::Register(ticks) => {
                    let deadline = ticks.map(|ticks| model.now + ticks);
                    let at = deadline.map(|at| start + Duration::from_secs(at));
                    let caller = given.len();
                    match calls.register(at, caller) {
                        Ok(id) => {
                            prop_assert!(model.pending.len() < LIMIT);
                            let fresh = model.pending.insert(id, State::Waiting(deadline)).is_none();
                            prop_assert!(fresh, "an id that is pending was given out again");
                            model.callers.insert(id, caller);
                            given.push(id);
                        }
                        Err(refused) => {
                            prop_assert_eq!(refused, TooMany { limit: LIMIT });
                            prop_assert_eq!(model.pending.len(), LIMIT);
                        }
                    }
                }
                Step::Complete(n) => model.complete(&mut calls, nth(n)),
                Step::Stranger(id) => model.complete(&mut calls, id),
                Step::Abandon(n) => model.abandon(&mut calls, nth(n)),
                Step::Withdraw(n) => model.withdraw(&mut calls, nth(n)),
                Step::Pass(ticks) => model.pass(&mut calls, start, ticks),
                Step::Close => model.close(&mut calls),
            }
        }
        // In the end every caller has had its outcome.
        model.close(&mut calls);
        prop_assert_eq!(model.ended.len(), given.len());
    }
}

#[test]
fn an_id_still_pending_after_four_billion_calls_is_passed_over() {
    let mut calls = Calls::new(LIMIT);
    let first = calls.register(None, 0).unwrap();
    calls.wind_to(u32::MAX);
    assert_eq!(calls.register(None, 1), Ok(u32::MAX));
    assert_eq!(calls.register(None, 2), Ok(first + 1));
}
