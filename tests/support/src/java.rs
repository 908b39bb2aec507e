//! A Java virtual machine that reads answers as the client does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

/// Runs `java.util.Properties.load(InputStream)` any number of times.
pub struct Java {
    _folder: TempDir,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Java {
    /// Starts the program.
    pub fn start() -> Java {
        let folder = compiled("LoadProperties");
        let mut child = Command::new("java")
            .args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(folder.path())
            .arg("LoadProperties")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Java { _folder: folder, child, input, output }
    }

    /// Every property in the order in which Java puts it, duplicates included.
    ///
    /// # Errors
    /// The exception that Java threw.
    pub fn load(&mut self, answer: &[u8]) -> Result<Vec<(String, String)>, String> {
        let length = u32::try_from(answer.len()).expect("a small answer");
        self.input.write_all(&length.to_be_bytes()).expect("Java reads");
        self.input.write_all(answer).expect("Java reads");
        self.input.flush().expect("Java reads");
        let count = self.int();
        if count == u32::MAX {
            return Err(self.text());
        }
        Ok((0..count).map(|_| (self.text(), self.text())).collect())
    }

    fn int(&mut self) -> u32 {
        int(&mut self.output)
    }

    fn text(&mut self) -> String {
        text(&mut self.output)
    }
}

/// A number as `writeInt` writes it.
fn int(from: &mut impl Read) -> u32 {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes).expect("Java answers");
    u32::from_be_bytes(bytes)
}

/// A text after its length in UTF-16.
fn text(from: &mut impl Read) -> String {
    let mut bytes = vec![0; 2 * int(from) as usize];
    from.read_exact(&mut bytes).expect("Java answers");
    let units: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// How a program leaves a database of HSQLDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It closes it, as Jitsi does at its end.
    Closed,
    /// It is killed.
    Killed,
}

/// Creates `props.hsql` with `count` settings like those of a Jitsi in the folder, with HSQLDB itself.
pub fn hsqldb_settings(folder: &Path, count: usize, leaving: Leaving) {
    let end = if leaving == Leaving::Killed { "kill" } else { "close" };
    hsqldb(folder, &["write", end, &count.to_string()]);
}

/// The settings in `props.hsql` in the folder, in the order in which HSQLDB has them, as read with JDBC.
pub fn read_hsqldb(folder: &Path) -> Vec<(String, String)> {
    let output = hsqldb(folder, &["read"]);
    let mut output = &*output;
    (0..int(&mut output)).map(|_| (text(&mut output), text(&mut output))).collect()
}

fn hsqldb(folder: &Path, args: &[&str]) -> Vec<u8> {
    let classes = compiled("HsqldbSettings");
    let path = format!("{}:/usr/share/java/hsqldb.jar", classes.path().display());
    let mut java = Command::new("java");
    java.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", &path, "HsqldbSettings"]);
    let output = java.arg(folder.join("props.hsql")).args(args).output().expect("java starts");
    assert!(output.status.success(), "{}; see tests/run", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Writes `count` properties like those of a Jitsi with `java.util.Properties.store`.
pub fn stored_properties(count: usize) -> Vec<u8> {
    let folder = compiled("StoreProperties");
    let mut java = Command::new("java");
    let output = java.arg("-cp").arg(folder.path()).arg("StoreProperties").arg(count.to_string()).output();
    let output = output.expect("java starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Clients that post with Apache's HttpClient, which is the client's library, and that stay
/// connected.
pub struct Apache {
    _folder: TempDir,
    child: Child,
    output: BufReader<ChildStdout>,
    answers: usize,
}

impl Apache {
    /// Starts `clients` for each of `pauses`, in milliseconds, and returns once all have posted. Each
    /// pauses, and posts again.
    pub fn post(address: SocketAddr, clients: usize, pauses: &[u64]) -> (Apache, Vec<String>) {
        let folder = compiled("PostAgain");
        let path = format!("{}:{APACHE}", folder.path().display());
        let mut command = Command::new("java");
        command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", &path, "PostAgain"]);
        command.arg(format!("http://{address}/jitsiprovs/")).arg("username=alice@a.org&password=pw");
        command.arg(clients.to_string()).args(pauses.iter().map(u64::to_string));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("java starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let answers = clients * pauses.len();
        let mut apache = Apache { _folder: folder, child, output, answers };
        let first = apache.lines();
        let mut line = String::new();
        apache.output.read_line(&mut line).expect("a line");
        assert_eq!(line, "posted\n");
        (apache, first)
    }

    /// The results of the second requests.
    pub fn again(mut self) -> Vec<String> {
        self.lines()
    }

    fn lines(&mut self) -> Vec<String> {
        let lines = self.output.by_ref().lines().take(self.answers);
        lines.map(|line| line.expect("a line")).collect()
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's package libhttpclient-java.
const APACHE: &str = "/usr/share/java/httpclient.jar:/usr/share/java/httpcore.jar:\
                      /usr/share/java/commons-logging.jar:/usr/share/java/commons-codec.jar";

/// A folder with the program that has this name in the folder of `support`. Each program is compiled
/// once for all tests of this process.
fn compiled(name: &'static str) -> TempDir {
    static COMPILED: Mutex<BTreeMap<&str, Classes>> = Mutex::new(BTreeMap::new());
    let mut all = COMPILED.lock().expect("no program failed to compile before");
    let classes = all.entry(name).or_insert_with(|| compile(name));
    let folder = tempfile::tempdir().expect("a folder");
    for (class, code) in classes {
        std::fs::write(folder.path().join(class), code).expect("written");
    }
    folder
}

/// The names and contents of class files.
type Classes = Vec<(OsString, Vec<u8>)>;

fn compile(name: &str) -> Classes {
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!("{}/{name}.java", env!("CARGO_MANIFEST_DIR"));
    let mut javac = Command::new("javac");
    javac.args(["-encoding", "UTF-8", "-cp", APACHE, "-d"]).arg(folder.path()).arg(source);
    let compiled = javac.output();
    let compiled = compiled.unwrap_or_else(|error| panic!("javac: {error}; see tests/run"));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let classes = std::fs::read_dir(&folder).expect("a folder").map(|class| class.expect("an entry"));
    classes.map(|class| (class.file_name(), std::fs::read(class.path()).expect("a class"))).collect()
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
