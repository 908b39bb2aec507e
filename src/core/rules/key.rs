//! Keys of properties. Two keys are equal if a client reads them as the same property.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::core::params::{ParamName, Params, Values};
use crate::core::properties::{self, Side};
use crate::core::template::{Fault, Form, Template};

/// The key of a property, compiled. Rules with the same key share it.
#[derive(Debug, PartialEq, Eq)]
pub struct CompiledKey {
    pub(super) template: Template,
    /// `None` if it depends on the request.
    pub(super) id: Option<KeyId>,
}

/// The property of a key, as far as it is known before a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum StaticKey {
    /// The property is the same for every request.
    Fixed(KeyId),
    /// The property depends on the request. It is the same for rules that share the key.
    Dynamic(usize),
}

/// The property that a client reads from a rendered key, as 128 bits of a keyed hash. Clients can
/// choose parts of keys, but cannot find out which ones collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyId(u128);

impl KeyId {
    /// The property of a rendered key.
    fn of(key: &Template, values: &impl Values) -> KeyId {
        static SEED: LazyLock<(u64, u64)> = LazyLock::new(|| {
            let random = RandomState::new();
            (random.hash_one(0), random.hash_one(1))
        });
        let mut written = Vec::new();
        key.whole().render(values, &mut written);
        let mut hasher = SipHasher13::new_with_keys(SEED.0, SEED.1);
        match properties::client_key(&written) {
            Some(key) => std::hash::Hash::hash(&(0_u8, key), &mut hasher),
            // The client reads this as a comment. The same comment must not be in the answer
            // twice either.
            None => std::hash::Hash::hash(&(1_u8, written), &mut hasher),
        }
        KeyId(hasher.finish128().as_u128())
    }
}

/// What keys of the same property have in common: the key that Java reads (or the text of a
/// comment), and its parameters with their forms and fallbacks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyIdentity(Result<Vec<u16>, Vec<u8>>, Vec<KeyParam>);

/// A parameter in a key, the form of its value, and its fallback.
type KeyParam = (ParamName, Option<Form>, Option<Box<str>>);

impl CompiledKey {
    /// Parses the template of a key.
    pub fn parse(text: &str, fault: impl FnMut(Fault)) -> CompiledKey {
        let template = Template::parse(text, Side::Key, fault);
        let id = template.is_fixed().then(|| KeyId::of(&template, &Params::new()));
        CompiledKey { template, id }
    }

    /// The identity of the key. It is equal for all keys that are always the same property for
    /// clients, even if they are written differently.
    pub fn identity(&self) -> KeyIdentity {
        let key = self.template.whole();
        let sample = key.sample("\\uE000").into_bytes();
        let key_read = properties::client_key(&sample).ok_or(sample);
        let params = key.params().zip(key.forms());
        let params =
            params.map(|((name, _), (form, fallback))| (name.clone(), form, fallback.map(Box::from)));
        KeyIdentity(key_read, params.collect())
    }

    #[inline]
    pub(super) fn id(&self, values: &impl Values) -> KeyId {
        self.id.unwrap_or_else(|| KeyId::of(&self.template, values))
    }
}
