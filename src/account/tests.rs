//! The limits of an account, each at the limit, one below and one above.

use super::*;

const OWN: Peer = Peer { pid: None, uid: Some(1), gid: None, sid: None, same_user: true };

fn other(uid: u32) -> Peer {
    Peer { uid: Some(uid), ..Peer::default() }
}

fn account(limits: Limits) -> Account {
    Account::new(Limits { message: 1, ..limits })
}

#[test]
fn the_limit_of_all_is_exact() {
    let account = account(Limits { memory: 1000, memory_per_user: 1000, ..Limits::default() });
    let own = account.share(&OWN);
    for (held, room) in [(0, 1000), (999, 1), (1000, 0), (1001, 0)] {
        let mut charge = Charge::new(own.clone());
        charge.set(held);
        assert_eq!((account.held(), own.room()), (held, room));
    }
    assert_eq!(account.held(), 0, "a dropped charge is still counted");
}

#[test]
fn each_other_user_has_a_part_and_all_of_them_leave_a_quarter() {
    let account = account(Limits { memory: 1000, memory_per_user: 400, ..Limits::default() });
    let (own, one, two) = (account.share(&OWN), account.share(&other(2)), account.share(&other(3)));
    assert_eq!((own.room(), one.room(), two.room()), (1000, 400, 400));
    one.charge(399);
    assert_eq!((own.room(), one.room(), two.room()), (601, 1, 351));
    one.charge(1);
    assert_eq!((own.room(), one.room(), two.room()), (600, 0, 350));
    two.charge(350);
    assert_eq!((own.room(), one.room(), two.room()), (250, 0, 0));
    // Further connections of a user have the rest of that user's part.
    assert_eq!(account.share(&other(2)).room(), 0);
    own.charge(250);
    assert_eq!(own.room(), 0);
}

/// Otherwise a user would have a new part with each connection.
#[test]
fn a_user_with_connections_is_not_forgotten_when_another_one_comes() {
    let account = account(Limits { memory: 1000, memory_per_user: 400, ..Limits::default() });
    let one = account.share(&other(2));
    one.charge(100);
    let two = account.share(&other(3));
    let again = account.share(&other(2));
    assert_eq!((again.room(), again.group()), (300, one.group()));
    one.release(100);
    drop((one, again));
    // Without connections it is: the table does not grow with those who have gone.
    let _three = account.share(&other(4));
    assert_eq!(account.inner.users.lock().unwrap().len(), 2);
    drop(two);
}

#[test]
fn an_account_shows_what_is_held() {
    let account = account(Limits::default());
    let share = account.share(&OWN);
    share.charge(123);
    let shown = [format!("{account:?}"), format!("{share:?}")];
    assert!(shown.iter().all(|it| it.contains("held: 123")), "{shown:?}");
    share.release(123);
}

#[test]
fn large_messages_leave_a_quarter_to_small_ones() {
    let account = account(Limits { memory: 1000, memory_per_user: 400, ..Limits::default() });
    let (own, one) = (account.share(&OWN), account.share(&other(2)));
    assert_eq!((own.room_for_large(), one.room_for_large()), (750, 300));
    own.charge(749);
    assert_eq!((own.room_for_large(), own.room()), (1, 251));
    own.charge(1);
    assert_eq!((own.room_for_large(), own.room()), (0, 250));
}

fn places(account: &Account, peer: &Peer) -> Vec<Place> {
    std::iter::from_fn(|| account.place(peer).ok()).collect()
}

#[test]
fn connections_are_limited_for_all_and_for_each_user_and_some_are_reserved() {
    let limits = Limits {
        connections: 10,
        connections_per_user: 4,
        connections_reserved: 3,
        ..Limits::default()
    };
    let account = account(limits);
    let one = places(&account, &other(2));
    assert_eq!(one.len(), 4);
    assert_eq!(account.place(&other(2)).err(), Some(NoPlace::UserFull { limit: 4 }));
    let two = places(&account, &other(3));
    assert_eq!((two.len(), account.place(&other(4)).err()), (3, Some(NoPlace::Full { limit: 7 })));
    let own = places(&account, &OWN);
    assert_eq!((own.len(), account.place(&OWN).err()), (3, Some(NoPlace::Full { limit: 10 })));
    drop(one);
    assert_eq!(places(&account, &OWN).len(), 4);
}

#[test]
fn unidentified_peers_share_one_part() {
    let account = account(Limits { connections_per_user: 1, ..Limits::default() });
    let unknown = places(&account, &Peer::default());
    assert_eq!((unknown.len(), account.place(&Peer::default()).is_err()), (1, true));
    let sid = |sid: &str| Peer { sid: Some(sid.into()), ..Peer::default() };
    let _one = account.place(&sid("S-1-5-21-7")).unwrap_or_else(|why| panic!("{why}"));
    assert!(account.place(&sid("s-1-5-21-7")).is_err(), "the same user in lower case");
    assert!(account.place(&sid("S-1-5-21-8")).is_ok());
}

#[test]
fn users_without_connections_are_removed() {
    let account = account(Limits::default());
    for uid in 0..1000 {
        drop(account.share(&other(uid)));
    }
    assert_eq!(account.inner.users.lock().unwrap().len(), 1);
}
