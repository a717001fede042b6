//! What is sent for each rule: frames that break it, and frames that just fit.

use crate::conformance_peer::wire::{
    ABORT, ADMIT, CANCEL, CONNECTION_CREDIT, CREDIT, DATA, DRAIN, ERROR, Frame, REQUEST, SETTINGS,
    STOP, Said, frame, setting, unary,
};

/// What the other side must do then.
pub enum Must {
    /// It ends the connection, with a goodbye of code 1 or 3 if it says one.
    Close,
    /// It goes on.
    GoOn,
    /// It sends this kind of frame with this code for this call. What is sent afterwards fits.
    Answer(u8, u16, u32, Vec<Frame>),
}

pub struct Case {
    pub rule: &'static str,
    pub what: &'static str,
    /// The frames before are settings without an entry.
    pub is_settled: bool,
    pub frames: Vec<Frame>,
    pub must: Must,
}

fn case(rule: &'static str, what: &'static str, frames: Vec<Frame>, must: Must) -> Case {
    Case { rule, what, is_settled: true, frames, must }
}

fn bad(rule: &'static str, what: &'static str, frames: &[Frame]) -> Case {
    case(rule, what, frames.to_vec(), Must::Close)
}

fn fits(rule: &'static str, what: &'static str, frames: &[Frame]) -> Case {
    case(rule, what, frames.to_vec(), Must::GoOn)
}

fn first(case: Case) -> Case {
    Case { is_settled: false, ..case }
}

/// Envelopes, fields and settings. The calls of the tester have ids as `own`.
fn of_frames(own: u32) -> Vec<Case> {
    let drain = || frame(DRAIN, 0);
    let call = || frame(REQUEST, own);
    let begun = || call().total(5).body(b"ab");
    let data = || frame(DATA, own);
    let settings = |body: &[u8]| frame(SETTINGS, 0).body(body);
    vec![
        bad("E1", "a frame of 15 bytes", &[drain().cut(1)]),
        bad("E1", "a frame without bytes", &[drain().cut(16)]),
        bad("E2", "kind 0", &[frame(0, 0)]),
        bad("E2", "kind 12", &[frame(12, 0)]),
        bad("E2", "kind 127", &[frame(127, 0)]),
        fits("D2", "kinds 128 and 255", &[frame(128, 7), frame(255, 3).flags(99).code(1).sized(9)]),
        bad("E3", "a stop with a code", &[unary(own), frame(STOP, own).code(1)]),
        bad("E3", "data with a second number", &[begun(), data().numbers(0, 1).body(b"c")]),
        bad("E3", "a drain with a number", &[drain().numbers(1, 0)]),
        bad("E4", "a cancel with a flag", &[unary(own), frame(CANCEL, own).flags(1)]),
        bad("E4", "data with the flag 16", &[begun(), data().flags(16).body(b"c")]),
        bad("E5", "a frame that ends in its total", &[call().total(5).cut(1)]),
        bad("E5", "a frame that ends in its metadata", &[call().metadata(b"\x01k\x01\0v").cut(1)]),
        bad("E6", "metadata without bytes", &[unary(own).metadata(b"")]),
        bad("E6", "metadata that are no pair", &[unary(own).metadata(b"\x05ab")]),
        bad("E6", "a key without bytes", &[unary(own).metadata(b"\0\0\0")]),
        bad("E6", "metadata of 4097 bytes", &[unary(own).metadata(&[1; 4097])]),
        bad("E7", "a cancel with a body", &[unary(own), frame(CANCEL, own).body(b"x")]),
        bad("E7", "a drain with a body", &[drain().body(b"x")]),
        first(bad("S1", "a request before the settings", &[unary(own)])),
        first(bad("S1", "an ignorable frame before the settings", &[frame(128, 0)])),
        bad("S2", "settings twice", &[settings(b"")]),
        first(bad("S3", "an entry that ends in its length", &[settings(b"\x01\0\x04")])),
        first(bad("S3", "an entry that ends in its value", &[settings(b"\x01\0\x04\0abc")])),
        first(bad("S4", "the setting 5", &[settings(&setting(5, b""))])),
        first(bad("S4", "the setting 7FFF", &[settings(&setting(0x7FFF, b"x"))])),
        first(fits("D2", "the setting 8000", &[settings(&setting(0x8000, b"x"))])),
        first(bad("S5", "a body limit of 3 bytes", &[settings(&setting(1, b"abc"))])),
        first(bad("S5", "a window of 4 bytes", &[settings(&setting(3, b"abcd"))])),
        first(bad("I4", "settings with an id", &[frame(SETTINGS, 2)])),
    ]
}

/// Ids, messages and lanes.
fn of_calls(own: u32) -> Vec<Case> {
    let drain = || frame(DRAIN, 0);
    let call = || frame(REQUEST, own);
    let begun = || call().total(5).body(b"ab");
    let data = || frame(DATA, own);
    let lane = own & 1;
    vec![
        bad("I1", "a call with an id of the other side", &[unary((own ^ 1) | 64)]),
        bad("I1", "a call with the id of a lane", &[unary(lane)]),
        bad("I2", "the same id twice", &[unary(own), unary(own)]),
        bad("I2", "an id that is not later", &[unary(own + 8), unary(own + 6)]),
        bad(
            "I2",
            "an id from half the way around",
            &[unary(own), unary(own.wrapping_add(1 << 31))],
        ),
        bad("I3", "data for no call", &[frame(DATA, own + 90).flags(3)]),
        bad("I3", "a stop for no call", &[frame(STOP, own + 90)]),
        bad("I3", "a cancel for no call", &[frame(CANCEL, own + 90)]),
        bad("I3", "credit for no call", &[frame(CREDIT, own + 90).limit(1)]),
        bad("I3", "an admit for no call", &[frame(ADMIT, own + 90)]),
        bad("I4", "a drain with an id", &[frame(DRAIN, 2)]),
        bad("I4", "connection credit with an id", &[frame(CONNECTION_CREDIT, 2).limit(1)]),
        bad("I5", "data on the other side's lane", &[frame(DATA, lane ^ 1).flags(1).body(b"x")]),
        bad("I5", "credit for the own lane", &[frame(CREDIT, lane).limit(1)]),
        bad("I5", "an error for the own call", &[begun(), frame(ERROR, own).code(1).body(b"\0\0")]),
        bad("M1", "data after the end", &[unary(own), data().flags(3).body(b"x")]),
        bad("M1", "an abort after the end", &[unary(own), frame(ABORT, own).code(1)]),
        bad("M2", "a first piece without the total", &[call().body(b"x")]),
        bad("M2", "a total with a second piece", &[begun(), data().total(3).body(b"c")]),
        bad("M2", "a total with a whole message", &[call().flags(3).total(3).body(b"ask")]),
        bad("M3", "a sum over the total", &[begun(), data().flags(3).body(b"cdef")]),
        bad("M3", "a sum below the total", &[begun(), data().flags(3).body(b"cd")]),
        bad("M3", "the last piece without its flag", &[begun(), data().body(b"cde")]),
        fits("M3", "pieces with exactly the total", &[begun(), data().flags(3).body(b"cde")]),
        bad("M4", "an empty piece", &[begun(), data()]),
        bad("M4", "the announcement of a small message", &[call().total(1)]),
        bad("M5", "the end inside a message", &[begun(), data().flags(2)]),
        fits("M5", "an abort inside a message", &[begun(), frame(ABORT, own).code(1)]),
        bad(
            "M6",
            "metadata of a second piece",
            &[begun(), data().metadata(b"\x01k\0\0").body(b"c")],
        ),
        bad("M6", "a method of data in a call", &[begun(), data().numbers(7, 0).body(b"c")]),
        bad("L2", "the end of a lane", &[frame(DATA, lane).flags(2)]),
        bad("L2", "an abort of a lane", &[frame(ABORT, lane).code(1)]),
        bad("L2", "a stop of a lane", &[frame(STOP, lane)]),
        fits("D11", "a notification", &[frame(DATA, lane).flags(1).numbers(7, 0).body(b"x")]),
        fits("D7", "a lower limit", &[frame(CONNECTION_CREDIT, 0).limit(1)]),
        fits("D15", "a drain", &[drain()]),
    ]
}

/// Against a server with these settings.
pub fn of_client(said: &Said) -> Vec<Case> {
    let begun = || frame(REQUEST, 2).total(5).body(b"ab");
    let late = [STOP, CANCEL, ADMIT].map(|kind| frame(kind, 2));
    let mut cases = [of_frames(2), of_calls(2)].into_iter().flatten().collect::<Vec<Case>>();
    let answers = |rule, what, frames: &[Frame], kind, code, then: &[Frame]| {
        case(rule, what, frames.to_vec(), Must::Answer(kind, code, 2, then.to_vec()))
    };
    let aborted = frame(ABORT, 2).code(1);
    cases.extend([
        fits("I2", "ids that are left out", &[unary(2), unary(8)]),
        fits("E6", "metadata of 4096 bytes", &[unary(2).metadata(&pair(4096))]),
        answers("D5", "stop, cancel and admit that are late", &[unary(2)], DATA, 0, &late),
        answers("D10", "a cancel", &[begun(), frame(CANCEL, 2)], ABORT, 2, &[]),
        answers("D10", "an abort of the request", &[begun(), aborted], ABORT, 2, &[]),
        answers("D13", "a deadline", &[begun().numbers(0, 50)], ABORT, 4, &[]),
        answers("D4", "240 bytes at once", &[unary(2).sized(240)], DATA, 0, &[]),
    ]);
    let Said { body, window, connection, frame: largest, .. } = *said;
    if body < u64::from(u32::MAX) {
        let over = frame(REQUEST, 2).total(body as u32 + 1).body(b"x");
        cases.push(bad("M7", "a body of one byte more", &[over]));
    }
    let total = (window / 2 + 1).saturating_sub(64) as u32;
    if u64::from(total) <= body {
        let mut pieces = vec![b'x'; total as usize];
        let mut rest = Vec::new();
        while !pieces.is_empty() {
            let piece = pieces.split_off(pieces.len().saturating_sub(largest.min(60_000)));
            let flags = if pieces.is_empty() { 3 } else { 0 };
            rest.push(frame(DATA, 2).flags(flags).body(&piece));
        }
        cases.push(answers(
            "D8",
            "an announcement",
            &[frame(REQUEST, 2).total(total)],
            ADMIT,
            0,
            &rest,
        ));
    }
    if window - 63 <= body {
        let of_cost = |id: u32, cost: u64| frame(REQUEST, id).total(cost as u32 - 64).body(b"x");
        cases.push(bad("F1", "a message over the credit of the call", &[of_cost(2, window + 1)]));
        let all = connection / window;
        let mut full: Vec<Frame> = (1..=all).map(|at| of_cost(2 * at as u32, window)).collect();
        let over = of_cost(2 * all as u32 + 2, (connection - all * window + 1).max(66));
        cases.push(fits("F2", "messages within the credit", &full[..full.len() - 1]));
        full.push(over);
        cases.push(bad("F2", "messages over the credit of the connection", &full));
    }
    cases
}

/// One pair of exactly so many bytes.
fn pair(size: usize) -> Vec<u8> {
    let len = (size - 4) as u16;
    [&[1, b'k'][..], &len.to_le_bytes(), &vec![b'v'; size - 4]].concat()
}

/// Against a client, which has made the call 2 and waits for its reply.
pub fn of_server() -> Vec<Case> {
    let error = |body: &[u8]| frame(ERROR, 2).code(1).body(body);
    let begun = || frame(DATA, 2).total(5).body(b"ab");
    let mut cases = [of_frames(3), of_calls(3)].into_iter().flatten().collect::<Vec<Case>>();
    cases.extend([
        bad("I3", "a reply to no call", &[frame(DATA, 96).flags(3)]),
        bad("I3", "an error for no call", &[frame(ERROR, 96).code(1).body(b"\0\0")]),
        bad("I5", "a cancel of the client's call", &[frame(CANCEL, 2)]),
        bad("M3", "a reply with fewer bytes", &[begun(), frame(DATA, 2).flags(3).body(b"c")]),
        bad("M4", "an empty piece of a reply", &[begun(), frame(DATA, 2)]),
        bad("M5", "an error inside a message", &[begun(), error(b"\0\0")]),
        bad("M6", "a method in a reply", &[frame(DATA, 2).flags(1).numbers(7, 0)]),
        bad("M7", "the largest total", &[frame(DATA, 2).total(u32::MAX).body(b"x")]),
        bad("E4", "an error with a flag", &[error(b"\0\0").flags(1)]),
        bad("E8", "an error without its text", &[error(b"\x03\0ab")]),
        bad("E7", "an error of 16387 bytes", &[error(&[0; 16_387])]),
        fits("D5", "late credit for the request", &[frame(CREDIT, 2).limit(1 << 20)]),
        fits("D5", "a late stop of the request", &[frame(STOP, 2)]),
    ]);
    cases
}
