//! Clients find the server: `jitsiprovs url`, `jitsiprovs discovery`, and the files in
//! `contrib/discovery`, each started for real in a LAN of its own and asked as Jitsi asks.
//!
//! A LAN is two network namespaces in a user namespace, so the tests need no privileges.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use support::server::{jitsiprovs, run, run_command};
use support::wait_for;

/// What the files in `contrib/discovery` are for.
const HOST: [&str; 4] = ["--host", "prov.example.org", "--scheme", "https"];
const LAN: [&str; 4] = ["--network", "192.0.2.0/24", "--interface", "eth0"];
const URL: &str = "https://prov.example.org/jitsiprovs/?username=${username}&password=${password}\
                   &osname=${osname}&hwaddr=${hwaddr}&uuid=${uuid}";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

#[track_caller]
fn prints(args: &[&str]) -> String {
    let output = run(&[&["url"], args].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A program in a LAN.
struct Lan {
    folder: tempfile::TempDir,
    shell: Child,
}

impl Lan {
    /// Starts a program in a folder with these files. Its interface is `lan0`.
    fn start(files: &[(&str, &str)], program: &[&str]) -> Lan {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            fs::write(path, content).expect("written");
        }
        let script = format!("{}/tests/support/lan.sh", env!("CARGO_MANIFEST_DIR"));
        let mut shell = Command::new("unshare");
        shell.args(["--user", "--map-root-user", "--net", "--mount", "sh", &script]).arg(folder.path());
        let path = std::env::var("PATH").expect("a path") + ":/usr/sbin:/sbin";
        shell.args(program).env("PATH", path).env("JITSIPROVS_CONFIG", "").stdin(Stdio::piped());
        let lan = Lan { shell: shell.spawn().expect("unshare"), folder };
        wait_for("the LAN", || lan.client());
        lan
    }

    fn client(&self) -> Option<String> {
        fs::read_to_string(self.folder.path().join("client")).ok()
    }

    /// Runs the client on the other machine.
    fn ask(&self, args: &[&str]) -> String {
        let client = self.client().expect("it runs");
        let script = format!("{}/tests/support/jitsi_discovery.py", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("nsenter");
        command.args(["--target", client.trim(), "--user", "--net", "--preserve-credentials"]);
        command.args(["python3", &script]).args(args);
        let output = run_command(command);
        let said = self.said();
        assert!(output.status.success(), "{}; the program said {said}", text(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap_or_default()
    }

    /// Ends the program with SIGTERM, and returns its code and what it said.
    fn stop(mut self) -> (String, String) {
        drop(self.shell.stdin.take());
        self.shell.wait().expect("it ends");
        let code = fs::read_to_string(self.folder.path().join("code")).expect("a code");
        (code.trim().to_owned(), self.said())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A file of `contrib/discovery`.
fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/discovery").join(name))
        .expect("a file")
}

/// The arguments of a file's command, with the interface of the LAN.
fn command(name: &str) -> Vec<String> {
    let text = file(name);
    let program = |line: &&str| ["dnsmasq ", "kea-dhcp4 ", "dhcpd "].iter().any(|one| line.starts_with(one));
    let mut lines = text.lines().map(|line| line.trim_start_matches(['#', '/', ' ']));
    let line = lines.find(program).expect("a command");
    line.split(' ').map(|word| word.replace("eth0", "lan0")).collect()
}

/// Starts the command in the head of the settings that `url` prints, and asks for the URL.
#[track_caller]
fn announces(option: &str, name: &str, before: &[&str]) {
    let lan = ["--network", "192.0.2.0/24", "--interface", "lan0", "a=b,c"];
    let content = prints(&[&[option], &HOST[..], &lan].concat());
    let command = command(name);
    let lan = Lan::start(&[(name, &content)], &[before, &support::texts(&command)].concat());
    assert_eq!(lan.ask(&["dhcp", "192.0.2.9"]), format!("{URL}&a=b,c"), "{}", lan.said());
}

#[test]
fn the_files_in_contrib_are_what_the_command_prints() {
    for (option, name) in
        [("--dnsmasq", "jitsi-dnsmasq.conf"), ("--kea", "jitsi-kea.conf"), ("--dhcpd", "jitsi-dhcpd.conf")]
    {
        assert_eq!(prints(&[&[option], &HOST[..], &LAN].concat()), file(name), "{name}");
    }
    assert_eq!(prints(&[&["--avahi"], &HOST[..]].concat()), file("jitsi-provisioning.service"));
    assert_eq!(prints(&HOST), format!("{URL}\n"));
    let msi = format!("msiexec /i jitsi.msi PROV_METHOD=Manual PROV_URL=\"{URL}\"\n");
    assert_eq!(prints(&[&["--msi"], &HOST[..]].concat()), msi);
}

#[test]
fn dnsmasq_announces_the_url_byte_for_byte() {
    // Its user is not mapped in the namespace, so it starts as another one that is.
    let user = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps"];
    announces("--dnsmasq", "jitsi-dnsmasq.conf", &user);
}

#[test]
fn kea_announces_the_url_byte_for_byte() {
    announces("--kea", "jitsi-kea.conf", &["env", "KEA_PIDFILE_DIR=/run", "KEA_LOCKFILE_DIR=/run"]);
}

#[test]
fn dhcpd_announces_the_url_byte_for_byte() {
    announces(
        "--dhcpd",
        "jitsi-dhcpd.conf",
        &["sh", "-c", "touch /run/jitsi-dhcpd.leases; exec \"$0\" \"$@\""],
    );
}

#[test]
fn avahi_announces_the_url_and_its_parameters() {
    let settings = "[server]\nenable-dbus=no\nuse-ipv6=no\n";
    let service = file("jitsi-provisioning.service");
    let files = [("services/jitsi.service", &*service), ("avahi.conf", settings)];
    let program = ["avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "--file=avahi.conf"];
    let lan = Lan::start(&files, &program);
    let records = lan.ask(&["bonjour", "192.0.2.9"]);
    // The client asks for `path`, and keeps no order of the others.
    let mut records: Vec<&str> = records.lines().collect();
    let path = records.iter().position(|one| one.starts_with("path=")).expect("a path");
    let path = records.remove(path).trim_start_matches("path=");
    let (base, parameters) = URL.split_once('?').expect("parameters");
    assert_eq!(path, base);
    let mut expected: Vec<&str> = parameters.split('&').collect();
    records.sort_unstable();
    expected.sort_unstable();
    assert_eq!(records, expected);
}

#[test]
fn discovery_answers_what_jitsi_asks_and_nothing_else() {
    let program = jitsiprovs(&[&["discovery", "--interface", "lan0"], &HOST[..], &["a=b,c"]].concat());
    let own: Vec<&str> = std::iter::once(program.get_program())
        .chain(program.get_args())
        .map(|arg| arg.to_str().expect("UTF-8"))
        .collect();
    // Without any capability.
    let bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"];
    let lan = Lan::start(&[], &[&bare, &own[..]].concat());
    assert_eq!(lan.ask(&["dhcp", "192.0.2.9"]), format!("{URL}&a=b,c"));
    // A DHCPDISCOVER for the same option, and a packet without options.
    let head = format!("0101060012345678{}020000000009{}63825363", "00".repeat(20), "00".repeat(202));
    for other in [format!("{head}3501013701e0ff"), format!("{head}350108370103ff"), "00".repeat(20)] {
        assert_eq!(lan.ask(&["raw", "192.0.2.9", &other]), "nothing\n");
    }
    let (code, said) = lan.stop();
    assert_eq!(code, "0", "{said}");
    let last = said.lines().last().expect("a line");
    assert!(last.contains("stopped") && !last.contains("answered=0"), "{said}");
    assert!(!last.contains("malformed=0") && !last.contains("other=0"), "{said}");
    assert!(last.contains("limited=0") && last.contains("failed=0"), "{said}");
}

#[test]
fn discovery_says_what_is_wrong_with_its_interface() {
    let none = run(&[&["discovery", "--interface", "none0"], &HOST[..]].concat());
    let said = text(&none);
    assert!(none.status.code() == Some(1) && said.contains("--interface none0: `ip link` lists"), "{said}");
    let missing = run(&[&["discovery"], &HOST[..]].concat());
    assert!(missing.status.code() == Some(2) && text(&missing).contains("--interface"), "{missing:?}");
}

#[test]
fn url_takes_scheme_port_and_host_from_the_servers_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = certificate(folder.path(), &["prov.example.org", "*.example.net"]);
    let tls = ["--ssl-certfile", &certificate];
    let base = |args: &[&str]| {
        let printed = prints(args);
        printed.split('?').next().expect("a URL").to_owned()
    };
    assert_eq!(base(&tls), "https://prov.example.org:8080/jitsiprovs/");
    assert_eq!(base(&[&tls[..], &["--http-port", "443"]].concat()), "https://prov.example.org/jitsiprovs/");
    assert_eq!(
        base(&[&tls[..], &["--host", "a.example.net", "--port", "8443"]].concat()),
        "https://a.example.net:8443/jitsiprovs/"
    );
    assert_eq!(base(&["--host", "a.org", "--scheme", "https"]), "https://a.org/jitsiprovs/");
    let mut command = jitsiprovs(&["url"]);
    command.env("JITSIPROVS_SSL_CERTFILE", &certificate).env("JITSIPROVS_HTTP_PORT", "8443");
    let printed = text(&run_command(command));
    assert!(printed.starts_with("https://prov.example.org:8443/"), "{printed}");
}

#[test]
fn url_warns_of_what_is_unwise_and_refuses_what_cannot_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = certificate(folder.path(), &["prov.example.org"]);
    let say = |args: &[&str]| {
        let output = run(&[&["url"], args].concat());
        (output.status.code(), text(&output))
    };
    let tls = ["--ssl-certfile", &*certificate];
    for (args, words) in [
        (&["--host", "a.org"][..], "warning: passwords cross the network in plain text"),
        (&[&tls[..], &["--host", "192.0.2.1"]].concat(), "give a name instead of the address"),
        (&[&tls[..], &["--host", "a.org"]].concat(), "is for prov.example.org and not for a.org"),
        (&[&HOST[..], &["username=${username}@a.org"]].concat(), "sends only `username=@a.org`"),
    ] {
        let (code, said) = say(args);
        assert!(code == Some(0) && said.contains(words) && said.contains("/jitsiprovs/?"), "{said}");
    }
    let long = format!("a={}", "b".repeat(200));
    for (args, words) in [
        (&[][..], "--host is missing"),
        (&[&HOST[..], &["username=u${username}"]].concat(), "does not ask the user"),
        (&[&HOST[..], &["--dnsmasq"]].concat(), "need --network and --interface"),
        (&[&HOST[..], &LAN, &["--kea", &long]].concat(), "a DHCP option has room for 255"),
        (&[&HOST[..], &["--dnsmasq", "--kea"]].concat(), "cannot be used with"),
        (&["--ssl-certfile", "/dev/null"], "--ssl-certfile /dev/null: holds no certificate"),
    ] {
        let (code, said) = say(args);
        assert!(code == Some(2) && said.contains(words) && !said.contains("/jitsiprovs/?"), "{said}");
    }
}

/// The file of a certificate for these names.
fn certificate(folder: &Path, names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let path = folder.join("cert.pem");
    fs::write(&path, made.cert.pem()).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}
