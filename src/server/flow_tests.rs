//! What waits between the threads that make parts and the loop: bounds, charges, and who is told of room.

use super::flow::{Ending, Flow, Next, Refused, WAITING_MAX};
use crate::exchange::{MESSAGE_COST, Message};
use crate::{Account, Limits, Peer};

fn flow() -> (Flow, Account) {
    let account = Account::new(Limits::default());
    (Flow::new(account.share(&Peer::default())), account)
}

fn part(cost: usize) -> Message {
    Message::new(vec![0; cost - MESSAGE_COST as usize].into(), false)
}

fn next(flow: &Flow, keeps_place: bool) -> Next {
    flow.next(|_| Some(keeps_place))
}

#[test]
fn the_bytes_that_wait_have_a_limit_and_one_part_may_be_over_it() {
    for (second, fits) in
        [(WAITING_MAX / 2 - 1, true), (WAITING_MAX / 2, true), (WAITING_MAX / 2 + 1, false)]
    {
        let (flow, _) = flow();
        assert!(flow.push(part(WAITING_MAX / 2), false).unwrap(), "the loop is told");
        match flow.push(part(second), false) {
            Ok(tells) => assert!(fits && !tells),
            Err(refused) => assert!(!fits && matches!(refused, Refused::Full(_))),
        }
    }
    assert!(flow().0.push(part(10 * WAITING_MAX), false).is_ok());
}

#[test]
fn what_waits_is_charged_until_it_is_taken_or_nobody_waits() {
    let (flow, account) = flow();
    flow.push(part(100), false).unwrap();
    flow.push(part(200), false).unwrap();
    flow.push(part(300), false).unwrap();
    assert_eq!(account.held(), 500, "all but the first");
    assert!(matches!(next(&flow, false), Next::Part(first) if first.body.len() == 36));
    assert_eq!(account.held(), 300);
    flow.close();
    assert_eq!(account.held(), 0);
    assert!(matches!(flow.push(part(100), true), Err(Refused::Gone)));
}

#[test]
fn one_part_waits_if_half_of_the_memory_is_used() {
    let (flow, account) = flow();
    let share = account.share(&Peer::default());
    share.charge(Limits::default().memory / 2);
    flow.push(part(100), false).unwrap();
    assert!(matches!(flow.push(part(100), false), Err(Refused::Full(_))));
    share.release(1);
    flow.push(part(100), false).unwrap();
    share.release(Limits::default().memory / 2 - 1);
}

#[test]
fn a_part_that_the_loop_has_keeps_its_place_until_it_is_free() {
    let (flow, account) = flow();
    let share = account.share(&Peer::default());
    let half = Limits::default().memory / 2;
    share.charge(half);
    let (first, second) = (part(10 * WAITING_MAX), || part(100));
    flow.push(first, false).unwrap();
    assert!(matches!(next(&flow, true), Next::Part(_)));
    assert!(matches!(flow.push(second(), false), Err(Refused::Full(_))));
    // With memory it waits, and is charged, as there is one before it.
    share.release(1);
    flow.push(second(), false).unwrap();
    assert_eq!(account.held(), half - 1 + 100);
    flow.free_place();
    assert_eq!(account.held(), half - 1, "the only one");
    share.release(half - 1);
}

#[test]
fn who_waits_to_send_goes_on_when_the_place_is_free() {
    let (flow, account) = flow();
    let share = account.share(&Peer::default());
    share.charge(Limits::default().memory);
    flow.push(part(100), false).unwrap();
    assert!(matches!(next(&flow, true), Next::Part(_)));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| flow.push(part(100), true));
        flow.free_place();
        assert!(sender.join().unwrap().is_ok());
    });
    share.release(Limits::default().memory);
}

#[test]
fn the_newest_waits_beside_a_part_that_keeps_its_place() {
    let (flow, account) = flow();
    let share = account.share(&Peer::default());
    share.charge(Limits::default().memory);
    flow.push(part(100), false).unwrap();
    assert!(matches!(next(&flow, true), Next::Part(_)));
    for (size, dropped) in [(200, 0), (300, 1), (400, 1)] {
        assert_eq!(flow.push_over(part(size)).unwrap().1, dropped);
        assert_eq!(account.held(), Limits::default().memory, "the newest is not charged");
    }
    assert!(matches!(next(&flow, false), Next::Part(newest) if newest.charge() == 400));
    share.release(Limits::default().memory);
}

#[test]
fn one_part_at_most_waits_uncharged_beside_one_that_keeps_its_place() {
    let (flow, account) = flow();
    let share = account.share(&Peer::default());
    share.charge(Limits::default().memory);
    flow.push(part(100), false).unwrap();
    assert!(matches!(next(&flow, true), Next::Part(_)));
    flow.push_over(part(200)).unwrap();
    share.release(Limits::default().memory);
    // With memory others wait behind it.
    flow.push_over(part(300)).unwrap();
    flow.push(part(400), false).unwrap();
    assert_eq!(account.held(), 700);
    assert!(matches!(next(&flow, false), Next::Part(first) if first.charge() == 200));
    assert_eq!(account.held(), 700, "there is one that keeps its place");
    flow.free_place();
    assert_eq!(account.held(), 400);
    flow.close();
    assert_eq!(account.held(), 0);
}

#[test]
fn the_loop_is_asked_about_what_it_takes() {
    let (flow, account) = flow();
    let asked = |takes| {
        let mut cost = None;
        let next = flow.next(|of| {
            cost = Some(of);
            takes
        });
        (cost.unwrap(), next)
    };
    assert!(matches!(asked(None), (0, Next::Later)));
    assert!(flow.push(part(100), false).unwrap(), "it is told");
    assert!(matches!(asked(None), (100, Next::Later)));
    assert!(!flow.push(part(200), false).unwrap(), "it has not looked at all");
    assert!(matches!(asked(Some(false)), (100, Next::Part(_))));
    assert!(matches!(asked(Some(false)), (200, Next::Part(_))));
    assert!(matches!(asked(Some(false)), (0, Next::Nothing)));
    assert_eq!(account.held(), 0);
}

#[test]
fn the_end_comes_after_the_parts_also_if_nobody_waits() {
    let (flow, _) = flow();
    flow.push(part(100), false).unwrap();
    assert!(!flow.end(Ending::Complete), "it was told of the part");
    assert!(matches!(next(&flow, false), Next::Part(_)));
    assert!(matches!(next(&flow, false), Next::End(Ending::Complete)));
    assert!(matches!(next(&flow, false), Next::Nothing));
    flow.close();
    assert!(flow.end(Ending::Broken));
    assert!(matches!(next(&flow, false), Next::End(Ending::Broken)));
}

#[test]
fn who_waits_to_send_goes_on_when_there_is_room_and_when_nobody_waits() {
    let (flow, _) = flow();
    flow.push(part(WAITING_MAX), false).unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| flow.push(part(100), true));
        assert!(matches!(next(&flow, false), Next::Part(_)));
        assert!(sender.join().unwrap().is_ok());
        flow.push(part(WAITING_MAX - 100), false).unwrap();
        let sender = scope.spawn(|| flow.push(part(100), true));
        flow.close();
        assert!(matches!(sender.join().unwrap(), Err(Refused::Gone)));
    });
}
