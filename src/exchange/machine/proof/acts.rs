//! What the applications do: calls, notifications, the next message of a call.

use super::app::{App, Close, Plan, Side2, body, error};
use super::world::{Scope, TIME, World};
use crate::exchange::frame::{ENVELOPE_LEN, Frame};
use crate::exchange::machine::{OpenError, Opening, SendError};
use crate::exchange::metadata::Metadata;
use crate::exchange::outgoing::Message;
use bytes::Bytes;

impl World {
    /// A call of one message each way whose request can be sent at once.
    fn open_now(&mut self, side: Side2, plan: &Plan) -> bool {
        let [size] = plan.request[..] else { return false };
        if !plan.now || plan.bare || plan.bare_end {
            return false;
        }
        let now = self.now();
        let deadline = (plan.deadline && !self.is_late).then_some(now + TIME);
        let half = &mut self.halves[side];
        let method = half.machine.next_id();
        let mut frame = None;
        let put = |head: [u8; ENVELOPE_LEN]| {
            frame = Some(Frame::decode(Bytes::copy_from_slice(&head)));
            Ok::<_, ()>(())
        };
        let id = half.machine.open_now(method, size, deadline, now, put);
        let (Some(Ok(id)), Some(Ok(mut frame))) = (id, frame) else {
            return false;
        };
        assert!(id == method && !half.told_drain, "call {id} is opened");
        let mut app = App::of_plan(plan);
        app.sent.push(size);
        (app.close, app.sent_some) = (Close::Ended, true);
        half.apps.insert(id, app);
        half.opened += 1;
        frame.body = body(id, side, 0, size);
        self.put(side, &frame);
        true
    }

    pub fn open(&mut self, scope: &Scope, side: Side2) {
        let plan = &scope.plans[side][self.halves[side].opened];
        if self.open_now(side, plan) {
            return;
        }
        let deadline = self.now() + TIME;
        let half = &mut self.halves[side];
        let plan = &scope.plans[side][half.opened];
        half.opened += 1;
        let mut app = App::of_plan(plan);
        let first = plan.request.first().copied().filter(|_| !plan.bare);
        let opening = |id: u32, app: &mut App| {
            first.map(|size| {
                app.sent.push(size);
                let last = app.sent.len() == app.planned.len() && !app.bare_end;
                Message::new(body(id, side, 0, size), last)
            })
        };
        // The id is known only afterwards; the body is made for the one that comes next.
        let id = half.machine.next_id();
        let message = opening(id, &mut app);
        if message.as_ref().is_some_and(|message| message.last) {
            app.close = Close::Ended;
        }
        let opening = Opening {
            method: id,
            deadline: (plan.deadline && !self.is_late).then_some(deadline),
            metadata: Metadata::default(),
            message,
        };
        match half.machine.open(opening, ()) {
            Ok(given) => {
                assert!(given == id && !half.told_drain, "call {id} is opened");
                half.apps.insert(id, app);
            }
            Err(OpenError::Draining) => assert!(half.told_drain, "nobody drains"),
            Err(error) => panic!("it was not opened: {error:?}"),
        }
    }

    pub fn notify(&mut self, scope: &Scope, side: Side2) {
        let half = &mut self.halves[side];
        let size = scope.notes[side][half.notes];
        let mut message = Message::new(body(u32::MAX, side, half.notes, size), false);
        message.method = 77;
        match half.machine.notify(message) {
            Ok(()) => half.notes += 1,
            Err(SendError::Full) => {}
            Err(error) => panic!("not notified: {error:?}"),
        }
    }

    pub fn go_on(&mut self, side: Side2, id: u32) {
        let half = &mut self.halves[side];
        let app = half.apps.get_mut(&id).expect("it is there");
        let at = app.sent.len();
        let size = app.planned.first().copied().unwrap_or(0);
        let answered = app.answers_now().then(|| half.machine.answer_now(id, size));
        if let Some((whole, _)) = answered.flatten() {
            app.sent.push(size);
            (app.close, app.sent_some, app.released) = (Close::Ended, true, true);
            let head = Frame::decode(Bytes::copy_from_slice(&whole.head())).expect("a frame");
            return self.put(side, &Frame { body: body(id, side, 0, size), ..head });
        }
        let Some(&size) = app.planned.get(at) else {
            let ended = match app.fails {
                true => half.machine.fail(id, error()),
                false => half.machine.end(id),
            };
            app.close = if app.fails { Close::Failed } else { Close::Ended };
            return ended.expect("it was not ended");
        };
        let last = at + 1 == app.planned.len() && !app.fails && !app.bare_end;
        match half.machine.send(id, Message::new(body(id, side, at, size), last)) {
            Ok(()) => {
                app.sent.push(size);
                if last {
                    app.close = Close::Ended;
                }
            }
            Err(SendError::Full) => {}
            Err(error) => panic!("call {id}: {error:?}"),
        }
    }
}
