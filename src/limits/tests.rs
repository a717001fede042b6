//! Limits outside the range of the wire or the system are clamped.

use super::*;

#[test]
fn times_that_no_clock_can_hold_are_clamped() {
    let step = Duration::from_nanos(1);
    let forever = Limits::FOREVER;
    for (asked, applied) in
        [(forever - step, forever - step), (forever, forever), (Duration::MAX, forever)]
    {
        let limits = Limits {
            write_stall: asked,
            closing: asked,
            preface: asked,
            message_time: asked,
            idle: Some(asked),
            connect: asked,
            start: asked,
            call: asked,
            child_end: asked,
            drain: asked,
            ..Limits::default()
        };
        let limits = limits.clamped();
        assert_eq!(limits.idle, Some(applied));
        let Limits { write_stall, closing, preface, message_time, connect, start, .. } = limits;
        let Limits { call, drain, .. } = limits;
        for time in [write_stall, closing, preface, message_time, connect, start, call, drain] {
            assert_eq!(time, applied);
        }
    }
}

#[test]
fn limits_are_clamped_to_what_can_be_held() {
    let mut limits = Limits::default();
    for (asked, applied) in [
        (Limits::MESSAGE_MAX - 1, Limits::MESSAGE_MAX - 1),
        (Limits::MESSAGE_MAX, Limits::MESSAGE_MAX),
        (Limits::MESSAGE_MAX + 1, Limits::MESSAGE_MAX),
    ] {
        limits.message = asked;
        assert_eq!(limits.clamped().message, applied);
    }
    for (asked, applied) in [(0, 1), (1, 1), (2, 2)] {
        limits.connections = asked;
        limits.queued = asked;
        limits.in_flight = asked;
        let applied_limits = limits.clamped();
        assert_eq!(applied_limits.connections, applied);
        assert_eq!(applied_limits.queued, applied);
        assert_eq!(applied_limits.in_flight, applied);
    }
}

#[test]
fn the_reserve_is_at_most_half_and_each_user_has_a_connection() {
    for (connections, asked, applied) in [(8, 3, 3), (8, 4, 4), (8, 5, 4), (1, 1, 0)] {
        let limits = Limits { connections, connections_reserved: asked, ..Limits::default() };
        assert_eq!(limits.clamped().connections_reserved, applied, "{connections}, {asked}");
    }
    for (asked, applied) in [(0, 1), (1, 1), (2, 2)] {
        let limits = Limits { connections_per_user: asked, ..Limits::default() };
        assert_eq!(limits.clamped().connections_per_user, applied);
    }
}

#[test]
fn windows_are_at_least_what_every_peer_assumes() {
    let assumed = Settings::assumed();
    let (call, all) = (assumed.call_window as usize, assumed.connection_window as usize);
    for (asked, applied) in [(call - 1, call), (call, call), (call + 1, call + 1)] {
        let limits = Limits { call_window: asked, ..Limits::default() }.clamped();
        assert_eq!(limits.call_window, applied);
    }
    for (asked, applied) in [(all - 1, all), (all, all), (all + 1, all + 1)] {
        let limits = Limits { call_window: 0, connection_window: asked, ..Limits::default() };
        assert_eq!(limits.clamped().connection_window, applied);
    }
    let limits = Limits { call_window: 9 << 20, ..Limits::default() }.clamped();
    assert_eq!(limits.connection_window, 9 << 20, "at least the window of a call");
}

#[test]
fn the_memory_holds_some_messages_whatever_their_size() {
    for (asked, applied) in [(399, 400), (400, 400), (401, 401)] {
        let limits = Limits { message: 100, memory: asked, ..Limits::default() };
        assert_eq!(limits.clamped().memory, applied);
    }
    for (asked, applied) in [(199, 200), (200, 200), (201, 201)] {
        let limits = Limits { message: 100, memory_per_user: asked, ..Limits::default() };
        assert_eq!(limits.clamped().memory_per_user, applied);
    }
}
