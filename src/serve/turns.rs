//! Turns to compute a slow hash, which limit how many are computed at once. Other
//! requests wait in a [`FairQueue`], which is fair among addresses and tenants.
//!
//! A hash under way cannot be stopped, so a turn is never taken back. A request that
//! is abandoned leaves the queue, or passes its turn on.

mod line;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use tokio::sync::oneshot;

use crate::serve::throttle::owner;
use line::{Entered, FairQueue, Flows};

/// Gives out the turns.
pub struct Turns {
    line: Mutex<FairQueue<oneshot::Sender<Turn>>>,
    /// Known to this process only, so that nobody can cause collisions on purpose.
    key: RandomState,
}

/// The right to compute a slow hash of an account. When it is dropped, the next request
/// gets it.
pub struct Turn {
    turns: Option<Arc<Turns>>,
    account: u64,
}

/// Too many requests wait: from the address, for the tenant, or in total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

impl Turns {
    /// At most `at_once` requests have a turn at the same time.
    pub fn new(at_once: usize) -> Arc<Turns> {
        Arc::new(Turns { line: Mutex::new(FairQueue::new(at_once)), key: RandomState::default() })
    }

    /// Waits for a turn, as long as it takes. `account` is the domain and the username.
    /// Without `is_tenant` the tenant does not exist, so that invented names get no turns of
    /// their own.
    ///
    /// # Errors
    /// When too many wait, either at once or later.
    pub async fn wait(
        self: &Arc<Self>,
        address: IpAddr,
        account: [&[u8]; 2],
        is_tenant: bool,
        has_failed: bool,
    ) -> Result<Turn, Crowded> {
        let (sender, receiver) = oneshot::channel();
        let flows = Flows {
            address: self.key.hash_one(owner(address)),
            tenant: self.key.hash_one(is_tenant.then_some(account[0])),
            account: self.key.hash_one(account),
        };
        let (entered, crowded_out) = self.line().enter(flows, has_failed, sender);
        drop(crowded_out);
        match entered {
            Entered::Free => Ok(Turn { turns: Some(self.clone()), account: flows.account }),
            Entered::Refused => Err(Crowded),
            Entered::Waits(number) => {
                let _place = Ticket { turns: self, number };
                receiver.await.map_err(|_| Crowded)
            }
        }
    }

    /// Notes that a request from the address has failed: its waiting requests now
    /// come after all others.
    pub fn fail(&self, address: IpAddr) {
        self.line().fail(self.key.hash_one(owner(address)));
    }

    /// Ends the turn of an account, and gives it to the next request.
    fn pass_on(self: &Arc<Self>, account: u64) {
        let mut ended = account;
        loop {
            let next = {
                let mut line = self.line();
                line.end(ended);
                line.next()
            };
            let Some((next, account)) = next else { return };
            match next.send(Turn { turns: Some(self.clone()), account }) {
                Ok(()) => return,
                // The request was abandoned just now. Dropping the turn must not pass it on too.
                Err(mut turn) => turn.turns = None,
            }
            ended = account;
        }
    }

    fn line(&self) -> MutexGuard<'_, FairQueue<oneshot::Sender<Turn>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.pass_on(self.account);
        }
    }
}

/// A place in the queue. Dropping it leaves the queue.
struct Ticket<'t> {
    turns: &'t Turns,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let left = self.turns.line().leave(self.number);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Waits for an account that nobody else asks for.
    async fn wait(turns: &Arc<Turns>, address: IpAddr) -> Result<Turn, Crowded> {
        static ACCOUNTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let account = ACCOUNTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        turns.wait(address, [b"a.org", &account.to_be_bytes()], false, false).await
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_turn_that_is_over_is_the_next_ones() {
        let turns = Turns::new(1);
        let mut first = pin!(wait(&turns, HERE));
        let turn = poll(first.as_mut()).expect("at once").expect("a turn");
        let mut second = pin!(wait(&turns, HERE));
        assert!(poll(second.as_mut()).is_none());
        drop(turn);
        assert!(poll(second.as_mut()).expect("at once").is_ok());
    }

    #[test]
    fn all_of_an_ipv6_network_that_one_client_has_is_one_address() {
        let turns = Turns::new(1);
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        let mut first = pin!(wait(&turns, HERE));
        let turn = poll(first.as_mut()).expect("at once").expect("a turn");
        let mut failed = pin!(wait(&turns, at("2001:db8::1")));
        let mut other = pin!(wait(&turns, at("2001:db8:0:1::1")));
        assert!(poll(failed.as_mut()).is_none() && poll(other.as_mut()).is_none());
        turns.fail(at("2001:db8::ffff:2"));
        drop(turn);
        assert!(poll(failed.as_mut()).is_none());
        assert!(poll(other.as_mut()).is_some_and(|turn| turn.is_ok()));
    }

    #[test]
    fn who_gives_up_leaves_the_line_and_passes_a_turn_on() {
        let turns = Turns::new(1);
        let mut first = pin!(wait(&turns, HERE));
        let turn = poll(first.as_mut()).expect("at once").expect("a turn");
        let mut third = pin!(wait(&turns, HERE));
        {
            let mut waits = pin!(wait(&turns, HERE));
            let mut has_it = pin!(wait(&turns, HERE));
            assert!(poll(waits.as_mut()).is_none() && poll(has_it.as_mut()).is_none());
            assert!(poll(third.as_mut()).is_none());
            assert_eq!(turns.line().len(), 3);
            // It goes to the first of the three, which is never polled again.
            drop(turn);
            assert_eq!(turns.line().len(), 2);
        }
        assert_eq!(turns.line().len(), 0);
        let turn = poll(third.as_mut()).expect("at once").expect("a turn");
        drop(turn);
        let mut last = pin!(wait(&turns, HERE));
        assert!(poll(last.as_mut()).is_some());
    }
}
