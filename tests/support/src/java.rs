//! A Java virtual machine that reads answers as the client does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// Runs `java.util.Properties.load(InputStream)` any number of times.
pub struct Java {
    _folder: TempDir,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Java {
    /// Compiles the program in this folder, and starts it.
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
        let mut bytes = [0; 4];
        self.output.read_exact(&mut bytes).expect("Java answers");
        u32::from_be_bytes(bytes)
    }

    fn text(&mut self) -> String {
        let mut bytes = vec![0; 2 * self.int() as usize];
        self.output.read_exact(&mut bytes).expect("Java answers");
        let units: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    }
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

/// Compiles the program with this name in the folder of `support`.
fn compiled(name: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!("{}/{name}.java", env!("CARGO_MANIFEST_DIR"));
    let mut javac = Command::new("javac");
    javac.args(["-encoding", "UTF-8", "-cp", APACHE, "-d"]).arg(folder.path()).arg(source);
    let compiled = javac.output();
    let compiled = compiled.unwrap_or_else(|error| panic!("javac: {error}; see tests/run"));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    folder
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
