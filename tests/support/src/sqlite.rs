//! SQLite files for the real binary to serve.

use std::fs::Permissions;
use std::path::PathBuf;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::md5_hex;
use crate::server::run;

/// A copy of a file that `--setup` created, in a folder that is removed with the test.
pub struct SqliteFile {
    pub folder: TempDir,
    pub path: PathBuf,
    pub connection: rusqlite::Connection,
}

impl SqliteFile {
    /// Only our tables, without users and rules. The ids of rules begin with 60.
    pub fn empty() -> SqliteFile {
        let file = SqliteFile::seeded();
        file.execute(
            "DELETE FROM jitsi_property; UPDATE sqlite_sequence SET seq = 59 WHERE name = 'jitsi_property'",
        );
        file
    }

    /// The file as `--setup` creates it.
    pub fn seeded() -> SqliteFile {
        let (content, permissions) = created();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(&path, permissions.clone()).expect("permissions");
        let connection = rusqlite::Connection::open(&path).expect("opens");
        SqliteFile { folder, path, connection }
    }

    pub fn execute(&self, sql: &str) {
        self.connection.execute_batch(sql).expect(sql);
    }

    /// The text that a query returns.
    pub fn ask(&self, sql: &str) -> String {
        self.connection.query_row(sql, [], |row| row.get(0)).expect(sql)
    }

    /// Adds a user whose password is stored as md5.
    pub fn user(&self, domain: &str, username: &str, password: &str) -> &Self {
        self.stored_user(domain, username, &md5_hex(password))
    }

    pub fn stored_user(&self, domain: &str, username: &str, stored: &str) -> &Self {
        let insert = "INSERT INTO user_auth (domain, username, password) VALUES (?, ?, ?)";
        self.connection.execute(insert, (domain, username, stored)).expect("inserts");
        self
    }

    pub fn rule(&self, domain: Option<&str>, subject: &str, priority: i64, key: &str, value: &str) -> &Self {
        let insert = "INSERT INTO jitsi_property \
            (domain, subject, spriority, ppriority, property_key, property_value) VALUES (?, ?, ?, 10, ?, ?)";
        self.connection.execute(insert, (domain, subject, priority, key, value)).expect("inserts");
        self
    }
}

/// What `--setup` creates. It runs once for all tests of this process.
fn created() -> &'static (Vec<u8>, Permissions) {
    static CREATED: OnceLock<(Vec<u8>, Permissions)> = OnceLock::new();
    CREATED.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.db");
        let output = run(&["--setup", "--db-path", path.to_str().expect("UTF-8")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // With a write-ahead log next to it, the file alone would not be complete.
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1);
        let permissions = std::fs::metadata(&path).expect("a file").permissions();
        (std::fs::read(&path).expect("a file"), permissions)
    })
}
