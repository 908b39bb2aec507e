//! The hashes that tell devices and details apart.

use std::hash::{BuildHasher, Hash, Hasher};

use super::details::{Asking, Decided, KEPT};
use super::device::Device;

/// Hashes of who asks, with keys that nobody knows. That two of a million devices have the same is as
/// likely as one in 18 million.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub account: u64,
    /// Of the account with the device.
    pub device: u64,
}

/// The hashes of a request that was decided.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub asker: Asker,
    /// Of the account with the address; 0 for a success, which does not need it.
    pub address: u64,
    /// Of what is kept of the request besides what changes with each one.
    pub details: u64,
    /// Of the details, the snapshot and the number of properties.
    pub request: u64,
}

/// The keys of the hashes.
pub(super) struct HashKeys {
    accounts: foldhash::quality::RandomState,
    details: foldhash::fast::RandomState,
}

impl HashKeys {
    pub fn new() -> HashKeys {
        HashKeys { accounts: Default::default(), details: Default::default() }
    }

    /// The hash of a folded account.
    pub fn account(&self, domain: &[u8], username: &[u8]) -> u64 {
        self.of_account(domain, username).finish()
    }

    fn of_account(&self, domain: &[u8], username: &[u8]) -> foldhash::quality::FoldHasher<'_> {
        let mut hasher = self.accounts.build_hasher();
        hasher.write_usize(domain.len());
        hasher.write(domain);
        hasher.write(username);
        hasher.write_u8(0xff);
        hasher
    }

    pub fn asker(&self, asking: &Asking<'_>) -> Asker {
        let hasher = self.of_account(asking.domain, asking.username);
        let device = Device::of(|known| asking.params.known(known), asking.address, asking.agent);
        Asker { account: hasher.finish(), device: with(hasher, device) }
    }

    /// Of a request of this asker.
    pub fn of(&self, asker: Asker, decided: &Decided<'_>) -> Keys {
        let address = match decided.reason {
            None => 0,
            Some(_) => {
                let Asking { domain, username, address, .. } = decided.asking;
                with(self.of_account(domain, username), Device::Program(address, b""))
            }
        };
        let (details, request) = self.request(decided);
        Keys { asker, address, details, request }
    }

    /// Of the details, and of the request.
    fn request(&self, decided: &Decided<'_>) -> (u64, u64) {
        let Asking { params, address, agent, .. } = decided.asking;
        let mut hasher = self.details.build_hasher();
        for known in KEPT {
            match params.known(known) {
                Some(value) => hasher.write(value.as_bytes()),
                None => hasher.write_u8(0xff),
            }
        }
        for (name, value) in params.others() {
            hasher.write(name.as_bytes());
            hasher.write(value.as_bytes());
        }
        hasher.write(agent);
        address.hash(&mut hasher);
        hasher.write_u8(decided.reason.map_or(0, |reason| reason as u8 + 1));
        let details = hasher.finish();
        hasher.write_u8(decided.snapshot.is_some().into());
        hasher.write_i64(decided.snapshot.unwrap_or_default());
        hasher.write_u32(decided.properties);
        (details, hasher.finish())
    }
}

fn with(mut account: foldhash::quality::FoldHasher<'_>, device: Device<'_>) -> u64 {
    device.hash(&mut account);
    account.finish()
}
