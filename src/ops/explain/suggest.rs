//! Suggests names that were probably intended.

use hashbrown::HashSet;

use super::{ClientRequest, ExplainRefusal};
use crate::core::model::UserRow;
use crate::core::params::Known;
use crate::snapshot::Snapshot;

/// The most names that are suggested.
const SHOWN: usize = 3;

/// The most similar of `names` to a name that is not among them, the nearest first. They differ
/// in at most two typos, and in at most half of the characters.
pub fn near<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let len = wanted.chars().count();
    let most = (len / 2).min(2);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in names {
        // Most names have a very different length, so this check saves time.
        if name.len().abs_diff(wanted.len()) > 4 * most {
            continue;
        }
        let distance = strsim::osa_distance(&wanted, &name.to_lowercase());
        let entry = (distance, name);
        if distance <= most && !found.contains(&entry) {
            found.push(entry);
            found.sort_unstable();
            found.truncate(SHOWN);
        }
    }
    found.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// The reason why there is no user for `request`.
pub(super) fn unknown(snapshot: &Snapshot, request: &ClientRequest, users: &[UserRow]) -> ExplainRefusal {
    let known = |known| request.params().known(known).unwrap_or_default().to_owned();
    let (username, domain) = (known(Known::Username), known(Known::Domain));
    let (folded, tenant) = (snapshot.fold(&username), snapshot.fold(&domain));
    let texts = users.iter().filter_map(|row| {
        let (name, domain) = (row.username.text().ok()??, row.domain.text().ok()??);
        Some((name, domain))
    });
    if !snapshot.has_tenant(&tenant) {
        let namesakes = texts.clone().filter(|(name, _)| snapshot.fold(name) == folded);
        let namesakes: Vec<_> =
            namesakes.take(SHOWN).map(|(name, domain)| format!("{name}@{domain}")).collect();
        let mut domains: HashSet<String> = HashSet::new();
        for (_, domain) in texts {
            if !domains.contains(&*domain) {
                domains.insert(domain.into_owned());
            }
        }
        let near = near(&domain, domains.iter().map(String::as_str));
        let namesakes = if near.is_empty() { namesakes } else { Vec::new() };
        return ExplainRefusal::NoTenant { near, namesakes, domain };
    }
    let (mut of_tenant, mut namesakes) = (Vec::new(), Vec::new());
    for (name, domain) in texts {
        if snapshot.fold(&domain) == tenant {
            of_tenant.push(name);
        } else if namesakes.len() < SHOWN && snapshot.fold(&name) == folded {
            namesakes.push(format!("{name}@{domain}"));
        }
    }
    let mut near = near(&username, of_tenant.iter().map(|name| &**name));
    near.extend(namesakes);
    near.truncate(SHOWN);
    ExplainRefusal::NoUser { username, domain, near }
}
