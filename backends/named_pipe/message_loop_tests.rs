//! A client in a window's message loop: one `MsgWaitForMultipleObjectsEx` for messages and for the client.

use crate::{Call, Client, Incoming, Server, ServerMessage, Waitable};
use std::os::windows::io::AsRawHandle;
use std::ptr::null_mut;
use std::sync::mpsc;
use std::thread;
use windows_sys::Win32::Foundation::{WAIT_OBJECT_0, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;
use windows_sys::Win32::UI::WindowsAndMessaging::{
    MSG, MWMO_INPUTAVAILABLE, MsgWaitForMultipleObjectsEx, PM_NOREMOVE, PM_REMOVE, PeekMessageW,
    PostThreadMessageW, QS_ALLINPUT, WM_APP,
};

/// The clicks that are posted to the loop, each of which begins a call.
const CLICKS: usize = 50;

/// Milliseconds, far more than the loop waits for anything.
const PATIENCE: u32 = 30_000;

#[derive(Debug, PartialEq)]
enum Woken {
    ByClient,
    ByMessages,
}

/// What a window's loop calls.
fn wait(client: &Waitable) -> Woken {
    let handles = [client.as_raw_handle()];
    // SAFETY: the handle is open, and the array holds as many as said.
    let woken = unsafe {
        let handles = handles.as_ptr().cast();
        MsgWaitForMultipleObjectsEx(1, handles, PATIENCE, QS_ALLINPUT, MWMO_INPUTAVAILABLE)
    };
    assert_ne!(woken, WAIT_TIMEOUT, "nothing was signalled");
    if woken == WAIT_OBJECT_0 {
        return Woken::ByClient;
    }
    assert_eq!(woken, WAIT_OBJECT_0 + 1, "{}", std::io::Error::last_os_error());
    Woken::ByMessages
}

/// The next message of this thread's queue.
fn next_message(removes: bool) -> Option<MSG> {
    // SAFETY: a message is plain data, and zeros are a value of it.
    let mut message: MSG = unsafe { std::mem::zeroed() };
    let how = if removes { PM_REMOVE } else { PM_NOREMOVE };
    // SAFETY: the pointer is to a message that lives through the call.
    let there_is = unsafe { PeekMessageW(&mut message, null_mut(), 0, 0, how) };
    (there_is != 0).then_some(message)
}

struct Window {
    client: Client,
    incoming: Incoming,
    calls: Vec<Call>,
    replies: usize,
    news: usize,
}

impl Window {
    fn tend(&mut self) {
        let news = &mut self.news;
        let dispatched = self.incoming.dispatch(|message| match message {
            ServerMessage::Notification(_) => *news += 1,
            other => panic!("{other:?}"),
        });
        dispatched.unwrap();
        let replies = &mut self.replies;
        self.calls.retain_mut(|call| match call.try_wait() {
            Some(reply) => {
                assert_eq!(reply.unwrap(), "click");
                *replies += 1;
                false
            }
            None => true,
        });
    }
}

/// Clicks, replies and what the server sends unasked come to one loop, which waits for nothing else.
#[test]
fn a_window_is_woken_by_its_messages_and_by_its_client() {
    let name = format!("msgpipe.test.message_loop.{}", std::process::id());
    let server = Server::bind(name.as_str()).unwrap();
    let (give, connections) = mpsc::channel();
    let server = server.on_connected(move |client| give.send(client.clone()).unwrap());
    let stopper = server.stopper();
    let serving = thread::spawn(move || server.serve(|request| request.body()));
    let client = Client::connect(name.as_str()).unwrap();
    let waitable = client.waitable().unwrap();
    let incoming = client.incoming().unwrap();
    let mut window = Window { client, incoming, calls: Vec::new(), replies: 0, news: 0 };
    assert!(next_message(false).is_none(), "it makes this thread's queue");
    // SAFETY: it takes nothing and cannot fail.
    let this = unsafe { GetCurrentThreadId() };
    // Each click after the reply to the one before, and all news after them: so each way of waking is needed.
    let (replied, replies) = mpsc::channel();
    let connection = connections.recv().unwrap();
    let others = thread::spawn(move || {
        for _ in 0..CLICKS {
            // SAFETY: the message points to nothing; a thread that is not there is an error.
            assert_ne!(unsafe { PostThreadMessageW(this, WM_APP, 0, 0) }, 0);
            replies.recv().unwrap();
        }
        (0..CLICKS).for_each(|_| connection.notify("").unwrap());
    });
    let mut woken = [0; 2];
    while window.replies < CLICKS || window.news < CLICKS {
        match wait(&waitable) {
            Woken::ByClient => woken[0] += 1,
            Woken::ByMessages => woken[1] += 1,
        }
        while let Some(message) = next_message(true) {
            assert_eq!(message.message, WM_APP);
            window.calls.push(window.client.start("click").unwrap());
        }
        let before = window.replies;
        window.tend();
        (before..window.replies).for_each(|_| replied.send(()).unwrap());
    }
    assert!(woken.iter().all(|times| *times > 0), "{woken:?}");
    others.join().unwrap();
    stopper.stop();
    serving.join().unwrap().unwrap();
}
