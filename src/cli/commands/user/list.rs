//! `jitsiprovs user list`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::lookup;
use crate::cli::args::Listed;
use crate::cli::attributes::AttributeListing;
use crate::cli::config::TableAccess;
use crate::cli::edit_session;
use crate::cli::listing;
use crate::cli::print::{self, ColumnKind, ListColumn, number, text};
use crate::core::conventions::Conventions;
use crate::core::credential::stored_as;
use crate::core::model::{Row, Table, UserRow};
use crate::core::secret::HIDDEN;
use crate::snapshot::{Snapshot, Writer};
use crate::source::Which;

/// A user as lists show them.
#[derive(Serialize)]
pub struct ShownUser {
    pub id: i64,
    username: Option<String>,
    domain: Option<String>,
    /// `argon2id`, `md5`…; `none` without a password, `unusable` for one that
    /// never matches.
    stored_as: &'static str,
    /// Whether the server uses this row for the user.
    counts: bool,
    /// The values that templates take for the attributes that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<BTreeMap<String, Option<String>>>,
}

impl ShownUser {
    pub fn new(row: &UserRow, counts: bool, options: &Conventions) -> ShownUser {
        let stored = row.password.text().map(Option::unwrap_or_default);
        ShownUser {
            id: row.id,
            username: listing::text(&row.username),
            domain: listing::text(&row.domain),
            stored_as: stored.map_or("unusable", |stored| stored_as(&stored, options.pwd_fmt)),
            counts,
            attributes: None,
        }
    }

    /// The cells of its line in a table for people, without attributes.
    pub fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.username.clone().unwrap_or_default(),
            self.domain.clone().unwrap_or_default(),
            self.stored_as.to_owned(),
            if self.counts { "yes" } else { "no" }.to_owned(),
        ]
    }

    /// The column heads for [`ShownUser::cells`].
    pub fn columns() -> [ListColumn; 5] {
        [number("ID"), text("USER"), text("DOMAIN"), text("PASSWORD"), text("COUNTS")]
    }

    fn value(&self, name: &str) -> String {
        self.attributes.as_ref().and_then(|all| all.get(name)?.clone()).unwrap_or_default()
    }
}

/// What to list.
pub struct UserFilter {
    /// Only users of this tenant.
    pub domain: Option<String>,
    /// Only users whose name contains this.
    pub name: Option<String>,
    /// The attributes to show, in lower case.
    pub with: Vec<String>,
    /// Whether to show secrets among them.
    pub show_secrets: bool,
}

/// Lists users.
///
/// # Errors
/// When the tables cannot be read.
pub async fn list(filter: UserFilter, listed: Listed, tables: &TableAccess) -> anyhow::Result<()> {
    let options = &tables.snapshot;
    let fold = |text: &String| options.comparison.fold(text);
    let (domain, name) = (filter.domain.as_ref().map(fold), filter.name.as_ref().map(fold));
    let mut rows = Vec::new();
    let mut writer = Writer::new(options.clone());
    let mut draft = writer.draft();
    let which = if filter.with.is_empty() { Which::Of(Table::UserAuth) } else { Which::All };
    edit_session::scan(&*tables.source, which, |row| {
        // With a snapshot of users and attributes, those count that count for the server.
        if !filter.with.is_empty() && row.table() != Table::JitsiProperty {
            draft.put(&row);
        }
        let Row::User(row) = row else { return };
        let (own_name, own_domain) = (options.fold(&row.username), options.fold(&row.domain));
        let is_wanted = domain.as_ref().is_none_or(|domain| own_domain.as_ref() == Some(domain))
            && name
                .as_ref()
                .is_none_or(|name| own_name.as_ref().is_some_and(|own| listing::contains(own, name)));
        if is_wanted {
            rows.push((own_domain, own_name, row));
        }
    })
    .await?;
    let snapshot = draft.commit().0;
    rows.sort_unstable_by(|one, other| (&one.0, &one.1, one.2.id).cmp(&(&other.0, &other.1, other.2.id)));
    let mut before = None;
    let mut users = Vec::with_capacity(rows.len());
    for (domain, name, row) in rows {
        let is_first = before.as_ref() != Some(&(domain.clone(), name.clone()));
        let counts = is_first
            && matches!((&domain, &name), (Some(domain), Some(name)) if options.can_be_user(name, domain));
        let mut user = ShownUser::new(&row, counts, options);
        if !filter.with.is_empty() {
            user.attributes = Some(attributes(&row, counts, &snapshot, &filter));
        }
        users.push(user);
        before = Some((domain, name));
    }
    let heads = filter.with.iter().map(|name| ListColumn(name.to_uppercase().into(), ColumnKind::Text));
    let columns: Vec<ListColumn> = ShownUser::columns().into_iter().chain(heads).collect();
    print::list(listed, &users, &columns, |user| {
        user.cells().into_iter().chain(filter.with.iter().map(|name| user.value(name))).collect()
    })
}

/// The values of the attributes that were asked for. They count for the row that the server
/// uses.
fn attributes(
    row: &UserRow,
    counts: bool,
    snapshot: &Snapshot,
    filter: &UserFilter,
) -> BTreeMap<String, Option<String>> {
    let session = snapshot.find(&lookup::params(row)).filter(|_| counts);
    let known = session.map(|session| session.attributes()).unwrap_or_default();
    let shown = |name: &String| {
        let (level, found) = known.iter().find(|(_, attribute)| attribute.name == name)?;
        let listed = AttributeListing::new(*found, *level, filter.show_secrets);
        Some(listed.value.unwrap_or_else(|| HIDDEN.to_owned()))
    };
    filter.with.iter().map(|name| (name.clone(), shown(name))).collect()
}
