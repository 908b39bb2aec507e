//! Keys of properties: two that a client reads as the same property are the same.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::core::params::{ParamName, Params};
use crate::core::properties::{self, Side};
use crate::core::template::{Fault, Template};

/// A property's key, compiled. Rules of one key share it.
#[derive(Debug, PartialEq, Eq)]
pub struct CompiledKey {
    pub(super) template: Template,
    /// `None` when it depends on the request.
    pub(super) id: Option<KeyId>,
}

/// The property of a key as far as it is known without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum StaticKey {
    /// The same for every request.
    Fixed(KeyId),
    /// It depends on the request, and is the same for rules that share the key.
    Dynamic(usize),
}

/// The property that a client reads from a rendered key, as 128 bits of a keyed hash.
/// Clients can choose parts of keys, but do not know which would collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyId(u128);

impl KeyId {
    /// The property of a key as it is in the answer to a request.
    fn of(key: &Template, params: &Params) -> KeyId {
        static SEED: LazyLock<(u64, u64)> = LazyLock::new(|| {
            let random = RandomState::new();
            (random.hash_one(0), random.hash_one(1))
        });
        let mut written = Vec::new();
        key.whole().render(params, &mut written);
        let mut hasher = SipHasher13::new_with_keys(SEED.0, SEED.1);
        match properties::client_key(&written) {
            Some(key) => std::hash::Hash::hash(&(0_u8, key), &mut hasher),
            // A comment for the client; the same one twice is still once too often.
            None => std::hash::Hash::hash(&(1_u8, written), &mut hasher),
        }
        KeyId(hasher.finish128().as_u128())
    }
}

/// What keys of the same property have in common: the key that Java reads, or the text of a
/// comment, and the parameters in it with their fallbacks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyIdentity(Result<Vec<u16>, Vec<u8>>, Vec<(ParamName, Option<Box<str>>)>);

impl CompiledKey {
    /// Parses the template of a key.
    pub fn parse(text: &str, fault: impl FnMut(Fault)) -> CompiledKey {
        let template = Template::parse(text, Side::Key, fault);
        let id = template.is_fixed().then(|| KeyId::of(&template, &Params::new()));
        CompiledKey { template, id }
    }

    /// The same for all keys that are always the same property for clients, however they are
    /// written.
    pub fn identity(&self) -> KeyIdentity {
        let key = self.template.whole();
        let sample = key.sample("\\uE000").into_bytes();
        let key_read = properties::client_key(&sample).ok_or(sample);
        let names = key.params().map(|(name, _)| name.clone());
        let fallbacks = key.fallbacks().map(|fallback| fallback.map(Box::from));
        KeyIdentity(key_read, names.zip(fallbacks).collect())
    }

    pub(super) fn id(&self, params: &Params) -> KeyId {
        self.id.unwrap_or_else(|| KeyId::of(&self.template, params))
    }
}
