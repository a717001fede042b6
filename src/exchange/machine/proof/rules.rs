//! Each rule of `docs/PROTOCOL.md`: the frames that break it, and those that are just within it.

use super::pair;
use crate::exchange::frame::{ENVELOPE_LEN, ERROR_MAX, Frame, Kind, METADATA_MAX};
use crate::exchange::machine::{Config, Machine, Opening};
use crate::exchange::metadata::Metadata;
use crate::exchange::outgoing::Message;
use crate::exchange::settings::Settings;
use crate::exchange::{MESSAGE_COST, Side};
use bytes::Bytes;
use std::time::Instant;

const BODY: u32 = 1 << 20;
const WINDOW: u64 = 64 << 10;

/// A machine whose peer has sent its settings.
fn settled(side: Side) -> Machine<()> {
    with_bodies(side, BODY)
}

/// It takes bodies of up to so many bytes.
fn with_bodies(side: Side, body: u32) -> Machine<()> {
    let settings = Settings { body, calls: 3, ..Settings::assumed() };
    let mut machine = Machine::new(side, Config { settings, ..Config::default() });
    machine.receive(Instant::now(), frame(Kind::Settings, 0).to_bytes()).unwrap();
    machine
}

fn frame(kind: Kind, id: u32) -> Frame {
    Frame::new(kind, id)
}

const REQUEST: Kind = Kind::Request { method: 0, time: 0 };
const DATA: Kind = Kind::Data { method: 0 };

/// A whole message: a request, or more of one.
fn whole(kind: Kind, id: u32, size: usize) -> Frame {
    Frame { ends_message: true, body: vec![7; size].into(), ..frame(kind, id) }
}

/// The only message of its direction.
fn only(kind: Kind, id: u32, size: usize) -> Frame {
    Frame { ends_stream: true, ..whole(kind, id, size) }
}

/// A unary request.
fn unary(id: u32) -> Frame {
    only(REQUEST, id, 3)
}

/// The first piece of a message of that many bytes.
fn first(kind: Kind, id: u32, total: u32, size: usize) -> Frame {
    Frame { total: Some(total), body: vec![7; size].into(), ..frame(kind, id) }
}

fn piece(id: u32, size: usize) -> Frame {
    Frame { body: vec![7; size].into(), ..frame(DATA, id) }
}

/// The rule that the last of these frames breaks; the ones before break none.
#[track_caller]
fn broken_by(machine: &mut Machine<()>, frames: &[Frame]) -> String {
    let (last, before) = frames.split_last().expect("a frame");
    for frame in before {
        machine.receive(Instant::now(), frame.to_bytes()).unwrap();
        machine.check();
    }
    let outcome = machine.receive(Instant::now(), last.to_bytes());
    outcome.map_or_else(|violation| violation.rule(), |()| String::new())
}

#[track_caller]
fn server(frames: &[Frame]) -> String {
    broken_by(&mut settled(Side::Server), frames)
}

/// A client with call 2 open, of which all was sent.
#[track_caller]
fn client(frames: &[Frame]) -> String {
    calling(settled(Side::Client), frames)
}

/// The same rule is broken whether the request was queued or sent at once.
#[track_caller]
fn calling(mut machine: Machine<()>, frames: &[Frame]) -> String {
    pair::frames(&mut machine, Instant::now());
    let mut queues = machine.clone();
    let message = Some(Message::new(Bytes::from_static(b"ask"), true));
    queues.open(Opening { message, ..Opening::default() }, ()).unwrap();
    pair::frames(&mut queues, Instant::now());
    let at_once = machine.open_now(0, 3, None, Instant::now(), |_| Ok::<_, ()>(()));
    assert_eq!(at_once, Some(Ok(2)));
    let rule = broken_by(&mut queues, frames);
    assert_eq!(broken_by(&mut machine, frames), rule, "a request that was sent at once");
    rule
}

#[test]
fn e_envelopes() {
    let raw = |bytes: &[u8]| {
        let outcome = settled(Side::Server).receive(Instant::now(), Bytes::copy_from_slice(bytes));
        outcome.map_or_else(|violation| violation.rule(), |()| String::new())
    };
    let drain = frame(Kind::Drain, 0).to_bytes();
    assert_eq!(raw(&drain), "");
    assert_eq!(raw(&drain[..ENVELOPE_LEN - 1]), "E1");
    let with = |at: usize, value: u8| {
        let mut bytes = drain.to_vec();
        bytes[at] = value;
        raw(&bytes)
    };
    assert_eq!([with(0, 0), with(0, 12), with(0, 127), with(0, 128)], ["E2", "E2", "E2", ""]);
    assert_eq!([with(2, 1), with(8, 1), with(15, 1)], ["E3"; 3]);
    assert_eq!([with(1, 1), with(1, 8), with(1, 16), with(1, 128)], ["E4"; 4]);
    // Frames of calls of one message each way have the same rules.
    let mut calls = settled(Side::Client);
    pair::frames(&mut calls, Instant::now());
    assert!(calls.open_now(0, 3, None, Instant::now(), |_| Ok::<_, ()>(())).is_some());
    for (machine, frame) in [(settled(Side::Server), unary(2)), (calls, only(DATA, 2, 3))] {
        let with = |at: usize, value: u8| {
            let mut bytes = frame.to_bytes().to_vec();
            bytes[at] = value;
            let outcome = machine.clone().receive(Instant::now(), bytes.into());
            outcome.map_or_else(|violation| violation.rule(), |()| String::new())
        };
        assert_eq!([with(2, 0), with(2, 1), with(3, 1), with(1, 19)], ["", "E3", "E3", "E4"]);
        let time = if frame.kind == REQUEST { "" } else { "E3" };
        assert_eq!([with(12, 1), with(15, 1)], [time; 2]);
    }
    let short = Frame { total: Some(9), ..frame(DATA, 2) }.to_bytes();
    assert_eq!(raw(&short[..short.len() - 1]), "E5");
    let body = Frame { body: Bytes::from_static(b"x"), ..frame(Kind::Drain, 0) };
    assert_eq!(raw(&body.to_bytes()), "E7");
}

#[test]
fn e6_metadata() {
    let with = |metadata: Bytes| server(&[Frame { metadata, ..unary(2) }]);
    let pair = Metadata::default().with(b"k", &[0; METADATA_MAX - 4]).unwrap();
    assert_eq!(with(pair.as_bytes().clone()), "");
    assert_eq!(with(vec![1; METADATA_MAX + 1].into()), "E6");
    assert_eq!(with(Bytes::from_static(b"\x05ab")), "E6");
    assert_eq!(with(Bytes::from_static(b"\x00\x00\x00")), "E6");
}

#[test]
fn e7_and_e8_errors() {
    let error =
        |body: Vec<u8>| client(&[Frame { body: body.into(), ..frame(Kind::Error { code: 1 }, 2) }]);
    assert_eq!(error(vec![0; 2]), "");
    assert_eq!(error(vec![0; ERROR_MAX + 2]), "");
    assert_eq!(error(vec![0; ERROR_MAX + 3]), "E7");
    assert_eq!(error(vec![0]), "E8");
    assert_eq!(error(vec![2, 0, b'x']), "E8");
}

#[test]
fn s_settings() {
    let new = || Machine::<()>::new(Side::Server, Config::default());
    let with =
        |body: &'static [u8]| Frame { body: Bytes::from_static(body), ..frame(Kind::Settings, 0) };
    assert_eq!(broken_by(&mut new(), &[unary(2)]), "S1");
    assert_eq!(broken_by(&mut new(), &[with(b""), unary(2)]), "");
    assert_eq!(server(&[with(b"")]), "S2");
    assert_eq!(broken_by(&mut new(), &[with(b"\x01\x00\x04")]), "S3");
    assert_eq!(broken_by(&mut new(), &[with(b"\x01\x00\x04\x00abc")]), "S3");
    assert_eq!(broken_by(&mut new(), &[with(b"\x05\x00\x00\x00")]), "S4");
    assert_eq!(broken_by(&mut new(), &[with(b"\x05\x80\x00\x00")]), "");
    assert_eq!(broken_by(&mut new(), &[with(b"\x01\x00\x03\x00abc")]), "S5");
}

#[test]
fn i_ids() {
    assert_eq!(server(&[unary(3)]), "I1");
    assert_eq!(server(&[unary(0)]), "I1");
    assert_eq!(client(&[unary(2)]), "I1");
    assert_eq!(client(&[unary(3)]), "");
    assert_eq!(server(&[unary(4), unary(4)]), "I2");
    assert_eq!(server(&[unary(4), unary(2)]), "I2");
    assert_eq!(server(&[unary(4), unary(8)]), "");
    // Three steps lead once around all ids, to one that is open.
    let around = [unary(4), unary(0x5000_0000), unary(0xA000_0000), unary(4)];
    assert_eq!(server(&around), "I2");
    let mut goes_on = settled(Side::Server);
    pair::frames(&mut goes_on, Instant::now());
    for frame in &around[..3] {
        assert_eq!(broken_by(&mut goes_on, std::slice::from_ref(frame)), "");
        if frame.id != 4 {
            assert!(goes_on.answer_now(frame.id, 0).is_some());
        }
    }
    assert_eq!(broken_by(&mut goes_on, &[unary(4)]), "I2", "there would be room for it");
    for kind in [DATA, Kind::Abort { code: 1 }, Kind::Stop, Kind::Cancel, Kind::Credit { limit: 1 }]
    {
        assert_eq!(server(&[unary(4), frame(kind, 6)]), "I3", "{kind:?}");
        // Who may cancel is checked first.
        let rule = if kind == Kind::Cancel { "I5" } else { "I3" };
        assert_eq!(server(&[frame(kind, 3)]), rule, "{kind:?}");
    }
    for kind in [Kind::Drain, Kind::ConnectionCredit { limit: 1 }] {
        assert_eq!([server(&[frame(kind, 2)]), server(&[frame(kind, 0)])], ["I4", ""]);
    }
    let settings = frame(Kind::Settings, 2);
    assert_eq!(broken_by(&mut Machine::new(Side::Server, Config::default()), &[settings]), "I4");
    let error = Frame { body: vec![0; 2].into(), ..frame(Kind::Error { code: 1 }, 2) };
    assert_eq!(server(&[unary(2), error]), "I5");
    assert_eq!(client(&[frame(Kind::Cancel, 2)]), "I5");
}

#[test]
fn m_messages() {
    let ended = |id| Frame { ends_stream: true, ..frame(DATA, id) };
    assert_eq!(server(&[unary(2), piece(2, 1)]), "M1");
    assert_eq!(server(&[unary(2), frame(Kind::Abort { code: 1 }, 2)]), "M1");
    assert_eq!(server(&[unary(2), only(DATA, 2, 1)]), "M1", "its own call has no reply");
    assert_eq!(client(&[only(DATA, 2, 1), whole(DATA, 2, 1)]), "M1");
    assert_eq!(client(&[only(DATA, 2, 1), only(DATA, 2, 1)]), "M1", "a second reply");
    assert_eq!(server(&[Frame { kind: REQUEST, ..piece(2, 1) }]), "M2");
    let begun = || first(REQUEST, 2, 10, 4);
    assert_eq!(server(&[begun(), first(DATA, 2, 6, 4)]), "M2");
    assert_eq!(server(&[Frame { total: Some(3), ..unary(2) }]), "M2");
    let rest = |size| Frame { ends_message: true, ..piece(2, size) };
    assert_eq!([server(&[begun(), rest(6)]), server(&[begun(), piece(2, 5), rest(1)])], ["", ""]);
    assert_eq!([server(&[begun(), rest(5)]), server(&[begun(), rest(7)])], ["M3", "M3"]);
    assert_eq!([server(&[begun(), piece(2, 6)]), server(&[first(REQUEST, 2, 4, 4)])], ["M3", "M3"]);
    assert_eq!([server(&[begun(), piece(2, 0)]), server(&[begun(), rest(0)])], ["M4", "M4"]);
    assert_eq!(server(&[whole(REQUEST, 2, 1), frame(DATA, 2)]), "M4");
    assert_eq!(server(&[first(REQUEST, 2, 10, 0)]), "M4", "it needs no announcement");
    assert_eq!(server(&[begun(), ended(2)]), "M5");
    assert_eq!(server(&[whole(REQUEST, 2, 1), ended(2)]), "");
    let error = Frame { body: vec![0; 2].into(), ..frame(Kind::Error { code: 1 }, 2) };
    assert_eq!(client(&[first(DATA, 2, 10, 4), error]), "M5");
    let pair = Metadata::default().with(b"k", b"v").unwrap();
    assert_eq!(server(&[begun(), Frame { metadata: pair.as_bytes().clone(), ..rest(6) }]), "M6");
    for with_method in [whole, only] {
        assert_eq!(client(&[with_method(Kind::Data { method: 7 }, 2, 1)]), "M6");
    }
    assert_eq!(server(&[first(REQUEST, 2, BODY + 1, 1)]), "M7");
    assert_eq!(server(&[first(REQUEST, 2, u32::MAX, 0)]), "M7");
    for (size, rule) in [(100, ""), (101, "M7")] {
        let server = with_bodies(Side::Server, 100);
        assert_eq!(broken_by(&mut server.clone(), &[only(REQUEST, 2, size)]), rule);
        let metadata = pair.as_bytes().clone();
        let frame = Frame { metadata, ..only(REQUEST, 2, size) };
        assert_eq!(broken_by(&mut server.clone(), &[frame]), rule);
        assert_eq!(calling(with_bodies(Side::Client, 100), &[only(DATA, 2, size)]), rule);
    }
}

#[test]
fn f_credit() {
    let most = (WINDOW - MESSAGE_COST) as usize;
    let sized = |size| whole(REQUEST, 2, size);
    assert_eq!([server(&[sized(most)]), server(&[sized(most + 1)])], ["", "F1"]);
    let fits = |frame: fn(usize) -> Frame| [server(&[frame(most)]), server(&[frame(most + 1)])];
    assert_eq!(fits(|size| only(REQUEST, 2, size)), ["", "F1"]);
    let replies = |size| client(&[only(DATA, 2, size)]);
    assert_eq!([replies(most), replies(most + 1)], ["", "F1"]);
    let empty = |count: usize| {
        let mut frames = vec![sized(0); 1];
        frames.resize(count, whole(DATA, 2, 0));
        server(&frames)
    };
    let fits = (WINDOW / MESSAGE_COST) as usize;
    assert_eq!([empty(fits), empty(fits + 1)], ["", "F1"], "messages without bytes cost credit");
    let full = |id| whole(REQUEST, id, most);
    // The connection has credit for four windows of a call; of the calls three are begun.
    let four = [full(2), full(4), full(6), whole(DATA, 0, most)];
    assert_eq!(server(&four), "");
    assert_eq!(server(&[&four[..], &[whole(REQUEST, 8, 0)]].concat()), "F2");
    // Three calls are over that were begun, so that another one is.
    let mut ending = settled(Side::Server);
    pair::frames(&mut ending, Instant::now());
    let full = |id| only(REQUEST, id, most);
    for id in [2, 4, 6, 8] {
        assert_eq!(broken_by(&mut ending, &[full(id)]), "");
        assert!(ending.answer_now(id, 0).is_some());
    }
    assert_eq!(broken_by(&mut ending, &[only(REQUEST, 10, 0)]), "F2");
    let announced = first(REQUEST, 2, BODY, 0);
    assert_eq!(server(&[announced.clone(), piece(2, 1)]), "F3");
    let mut admitting = settled(Side::Server);
    assert_eq!(broken_by(&mut admitting, &[announced]), "");
    admitting.admit(2);
    assert_eq!(broken_by(&mut admitting, &[piece(2, 1)]), "");
}

#[test]
fn l_limits() {
    let mut machine = settled(Side::Server);
    // Three calls are begun. Of those that are refused, as many may go on as were assumed.
    let refused = Settings::assumed().calls;
    let open = |number: u32| frame(REQUEST, 2 * number);
    let all: Vec<Frame> = (1..=3 + refused).map(open).collect();
    assert_eq!(broken_by(&mut machine, &all), "");
    assert_eq!(broken_by(&mut machine, &[open(4 + refused)]), "L1");
    let ended = Frame { ends_stream: true, ..whole(DATA, 0, 1) };
    assert_eq!([server(&[ended]), server(&[frame(Kind::Stop, 0)])], ["L2", "L2"]);
    assert_eq!(server(&[whole(Kind::Data { method: 7 }, 0, 1)]), "");
    assert_eq!(server(&[whole(DATA, 1, 1)]), "I5", "the other side's notifications");
}
