//! Whom a client talks to.

use super::parts::failed;
use super::{
    ANNA, BERT, Serving, User, ask, at_abstract_name, at_path, own, own_uid, there_are_others,
};
use crate::common::{Scratch, set_mode};
use msgpipe::{Access, Error, Principal, Trust};

/// A directory where every user can serve, and an abstract name: places where a client can connect
/// to a server of another user.
fn open_places(scratch: &Scratch) -> [String; 2] {
    set_mode(scratch.directory(), 0o777);
    [at_path(&scratch.path("socket")), at_abstract_name()]
}

fn only(principal: Principal) -> Trust {
    Trust::Only(vec![principal])
}

#[test]
fn a_server_of_the_same_user_is_trusted() {
    let scratch = Scratch::new();
    for place in [at_path(&scratch.path("socket")), at_abstract_name()] {
        let _serving = Serving::with_access(&place, &Access::Owner).unwrap();
        let nobody = Trust::Only(vec![]);
        for trust in [Trust::SameUser, nobody, only(Principal::Uid(1)), Trust::Anyone] {
            assert_eq!(ask(&place, trust).unwrap(), "hello");
        }
    }
}

#[test]
fn a_server_of_root_is_trusted_by_every_user() {
    let scratch = Scratch::with_mode(0o755);
    for place in [at_path(&scratch.path("socket")), at_abstract_name()] {
        let _serving = Serving::with_access(&place, &Access::Everyone).unwrap();
        assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
        if there_are_others() {
            for part in ["asks", "asks, uid 1", "asks, anyone"] {
                assert_eq!(ANNA.plays(part, &place).says(), "answered hello");
            }
        }
    }
}

/// That nothing reaches a listener of `server` when `client` connects: this program itself, or
/// another user.
fn is_not_spoken_to(server: User, client: Option<User>, part: &str, trust: Trust) {
    let scratch = Scratch::with_mode(0o755);
    for place in open_places(&scratch) {
        let mut listening = server.plays("listens plainly", &place);
        assert_eq!(listening.says(), "it listens");
        let refused = match client {
            Some(client) => client.plays(part, &place).says(),
            None => match ask(&place, trust.clone()) {
                Err(error @ Error::Insecure { .. }) => failed(&error),
                outcome => panic!("{outcome:?}"),
            },
        };
        assert!(refused.starts_with("failed Insecure"), "{refused}");
        assert!(refused.contains("ClientOptions::trust (Trust::Only)"), "{refused}");
        let who = format!("process {} of user {}", listening.pid(), server.uid);
        assert!(refused.contains(&who), "{refused} does not say {who}");
        assert_eq!(listening.says(), "heard ", "something was sent at {place}");
    }
}

/// Not even by root: what root sends is worth more than what others do.
#[test]
fn a_server_of_another_user_receives_no_byte() {
    if !there_are_others() {
        let place = at_abstract_name();
        let mut listening = own().plays("listens plainly", &place);
        assert_eq!(listening.says(), "it listens");
        let client = msgpipe::MessageClient::connect(super::endpoint_of(&place)).unwrap();
        assert_eq!(client.server().pid, Some(listening.pid()));
        drop(client);
        let said = listening.says();
        return assert!(said.starts_with("heard e5"), "one's own is told: {said}");
    }
    is_not_spoken_to(ANNA, None, "", Trust::SameUser);
    is_not_spoken_to(ANNA, Some(BERT), "asks", Trust::SameUser);
    // Trust in others is not trust in this one; nor is a group's number a user's.
    is_not_spoken_to(ANNA, None, "", only(Principal::Uid(BERT.uid)));
    is_not_spoken_to(ANNA, None, "", only(Principal::Gid(ANNA.uid)));
    is_not_spoken_to(ANNA, None, "", Trust::Only(vec![]));
    is_not_spoken_to(ANNA, Some(BERT), "asks, gid 60001", Trust::SameUser);
}

#[test]
fn a_server_of_another_user_is_used_if_it_is_named() {
    if !there_are_others() {
        let place = at_abstract_name();
        let _serving = Serving::with_access(&place, &Access::Owner).unwrap();
        return assert_eq!(ask(&place, only(Principal::Uid(own_uid()))).unwrap(), "hello");
    }
    let home = Scratch::with_mode(0o755);
    std::os::unix::fs::chown(home.directory(), Some(ANNA.uid), Some(ANNA.gid)).unwrap();
    // In one more group than her own.
    const OTHER_GROUP: u32 = 60_020;
    let anna = User { groups: &[OTHER_GROUP], ..ANNA };
    for place in [at_path(&home.path("socket")), at_abstract_name()] {
        let mut serving = anna.plays("serves, everyone", &place);
        assert_eq!(serving.says(), "it serves");
        assert_eq!(ask(&place, only(Principal::Gid(OTHER_GROUP))).unwrap(), "hello");
        let (uid, gid) = (Principal::Uid(ANNA.uid), Principal::Gid(ANNA.gid));
        for trust in [only(uid), only(gid), Trust::Anyone] {
            assert_eq!(ask(&place, trust).unwrap(), "hello");
        }
        let Err(Error::Insecure { .. }) = ask(&place, Trust::SameUser) else {
            panic!("root spoke to it")
        };
        let uid = format!("asks, uid {}", ANNA.uid);
        let gid = format!("asks, gid {}", ANNA.gid);
        for part in [&uid, &gid, "asks, anyone"] {
            assert_eq!(BERT.plays(part, &place).says(), "answered hello");
        }
        let said = BERT.plays("asks", &place).says();
        assert!(said.starts_with("failed Insecure"), "{said}");
    }
}
