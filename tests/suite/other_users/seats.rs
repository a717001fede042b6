//! How many connections another user may have, and what is left for the server's own.

use super::access::unhex;
use super::there_are_others;
use super::{ANNA, BERT, Serving, User, ask, at_abstract_name, own_uid};
use crate::common::raw::goodbye_in;
use msgpipe::framing::{GoodbyeCode, Layer};
use msgpipe::{Access, Limits, ServerOptions, Trust};

const CLARA: User = User { uid: 60_003, gid: 60_013, groups: &[] };

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.connections = 6;
    limits.connections_per_user = 2;
    limits.connections_reserved = 2;
    limits
}

/// The goodbye for a raw client over the limit of connections.
fn told(user: User, place: &str) -> String {
    let said = user.plays("connects plainly", place).says();
    let heard = unhex(said.strip_prefix("heard ").unwrap_or_else(|| panic!("{said}")));
    match goodbye_in(&heard, Layer::Messages) {
        Some((GoodbyeCode::BUSY, text)) => text,
        told => panic!("{told:?}"),
    }
}

#[test]
fn other_users_cannot_take_all_connections_nor_the_owners_reserve() {
    let place = at_abstract_name();
    let options = ServerOptions::new().access(Access::Everyone).limits(limits());
    let serving = Serving::start(&place, &options).unwrap();
    if !there_are_others() {
        return assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
    }
    let mut holding = Vec::new();
    for user in [ANNA, BERT] {
        let mut holds = user.plays("holds, 2", &place);
        assert_eq!(holds.says(), "it holds");
        holding.push(holds);
        let text = told(user, &place);
        assert!(text.contains("your user has 2 connections"), "{text}");
    }
    // Four of six are taken, and the other two are not for others.
    let text = told(CLARA, &place);
    assert!(text.contains("all 4 connections"), "{text}");
    let said = CLARA.plays("asks, anyone", &place).says();
    assert!(said.contains("is busy"), "{said}");
    for _ in 0..3 {
        assert_eq!(ask(&place, Trust::SameUser).unwrap(), "hello");
    }
    drop(holding);
    // Their places are theirs again, as soon as the server has seen them go.
    while !CLARA.plays("asks, anyone", &place).says().starts_with("answered") {}
    let heard_of = serving.heard_of();
    assert_eq!(heard_of.iter().filter(|&&uid| uid == own_uid()).count(), 3, "{heard_of:?}");
}
