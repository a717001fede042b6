//! Frames of the peer.

use super::Machine;
use super::brief::BriefEvent;
use crate::exchange::call::Call;
use crate::exchange::errors;
use crate::exchange::event::{Cancelled, End, Event, abort};
use crate::exchange::frame::{Frame, Kind};
use crate::exchange::ids::is_lane;
use crate::exchange::incoming::{Arrived, Brought, Charge};
use crate::exchange::metadata::Metadata;
use crate::exchange::outgoing::Outgoing;
use crate::exchange::violation::{Broken, Violation};
use bytes::Bytes;
use std::time::{Duration, Instant};

impl<T> Machine<T> {
    /// A message of the layer below has arrived.
    ///
    /// After an error the connection has to be closed; the machine takes nothing more.
    ///
    /// # Errors
    /// The peer broke the protocol.
    pub fn receive(&mut self, now: Instant, mut message: Bytes) -> Result<(), Violation> {
        let event = match self.receive_brief(&mut message, || now)? {
            BriefEvent::Request { id, method, deadline, charge } => Event::Request {
                id,
                method,
                metadata: Metadata::default(),
                deadline,
                message: Some((message, charge)),
                last: true,
            },
            BriefEvent::Reply { id, .. } => {
                let charge = Charge::of_reply(message.len());
                let metadata = Metadata::default();
                let arrived = Arrived { metadata, method: 0, body: message, charge, last: true };
                Event::Message { id, arrived }
            }
            BriefEvent::Nothing => return Ok(self.receive_frame(Frame::decode(message)?, now)?),
        };
        self.report([event]);
        Ok(())
    }

    pub(super) fn report(&mut self, events: impl IntoIterator<Item = Event>) {
        events.into_iter().for_each(|event| self.lists.events.push_back(event));
    }

    fn receive_frame(&mut self, frame: Frame, now: Instant) -> Result<(), Broken> {
        let (kind, id) = (frame.kind, frame.id);
        if !self.is_settled {
            return match kind {
                Kind::Settings => self.settings(frame),
                _ => Err(Broken::NoSettings),
            };
        }
        match kind {
            Kind::Settings => Err(Broken::SettingsAgain),
            Kind::Ignorable { .. } => Ok(()),
            Kind::ConnectionCredit { .. } | Kind::Drain if id != 0 => Err(frame.wrong_id()),
            Kind::ConnectionCredit { limit } => {
                self.credit.raise(limit);
                Ok(())
            }
            Kind::Drain => {
                if !std::mem::replace(&mut self.peer_drains, true) {
                    self.lists.events.push_back(Event::Draining);
                }
                Ok(())
            }
            Kind::Request { time, .. } => {
                let time = (time > 0).then(|| Duration::from_millis(time.into()));
                self.request(frame, time, now)
            }
            Kind::Data { .. } => self.data(frame, now),
            Kind::Error { code } => self.error(code, frame),
            Kind::Abort { code } => self.aborted(code, frame),
            Kind::Stop => self.stopped(&frame),
            Kind::Cancel => self.cancelled(&frame),
            Kind::Credit { limit } => self.granted(&frame, |outgoing| outgoing.credit.raise(limit)),
            Kind::Admit => self.granted(&frame, Outgoing::admitted),
        }
    }

    fn settings(&mut self, frame: Frame) -> Result<(), Broken> {
        if frame.id != 0 {
            return Err(frame.wrong_id());
        }
        self.peer = self.config.assumed.clone().decode(frame.body)?;
        self.is_settled = true;
        self.credit.raise(self.peer.connection_window);
        let ids: Vec<u32> = self.calls.keys().copied().collect();
        for id in ids {
            if let Some(call) = self.calls.get_mut(&id) {
                call.outgoing.credit.raise(self.peer.call_window);
            }
            self.may_send(id);
        }
        self.next_request();
        self.lists.events.push_back(Event::Settings);
        Ok(())
    }

    /// A call that was blocked may have credit now.
    fn may_send(&mut self, id: u32) {
        let is_blocked = |call: &Call<T>| !call.outgoing.is_empty() && !call.is_unsent();
        if self.calls.get(&id).is_some_and(is_blocked) {
            self.make_ready(id);
        }
    }

    /// The call that a frame belongs to; `None`: it is over, and the frame was on its way.
    fn call_of(&mut self, frame: &Frame) -> Result<Option<&mut Call<T>>, Broken> {
        let id = frame.id;
        if is_lane(id) {
            return match frame.kind {
                Kind::Data { .. } if !self.is_own(id) => Ok(Some(self.lane(id))),
                Kind::Credit { .. } | Kind::Admit if self.is_own(id) => Ok(Some(self.lane(id))),
                Kind::Data { .. } | Kind::Credit { .. } | Kind::Admit => Err(frame.wrong_role()),
                _ => Err(Broken::LaneEnds),
            };
        }
        let ids = if self.is_own(id) { &self.own_ids } else { &self.peer_ids };
        if ids.is_new(id) {
            return Err(Broken::NeverOpened { kind: frame.kind.number(), id });
        }
        self.grow(id);
        let call = self.calls.get_mut(&id);
        // To the peer a call begins with its request.
        if call.as_ref().is_some_and(|call| call.is_unsent()) {
            return Err(Broken::NeverOpened { kind: frame.kind.number(), id });
        }
        Ok(call)
    }

    fn data(&mut self, mut frame: Frame, now: Instant) -> Result<(), Broken> {
        let id = frame.id;
        if let Some(event) = self.whole_reply(&mut frame)? {
            self.report([event]);
            return Ok(());
        }
        if is_lane(id) && frame.ends_stream {
            return Err(Broken::LaneEnds);
        }
        let method = matches!(frame.kind, Kind::Data { method } if method != 0);
        if method && !is_lane(id) {
            return Err(Broken::LateFields { id });
        }
        if self.call_of(&frame)?.is_none() {
            return Err(Broken::AfterEnd { id });
        }
        let largest = self.config.settings.body;
        self.piece_bytes += frame.body.len() as u64;
        let receive =
            |call: &mut Call<T>, window: &mut _| call.incoming.receive(frame, window, largest, now);
        let Some(brought) = self.change(id, receive) else {
            return Ok(());
        };
        let brought = brought?;
        let Some(call) = self.calls.get_mut(&id) else {
            return Ok(());
        };
        let (opening, deadline) = match brought {
            // A call of the peer whose first message is whole now.
            Brought::Message(_) => (call.opening.take(), call.deadline),
            _ => (None, None),
        };
        let silent = call.silent;
        let stopped = opening.is_some() && call.outgoing.closed;
        let event = match brought {
            _ if silent => None,
            Brought::Nothing => None,
            Brought::Announced(size) => Some(Event::Announced { id, size }),
            Brought::End => Some(Event::Ended { id, end: End::Plain }),
            Brought::Message(arrived) if is_lane(id) => Some(Event::Notification { arrived }),
            Brought::Message(it) if opening.is_some() => Some(Event::Request {
                id,
                method: opening.unwrap_or(0),
                metadata: it.metadata,
                deadline,
                message: Some((it.body, it.charge)),
                last: it.last,
            }),
            Brought::Message(arrived) => Some(Event::Message { id, arrived }),
        };
        self.report(event);
        self.report(stopped.then_some(Event::Stopped { id }));
        self.settle(id);
        Ok(())
    }

    /// The outcome of a call of this side.
    fn error(&mut self, code: u16, frame: Frame) -> Result<(), Broken> {
        let id = frame.id;
        if !is_lane(id) && !self.is_own(id) {
            return Err(frame.wrong_role());
        }
        let Some(call) = self.call_of(&frame)?.filter(|call| !call.incoming.ended) else {
            return Err(Broken::AfterEnd { id });
        };
        if call.incoming.is_inside() {
            return Err(Broken::EndInside { id });
        }
        Metadata::decode(frame.metadata)?;
        let error = errors::decode(code, frame.body)?;
        call.incoming.ended = true;
        let silent = call.silent;
        if !silent {
            self.lists.events.push_back(Event::Ended { id, end: End::Error(error) });
        }
        self.settle(id);
        Ok(())
    }

    /// The peer's direction ends here, incomplete.
    fn aborted(&mut self, code: u16, frame: Frame) -> Result<(), Broken> {
        let id = frame.id;
        let Some(call) = self.call_of(&frame)?.filter(|call| !call.incoming.ended) else {
            return Err(Broken::AfterEnd { id });
        };
        let is_unknown = call.opening.is_some();
        let silent = call.silent;
        self.change(id, |call, window| window.take(call.incoming.cut_off()));
        if is_unknown {
            // Its first message will never be whole.
            self.cut_off(id, Cancelled::Caller, abort::CANCELLED);
        } else if !silent {
            self.lists.events.push_back(Event::Ended { id, end: End::Aborted { code } });
        }
        self.settle(id);
        Ok(())
    }

    /// The peer takes no more of this side's direction.
    fn stopped(&mut self, frame: &Frame) -> Result<(), Broken> {
        let id = frame.id;
        let Some(call) = self.call_of(frame)?.filter(|call| !call.outgoing.ended) else {
            return Ok(());
        };
        if call.outgoing.has_bare_end() {
            return Ok(()); // the end is on its way
        }
        // Of a call that it does not know of yet the application is told later.
        if !call.silent && call.opening.is_none() {
            self.lists.events.push_back(Event::Stopped { id });
        }
        self.abort(id, abort::STOPPED);
        Ok(())
    }

    /// The peer does not need its call any more.
    fn cancelled(&mut self, frame: &Frame) -> Result<(), Broken> {
        let id = frame.id;
        if !is_lane(id) && self.is_own(id) {
            return Err(frame.wrong_role());
        }
        let Some(call) = self.call_of(frame)? else {
            return Ok(());
        };
        let is_over = call.is_closed();
        self.change(id, |call, window| window.take(call.incoming.cut_off()));
        if !is_over {
            self.cut_off(id, Cancelled::Caller, abort::CANCELLED);
        }
        Ok(())
    }

    /// The peer lets this side send more in a call.
    fn granted(&mut self, frame: &Frame, grant: impl FnOnce(&mut Outgoing)) -> Result<(), Broken> {
        let id = frame.id;
        if let Some(call) = self.call_of(frame)? {
            grant(&mut call.outgoing);
            self.may_send(id);
        }
        Ok(())
    }
}
