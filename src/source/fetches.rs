//! The table `jitsiprovs_fetch`: the last success and the last failure of each device, which all
//! nodes write and read.

use sha2::{Digest, Sha256};

use super::SourceError;
use super::backend::{Backend, PRUNED, Purpose, Session};
use super::database::{Database, close, column_names};
use super::error::{Failure, FailureKind};
use crate::core::fetch::{Fetch, FetchFilter, FetchReason};
use crate::core::model::Cell;

const TABLE: &str = "jitsiprovs_fetch";
const WRITING: &str = "writing `jitsiprovs_fetch`";
const READING: &str = "reading `jitsiprovs_fetch`";
const PRUNING: &str = "pruning `jitsiprovs_fetch`";

/// The columns besides the id, in the order in which they are read and written.
const COLUMNS: [&str; 12] = [
    "domain",
    "username",
    "device",
    "fetched_at",
    "is_ok",
    "reason",
    "address",
    "agent",
    "node",
    "snapshot",
    "properties",
    "parameters",
];

/// How many rows one statement writes.
const AT_ONCE: usize = 200;
/// The longest name of a user, tenant, device or node in the table, in characters.
const NAME: usize = 255;
/// The longest `User-Agent` in the table, in characters.
const AGENT: usize = 256;

impl<B: Backend> Database<B> {
    pub(super) async fn record_all(&self, fetches: &[Fetch]) -> Result<(), SourceError> {
        let mut fetches: Vec<(String, &Fetch)> = fetches.iter().map(|fetch| (id(fetch), fetch)).collect();
        // Two statements at the same time that lock the same rows in another order wait for each
        // other for ever.
        fetches.sort_by(|(one, fetch), (other, later)| one.cmp(other).then(later.at.cmp(&fetch.at)));
        // PostgreSQL refuses a statement that writes a row twice.
        fetches.dedup_by(|(one, _), (other, _)| one == other);
        let mut session = self.backend.connect(Purpose::Prune).await?;
        if !has_table::<B>(&mut session).await? {
            return Err(SourceError::NoOwnTable { table: TABLE, source_name: self.backend.name() });
        }
        for some in fetches.chunks(AT_ONCE) {
            let row = format!("(?{})", ", ?".repeat(COLUMNS.len()));
            let sql = format!(
                "INSERT INTO {TABLE} (id, {}) VALUES {}{}",
                COLUMNS.join(", "),
                vec![row; some.len()].join(", "),
                B::DIALECT.keep_later
            );
            let params = some.iter().flat_map(|(id, fetch)| cells(id, fetch)).collect();
            session.execute(WRITING, sql, params).await.map_err(|failure| self.is_busy(failure))?;
        }
        close(session).await;
        Ok(())
    }

    pub(super) async fn read_fetches(&self, wanted: FetchFilter) -> Result<Vec<Fetch>, SourceError> {
        let mut session = self.backend.connect(Purpose::Read).await?;
        let mut fetches = Vec::new();
        if has_table::<B>(&mut session).await? {
            let (sql, params) = query(wanted, B::DIALECT.by_bytes);
            let rows = session.ask(READING, sql, params).await?;
            fetches.extend(rows.iter().filter_map(|cells| fetch(cells)));
        }
        close(session).await;
        Ok(fetches)
    }

    pub(super) async fn prune_fetches_before(&self, before: i64) -> Result<u64, SourceError> {
        let mut session = self.backend.connect(Purpose::Prune).await?;
        let mut pruned = 0;
        if has_table::<B>(&mut session).await? && self.backend.may_prune(&mut session).await? {
            let some = B::DIALECT.delete_some;
            let sql = format!("DELETE FROM {TABLE} WHERE fetched_at < ?{some}");
            loop {
                let some = session.execute(PRUNING, sql.clone(), vec![Cell::Int(before)]).await;
                let some = some.map_err(|failure| self.is_busy(failure))?;
                pruned += some;
                if some < PRUNED {
                    break;
                }
            }
        }
        close(session).await;
        Ok(pruned)
    }

    /// Other nodes write the same rows, so a lock on one of them is no fault of the statement.
    fn is_busy(&self, failure: Failure) -> SourceError {
        match failure.kind {
            FailureKind::Busy => SourceError::Busy(self.backend.name()),
            _ => failure.error,
        }
    }
}

/// Whether the table is there, and the account may see it.
async fn has_table<B: Backend>(session: &mut B::Session) -> Result<bool, Failure> {
    let names = column_names(session, B::DIALECT.list_columns, TABLE).await?;
    Ok(COLUMNS.iter().all(|column| names.iter().any(|name| name == column)))
}

/// The key of a row: 32 hexadecimal digits.
fn id(fetch: &Fetch) -> String {
    let mut hash = Sha256::new();
    for name in [&fetch.domain, &fetch.username, &fetch.device] {
        // With its length, so that no two of them can be divided differently.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
    }
    hash.update([u8::from(fetch.is_ok)]);
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn cells(id: &str, fetch: &Fetch) -> [Cell; COLUMNS.len() + 1] {
    let params: serde_json::Map<_, _> =
        fetch.params.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    [
        Cell::from(id),
        Cell::from(cut(&fetch.domain, NAME)),
        Cell::from(cut(&fetch.username, NAME)),
        Cell::from(cut(&fetch.device, NAME)),
        Cell::Int(fetch.at),
        Cell::Int(fetch.is_ok.into()),
        fetch.reason.map_or(Cell::Null, |reason| Cell::from(reason.name())),
        Cell::from(&*fetch.address.to_string()),
        Cell::from(cut(&fetch.agent, AGENT)),
        Cell::from(cut(&fetch.node, NAME)),
        fetch.snapshot.map_or(Cell::Null, Cell::Int),
        Cell::Int(fetch.properties.into()),
        Cell::from(&*serde_json::Value::Object(params).to_string()),
    ]
}

/// The first characters of a text.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

fn query(wanted: FetchFilter, by_bytes: &str) -> (String, Vec<Cell>) {
    let FetchFilter { domain, username, address, since, failed, most } = wanted;
    let [from, to] = [">=", "<"].map(|than| format!("address{by_bytes} {than} ?"));
    // No character comes after this one.
    let last = address.as_ref().map(|begin| Cell::from(&*format!("{begin}{}", char::MAX)));
    let conditions = [
        ("domain = ?", domain.map(|domain| Cell::from(cut(&domain, NAME)))),
        ("username = ?", username.map(|username| Cell::from(cut(&username, NAME)))),
        (&*from, address.map(|begin| Cell::from(&*begin))),
        (&*to, last),
        ("fetched_at >= ?", since.map(Cell::Int)),
    ];
    let (mut conditions, mut params): (Vec<_>, Vec<_>) =
        conditions.into_iter().filter_map(|(condition, value)| Some((condition, value?))).unzip();
    if failed {
        // Not a parameter, so that SQLite uses its index of these.
        conditions.push("is_ok = 0");
    }
    let place = if conditions.is_empty() { "" } else { " WHERE " };
    params.push(Cell::Int(i64::try_from(most).unwrap_or(i64::MAX)));
    let sql = format!(
        "SELECT {} FROM {TABLE}{place}{} ORDER BY fetched_at DESC LIMIT ?",
        COLUMNS.join(", "),
        conditions.join(" AND ")
    );
    (sql, params)
}

/// `None` for a row that no server has written.
fn fetch(cells: &[Cell]) -> Option<Fetch> {
    let [domain, username, device, at, is_ok, reason, address, agent, node, snapshot, properties, params] =
        cells
    else {
        return None;
    };
    let params: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&params.shown()).ok()?;
    let text = |cell: &Cell| cell.shown().into_owned();
    let reason = reason.shown();
    Some(Fetch {
        domain: text(domain),
        username: text(username),
        device: text(device),
        at: at.int().ok()??,
        reason: FetchReason::ALL.into_iter().find(|known| known.name() == reason),
        is_ok: is_ok.int().ok()?? != 0,
        address: address.shown().parse().ok()?,
        agent: text(agent),
        node: text(node),
        snapshot: snapshot.int().ok()?,
        properties: properties.int().ok()??.try_into().ok()?,
        params: params.into_iter().map(|(name, value)| (name, plain(value))).collect(),
    })
}

fn plain(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Queries, sqlite};

    fn alice(device: &str, at: i64, reason: Option<FetchReason>) -> Fetch {
        Fetch {
            domain: "example.org".into(),
            username: "alice".into(),
            device: device.into(),
            at,
            reason,
            is_ok: reason.is_none(),
            address: "192.0.2.1".parse().expect("an address"),
            agent: "Jitsi".into(),
            node: "node1".into(),
            snapshot: Some(at),
            properties: 7,
            params: vec![("osname".into(), "\"Linux\"\n".into())],
        }
    }

    fn all() -> FetchFilter {
        FetchFilter { most: 100, ..FetchFilter::default() }
    }

    #[tokio::test]
    async fn of_two_fetches_of_a_device_the_later_one_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = sqlite(folder.path().join("db"), Queries::default());
        source.setup().await.expect("a database");
        let late = alice("a", 20, None);
        source.record(std::slice::from_ref(&late)).await.expect("written");
        let failed = alice("a", 15, Some(FetchReason::WrongPassword));
        let other = alice("b", 30, None);
        source.record(&[alice("a", 10, None), failed.clone(), other.clone()]).await.expect("written");
        assert_eq!(source.fetches(all()).await.expect("read"), [other.clone(), late, failed.clone()]);
        let later = alice("a", 40, None);
        source.record(std::slice::from_ref(&later)).await.expect("written");
        assert_eq!(source.fetches(all()).await.expect("read"), [later.clone(), other, failed.clone()]);

        let only = async |wanted: FetchFilter| source.fetches(wanted).await.expect("read");
        assert_eq!(only(FetchFilter { failed: true, ..all() }).await, [failed]);
        assert_eq!(only(FetchFilter { since: Some(40), ..all() }).await, std::slice::from_ref(&later));
        assert_eq!(only(FetchFilter { most: 1, ..all() }).await, [later]);
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(
            only(FetchFilter { domain: name("example.org"), username: name("bob"), ..all() }).await,
            []
        );
        assert_eq!(only(FetchFilter { domain: name("example.org"), ..all() }).await.len(), 3);
        assert_eq!(only(FetchFilter { address: name("192.0."), ..all() }).await.len(), 3);
        assert_eq!(only(FetchFilter { address: name("192.0.3"), ..all() }).await, []);

        assert_eq!(source.prune_fetches(30).await.expect("pruned"), 1);
        assert_eq!(only(all()).await.len(), 2);
    }

    #[tokio::test]
    async fn long_texts_are_cut_and_many_rows_are_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = sqlite(folder.path().join("db"), Queries::default());
        source.setup().await.expect("a database");
        let long = "é".repeat(300);
        let many = (0..450).map(|at| Fetch { agent: long.clone(), ..alice(&format!("{at}"), at, None) });
        source.record(&many.collect::<Vec<_>>()).await.expect("written");
        let read = source.fetches(FetchFilter { most: 1000, ..all() }).await.expect("read");
        assert_eq!(read.len(), 450);
        assert!(read.iter().all(|fetch| fetch.agent.chars().count() == AGENT));
    }

    #[tokio::test]
    async fn without_the_table_nothing_is_read_and_writing_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        let source = sqlite(&path, Queries::default());
        source.setup().await.expect("a database");
        let connection = rusqlite::Connection::open(&path).expect("a file");
        connection.execute_batch("DROP TABLE jitsiprovs_fetch").expect("dropped");
        assert_eq!(source.fetches(all()).await.expect("nothing"), []);
        assert_eq!(source.prune_fetches(99).await.expect("nothing"), 0);
        let error = source.record(&[alice("a", 1, None)]).await.expect_err("no table").to_string();
        assert!(error.contains("jitsiprovs_fetch") && error.contains("set the database up"), "{error}");
    }

    #[test]
    fn no_two_keys_are_divided_differently() {
        let key = |domain: &str, username: &str| {
            id(&Fetch { domain: domain.into(), username: username.into(), ..alice("a", 1, None) })
        };
        assert_eq!(key("ab", "c").len(), 32);
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_ne!(id(&alice("a", 1, None)), id(&alice("a", 1, Some(FetchReason::Locked))));
    }
}
