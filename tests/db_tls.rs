//! Which certificates of a database server are accepted: a table of certificates and modes, each
//! cell by a real handshake. `docs/security.md` has the same table.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use support::mariadb::MariaDb;
use support::postgres::Postgres;
use support::server::run;
use support::sqlite::SqliteFile;
use support::{texts, wait_for};

const DOCS: &str = include_str!("../docs/security.md");

/// Why a connection fails, in words of the message; `None` if it does not.
type Why = Option<&'static str>;

/// A row of the table.
struct Row {
    /// What the documentation calls the certificate.
    name: &'static str,
    make: fn(&Maker) -> String,
    /// The file for `--db-tls-ca`.
    trusted: &'static str,
    /// What `require`, `verify-ca` and `verify` do.
    outcomes: [Why; 3],
}

const TABLE: [Row; 8] = [
    Row {
        name: "of the authority, for the server's name",
        make: |maker| maker.signed(&maker.authority, &["localhost", "127.0.0.1"], |_| ()),
        trusted: "ca.pem",
        outcomes: [None, None, None],
    },
    Row {
        name: "of the authority, for another name",
        make: |maker| maker.signed(&maker.authority, &["db.example.org"], |_| ()),
        trusted: "ca.pem",
        outcomes: [None, None, Some("is for db.example.org, not for 127.0.0.1")],
    },
    Row {
        name: "of the authority, without `subjectAltName`",
        make: |maker| maker.signed(&maker.authority, &[], |_| ()),
        trusted: "ca.pem",
        outcomes: [None, None, Some("names no host in subjectAltName: sign it again with `openssl")],
    },
    Row {
        name: "of the authority, of version 1",
        make: Maker::version_1,
        trusted: "ca.pem",
        outcomes: [
            None,
            Some("version 1, which cannot be checked: sign it again"),
            Some("version 1, which cannot be checked: sign it again"),
        ],
    },
    Row {
        name: "of the authority, expired",
        make: |maker| {
            maker.signed(&maker.authority, &["127.0.0.1"], |params| {
                params.not_before = rcgen::date_time_ymd(2019, 1, 1);
                params.not_after = rcgen::date_time_ymd(2020, 1, 1);
            })
        },
        trusted: "ca.pem",
        outcomes: [None, Some("has expired: renew it"), Some("has expired: renew it")],
    },
    Row {
        name: "self-signed, and not in `--db-tls-ca`",
        make: Maker::self_signed,
        trusted: "ca.pem",
        outcomes: [None, Some("authority"), Some("authority")],
    },
    Row {
        name: "self-signed, and in `--db-tls-ca`",
        make: Maker::self_signed,
        trusted: "cert.pem",
        outcomes: [None, None, None],
    },
    Row {
        name: "of another authority",
        make: |maker| maker.signed(&maker.other, &["127.0.0.1"], |_| ()),
        trusted: "ca.pem",
        outcomes: [
            None,
            Some("not signed by a trusted authority"),
            Some("not signed by a trusted authority"),
        ],
    },
];

/// Makes certificates for one key, in a folder that the server reads too.
struct Maker {
    folder: TempDir,
    key: KeyPair,
    authority: CertifiedIssuer<'static, KeyPair>,
    other: CertifiedIssuer<'static, KeyPair>,
}

impl Maker {
    fn new() -> Maker {
        let authority = || {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
        };
        let folder = tempfile::tempdir().expect("a folder");
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), readable).expect("permissions");
        let key = KeyPair::generate().expect("a key");
        let maker = Maker { folder, key, authority: authority(), other: authority() };
        maker.write("ca.pem", &maker.authority.pem());
        maker.write("ca.key", &maker.authority.key().serialize_pem());
        maker.write("key.pem", &maker.key.serialize_pem());
        maker.write("cert.pem", &(TABLE[0].make)(&maker));
        maker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("written");
    }

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        // A certificate with the name of its authority would count as self-signed.
        params.distinguished_name.push(DnType::CommonName, "server");
        params
    }

    fn signed(
        &self,
        by: &CertifiedIssuer<'static, KeyPair>,
        names: &[&str],
        change: fn(&mut CertificateParams),
    ) -> String {
        let mut params = Maker::params(names);
        change(&mut params);
        params.signed_by(&self.key, by).expect("signed").pem()
    }

    /// As `openssl req -x509` makes it: it may sign others too.
    fn self_signed(&self) -> String {
        let mut params = Maker::params(&["127.0.0.1"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&self.key).expect("signed").pem()
    }

    /// By the usual recipe.
    fn version_1(&self) -> String {
        self.openssl("req -new -key key.pem -subj /CN=127.0.0.1 -out request.pem");
        self.openssl("x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out old.pem");
        std::fs::read_to_string(self.path("old.pem")).expect("a certificate")
    }

    fn openssl(&self, args: &str) {
        let mut command = Command::new("openssl");
        let output = command.args(args.split(' ')).current_dir(self.folder.path()).output().expect("openssl");
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Starts a server with TLS.
type Start = fn() -> Column;

/// A server, and a database on it whose account demands TLS.
struct Column {
    maker: Maker,
    /// Options of an account that may only read.
    options: Vec<String>,
    /// `--from` for the same account.
    from: String,
    /// Makes the server read its certificate again.
    renew: Box<dyn Fn() + Send>,
    /// Makes the account demand a certificate.
    demand: Box<dyn Fn() + Send>,
}

fn mariadb(version: &str) -> Column {
    let maker = Maker::new();
    let mut options = vec![format!("--tls-version={version}")];
    for (option, file) in [("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")] {
        options.push(format!("--ssl-{option}={}", maker.text(file)));
    }
    let server = Arc::new(MariaDb::start(&options));
    let database = server.database();
    let made = run(&[&["--setup"], &*texts(&database.all())].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    database.script(
        "INSERT INTO user_auth (username, domain, password)
             SELECT concat('user', seq), 'a.org', md5('pw') FROM seq_1_to_2000",
    );
    let (options, name) = (database.read(), database.name.clone());
    let from = format!("mysql://{name}_read@127.0.0.1:{}/{name}", server.port);
    let (renewed, altered) = (server.clone(), server.clone());
    let demand = move |what: &str| {
        altered.script("", &format!("ALTER USER {name}_read@'%' REQUIRE {what}"));
    };
    demand("SSL");
    Column {
        maker,
        options,
        from,
        renew: Box::new(move || drop(renewed.script("", "FLUSH SSL"))),
        demand: Box::new(move || demand("X509")),
    }
}

fn postgres() -> Column {
    let maker = Maker::new();
    let read = |name: &str| std::fs::read_to_string(maker.path(name)).expect("a file");
    let rules = "local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    let files = [
        ("server.crt", &*read("cert.pem")),
        ("server.key", &read("key.pem")),
        ("ca.pem", &read("ca.pem")),
        ("pg_hba.conf", rules),
    ];
    let server = Arc::new(Postgres::with_files(&["ssl=on", "ssl_ca_file=ca.pem"], &files));
    let database = server.database();
    let tls = ["--setup", "--db-tls", "require"];
    let made = run(&[&tls, &*texts(&database.all())].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    database.script(
        "INSERT INTO user_auth (username, domain, password)
             SELECT concat('user', n), 'a.org', md5('pw') FROM generate_series(1, 2000) AS n",
    );
    let (options, name) = (database.read(), database.name.clone());
    let from = format!("postgres://{name}_read@127.0.0.1:{}/{name}", server.port);
    let folder = PathBuf::from(server.script("postgres", "SHOW data_directory").trim());
    let certificate = maker.path("cert.pem");
    let put = move |file: &str, content: &str| {
        std::fs::write(folder.join(file), content).expect("written");
        let loaded = || server.script("postgres", "SELECT pg_conf_load_time()");
        let before = loaded();
        server.script("postgres", "SELECT pg_reload_conf()");
        wait_for("the files to be read", || (loaded() != before).then_some(()));
    };
    let put = Arc::new(put);
    let renew = put.clone();
    Column {
        maker,
        options,
        from,
        renew: Box::new(move || {
            renew("server.crt", &std::fs::read_to_string(&certificate).expect("a certificate"));
        }),
        demand: Box::new(move || {
            put("pg_hba.conf", &rules.replace("32 scram-sha-256", "32 scram-sha-256 clientcert=verify-ca"));
        }),
    }
}

impl Column {
    /// Reads all users, and returns the error, if any.
    fn read(&self, tls: &[&str]) -> Result<(), String> {
        let output = run(&[&["export", "users"], &*texts(&self.options), tls].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.success() {
            true => {
                let rows = output.stdout.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(rows, 2001, "{said}");
                Ok(())
            }
            false => Err(said),
        }
    }

    /// Imports the users, and returns the error, if any.
    fn import(&self, tls: &[&str]) -> Result<(), String> {
        let file = SqliteFile::empty();
        let password = file.folder.path().join("password");
        std::fs::write(&password, "read\n").expect("written");
        let (path, password) = (file.path.display().to_string(), password.display().to_string());
        let to = ["import", "database", "--dry-run", "--db-path", &path];
        let from = ["--from", &self.from, "--from-pwd-file", &password];
        let output = run(&[&to[..], &from, tls].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    fn check(&self, database: &str, row: &Row) {
        self.maker.write("cert.pem", &(row.make)(&self.maker));
        (self.renew)();
        let trusted = self.maker.text(row.trusted);
        let refused = self.read(&["--db-tls", "off"]).expect_err("the account demands TLS");
        assert!(refused.contains("TLS is off: turn it on") && refused.contains("--db-tls"), "{refused}");
        let modes = [
            vec!["--db-tls", "require"],
            vec!["--db-tls", "verify-ca", "--db-tls-ca", &trusted],
            vec!["--db-tls", "verify", "--db-tls-ca", &trusted],
        ];
        for (mode, why) in modes.iter().zip(row.outcomes) {
            let cell = format!("{database}, {}, {mode:?}", row.name);
            let read = self.read(mode);
            match (read, why) {
                (Ok(()), None) => {}
                (Err(said), Some(words)) => {
                    assert!(said.contains(words) && said.contains("--db-tls-ca"), "{cell}: {said}");
                    assert_eq!(said.lines().count(), 1, "{cell}: {said}");
                }
                (read, _) => panic!("{cell}: {read:?}"),
            }
        }
    }

    /// Accounts that demand a certificate, and `--from`.
    fn check_own_certificate(&self) {
        self.maker.write("cert.pem", &self.maker.version_1());
        (self.renew)();
        let wrong_name = self.maker.signed(&self.maker.authority, &["db.example.org"], |_| ());
        self.maker.write("own.pem", &wrong_name);
        (self.demand)();
        let (cert, key) = (self.maker.text("own.pem"), self.maker.text("key.pem"));
        let refused = self.read(&["--db-tls", "require"]).expect_err("the account demands a certificate");
        assert!(
            refused.contains("a certificate of the client") && refused.contains("--db-tls-cert"),
            "{refused}"
        );
        let own = ["--db-tls", "require", "--db-tls-cert", &cert, "--db-tls-key", &key];
        self.read(&own).expect("the certificate is shown");
        let refused = self.import(&["--from-tls", "require"]).expect_err("the account demands a certificate");
        assert!(refused.contains("--from-tls-cert") && !refused.contains("--db-"), "{refused}");
        let own = ["--from-tls", "require", "--from-tls-cert", &cert, "--from-tls-key", &key];
        self.import(&own).expect("the certificate is shown");
        self.maker.write("cert.pem", &wrong_name);
        (self.renew)();
        let ca = self.maker.text("ca.pem");
        for (mode, is_accepted) in [("verify-ca", true), ("verify-full", false)] {
            let own =
                ["--from-tls", mode, "--from-tls-ca", &ca, "--from-tls-cert", &cert, "--from-tls-key", &key];
            assert_eq!(self.import(&own).is_ok(), is_accepted, "{mode}");
        }
        // A certificate that the server does not trust, and a key of another certificate.
        self.maker.write("own.pem", &self.maker.self_signed());
        let own = ["--db-tls", "require", "--db-tls-cert", &cert, "--db-tls-key", &key];
        let refused = self.read(&own).expect_err("the certificate is not trusted");
        assert!(refused.contains("does not accept the client's certificate"), "{refused}");
        let other = self.maker.text("ca.key");
        let own = ["--db-tls", "require", "--db-tls-cert", &cert, "--db-tls-key", &other];
        let refused = self.read(&own).expect_err("the key is another one");
        assert!(refused.contains("give the key that the certificate was made for"), "{refused}");
    }
}

#[test]
fn each_certificate_is_accepted_or_refused_as_documented() {
    for row in TABLE {
        let cells = row.outcomes.map(|why| if why.is_none() { "yes" } else { "no" }).join(" | ");
        let line = format!("| {} | {cells} |", row.name);
        assert!(DOCS.contains(&line), "docs/security.md: {line}");
    }
    let columns: [(&str, Start); 3] = [
        ("MariaDB with TLS 1.3", || mariadb("TLSv1.3")),
        ("MariaDB with TLS 1.2", || mariadb("TLSv1.2")),
        ("PostgreSQL", postgres),
    ];
    std::thread::scope(|scope| {
        for (name, start) in columns {
            scope.spawn(move || {
                let column = start();
                for row in &TABLE {
                    column.check(name, row);
                }
                column.check_own_certificate();
            });
        }
    });
}

#[test]
fn options_of_tls_that_do_nothing_or_lack_another_are_refused() {
    let maker = Maker::new();
    let (ca, cert, key) = (maker.text("ca.pem"), maker.text("cert.pem"), maker.text("key.pem"));
    let cases: [(&[&str], &str); 5] = [
        (&["--db-tls", "verify-ca"], "name yours with --db-tls-ca"),
        (&["--db-tls", "require", "--db-tls-ca", &ca], "without --db-tls verify or verify-ca"),
        (&["--db-tls", "require", "--db-tls-cert", &cert], "add --db-tls-key"),
        (&["--db-tls", "require", "--db-tls-key", &key], "add --db-tls-cert"),
        (&["--db-tls-cert", &cert, "--db-tls-key", &key], "without --db-tls"),
    ];
    for (options, words) in cases {
        let output = run(&[&["export", "users", "--db-ip", "127.0.0.1"], options].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(words), "{options:?}: {said}");
    }
}
