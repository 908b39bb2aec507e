//! PgBouncer between a server and its PostgreSQL.

use std::net::TcpStream;

use crate::database::{Database, folder, free_port, give_to};
use crate::keeper::Keeper;
use crate::postgres::as_postgres;
use crate::wait_for;

/// A pooler that gives a connection to the server to its clients for one transaction at a time.
pub struct PgBouncer {
    port: u16,
    _keeper: Keeper,
}

impl PgBouncer {
    /// A pooler for the two accounts of a database.
    pub fn before(database: &Database<'_>) -> PgBouncer {
        let (folder, port) = (folder("jitsiprovs-pgbouncer-"), free_port());
        let (settings, users) = (folder.join("pgbouncer.ini"), folder.join("users"));
        let name = &database.name;
        let accounts = ["all", "read"].map(|account| format!("\"{name}_{account}\" \"{account}\"\n"));
        std::fs::write(&users, accounts.concat()).expect("written");
        // A small pool, so that clients get each other's connections. An edit needs two.
        let text = format!(
            "[databases]\n{name} = host=127.0.0.1 port={}\n\n[pgbouncer]\npool_mode = transaction\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n\
             auth_file = {}\ndefault_pool_size = 4\nignore_startup_parameters = extra_float_digits\n",
            database.server.port,
            users.display()
        );
        std::fs::write(&settings, text).expect("written");
        give_to("postgres", &[&settings, &users]);
        let mut command = as_postgres("/usr/sbin/pgbouncer".as_ref());
        command.arg(&settings);
        let keeper = Keeper::start(&folder, "INT", &command);
        wait_for("PgBouncer to start", || TcpStream::connect(("127.0.0.1", port)).ok());
        PgBouncer { port, _keeper: keeper }
    }

    /// The given options, changed to connect through the pooler.
    pub fn through(&self, mut options: Vec<String>) -> Vec<String> {
        let port = options.iter().position(|option| option == "--db-port").expect("it is given") + 1;
        options[port] = self.port.to_string();
        options
    }
}
