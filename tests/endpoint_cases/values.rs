//! What is read of a peer's bytes beside frames: the parts of a tap, metadata; and the protocols of the examples, RESP and
//! that of the SSH agent.

use super::script::Script;
use bytes::{Bytes, BytesMut};
use msgpipe::exchange::Metadata;
use msgpipe::framing::{Framing, FramingError};
use msgpipe::monitor::Seen;

#[path = "../../examples/ssh_agent/agent.rs"]
mod agent;
#[path = "../../examples/redis/resp.rs"]
mod resp;

/// The values that `bytes` describe.
pub fn check(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    match script.below(4) {
        0 => seen(&mut script),
        1 => metadata(&mut script),
        2 => commands(&mut script),
        _ => ssh(&mut script),
    }
}

fn seen(script: &mut Script<'_>) {
    let mut part = Vec::new();
    part.extend(u64::from(script.u32()).to_le_bytes());
    part.extend(if script.once_in(4) { [0xFF; 8] } else { u64::from(script.u32()).to_le_bytes() });
    part.extend(u64::from(script.u32()).to_le_bytes());
    part.push(script.byte() % 6);
    part.extend(script.bytes(60));
    let len = if script.once_in(4) { script.below(25) } else { part.len() };
    part.truncate(len);
    let is_long = part.len() >= if part.get(24).is_some_and(|kind| *kind < 2) { 45 } else { 25 };
    let is_known = part.get(24).is_some_and(|kind| *kind < 4);
    let decoded = Seen::decode(part.into());
    assert!(decoded.is_none() || (is_long && is_known));
    let Some(seen) = decoded else { return };
    assert!(seen.to_string().starts_with(&format!("connection {} ", seen.connection)));
}

/// Pairs that are added come back in order, or do not fit.
fn metadata(script: &mut Script<'_>) {
    let (mut made, mut pairs) = (Metadata::default(), Vec::new());
    for _ in 0..script.below(8) {
        let key = vec![b'k'; script.of(&[1, 0, 2, 255, 256])];
        let value = vec![b'v'; script.of(&[0, 1, 100, 3000, 4091, 4092, 4093, 65_536])];
        let size = 3 + key.len() + value.len();
        let fits = (1..256).contains(&key.len()) && value.len() < 65_536;
        let fits = fits && made.len() + size <= 4096;
        let (before, with) = (made.len(), made.clone().with(&key, &value));
        assert_eq!(with.is_ok(), fits);
        if let Ok(with) = with {
            made = with;
            assert_eq!(made.len(), before + size);
            assert_eq!(made.get(&key).is_some_and(|first| first == value), {
                let first = pairs.iter().find(|(its, _)| *its == key);
                first.is_none_or(|(_, first): &(Vec<u8>, Vec<u8>)| *first == value)
            });
            pairs.push((key, value));
        }
    }
    assert!(made.pairs().eq(pairs.into_iter().map(|(key, value)| (key.into(), value.into()))));
}

/// Commands of RESP: whatever arrives, its cuts change neither the commands nor the end.
fn commands(script: &mut Script<'_>) {
    let limit = script.of(&[50, 9, 10, 11, 30, 0, usize::MAX]);
    let mut wire = Vec::new();
    let mut sent = Vec::new();
    for _ in 0..script.below(5) {
        let strings: Vec<&[u8]> = (0..script.below(4)).map(|_| script.bytes(12)).collect();
        let mut command = format!("*{}\r\n", strings.len()).into_bytes();
        for string in strings {
            command.extend(format!("${}\r\n", string.len()).bytes());
            command.extend(string);
            command.extend(b"\r\n");
        }
        wire.extend(&command);
        sent.push(Bytes::from(command));
    }
    let is_damaged = script.is();
    if is_damaged && !wire.is_empty() {
        let at = script.below(256) % wire.len();
        let end = wire.len().min(at + script.below(6));
        wire.splice(at..end, script.bytes(8).iter().copied());
    }
    let whole = decoded(limit, &wire, usize::MAX);
    let piece = 1 + script.below(20);
    assert_eq!(decoded(limit, &wire, piece), whole, "pieces of {piece}");
    let (commands, end) = whole;
    assert!(commands.iter().all(|command| command.len() <= limit));
    assert!(wire.starts_with(&commands.concat()), "commands that never arrived");
    for command in &commands {
        let mut count = 0;
        let size = resp::strings(command, |_| count += 1);
        assert_eq!(size, Ok(Some(command.len())), "a command that is none");
        assert!(command.starts_with(format!("*{count}\r\n").as_bytes()) || is_damaged);
    }
    if !is_damaged {
        let fit = sent.iter().take_while(|command| command.len() <= limit).count();
        assert_eq!(commands[..], sent[..fit]);
        let too_large = matches!(end, Err(FramingError::TooLarge { .. }));
        assert_eq!(too_large, fit < sent.len(), "{end:?}");
    }
}

fn decoded(limit: usize, wire: &[u8], piece: usize) -> (Vec<Bytes>, Result<(), FramingError>) {
    let mut decoder = resp::Resp { limit }.decoder();
    let (mut input, mut commands) = (BytesMut::new(), Vec::new());
    for piece in wire.chunks(piece.min(wire.len().max(1))) {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => return (commands, Err(error)),
            }
        }
    }
    let end = decoder.finish(&input);
    (commands, end)
}

/// Requests to the SSH agent: each has one answer, of a kind that answers it.
fn ssh(script: &mut Script<'_>) {
    let mut agent = agent::Agent::default();
    let mut public = Vec::new();
    for _ in 0..script.below(6) {
        let kind = script.of(&[11, 13, 17, 17, 18, 19, 25, 0]);
        let mut request = vec![kind];
        match kind {
            17 | 25 => {
                let pair = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new(
                    [script.byte().max(1); 32],
                ));
                public = blob(&pair.pk[..]);
                put(&mut request, b"ssh-ed25519");
                put(&mut request, &pair.pk[..]);
                put(&mut request, &pair.sk[..]);
                put(&mut request, script.bytes(20));
            }
            13 => {
                put(&mut request, &public);
                put(&mut request, script.bytes(20));
                request.extend([0, 0, 0, script.byte() % 3]);
            }
            18 => put(&mut request, &public),
            11 | 19 => {}
            _ => request.extend(script.bytes(30)),
        }
        if script.once_in(4) {
            let at = script.below(256) % request.len();
            request[at] = script.byte();
        }
        if script.once_in(6) {
            request.truncate(script.below(256));
        }
        let answer = agent.answer(&request);
        let answers = match request.first() {
            Some(11) => [5, 12],
            Some(13) => [5, 14],
            _ => [5, 6],
        };
        assert!(answers.contains(&answer[0]), "{request:?}: {answer:?}");
    }
}

fn blob(public: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, b"ssh-ed25519");
    put(&mut blob, public);
    blob
}

fn put(out: &mut Vec<u8>, string: &[u8]) {
    out.extend((string.len() as u32).to_be_bytes());
    out.extend(string);
}

#[cfg(test)]
mod tests {
    /// What is behind a limit, or behind a wrong byte, changes nothing, whether it has arrived or not.
    #[test]
    fn a_command_ends_in_the_same_way_however_it_is_cut() {
        for (wire, limit) in [
            ("*1\r\n$5\r\nabc", 10),
            ("*1\r\n$5\r\nabcdeWRONG", 10),
            ("*1\r\n$4\r\nPING0\r\n", 100),
            ("*1\r\n$4\r\nPING\r0", 100),
            ("*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n*", 14),
        ] {
            let whole = super::decoded(limit, wire.as_bytes(), usize::MAX);
            for piece in 1..wire.len() {
                assert_eq!(super::decoded(limit, wire.as_bytes(), piece), whole, "{wire:?}");
            }
        }
    }
}
