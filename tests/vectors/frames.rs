//! Frames: every vector is encoded and decoded.

use super::file::{Vector, code_and_text, vectors};
use bytes::{Bytes, BytesMut};
use msgpipe::framing::{Decoder, Encoder, Framing, FramingError, Layer, Native, SendQueue};

/// How many vectors there were when this was written: with fewer, some are not seen.
const LEAST: usize = 32;

const OF_FRAMES: [&str; 8] =
    ["layer", "limit", "wire", "peer limit", "message", "goodbye", "error", "decode only"];

#[test]
fn frames_are_encoded_and_decoded_as_the_vectors_say() {
    let vectors = vectors("frames-", &OF_FRAMES);
    assert!(vectors.len() >= LEAST, "only {} vectors", vectors.len());
    for vector in vectors {
        let layer = match &*vector.get("layer").argument {
            "messages" => Layer::Messages,
            "calls" => Layer::Calls,
            layer => panic!("{}: layer {layer}", vector.file),
        };
        let native = Native::new(layer, vector.limit());
        let wire = &vector.get("wire").bytes;
        for piece in [1, 7, wire.len()] {
            decodes(&vector, &native, wire.chunks(piece));
        }
        if vector.find("error").is_none() && vector.find("decode only").is_none() {
            assert_eq!(encode(&vector, &native), wire[..], "{}", vector.file);
        }
    }
}

fn encode(vector: &Vector, native: &Native) -> Bytes {
    let (mut queue, mut encoder): (_, Box<dyn Encoder>) = (SendQueue::default(), native.encoder());
    encoder.begin(&mut queue);
    for message in vector.all("message") {
        // Given in two pieces, as a layer with an envelope does.
        let (head, body) = message.bytes.split_at(message.bytes.len() / 3);
        encoder.encode(head, body.into(), &mut queue).unwrap();
    }
    if let Some(goodbye) = vector.find("goodbye") {
        let (code, text) = code_and_text(&goodbye.argument);
        encoder.goodbye(code, &text, &mut queue);
    }
    queue.to_bytes()
}

/// Decodes bytes that arrive in these pieces.
fn decodes<'a>(vector: &Vector, native: &Native, pieces: impl Iterator<Item = &'a [u8]>) {
    let file = &vector.file;
    let (mut input, mut decoder): (_, Box<dyn Decoder>) = (BytesMut::new(), native.decoder());
    let (mut messages, mut end) = (Vec::new(), None);
    for piece in pieces {
        input.extend_from_slice(piece);
        while end.is_none() {
            match decoder.decode(&mut input) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => end = Some(error),
            }
        }
    }
    let end = end.or_else(|| decoder.finish(&input).err());

    let expected: Vec<&[u8]> = vector.all("message").map(|part| &part.bytes[..]).collect();
    assert_eq!(messages, expected, "{file}");
    match (vector.find("error"), vector.find("goodbye")) {
        (Some(error), None) => assert_eq!(end.map(shown), Some(error.argument.clone()), "{file}"),
        (None, Some(goodbye)) => {
            let (code, text) = code_and_text(&goodbye.argument);
            assert_eq!(end, Some(FramingError::Goodbye { code, text }), "{file}");
        }
        (None, None) => assert_eq!(end, None, "{file}"),
        (Some(_), Some(_)) => panic!("{file}: an error and a goodbye"),
    }
    if let Some(limit) = vector.find("peer limit") {
        let found = decoder.peer_limit().map(|limit| limit.to_string());
        assert_eq!(found.as_ref(), Some(&limit.argument), "{file}");
    }
}

/// An error as the vectors write it.
fn shown(error: FramingError) -> String {
    match error {
        FramingError::NotOurs { .. } => "NotOurs".to_owned(),
        FramingError::Version { theirs, .. } => {
            format!("Version {} {}", theirs.start(), theirs.end())
        }
        FramingError::WrongLayer { theirs, .. } => format!("WrongLayer {theirs}"),
        FramingError::Damaged { what, .. } => format!("Damaged {what}"),
        FramingError::UnknownKind { kind } => format!("UnknownKind {kind}"),
        FramingError::TooLarge { size, limit } => format!("TooLarge {size} {limit}"),
        FramingError::CutOff { have } => format!("CutOff {have}"),
        other => format!("{other:?}"),
    }
}
