//! Polls a future only when it has been woken.
//!
//! A task is polled for each request. A future in it that waits for something rare would be
//! polled each time too, and one that waits for all connections' stop takes a lock then that all
//! workers share.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A future that must not be polled after its end, and that wakes its task as any other does.
pub(super) struct Woken<F> {
    future: F,
    bell: Option<Arc<Bell>>,
}

impl<F> Woken<F> {
    pub(super) fn new(future: F) -> Woken<F> {
        Woken { future, bell: None }
    }
}

impl<F: Future + Unpin> Future for Woken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let bell = match &self.bell {
            Some(bell) if bell.task.will_wake(cx.waker()) => {
                // It is read first, because that costs less than a swap.
                if !bell.has_rung.load(Ordering::Relaxed) || !bell.has_rung.swap(false, Ordering::Acquire) {
                    return Poll::Pending;
                }
                bell.clone()
            }
            _ => Arc::new(Bell { has_rung: AtomicBool::new(false), task: cx.waker().clone() }),
        };
        self.bell = Some(bell.clone());
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&Waker::from(bell)))
    }
}

/// Wakes the task, and remembers that it did.
struct Bell {
    has_rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_once_for_each_time_that_it_was_woken() {
        let (notify, polls) = (Notify::new(), Cell::new(0));
        let waiting = Box::pin(async {
            let mut notified = Box::pin(notify.notified());
            poll_fn(|cx| {
                polls.set(polls.get() + 1);
                notified.as_mut().poll(cx)
            })
            .await
        });
        let mut woken = Woken::new(waiting);
        for _ in 0..3 {
            assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut woken).poll(cx))).await.is_pending());
        }
        assert_eq!(polls.get(), 1);
        notify.notify_one();
        woken.await;
        assert_eq!(polls.get(), 2);
    }

    #[tokio::test]
    async fn another_task_can_go_on_with_it() {
        let notify = Arc::new(Notify::new());
        let waited = notify.clone();
        let mut woken = Woken::new(Box::pin(async move { waited.notified().await }));
        assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut woken).poll(cx))).await.is_pending());
        let task = tokio::spawn(woken);
        tokio::task::yield_now().await;
        notify.notify_one();
        task.await.expect("no panic");
    }
}
