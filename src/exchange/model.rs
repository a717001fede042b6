//! Calls against a simple model: any interleaving of requests, replies, unknown ids, duplicate
//! replies, deadlines and closes.

use super::{Calls, TooMany};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const LIMIT: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// A call, with a deadline in that many ticks.
    Register(Option<u64>),
    /// The reply to the n-th call: perhaps a duplicate, or of an abandoned call.
    Complete(usize),
    /// A reply to an id that was never used.
    Stranger(u32),
    Abandon(usize),
    Collect(usize),
    Withdraw(usize),
    /// That many ticks pass.
    Pass(u64),
    Close,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::option::of(0..6_u64).prop_map(Step::Register),
        6 => (0..12_usize).prop_map(Step::Complete),
        1 => (1000..1010_u32).prop_map(Step::Stranger),
        2 => (0..12_usize).prop_map(Step::Abandon),
        4 => (0..12_usize).prop_map(Step::Collect),
        1 => (0..12_usize).prop_map(Step::Withdraw),
        3 => (0..4_u64).prop_map(Step::Pass),
        1 => Just(Step::Close),
    ]
}

/// The expected state of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    /// No reply has arrived.
    open: bool,
    ended: bool,
    /// The caller no longer waits, with the outcome or without.
    gone: bool,
    deadline: Option<u64>,
}

/// The model: the expected state of each call. Callers are numbered in order.
#[derive(Default)]
struct Model {
    calls: BTreeMap<u32, Known>,
    callers: BTreeMap<u32, usize>,
    ended: BTreeSet<usize>,
    out: BTreeSet<usize>,
    now: u64,
}

impl Model {
    fn open(&self) -> usize {
        self.calls.values().filter(|call| call.open).count()
    }

    /// The caller of `id` is notified of the end if it still waits: this must happen once.
    fn end(&mut self, id: u32, told: Option<usize>) {
        let call = self.calls.get_mut(&id).expect("it is known");
        let is_told = !call.ended && !call.gone;
        call.ended = true;
        assert_eq!(told, is_told.then(|| self.callers[&id]), "the wrong one is told, or nobody");
        if let Some(caller) = told {
            assert!(self.ended.insert(caller), "caller {caller} was ended twice");
        }
    }

    fn complete(&mut self, calls: &mut Calls<usize>, id: u32) {
        if self.calls.get(&id).is_some_and(|call| call.open) {
            let told = calls.complete(id).expect("it is open").copied();
            self.end(id, told);
            self.calls.get_mut(&id).expect("it is known").open = false;
        } else {
            assert_eq!(calls.complete(id).unwrap_err().id, id);
        }
    }

    /// The caller leaves: with the outcome, or without if the call need not have ended.
    fn leave(&mut self, id: u32, only_ended: bool, out: Option<usize>) {
        let there =
            self.calls.get_mut(&id).filter(|call| !call.gone && (call.ended || !only_ended));
        assert_eq!(out, there.as_ref().map(|_| self.callers[&id]));
        if let Some(call) = there {
            call.gone = true;
            assert!(self.out.insert(self.callers[&id]), "it came out twice");
        }
    }

    fn withdraw(&mut self, calls: &mut Calls<usize>, id: u32) {
        calls.withdraw(id);
        if let Some(call) = self.calls.get_mut(&id) {
            *call = Known { gone: true, ended: true, ..Known::default() };
        }
    }

    /// Each of `ids` has ended, and exactly the expected callers were notified.
    fn ended_by(&mut self, ids: Vec<u32>, told: &[usize]) {
        let before = self.ended.len();
        for id in ids {
            let told = told.contains(&self.callers[&id]).then(|| self.callers[&id]);
            self.end(id, told);
        }
        assert_eq!(self.ended.len() - before, told.len(), "others were told too");
    }

    fn pass(&mut self, calls: &mut Calls<usize>, start: Instant, ticks: u64) {
        self.now += ticks;
        let mut told = Vec::new();
        calls.expire(start + Duration::from_secs(self.now), |caller| told.push(*caller));
        let due = |call: &Known| call.deadline.is_some_and(|at| at <= self.now);
        let ids = self.calls.iter().filter(|(_, call)| due(call)).map(|(&id, _)| id).collect();
        self.ended_by(ids, &told);
    }

    fn close(&mut self, calls: &mut Calls<usize>) {
        let mut told = Vec::new();
        calls.close(|caller| told.push(*caller));
        self.ended_by(self.calls.keys().copied().collect(), &told);
        self.calls.values_mut().for_each(|call| call.open = false);
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
                            prop_assert!(model.open() < LIMIT);
                            let known = Known { open: true, deadline, ..Known::default() };
                            let before = model.calls.insert(id, known);
                            prop_assert!(before.is_none(), "an id was given out again");
                            model.callers.insert(id, caller);
                            given.push(id);
                        }
                        Err(refused) => {
                            prop_assert_eq!(refused, TooMany { limit: LIMIT });
                            prop_assert_eq!(model.open(), LIMIT);
                        }
                    }
                }
                Step::Complete(n) => model.complete(&mut calls, nth(n)),
                Step::Stranger(id) => model.complete(&mut calls, id),
                Step::Abandon(n) => {
                    let out = calls.abandon(nth(n));
                    model.leave(nth(n), false, out);
                }
                Step::Collect(n) => {
                    let out = calls.collect(nth(n));
                    model.leave(nth(n), true, out);
                }
                Step::Withdraw(n) => model.withdraw(&mut calls, nth(n)),
                Step::Pass(ticks) => model.pass(&mut calls, start, ticks),
                Step::Close => model.close(&mut calls),
            }
        }
        // In the end every caller was notified or had left, and the table is empty.
        model.close(&mut calls);
        for id in given {
            let out = calls.abandon(id);
            model.leave(id, false, out);
        }
        prop_assert!(model.calls.values().all(|call| call.ended && call.gone));
        prop_assert_eq!(calls.known(), 0);
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
