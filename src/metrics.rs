//! The metrics, for Prometheus.
//!
//! Labels are bounded: there are no usernames, and tenants only if the operator
//! wants them. Without tenants, counting a request takes no lock and allocates nothing.

mod hour;
mod requests;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use requests::{Latency, Outcomes, Requests};

use hour::Hour;
pub use hour::{MINUTES, Minute};
pub use prometheus_client::metrics::gauge::Gauge;

/// The content type of the text for a scraper.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Answered with properties.
    Ok,
    /// The credentials are wrong.
    Denied,
    /// Refused after too many wrong credentials.
    Throttled,
    /// Too many slow hashes at once.
    Busy,
    /// There is no snapshot.
    NotReady,
    /// The credentials are wrong, but the snapshot may be out of date.
    Stale,
    /// The request cannot be understood.
    Malformed,
    /// The path does not exist.
    NotFound,
    /// The method is not supported.
    Method,
    /// The content type is not supported.
    ContentType,
    /// The body is too large.
    TooLarge,
    /// The request did not arrive in time.
    Timeout,
    /// The body could not be read to its end.
    Unreadable,
    /// A health check.
    Health,
    /// The client hung up before it was answered.
    Aborted,
}

impl RequestOutcome {
    /// All of them.
    pub const ALL: [RequestOutcome; 15] = [
        RequestOutcome::Ok,
        RequestOutcome::Denied,
        RequestOutcome::Throttled,
        RequestOutcome::Busy,
        RequestOutcome::NotReady,
        RequestOutcome::Stale,
        RequestOutcome::Malformed,
        RequestOutcome::NotFound,
        RequestOutcome::Method,
        RequestOutcome::ContentType,
        RequestOutcome::TooLarge,
        RequestOutcome::Timeout,
        RequestOutcome::Unreadable,
        RequestOutcome::Health,
        RequestOutcome::Aborted,
    ];

    /// The name in metrics and in the log.
    pub fn name(self) -> &'static str {
        match self {
            RequestOutcome::Ok => "ok",
            RequestOutcome::Denied => "denied",
            RequestOutcome::Throttled => "throttled",
            RequestOutcome::Busy => "busy",
            RequestOutcome::NotReady => "not_ready",
            RequestOutcome::Stale => "stale",
            RequestOutcome::Malformed => "malformed",
            RequestOutcome::NotFound => "not_found",
            RequestOutcome::Method => "method",
            RequestOutcome::ContentType => "content_type",
            RequestOutcome::TooLarge => "too_large",
            RequestOutcome::Timeout => "timeout",
            RequestOutcome::Unreadable => "unreadable",
            RequestOutcome::Health => "health",
            RequestOutcome::Aborted => "aborted",
        }
    }
}

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    hour: Hour,
    tenants: Option<Family<Vec<(&'static str, String)>, Counter>>,
    reloads: Family<Labels<2>, Counter>,
    reload_duration: Histogram,
    load_rows: Counter,
    load_tables_unread: Counter,
    throttled: Family<Labels<1>, Counter>,
    handshakes: Family<Labels<1>, Counter>,
    proxy_headers: Family<Labels<1>, Counter>,
    certificate_reloads: Family<Labels<1>, Counter>,
    connections_closed: Family<Labels<1>, Counter>,
    log_lines_dropped: Family<Labels<1>, Counter>,
    /// Wrong passwords that were counted as failures.
    pub auth_failures: Counter,
    /// Fetches that are kept in memory.
    pub fetches: Gauge,
    /// Fetches that were written into the database.
    pub fetches_recorded: Counter,
    /// Fetches that were lost before they were written.
    pub fetches_dropped: Counter,
    /// Slow hashes that were computed to check a password.
    pub slow_hashes: Counter,
    /// Rules left out of answers because the client did not send a parameter.
    pub rules_skipped: Counter,
    /// Open public connections.
    pub connections: Gauge,
    worker_connections: Family<Vec<(&'static str, String)>, Gauge>,
    /// How many public connections may be open.
    pub connections_limit: Gauge,
    /// Connections that could not be accepted.
    pub accept_errors: Counter,
    /// Whether the state file could be written the last time; 1 without one.
    pub state_file_writable: Gauge,
    /// When the certificate expires, in seconds since 1970; 0 without TLS.
    pub certificate_expiry: Gauge,
    /// The same for a certificate of the admin listener alone; 0 without one.
    pub admin_certificate_expiry: Gauge,
    state: Gauges,
}

/// Values that are set at each scrape.
#[derive(Debug, Default)]
struct Gauges {
    ready: Gauge,
    source_up: Gauge,
    withheld_users: Gauge,
    withheld_rules: Gauge,
    withheld_attributes: Gauge,
    version: Gauge,
    age: Gauge<f64, AtomicU64>,
    tenants: Gauge,
    users: Gauge,
    rules: Gauge,
    attributes: Gauge,
    bytes: Gauge,
    bad_rows: Gauge,
}

/// The values that are read at a scrape.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scrape {
    /// Whether requests can be answered.
    pub is_ready: bool,
    /// Whether the source could be read the last time.
    pub is_source_up: bool,
    /// Users that the database has lost and that are served until the loss is confirmed.
    pub withheld_users: usize,
    /// The same for rules.
    pub withheld_rules: usize,
    /// The same for attributes.
    pub withheld_attributes: usize,
    /// The snapshot in use; 0 if there is none.
    pub version: u64,
    /// For how many seconds the snapshot may have been out of date.
    pub age: f64,
    /// Tenants that have users.
    pub tenants: usize,
    /// Users.
    pub users: usize,
    /// Rules in use.
    pub rules: usize,
    /// Attributes in use.
    pub attributes: usize,
    /// Memory of the snapshot, in bytes.
    pub bytes: usize,
    /// Rows that were left out of the snapshot.
    pub bad_rows: usize,
    /// Important log lines that were lost.
    pub important_lines_dropped: u64,
    /// Routine log lines that were lost: those for each request, and debug messages.
    pub routine_lines_dropped: u64,
}

impl Metrics {
    /// With `by_tenant`, requests are counted for each tenant too.
    pub fn new(by_tenant: bool) -> Metrics {
        let mut registry = Registry::with_prefix("jitsiprovs");
        let build = [("version", env!("CARGO_PKG_VERSION")), ("commit", env!("BUILD_COMMIT"))];
        registry.register("build", "The version of this program, and its commit", Info::new(build));
        let started = Gauge::<i64, AtomicI64>::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        started.set(now.as_secs() as i64);
        registry.register("start_time_seconds", "When this process started, in seconds since 1970", started);

        let requests = Requests::new();
        fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
            registry.register(name, help, metric.clone());
            metric
        }
        let mut add_gauge = |name: &str, help: &str| add(&mut registry, name, help, Gauge::default());
        let state = Gauges {
            ready: add_gauge("ready", "1 when requests can be answered"),
            source_up: add_gauge("source_up", "1 if the database could be read the last time"),
            withheld_users: add_gauge(
                "withheld_users",
                "Users that the database has lost and that are served until the loss is confirmed",
            ),
            withheld_rules: add_gauge(
                "withheld_rules",
                "Rules that the database has lost and that are served until the loss is confirmed",
            ),
            withheld_attributes: add_gauge(
                "withheld_attributes",
                "Attributes that the database has lost and that are served until the loss is confirmed",
            ),
            version: add_gauge("snapshot_version", "Number of the snapshot in this process"),
            tenants: add_gauge("snapshot_tenants", "Tenants that have users"),
            users: add_gauge("snapshot_users", "Users"),
            rules: add_gauge("snapshot_rules", "Rules in use"),
            attributes: add_gauge("snapshot_attributes", "Attributes in use"),
            bytes: add_gauge("snapshot_bytes", "Memory of the snapshot in bytes"),
            bad_rows: add_gauge("bad_rows", "Rows that were left out of the snapshot"),
            age: Gauge::default(),
        };
        let connections = add_gauge("connections", "Connections that are open");
        let connections_limit = add_gauge("connections_limit", "How many connections may be open");
        let fetches = add_gauge("fetches", "Fetches that are kept in memory");
        let certificate_expiry = add_gauge(
            "certificate_expiry_timestamp_seconds",
            "When the certificate ends, in seconds since 1970; 0 without TLS",
        );
        let admin_certificate_expiry = add_gauge(
            "admin_certificate_expiry_timestamp_seconds",
            "When the own certificate of the admin listener ends, in seconds since 1970; 0 without one",
        );
        let state_file_writable = add_gauge(
            "state_file_writable",
            "1 if the state file could be written the last time, or without one",
        );
        state_file_writable.set(1);
        let age = state.age.clone();
        add(&mut registry, "snapshot_age_seconds", "How long the snapshot may have been out of date", age);
        let r = &mut registry;
        r.register("requests", "Requests by result: denied is 401, throttled is 429, and busy, not_ready and stale are 503; aborted: \
             the client closed the connection before the answer", Outcomes(requests.clone()));
        r.register(
            "request_duration_seconds",
            "Histogram of the time from the head to the answer",
            Latency(requests.clone()),
        );
        let tenants = by_tenant.then(|| {
            add(
                r,
                "tenant_requests",
                "Requests by tenant and result, with --metrics-tenants",
                Family::default(),
            )
        });
        Metrics {
            requests,
            hour: Hour::default(),
            tenants,
            reloads: add(
                r,
                "reloads",
                "Loads, and polls that changed something, by cause and outcome",
                Family::default(),
            ),
            reload_duration: add(
                r,
                "reload_duration_seconds",
                "Histogram of how long loads and swaps took",
                Histogram::new([0.001, 0.01, 0.1, 1.0, 10.0, 60.0]),
            ),
            load_rows: add(r, "load_rows", "Rows that loads have read", Counter::default()),
            load_tables_unread: add(
                r,
                "load_tables_unread",
                "Tables that loads have not read, because they had not changed",
                Counter::default(),
            ),
            throttled: add(
                r,
                "throttled",
                "Requests refused after too many wrong passwords, by what is locked",
                Family::default(),
            ),
            handshakes: add(r, "tls_handshakes", "TLS handshakes", Family::default()),
            proxy_headers: add(r, "proxy_headers", "PROXY headers of trusted proxies", Family::default()),
            certificate_reloads: add(
                r,
                "certificate_reloads",
                "Certificates that changed on disk",
                Family::default(),
            ),
            connections_closed: add(
                r,
                "connections_closed",
                "Connections closed early: to make room, or because of too many frames without a request",
                Family::default(),
            ),
            log_lines_dropped: add(
                r,
                "log_lines_dropped",
                "Log lines that were lost because the log is read too slowly or cannot be written",
                Family::default(),
            ),
            auth_failures: add(r, "auth_failures", "Wrong passwords that count", Counter::default()),
            fetches,
            fetches_recorded: add(
                r,
                "fetches_recorded",
                "Fetches written to the database",
                Counter::default(),
            ),
            fetches_dropped: add(
                r,
                "fetches_dropped",
                "Fetches that were lost before they were written, because the database was slow or gone",
                Counter::default(),
            ),
            slow_hashes: add(r, "slow_hashes", "Slow hashes computed", Counter::default()),
            rules_skipped: add(
                r,
                "rules_skipped",
                "Rules that did not apply because a parameter was missing",
                Counter::default(),
            ),
            worker_connections: add(r, "worker_connections", "Open connections by worker", Family::default()),
            accept_errors: add(
                r,
                "accept_errors",
                "Connections that could not be accepted",
                Counter::default(),
            ),
            connections,
            connections_limit,
            certificate_expiry,
            admin_certificate_expiry,
            state_file_writable,
            state,
            registry,
        }
        .at_zero()
    }

    /// Creates the counters at 0, so that a scraper sees the first event as an increase.
    fn at_zero(self) -> Metrics {
        for by in ["account_from_address", "address", "account"] {
            drop(self.throttled.get_or_create(&[("by", by)]));
        }
        for reason in ["max_connections", "max_connections_per_address", "h2_frames"] {
            drop(self.connections_closed.get_or_create(&[("reason", reason)]));
        }
        for family in [&self.handshakes, &self.proxy_headers, &self.certificate_reloads] {
            for outcome in ["ok", "failed"] {
                drop(family.get_or_create(&[("outcome", outcome)]));
            }
        }
        self
    }

    /// Whether requests are counted by tenant.
    pub fn counts_tenants(&self) -> bool {
        self.tenants.is_some()
    }

    /// Counts a request that took `time`. `tenant` is given only if the tenant exists.
    /// The times of health checks and aborted requests would say nothing, so they are left out.
    pub fn request(&self, outcome: RequestOutcome, tenant: Option<&str>, time: Duration) {
        self.requests.count(outcome);
        if !matches!(outcome, RequestOutcome::Health | RequestOutcome::Aborted) {
            self.requests.observe(time);
        }
        if let (Some(family), Some(tenant)) = (&self.tenants, tenant) {
            let labels = vec![("tenant", tenant.to_owned()), ("result", outcome.name().to_owned())];
            family.get_or_create(&labels).inc();
        }
    }

    /// Counts a request whose head was refused.
    pub fn refused(&self, outcome: RequestOutcome) {
        self.requests.count(outcome);
    }

    /// Creates the reload counters for these labels at 0, before the first reload.
    pub fn expect_reloads(&self, causes: &[&'static str], outcomes: &[&'static str]) {
        for cause in causes {
            for outcome in outcomes {
                drop(self.reloads.get_or_create(&[("cause", cause), ("outcome", outcome)]));
            }
        }
    }

    /// Counts a load, or a poll that led to a new snapshot. `cause` must be one of a few labels.
    pub fn reload(&self, cause: &'static str, outcome: &'static str, time: Duration) {
        self.reloads.get_or_create(&[("cause", cause), ("outcome", outcome)]).inc();
        self.reload_duration.observe(time.as_secs_f64());
    }

    /// Counts a request that the throttle refused.
    pub fn throttled(&self, by: &'static str) {
        self.throttled.get_or_create(&[("by", by)]).inc();
    }

    /// Counts a connection that was closed early.
    pub fn connections_closed(&self, reason: &'static str) {
        self.connections_closed.get_or_create(&[("reason", reason)]).inc();
    }

    /// The open public connections of a worker.
    pub fn worker_connections(&self, worker: usize) -> Gauge {
        self.worker_connections.get_or_create(&vec![("worker", worker.to_string())]).clone()
    }

    /// Counts a TLS handshake.
    pub fn handshake(&self, is_ok: bool) {
        self.handshakes.get_or_create(&[("outcome", ok(is_ok))]).inc();
    }

    /// Counts a PROXY header.
    pub fn proxy_header(&self, is_ok: bool) {
        self.proxy_headers.get_or_create(&[("outcome", ok(is_ok))]).inc();
    }

    /// Counts what a load has read: rows, and tables that were left unread.
    pub fn load_read(&self, rows: u64, tables_unread: u64) {
        self.load_rows.inc_by(rows);
        self.load_tables_unread.inc_by(tables_unread);
    }

    /// Ends a minute of [`Metrics::minutes`].
    pub fn end_minute(&self) {
        self.hour.end_minute(self.requests.totals());
    }

    /// The requests of the last hour, the oldest minute first. The minute that has not ended is
    /// not among them.
    pub fn minutes(&self) -> Vec<Minute> {
        self.hour.minutes()
    }

    /// Counts a reload of the certificate.
    pub fn certificate_reload(&self, is_ok: bool) {
        self.certificate_reloads.get_or_create(&[("outcome", ok(is_ok))]).inc();
    }

    /// The text for a scraper.
    pub fn write(&self, scrape: Scrape) -> String {
        let state = &self.state;
        let number = |number: usize| number as i64;
        for (gauge, value) in [
            (&state.ready, scrape.is_ready.into()),
            (&state.source_up, scrape.is_source_up.into()),
            (&state.withheld_users, number(scrape.withheld_users)),
            (&state.withheld_rules, number(scrape.withheld_rules)),
            (&state.withheld_attributes, number(scrape.withheld_attributes)),
            (&state.version, scrape.version as i64),
            (&state.tenants, number(scrape.tenants)),
            (&state.users, number(scrape.users)),
            (&state.rules, number(scrape.rules)),
            (&state.attributes, number(scrape.attributes)),
            (&state.bytes, number(scrape.bytes)),
            (&state.bad_rows, number(scrape.bad_rows)),
        ] {
            gauge.set(value);
        }
        for (kind, lost) in
            [("important", scrape.important_lines_dropped), ("routine", scrape.routine_lines_dropped)]
        {
            self.log_lines_dropped.get_or_create(&[("kind", kind)]).inner().store(lost, Relaxed);
        }
        state.age.set(scrape.age);
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

fn ok(is_ok: bool) -> &'static str {
    if is_ok { "ok" } else { "failed" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_written_with_bounded_labels() {
        let metrics = Metrics::new(true);
        metrics.request(RequestOutcome::Ok, Some("a.org"), Duration::from_micros(20));
        metrics.request(RequestOutcome::Denied, None, Duration::from_secs(100));
        metrics.expect_reloads(&["SIGHUP", "other"], &["swapped", "failed"]);
        metrics.reload("SIGHUP", "swapped", Duration::from_millis(2));
        metrics.reload("other", "failed", Duration::from_millis(2));
        metrics.throttled("address");
        let scrape = Scrape { is_ready: true, version: 7, routine_lines_dropped: 3, ..Scrape::default() };
        let text = metrics.write(scrape);
        for line in [
            "jitsiprovs_requests_total{result=\"ok\"} 1",
            "jitsiprovs_requests_total{result=\"not_found\"} 0",
            "jitsiprovs_tenant_requests_total{tenant=\"a.org\",result=\"ok\"} 1",
            "jitsiprovs_request_duration_seconds_count 2",
            "jitsiprovs_request_duration_seconds_bucket{le=\"0.000025\"} 1",
            "jitsiprovs_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "jitsiprovs_reloads_total{cause=\"SIGHUP\",outcome=\"swapped\"} 1",
            "jitsiprovs_reloads_total{cause=\"SIGHUP\",outcome=\"failed\"} 0",
            "jitsiprovs_reloads_total{cause=\"other\",outcome=\"failed\"} 1",
            "jitsiprovs_throttled_total{by=\"address\"} 1",
            "jitsiprovs_log_lines_dropped_total{kind=\"important\"} 0",
            "jitsiprovs_log_lines_dropped_total{kind=\"routine\"} 3",
            "jitsiprovs_ready 1",
            "jitsiprovs_snapshot_version 7",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn tenants_are_counted_only_if_wanted() {
        let metrics = Metrics::new(false);
        metrics.request(RequestOutcome::Ok, Some("a.org"), Duration::ZERO);
        assert!(!metrics.write(Scrape::default()).contains("a.org"));
    }
}
