//! Numbers for tenants and parameters. Entries contain these instead of names.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::snapshot::EVERYWHERE;
use crate::snapshot::kind::OtherParam;
use crate::snapshot::names::StoredName;

/// The numbers of tenants, in the order in which they were first seen.
#[derive(Debug)]
pub(super) struct Domains {
    numbers: HashMap<StoredName, u32>,
    names: Vec<StoredName>,
}

impl Domains {
    /// Holds only the number that stands for all tenants.
    pub(super) fn new() -> Domains {
        let all = StoredName::new();
        Domains { numbers: HashMap::from([(all.clone(), EVERYWHERE)]), names: vec![all] }
    }

    pub(super) fn number(&mut self, domain: &[u8]) -> u32 {
        if let Some(&number) = self.numbers.get(domain) {
            return number;
        }
        let number = u32::try_from(self.names.len()).expect("tenants are fewer than four billion");
        let name = StoredName::from_slice(domain);
        self.numbers.insert(name.clone(), number);
        self.names.push(name);
        number
    }

    pub(super) fn name(&self, number: u32) -> &StoredName {
        &self.names[number as usize]
    }
}

/// The numbers of what subjects are typed by besides the values of parameters that clients fill
/// in themselves, in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Others {
    numbers: HashMap<OtherParam, usize>,
    pub(super) names: Arc<Vec<OtherParam>>,
}

impl Others {
    pub(super) fn number(&mut self, name: OtherParam) -> usize {
        let next = self.names.len();
        *self.numbers.entry(name).or_insert_with_key(|name| {
            Arc::make_mut(&mut self.names).push(name.clone());
            next
        })
    }
}
