//! A driver that always finds work, and others on its thread.

use super::common::{ENDLESS, Serving, one_thread, within};

/// On one thread: a reply without an end is taken as fast as it comes, and other tasks run.
#[test]
fn a_busy_connection_does_not_hold_its_thread() {
    one_thread().block_on(within(async {
        let serving = Serving::start();
        let client = serving.client().await;
        let mut streams = Vec::new();
        for _ in 0..4 {
            let mut parts = client.with_method(ENDLESS).stream("").await.unwrap();
            streams
                .push(tokio::spawn(async move { while let Some(Ok(_)) = parts.next().await {} }));
        }
        for _ in 0..200 {
            tokio::task::yield_now().await;
            assert_eq!(client.call("between").await.unwrap(), "between");
        }
        client.close();
        for stream in streams {
            stream.await.unwrap();
        }
    }));
}
