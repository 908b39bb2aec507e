//! TLS to the server. The library's own TLS reads the server's certificate even if nothing about
//! it is to be checked, and so refuses those of version 1; and it cannot check the authority
//! alone. So the library connects without TLS to a socket of this process. A task forwards both
//! sides, and adds TLS on the way to the server.

use std::io;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::SourceError;
use super::super::server::{DbServer, Endpoint};
use super::STALL;

/// The longest packet before the end of authentication, in bytes. Usual ones have less than 300.
const LONGEST: usize = 64 * 1024;
/// How long the end of a connection may take.
const ENDING: Duration = Duration::from_secs(1);
/// The bit of the second byte of the capabilities that stands for TLS.
const CLIENT_SSL: u8 = 0x08;
/// How many bytes of the client's first packet the request for TLS repeats, after the header.
const REQUEST: usize = 32;
/// The first byte of a packet that says that all is well.
const OK: u8 = 0x00;
/// The first byte of a packet that contains an error.
const ERROR: u8 = 0xff;
/// The packet that announces that the password was right. The next one is the server's too.
const PASSWORD_IS_RIGHT: [u8; 2] = [0x01, 0x03];

/// What a tunnel connects to.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to the server with TLS, for the library.
pub(super) struct Tunnel {
    /// The path of the socket that the library connects to, without TLS.
    pub socket: String,
    task: JoinHandle<Result<(), SourceError>>,
}

impl Tunnel {
    /// Connects to the server. TLS begins when the library connects to the socket.
    pub async fn open(server: &DbServer, config: Arc<ClientConfig>) -> Result<Tunnel, SourceError> {
        let at = server.at();
        let unreachable =
            move |why: io::Error| SourceError::Unreachable { at: at.clone(), why: why.to_string() };
        let mut stream = connect(&server.endpoint).await.map_err(&unreachable)?;
        let greeting = packet(&mut stream).await.map_err(&unreachable)?;
        if !is_error(&greeting) && !offers_tls(&greeting) {
            return Err(server.no_tls("the server offers none: give it a certificate".into()));
        }
        let name = server.tls_name()?;
        // A name that begins with this byte is in no folder, and goes when the socket is closed.
        let socket = format!("\0jitsiprovs-{}", random().map_err(&unreachable)?);
        let listener = UnixListener::bind(&socket).map_err(&unreachable)?;
        let server = server.clone();
        let task = tokio::spawn(async move {
            let mut library = accept(listener).await.map_err(&unreachable)?;
            library.write_all(&greeting).await.map_err(&unreachable)?;
            if is_error(&greeting) {
                return Ok(());
            }
            let mut first = packet(&mut library).await.map_err(&unreachable)?;
            let request = request(&mut first).map_err(&unreachable)?;
            stream.write_all(&request).await.map_err(&unreachable)?;
            let connected = TlsConnector::from(config).connect(name, stream).await;
            let mut stream = connected.map_err(|why| server.handshake_failure(&why))?;
            // A server that refuses our certificate says so in its first packet of TLS 1.3.
            let signed_in = sign_in(&mut library, &mut stream, first).await;
            signed_in.map_err(|why| server.handshake_failure(&why))?;
            forward(library, stream).await;
            Ok(())
        });
        Ok(Tunnel { socket, task })
    }

    /// Waits until what the library sent has arrived, after it has closed its side.
    ///
    /// # Errors
    /// Why there is no connection to the server.
    pub async fn end(self) -> Result<(), SourceError> {
        match timeout(ENDING, self.task).await {
            Ok(Ok(ended)) => ended,
            // It waits for the server, or the program ends.
            Err(_) | Ok(Err(_)) => Ok(()),
        }
    }
}

async fn connect(endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
    match endpoint {
        Endpoint::Tcp(host, port) => {
            let stream = TcpStream::connect((&**host, *port)).await?;
            stream.set_nodelay(true)?;
            SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(STALL))?;
            Ok(Box::new(stream))
        }
        Endpoint::Socket(path) => Ok(Box::new(UnixStream::connect(path).await?)),
    }
}

fn random() -> io::Result<String> {
    let number = || getrandom::u64().map_err(io::Error::other);
    Ok(format!("{:016x}{:016x}", number()?, number()?))
}

/// Accepts the connection of this process: anybody on this machine can find the socket.
async fn accept(listener: UnixListener) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        if stream.peer_cred()?.pid().is_some_and(|pid| u32::try_from(pid) == Ok(process::id())) {
            return Ok(stream);
        }
    }
}

/// Reads a packet: three bytes of length, its number, and the content.
async fn packet(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    from.read_exact(&mut packet).await?;
    let length = packet.iter().take(3).rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > LONGEST {
        return Err(wrong());
    }
    packet.resize(4 + length, 0);
    from.read_exact(packet.get_mut(4..).unwrap_or_default()).await?;
    Ok(packet)
}

fn wrong() -> io::Error {
    io::Error::other("the answer is not that of a MySQL server")
}

fn is_error(packet: &[u8]) -> bool {
    packet.get(4) == Some(&ERROR)
}

/// Whether the server's first packet says that it speaks TLS.
fn offers_tls(greeting: &[u8]) -> bool {
    // After the header and the version of the protocol comes the server's version, which ends
    // with a zero; then the number of the connection, half of the nonce, and another zero.
    let version = greeting.get(5..).unwrap_or_default();
    let rest = version.iter().position(|byte| *byte == 0).and_then(|end| version.get(end + 1..));
    rest.and_then(|rest| rest.get(4 + 8 + 1 + 1)).is_some_and(|capabilities| capabilities & CLIENT_SSL != 0)
}

/// The request for TLS. It is the beginning of the client's `first` packet, which then follows
/// encrypted.
fn request(first: &mut [u8]) -> io::Result<Vec<u8>> {
    *first.get_mut(5).ok_or_else(wrong)? |= CLIENT_SSL;
    let mut request = vec![REQUEST as u8, 0, 0, 1];
    request.extend(first.get(4..4 + REQUEST).ok_or_else(wrong)?);
    Ok(request)
}

/// Forwards the packets of authentication, from the library's `first`. Each has a number, and the
/// library does not know of the request for TLS.
async fn sign_in(
    library: &mut UnixStream,
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    first: Vec<u8>,
) -> io::Result<()> {
    let mut next = Some(first);
    loop {
        if let Some(mut packet) = next {
            renumber(&mut packet, 1);
            server.write_all(&packet).await?;
            server.flush().await?;
        }
        let mut answer = packet(server).await?;
        renumber(&mut answer, u8::MAX);
        library.write_all(&answer).await?;
        let content = answer.get(4..).unwrap_or_default();
        if matches!(content.first(), None | Some(&(OK | ERROR))) {
            return Ok(());
        }
        next = match content == PASSWORD_IS_RIGHT {
            true => None,
            false => Some(packet(library).await?),
        };
    }
}

fn renumber(packet: &mut [u8], by: u8) {
    if let Some(number) = packet.get_mut(3) {
        *number = number.wrapping_add(by);
    }
}

/// Forwards everything, until one of the two closes the connection.
async fn forward(mut library: UnixStream, server: impl AsyncRead + AsyncWrite) {
    let (mut from_library, mut to_library) = library.split();
    let (mut from_server, mut to_server) = split(server);
    tokio::select! {
        _ = copy(&mut from_library, &mut to_server) => {}
        _ = copy(&mut from_server, &mut to_library) => {}
    }
    let _ = timeout(ENDING, to_server.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet with this number and content.
    fn numbered(number: u8, content: &[u8]) -> Vec<u8> {
        [&[content.len() as u8, 0, 0, number], content].concat()
    }

    /// A server's first packet, whose capabilities have this second byte.
    fn greeting(capabilities: u8) -> Vec<u8> {
        numbered(0, &[b"\x0a8.0.36\0", &[7; 4][..], &[8; 8], &[0, 0xff, capabilities, 33]].concat())
    }

    #[test]
    fn tls_is_asked_for_with_the_beginning_of_the_first_packet() {
        assert!(offers_tls(&greeting(CLIENT_SSL)) && !offers_tls(&greeting(0xf7)));
        assert!(!offers_tls(b"HTTP/1.1 400 Bad Request\r\n") && !offers_tls(&[]));
        let content: Vec<u8> = (0..60).map(|byte| byte & !CLIENT_SSL).collect();
        let mut first = numbered(1, &content);
        let asked = request(&mut first).expect("long enough");
        assert_eq!((asked.len(), &asked[..6]), (36, &[32, 0, 0, 1, 0, 1 | CLIENT_SSL][..]));
        assert_eq!(asked[4..], first[4..36]);
        assert!(request(&mut numbered(1, &[0; 31])).is_err());
    }

    #[tokio::test]
    async fn packets_are_numbered_for_each_side_until_authentication_has_ended() {
        let (mut library, mut ours) = UnixStream::pair().expect("a pair");
        let (mut theirs, mut server) = tokio::io::duplex(1024);
        let signing_in = async {
            sign_in(&mut ours, &mut theirs, numbered(1, b"name and scramble")).await.expect("signed in");
        };
        let serving = async {
            assert_eq!(packet(&mut server).await.expect("a packet"), numbered(2, b"name and scramble"));
            server.write_all(&numbered(3, b"\xfeswitch")).await.expect("written");
            assert_eq!(packet(&mut server).await.expect("a packet"), numbered(4, b"scramble"));
            server.write_all(&numbered(5, &PASSWORD_IS_RIGHT)).await.expect("written");
            server.write_all(&numbered(6, &[OK, 0, 0])).await.expect("written");
        };
        let asking = async {
            assert_eq!(packet(&mut library).await.expect("a packet"), numbered(2, b"\xfeswitch"));
            library.write_all(&numbered(3, b"scramble")).await.expect("written");
            assert_eq!(packet(&mut library).await.expect("a packet"), numbered(4, &PASSWORD_IS_RIGHT));
            assert_eq!(packet(&mut library).await.expect("a packet"), numbered(5, &[OK, 0, 0]));
        };
        tokio::join!(signing_in, serving, asking);
    }

    #[tokio::test]
    async fn a_packet_that_is_too_long_is_not_waited_for() {
        assert!(packet(&mut &[0xff, 0xff, 0xff, 0][..]).await.is_err());
        assert!(packet(&mut &[2, 0, 0, 0, 1][..]).await.is_err());
    }
}
