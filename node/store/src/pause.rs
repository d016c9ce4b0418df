//! Letting the core's other tasks run in the middle of long work.

use std::future::poll_fn;
use std::task::Poll;

/// Lets other tasks of the core go first, once.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
