//! An nginx in front of the server, in the way that operators use it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::wait_for;

/// A running proxy. It ends, and its folder is removed, when the process that started it ends for
/// any reason: a shell waits until our end of a pipe is closed.
pub struct Nginx {
    /// The address for clients.
    pub address: SocketAddr,
    folder: PathBuf,
    keeper: Child,
}

/// The keeper's script. Its arguments are the folder and the proxy's command.
const KEEPER: &str = r#"
    trap '' INT HUP TERM
    exec 3<&0
    folder=$1
    shift
    "$@" </dev/null >/dev/null &
    server=$!
    read -r order <&3
    kill $server 2>/dev/null
    wait $server
    rm -rf "$folder"
"#;

impl Nginx {
    /// Starts a proxy that sends the client's address and a request id to the server at `behind`,
    /// and the request id to the client.
    pub fn start(behind: SocketAddr) -> Nginx {
        Nginx::with(|address, folder| {
            let http = format!(
                "upstream jitsiprovs {{ server {behind}; keepalive 8; }}
                 server {{
                     listen {address};
                     location / {{
                         proxy_pass http://jitsiprovs;
                         proxy_http_version 1.1;
                         proxy_set_header Connection \"\";
                         proxy_set_header Host $host;
                         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                         proxy_set_header X-Request-Id $request_id;
                         add_header X-Request-Id $request_id always;
                     }}
                 }}"
            );
            http_with(folder, &http)
        })
    }

    /// Starts a proxy that passes bytes through to the server at `behind`, after a header with the
    /// client's address.
    pub fn start_stream(behind: SocketAddr) -> Nginx {
        Nginx::with(|address, _| {
            format!(
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
                 stream {{ server {{ listen {address}; proxy_pass {behind}; proxy_protocol on; }} }}"
            )
        })
    }

    /// Starts a proxy whose configuration is generated for an address and a folder.
    pub fn with(text: impl Fn(SocketAddr, &Path) -> String) -> Nginx {
        // A single process needs no user of its own, and ends as a whole.
        Nginx::run_as("master_process off;", text)
    }

    /// Like [`Nginx::with`], with this many processes that answer. They are children of the one
    /// with the id [`Nginx::pid`].
    pub fn with_workers(workers: usize, text: impl Fn(SocketAddr, &Path) -> String) -> Nginx {
        // Another user could not read the folder.
        Nginx::run_as(&format!("user root; worker_processes {workers};"), text)
    }

    fn run_as(processes: &str, text: impl Fn(SocketAddr, &Path) -> String) -> Nginx {
        // The port is free when it is chosen, but another process may take it first.
        let mut started = (0..3).filter_map(|_| Nginx::try_start(processes, &text));
        started.next().expect("nginx starts; its log is above")
    }

    fn try_start(processes: &str, text: impl Fn(SocketAddr, &Path) -> String) -> Option<Nginx> {
        let folder = tempfile::Builder::new().prefix("jitsiprovs-nginx-").tempdir().expect("a folder").keep();
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("an address");
        let (own, log, config) = (folder.display(), folder.join("log"), folder.join("conf"));
        let main = format!(
            "daemon off;
             {processes}
             pid {own}/pid;
             error_log {own}/log notice;"
        );
        let events = "events { worker_connections 1024; }";
        std::fs::write(&config, [&main, &text(address, &folder), events].join("\n")).expect("written");
        let path = std::env::var("PATH").unwrap_or_default();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .args(["nginx", "-p"])
            .arg(&folder)
            .arg("-c")
            .arg(&config)
            // Until nginx has read the other configuration.
            .arg("-e")
            .arg(&log)
            .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
            .stdin(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("sh starts");
        // Created now, so that nginx also ends if the wait below fails.
        let nginx = Nginx { address, folder: folder.clone(), keeper };
        let answers = wait_for("nginx to start; see tests/run", || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            if log.contains("[emerg]") || log.contains("not found") {
                eprintln!("{log}");
                return Some(false);
            }
            let has_id = folder.join("pid").exists();
            (has_id && TcpStream::connect(address).is_ok()).then_some(true)
        });
        answers.then_some(nginx)
    }

    /// The id of nginx's first process, which is the only one unless it has workers.
    pub fn pid(&self) -> u32 {
        let pid = std::fs::read_to_string(self.folder.join("pid")).expect("a file");
        pid.trim().parse().expect("a number")
    }
}

/// The `http` section, which keeps its files in `folder`.
pub fn http_with(folder: &Path, text: &str) -> String {
    let own = folder.display();
    format!(
        "http {{
             access_log off;
             client_body_temp_path {own}/body;
             proxy_temp_path {own}/proxy;
             fastcgi_temp_path {own}/fastcgi;
             uwsgi_temp_path {own}/uwsgi;
             scgi_temp_path {own}/scgi;
             {text}
         }}"
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
