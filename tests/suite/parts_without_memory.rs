//! Parts for which there is no memory, as requests hold it: who waits for whom, and what is charged.

use crate::common::serving::{Serving, limits};
use crate::common::{Backend, PATIENCE};
use bytes::Bytes;
use msgpipe::{
    Client, CloseReason, Connection, ConnectionId, Counters, PartError, PartSender, Parts,
    Responder, ServerMessage, Topic, WhenFull,
};
use std::sync::mpsc;
use std::thread;

crate::on_named_transports!(
    who_reads_no_parts_keeps_no_memory_from_other_replies,
    a_reply_that_is_not_read_keeps_no_memory_from_others_of_its_client,
    replies_without_memory_go_on_together,
    subscribers_that_read_nothing_keep_no_memory_from_others,
    a_part_without_memory_frees_none_of_those_before_it,
    notifications_without_bytes_need_no_memory,
    a_cancelled_reply_makes_room_for_the_next_of_its_client,
    a_part_without_memory_drops_no_other_reply_of_its_client,
);

fn client<B: Backend>(backend: &B) -> Client {
    backend.client(&limits()).unwrap()
}

/// The size of parts for which there is no memory. A client that takes nothing has no credit for one: all of it waits.
const LARGE: usize = 3 << 20;

/// A server with no memory for such a part: requests hold it.
struct Full<B: Backend> {
    backend: B,
    _serving: Serving,
    counters: Counters,
    senders: mpsc::Receiver<PartSender>,
    connected: mpsc::Receiver<Connection>,
    ends: mpsc::Receiver<(ConnectionId, CloseReason)>,
    topic: Topic,
    /// Who holds it.
    keeper: Client,
    kept: mpsc::Receiver<Responder>,
}

impl<B: Backend> Full<B> {
    fn new() -> Full<B> {
        let full = Full::empty();
        // Some of them are small: a quarter of the memory is only for those.
        full.hold(&[vec![1_000_000; 16], vec![60_000; 60]].concat());
        full
    }

    /// There is memory yet.
    fn empty() -> Full<B> {
        let backend = B::new();
        let mut small = limits();
        (small.memory, small.message) = (8 * LARGE, LARGE);
        let server = backend.serve_calls(&small).unwrap();
        let counters = server.counters();
        let ((tell, ends), (tell_of, connected)) = (mpsc::channel(), mpsc::channel());
        let server = server.on_connected(move |client| drop(tell_of.send(client.clone())));
        let server = server.on_closed(move |connection, reason| {
            let _ = tell.send((connection.id(), reason.clone()));
        });
        let ((give, senders), (keep, kept)) = (mpsc::channel(), mpsc::channel());
        let topic = Topic::new(WhenFull::DropOldest);
        let published = topic.clone();
        let _serving =
            Serving::start(server, move |request, responder| match &request.body()[..] {
                b"parts" => give.send(responder.into_parts()).unwrap(),
                b"subscribe" => published.subscribe(responder),
                b"driven" => responder.reply(""),
                _ => keep.send(responder).unwrap(),
            });
        let keeper = client(&backend);
        connected.recv_timeout(PATIENCE).unwrap();
        Full { backend, _serving, counters, senders, connected, ends, topic, keeper, kept }
    }

    /// Holds requests of these sizes, for as long as it is there.
    fn hold(&self, sizes: &[usize]) {
        sizes.iter().for_each(|size| self.keeper.start(vec![7; *size]).unwrap().detach());
        // They are more than a connection has credit for: a thread sends the rest.
        assert_eq!(self.keeper.call("driven").unwrap(), "");
        for _ in sizes {
            std::mem::forget(self.kept.recv_timeout(PATIENCE).unwrap());
        }
    }

    /// A client that wants parts, and their sender.
    fn asks(&self) -> (Client, Parts, PartSender) {
        let client = client(&self.backend);
        let parts = client.stream("parts").unwrap();
        (client, parts, self.senders.recv_timeout(PATIENCE).unwrap())
    }
}

/// The attacker has a large part first, and reads nothing.
fn who_reads_no_parts_keeps_no_memory_from_other_replies<B: Backend>() {
    let full = Full::<B>::new();
    let (_unreading, mut unread, mut first) = full.asks();
    let others: Vec<_> = (0..3).map(|_| full.asks()).collect();
    first.send(vec![1; LARGE]).unwrap();
    for (_client, mut parts, mut sender) in others {
        sender.send(vec![2; LARGE]).unwrap();
        sender.finish();
        assert_eq!(parts.next_within(PATIENCE).unwrap().unwrap().len(), LARGE);
        assert_eq!(parts.next_within(PATIENCE).unwrap(), None);
    }
    // Requests need that memory less than ever.
    assert_eq!(client(&full.backend).call("driven").unwrap(), "");
    first.finish();
    assert_eq!(unread.next_within(PATIENCE).unwrap().unwrap().len(), LARGE);
    assert_eq!(unread.next_within(PATIENCE).unwrap(), None);
    assert!(full.ends.try_iter().all(|(_, reason)| !matches!(reason, CloseReason::Unread { .. })));
}

/// Its replies are read in another order than they were begun.
fn a_reply_that_is_not_read_keeps_no_memory_from_others_of_its_client<B: Backend>() {
    let full = Full::<B>::new();
    let client = client(&full.backend);
    let asks = || (client.stream("parts").unwrap(), full.senders.recv_timeout(PATIENCE).unwrap());
    let ((unread, mut first), (mut parts, mut second)) = (asks(), asks());
    first.send(vec![1; LARGE]).unwrap();
    second.send(vec![2; LARGE]).unwrap();
    second.finish();
    assert_eq!(parts.next_within(PATIENCE).unwrap().unwrap().len(), LARGE);
    assert_eq!(parts.next_within(PATIENCE).unwrap(), None);
    first.finish();
    assert_eq!(unread.map(Result::unwrap).map(|part| part.len()).collect::<Vec<_>>(), [LARGE]);
}

/// Each of them takes part after part; nobody's sender waits for ever, and what is made is bounded: a part that waits
/// for its client keeps the next from being made.
fn replies_without_memory_go_on_together<B: Backend>() {
    let full = Full::<B>::new();
    let part = Bytes::from(vec![3; LARGE]);
    let clients: Vec<_> = (0..3).map(|_| full.asks()).collect();
    thread::scope(|scope| {
        for (_client, mut parts, mut sender) in clients {
            let part = part.clone();
            scope.spawn(move || {
                sender.send(part.clone()).unwrap();
                // Nothing of it is read yet: it waits, whether the loop has taken it or not.
                assert!(matches!(sender.try_send(part.clone()), Err(PartError::Full(_))));
                scope.spawn(move || {
                    for _ in 0..5 {
                        let part = parts.next_within(PATIENCE).unwrap();
                        assert_eq!(part.map(|part| part.len()), Some(LARGE));
                    }
                    assert_eq!(parts.next_within(PATIENCE).unwrap(), None);
                });
                for _ in 1..5 {
                    sender.send(part.clone()).unwrap();
                }
                sender.finish();
            });
        }
    });
}

/// The newest message waits for each of them beside the one that it has not read.
fn subscribers_that_read_nothing_keep_no_memory_from_others<B: Backend>() {
    let full = Full::<B>::new();
    let subscribers: Vec<_> = (0..10).map(|_| client(&full.backend)).collect();
    let mut unread: Vec<_> = Vec::new();
    for (at, subscriber) in subscribers.iter().enumerate() {
        unread.push(subscriber.stream("subscribe").unwrap());
        assert_eq!(subscriber.call("driven").unwrap(), "");
        assert_eq!(full.topic.subscribers(), at + 1);
    }
    let other = client(&full.backend);
    let before = full.counters.read().memory;
    for news in 0..5 {
        assert_eq!(full.topic.publish(vec![news; LARGE]).queued, 10);
        // The server has taken it.
        assert_eq!(other.call("driven").unwrap(), "");
    }
    let added = full.counters.read().memory - before;
    assert!(added < LARGE, "{added} bytes are charged");
    full.topic.finish();
    for mut parts in unread {
        let mut last = parts.next_within(PATIENCE).unwrap().unwrap();
        while let Some(part) = parts.next_within(PATIENCE).unwrap() {
            last = part;
        }
        assert!(last == vec![4; LARGE], "another one is the last");
    }
}

/// They wait for credit, and were charged when there was memory.
fn a_part_without_memory_frees_none_of_those_before_it<B: Backend>() {
    /// Eleven are more than the credit of a call.
    const PART: usize = 200_000;
    let full = Full::<B>::empty();
    let (client, parts, mut sender) = full.asks();
    // What its client does not take is with the client, but for the last one.
    for _ in 0..11 {
        sender.send(vec![1; PART]).unwrap();
        assert_eq!(client.call("driven").unwrap(), "");
    }
    full.hold(&[vec![1_000_000; 16], vec![60_000; 60]].concat());
    assert_eq!(client.call("driven").unwrap(), "");
    let before = full.counters.read().memory;
    assert!(before > 16_000_000 + 60 * 60_000 + PART, "the last one is charged");
    sender.send("a small one").unwrap();
    (0..2).for_each(|_| assert_eq!(client.call("driven").unwrap(), ""));
    let after = full.counters.read().memory;
    assert!(after + PART / 2 > before, "{after} bytes are charged, after {before}");
    sender.finish();
    assert_eq!(parts.map(Result::unwrap).count(), 12);
}

/// The client gives credit for more of them, which is read although there is no memory.
fn notifications_without_bytes_need_no_memory<B: Backend>() {
    /// Each costs 64 bytes of the credit: they are more than a client has for them at first.
    const COUNT: usize = 40_000;
    let full = Full::<B>::empty();
    let listener = client(&full.backend);
    let mut incoming = listener.incoming().unwrap();
    let connection = full.connected.recv_timeout(PATIENCE).unwrap();
    assert_eq!(listener.call("driven").unwrap(), "");
    // So much that nothing new is read.
    full.hold(&[vec![1_000_000; 16], vec![60_000; 138]].concat());
    let notifying = thread::spawn(move || (0..COUNT).all(|_| connection.notify("").is_ok()));
    for _ in 0..COUNT {
        let next = incoming.next_within(PATIENCE).unwrap();
        assert!(matches!(next, ServerMessage::Notification(it) if it.body().is_empty()));
    }
    assert!(notifying.join().unwrap());
}

/// What waits for a client has a limit, also with memory.
fn a_cancelled_reply_makes_room_for_the_next_of_its_client<B: Backend>() {
    let full = Full::<B>::new();
    let client = client(&full.backend);
    let asks = || (client.stream("parts").unwrap(), full.senders.recv_timeout(PATIENCE).unwrap());
    let (mut all, mut senders): (Vec<_>, Vec<_>) = (0..5).map(|_| asks()).unzip();
    senders.iter_mut().for_each(|sender| sender.send(vec![1; LARGE]).unwrap());
    let mut last = all.pop().unwrap();
    drop(all);
    assert_eq!(last.next_within(PATIENCE).unwrap().unwrap().len(), LARGE);
}

/// Replies that nobody reads take all of the memory meanwhile.
fn a_part_without_memory_drops_no_other_reply_of_its_client<B: Backend>() {
    let full = Full::<B>::new();
    let (client, mut parts, mut sender) = full.asks();
    let call = client.start("kept").unwrap();
    let responder = full.kept.recv_timeout(PATIENCE).unwrap();
    sender.send(vec![1; LARGE]).unwrap();
    assert_eq!(client.call("driven").unwrap(), "");
    let others: Vec<_> = (0..2).map(|_| self::client(&full.backend)).collect();
    let unread: Vec<_> = others.iter().map(|other| other.start("kept").unwrap()).collect();
    for _ in &unread {
        full.kept.recv_timeout(PATIENCE).unwrap().reply(vec![2; LARGE]);
    }
    while full.counters.read().memory < 8 * LARGE {
        thread::yield_now();
    }
    responder.reply("an answer");
    assert_eq!(call.wait().unwrap(), "an answer");
    sender.finish();
    assert_eq!(parts.next_within(PATIENCE).unwrap().unwrap().len(), LARGE);
    for call in unread {
        assert_eq!(call.wait().unwrap().len(), LARGE);
    }
}
