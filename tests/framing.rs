//! Properties of this crate's framing: whatever is sent arrives, however it is cut; whatever is
//! damaged is found, or was really sent.

mod corpus;
mod framing_cases;
#[path = "framing_cases/random.rs"]
mod random;
#[path = "framing_cases/scripted.rs"]
mod scripted;

use bytes::{Bytes, BytesMut};
use framing_cases::LIMIT;
use msgpipe::framing::{Decoder, Framing, FramingError, Layer, Native, SendQueue};
use proptest::prelude::*;
use random::{damaged, whole};

proptest! {
    #[test]
    fn any_cut_of_any_messages_gives_the_same_messages(case in whole()) {
        case.check();
    }

    #[test]
    fn any_damage_ends_with_a_named_error_or_with_messages_that_were_sent(case in damaged()) {
        case.check();
    }

    /// The fuzzer runs the same function for longer.
    #[test]
    fn any_script_of_a_stream_comes_out_as_the_protocol_says(
        script in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        scripted::check(&script);
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        with_preface: bool,
    ) {
        let mut input = BytesMut::new();
        if with_preface {
            input.extend_from_slice(&begun());
        }
        input.extend_from_slice(&bytes);
        let mut decoder = native().decoder();
        while let Ok(Some(message)) = decoder.decode(&mut input) {
            prop_assert!(message.len() <= bytes.len());
        }
    }
}

fn native() -> Native {
    Native::new(Layer::Messages, LIMIT)
}

/// The preface.
fn begun() -> Bytes {
    let mut queue = SendQueue::default();
    native().encoder().begin(&mut queue);
    queue.to_bytes()
}

/// A decoder that has read the preface.
fn begun_decoder() -> Box<dyn Decoder> {
    let mut decoder = native().decoder();
    assert_eq!(decoder.decode(&mut BytesMut::from(&begun()[..])), Ok(None));
    decoder
}

fn frame(body: &[u8]) -> Bytes {
    let mut queue = SendQueue::default();
    native().encoder().encode(&[], body.into(), &mut queue).unwrap();
    queue.to_bytes()
}

#[test]
fn the_limit_is_exact_on_both_sides() {
    for size in [LIMIT - 1, LIMIT, LIMIT + 1] {
        // Encoded by a side with a larger limit, decoded by one with this.
        let mut queue = SendQueue::default();
        let larger = Native::new(Layer::Messages, LIMIT + 1);
        larger.encoder().encode(&[], vec![7; size].into(), &mut queue).unwrap();
        let mut input = BytesMut::from(&queue.to_bytes()[..]);
        let decoded = begun_decoder().decode(&mut input);
        if size <= LIMIT {
            assert_eq!(decoded.unwrap().unwrap().len(), size);
        } else {
            let size = size as u64;
            assert_eq!(decoded, Err(FramingError::TooLarge { size, limit: LIMIT }));
        }
    }
}

#[test]
fn a_length_over_the_limit_is_refused_by_its_header_alone() {
    let mut queue = SendQueue::default();
    let larger = Native::new(Layer::Messages, LIMIT + 1);
    larger.encoder().encode(&[], vec![7; LIMIT + 1].into(), &mut queue).unwrap();
    let mut header = BytesMut::from(&queue.to_bytes()[..8]);
    assert!(matches!(begun_decoder().decode(&mut header), Err(FramingError::TooLarge { .. })));
}

#[test]
fn a_head_and_a_body_arrive_as_one_message() {
    for body in [0, 1, 4095, 4096, 4097] {
        let mut queue = SendQueue::default();
        native().encoder().encode(b"head", vec![b'b'; body].into(), &mut queue).unwrap();
        let mut input = BytesMut::from(&queue.to_bytes()[..]);
        let message = begun_decoder().decode(&mut input).unwrap().unwrap();
        assert_eq!(&message[..4], b"head");
        assert_eq!(message.len(), 4 + body);
    }
}

#[test]
fn a_header_split_at_every_byte_is_one_header() {
    let bytes = frame(b"payload");
    for cut in 0..=bytes.len() {
        let mut decoder = begun_decoder();
        let mut input = BytesMut::from(&bytes[..cut]);
        if cut < bytes.len() {
            assert_eq!(decoder.decode(&mut input), Ok(None), "cut at {cut}");
            assert!(decoder.missing() > 0);
        }
        input.extend_from_slice(&bytes[cut..]);
        assert_eq!(decoder.decode(&mut input).unwrap().unwrap(), "payload", "cut at {cut}");
    }
}

#[test]
fn an_end_inside_a_message_differs_from_one_between_messages() {
    let bytes = frame(b"payload");
    for cut in 0..=bytes.len() {
        let mut decoder = begun_decoder();
        let mut input = BytesMut::from(&bytes[..cut]);
        let whole = decoder.decode(&mut input).unwrap().is_some();
        let expected = match cut {
            0 => Ok(()),
            _ if whole => Ok(()),
            have => Err(FramingError::CutOff { have }),
        };
        assert_eq!(decoder.finish(&input), expected, "cut at {cut}");
    }
}

#[test]
fn a_goodbye_ends_the_stream_with_its_reason() {
    for (text, expected) in [("so long", "so long".to_owned()), (&"ä".repeat(300), "ä".repeat(256))]
    {
        let mut queue = SendQueue::default();
        native().encoder().goodbye(42, text, &mut queue);
        let mut input = BytesMut::from(&queue.to_bytes()[..]);
        let end = begun_decoder().decode(&mut input);
        assert_eq!(end, Err(FramingError::Goodbye { code: 42, text: expected }));
    }
}

#[test]
fn the_other_layer_is_an_error() {
    let mut queue = SendQueue::default();
    Native::new(Layer::Calls, LIMIT).encoder().begin(&mut queue);
    let error = native().decoder().decode(&mut BytesMut::from(&queue.to_bytes()[..]));
    assert_eq!(error, Err(FramingError::WrongLayer { theirs: 1, ours: Layer::Messages }));
}

#[test]
fn the_peers_limit_is_known_from_its_preface() {
    let mut decoder = native().decoder();
    assert_eq!(decoder.peer_limit(), None);
    decoder.decode(&mut BytesMut::from(&begun()[..])).unwrap();
    assert_eq!(decoder.peer_limit(), Some(LIMIT));
}

#[test]
fn the_corpus_of_the_fuzzer_still_passes() {
    corpus::replay("framing", scripted::check);
}
