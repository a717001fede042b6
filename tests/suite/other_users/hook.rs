//! The application's own decision about each client: `ServerOptions::authorize`.

use super::access::{TURNED_AWAY, outcome, unhex};
use super::parts::connect_plainly;
use super::{
    ANNA, BERT, Serving, ask, at_abstract_name, at_path, first_words, own_uid, there_are_others,
};
use crate::common::Scratch;
use crate::common::raw::goodbye_in;
use msgpipe::framing::{GoodbyeCode, Layer};
use msgpipe::{Access, Peer, ServerOptions, Trust};
use std::sync::{Arc, Mutex};

/// A server for every user, with a hook that admits clients by `takes` and records them.
fn with_hook(
    place: &str,
    takes: impl Fn(&Peer) -> bool + Send + Sync + 'static,
) -> (Serving, Arc<Mutex<Vec<Peer>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let options = ServerOptions::new().access(Access::Everyone).authorize({
        let seen = seen.clone();
        move |peer| {
            seen.lock().unwrap().push(peer.clone());
            takes(peer)
        }
    });
    (Serving::start(place, &options).unwrap(), seen)
}

#[test]
fn an_unauthorized_client_learns_why_and_is_not_read() {
    let scratch = Scratch::with_mode(0o755);
    for place in [at_path(&scratch.path("socket")), at_abstract_name()] {
        let (serving, seen) = with_hook(&place, |_| false);
        let refused = |heard: &[u8]| {
            let (code, text) = goodbye_in(heard, Layer::Messages).expect("a goodbye");
            assert_eq!(code, GoodbyeCode::NOT_AUTHORIZED);
            assert_eq!(code, 7);
            assert!(text.contains("may not connect here"), "{text}");
        };
        // Invalid bytes would cause another goodbye, if they were read.
        for words in [&first_words()[..], &[0xA5; 64], b""] {
            refused(&connect_plainly(&place, words).unwrap());
        }
        let error = ask(&place, Trust::SameUser).unwrap_err();
        assert!(error.to_string().contains("code 7"), "{error:?}");
        assert_eq!(seen.lock().unwrap().len(), 4);
        if there_are_others() {
            for part in ["connects plainly", "sends nonsense"] {
                let said = ANNA.plays(part, &place).says();
                refused(&unhex(said.strip_prefix("heard ").unwrap()));
            }
            let said = ANNA.plays("asks", &place).says();
            assert!(said.starts_with("failed Closed") && said.contains("code 7"), "{said}");
            assert_eq!(seen.lock().unwrap().len(), 7);
        }
        assert_eq!(serving.heard_of(), [0u32; 0], "the application heard of somebody");
    }
}

#[test]
fn the_hook_receives_each_peer_and_decides() {
    let scratch = Scratch::with_mode(0o755);
    for place in [at_path(&scratch.path("socket")), at_abstract_name()] {
        let (serving, seen) = with_hook(&place, |peer| peer.uid != Some(BERT.uid));
        assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
        let gid = rustix::process::getegid().as_raw();
        let mut own = Peer::default();
        (own.pid, own.uid, own.gid) = (Some(std::process::id()), Some(own_uid()), Some(gid));
        own.same_user = true;
        let (mut peers, mut heard_of) = (vec![own], vec![own_uid()]);
        if there_are_others() {
            for who in [ANNA, BERT] {
                let mut asking = who.plays("asks", &place);
                let said = asking.says();
                assert_eq!(said == "answered hello", who == ANNA, "{said}");
                let mut peer = Peer::default();
                (peer.pid, peer.uid, peer.gid) = (Some(asking.pid()), Some(who.uid), Some(who.gid));
                peers.push(peer);
            }
            heard_of.push(ANNA.uid);
        }
        assert_eq!(*seen.lock().unwrap(), peers);
        assert_eq!(serving.heard_of(), heard_of);
    }
}

/// The hook is called only for clients that the system and the access admit.
#[test]
fn the_hook_is_not_called_for_a_client_without_access() {
    let place = at_abstract_name();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let options = ServerOptions::new().authorize({
        let seen = seen.clone();
        move |peer| {
            seen.lock().unwrap().push(peer.uid);
            true
        }
    });
    let serving = Serving::start(&place, &options).unwrap();
    if there_are_others() {
        assert_eq!(outcome(ANNA.plays("connects plainly", &place).says()), TURNED_AWAY);
    }
    assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
    assert_eq!(serving.heard_of(), [own_uid()]);
    assert_eq!(*seen.lock().unwrap(), [Some(own_uid())]);
}
