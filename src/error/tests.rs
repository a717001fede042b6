//! The fault, the progress and the text of each error.

use super::*;

fn source() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn goodbye(code: u16) -> CloseReason {
    FramingError::Goodbye { code, text: "bye".into() }.into()
}

fn answered(code: u16) -> Error {
    let reply = ErrorReply::new(code, "a reason");
    Error::Answered { endpoint: "the notes server".into(), reply }
}

fn closed(reason: CloseReason) -> Error {
    let progress = Progress::of(&reason);
    Error::closed(&"the notes server".into(), reason, progress)
}

/// Each error with its fault, and whether the request was certainly not begun.
#[test]
fn each_error_has_a_fault_and_names_the_endpoint() {
    let endpoint: Arc<str> = "the notes server".into();
    let too_large = FramingError::TooLarge { size: 9, limit: 8 };
    let other_layer = FramingError::WrongLayer { theirs: 0, ours: crate::framing::Layer::Calls };
    let other_version = FramingError::Version { theirs: 2..=3, ours: 1..=1 };
    let misuse = Error::Misuse { endpoint: endpoint.clone(), problem: "no".into() };
    let late = |progress| Error::late(&endpoint, Duration::ZERO, Instant::now(), progress);
    let waited = Duration::ZERO;
    let cases = [
        (Error::no_server(&endpoint, source()), Fault::Nobody, true),
        (Error::busy(&endpoint, Duration::ZERO), Fault::Limit, true),
        (Error::AlreadyServed { endpoint: endpoint.clone() }, Fault::System, true),
        (Error::system(&endpoint, "reading", source()), Fault::System, true),
        (Error::refused(&endpoint, too_large.clone(), Bytes::new()), Fault::Caller, true),
        (misuse, Fault::Caller, false),
        (late(Progress::Unknown), Fault::Limit, false),
        (late(Progress::NoRequest), Fault::Limit, false),
        (late(Progress::NotBegun), Fault::Limit, true),
        (answered(ErrorReply::FAILED), Fault::Peer, false),
        (answered(ErrorReply::UNANSWERED), Fault::Peer, false),
        (answered(ErrorReply::TOO_MANY_REQUESTS), Fault::Limit, true),
        (answered(ErrorReply::STOPPING), Fault::Nobody, true),
        (answered(ErrorReply::REPLY_TOO_LARGE), Fault::Limit, false),
        (answered(ErrorReply::REPLY_DROPPED), Fault::Limit, false),
        (answered(ErrorReply::LAGGED), Fault::Limit, false),
        (answered(ErrorReply::BUSY), Fault::Limit, true),
        (answered(ErrorReply::TOO_NESTED), Fault::Limit, true),
        (answered(ErrorReply::PARTS_REFUSED), Fault::Caller, true),
        (answered(ErrorReply::NOT_ALLOWED), Fault::Caller, true),
        (answered(ErrorReply::NO_METHOD), Fault::Caller, true),
        (answered(ErrorReply::REPLY_IN_PARTS), Fault::Caller, false),
        (answered(404), Fault::Peer, false),
        (closed(CloseReason::PeerClosed), Fault::Nobody, false),
        (closed(CloseReason::Local), Fault::Nobody, false),
        (closed(goodbye(GoodbyeCode::STOPPING)), Fault::Nobody, false),
        (closed(goodbye(GoodbyeCode::PROTOCOL)), Fault::Caller, false),
        (closed(goodbye(GoodbyeCode::VERSION)), Fault::Peer, true),
        (closed(goodbye(GoodbyeCode::TOO_LARGE)), Fault::Caller, false),
        (closed(goodbye(GoodbyeCode::UNREAD)), Fault::Limit, false),
        (closed(goodbye(GoodbyeCode::TOO_SLOW)), Fault::Limit, false),
        (closed(goodbye(GoodbyeCode::IDLE)), Fault::Limit, false),
        (closed(goodbye(GoodbyeCode::NOT_AUTHORIZED)), Fault::System, true),
        (closed(goodbye(GoodbyeCode::BUSY)), Fault::Limit, true),
        (closed(goodbye(200)), Fault::Peer, false),
        (closed(too_large.into()), Fault::Limit, false),
        (closed(other_layer.into()), Fault::Caller, true),
        (closed(other_version.into()), Fault::Peer, true),
        (closed(FramingError::CutOff { have: 3 }.into()), Fault::Peer, false),
        (closed(CloseReason::CutOffUnread { have: 3, unread: waited }), Fault::Limit, false),
        (closed(CloseReason::Protocol("nonsense".into())), Fault::Peer, false),
        (closed(CloseReason::Unread { waited }), Fault::Limit, false),
        (closed(CloseReason::Slow { what: "message", waited }), Fault::Limit, false),
        (closed(CloseReason::Idle { waited }), Fault::Limit, false),
        (closed(source().into()), Fault::System, false),
    ];
    for (error, fault, not_begun) in cases {
        assert_eq!((error.fault(), error.is_not_begun()), (fault, not_begun), "{error}");
        assert!(error.to_string().contains("the notes server"), "{error}");
        // What `main` prints when it returns an error.
        assert_eq!(format!("{error:?}"), error.to_string());
        // The cause is in the text once.
        assert!(std::error::Error::source(&error).is_none(), "{error}");
    }
}

/// They could forge a line in a log, or move the cursor.
#[test]
fn a_peers_text_is_printed_without_control_characters() {
    let text = "bye\n2026-01-01 root logged in\u{1b}[2J";
    let goodbye = |code| FramingError::Goodbye { code, text: text.into() };
    let endpoint: Arc<str> = "the notes server".into();
    let errors = [
        closed(goodbye(200).into()),
        closed(goodbye(GoodbyeCode::BUSY).into()),
        Error::Answered { endpoint, reply: ErrorReply::new(404, text) },
    ];
    for error in errors {
        let printed = error.to_string();
        assert!(!printed.contains(char::is_control), "{printed:?}");
        assert!(printed.contains("root logged in"), "{printed:?}");
    }
}

#[test]
fn starts_and_reconnects_that_fail_have_the_fault_of_their_reason() {
    let endpoint: Arc<str> = "the notes server".into();
    let not_started = |problem| Error::NotStarted { endpoint: endpoint.clone(), problem };
    let program = || "a program".to_owned();
    let not_run = StartError::NotRun { program: program(), cause: source() };
    let too_late = StartError::Late {
        program: Some(program()),
        after: Duration::ZERO,
        has_ended: false,
        stderr: Vec::new(),
    };
    let gave_up = |last: Error, progress| {
        let last = last.into();
        Error::GaveUp { tries: 2, time: None, last, progress }
    };
    let cases = [
        (not_started(not_run), Fault::System, true),
        (not_started(StartError::Hook { cause: source() }), Fault::System, true),
        (
            not_started(StartError::Log { path: "/a/log".into(), cause: source() }),
            Fault::System,
            true,
        ),
        (
            not_started(StartError::Directory { path: "/a".into(), cause: source() }),
            Fault::System,
            true,
        ),
        (not_started(too_late), Fault::Limit, true),
        (gave_up(answered(404), Progress::Unknown), Fault::Peer, false),
        (gave_up(Error::no_server(&endpoint, source()), Progress::NotBegun), Fault::Nobody, true),
    ];
    for (error, fault, not_begun) in cases {
        assert_eq!((error.fault(), error.is_not_begun()), (fault, not_begun), "{error}");
        assert!(error.to_string().contains("the notes server"), "{error}");
    }
}
