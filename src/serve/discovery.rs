//! Answers clients that ask the LAN for the URL by DHCP, and nothing else. It needs no privileges,
//! because Jitsi sends to port 6767 instead of 67.

mod packet;
mod rate;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use packet::{Ignored, Inform};
use rate::Rates;

/// Where clients send.
pub const PORT: u16 = 6767;
/// The longest packet that is read. Jitsi sends 548 bytes.
const LONGEST: usize = 1500;
/// How often ignored packets are logged, if there are any.
const REPORT: Duration = Duration::from_secs(60);
/// How long to wait after an error of a socket, such as that of an interface that is down.
const PAUSE: Duration = Duration::from_secs(1);

/// How many packets came, by what became of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    answered: u64,
    malformed: u64,
    other: u64,
    limited: u64,
    failed: u64,
}

/// Sockets that are bound to their interfaces.
#[derive(Debug)]
pub struct Responder {
    sockets: Vec<(String, UdpSocket)>,
    url: String,
}

impl Responder {
    /// Listens on each of the `interfaces`. `url` has 255 bytes at most.
    ///
    /// # Errors
    /// When there is no such interface, or another program listens there.
    pub fn listen(interfaces: Vec<String>, url: String) -> anyhow::Result<Responder> {
        let mut sockets = Vec::with_capacity(interfaces.len());
        for name in interfaces {
            let socket = bind(&name).with_context(|| {
                let fix = "`ip link` lists the interfaces, and `ss -ulnp` shows who listens";
                format!("cannot listen on UDP port {PORT} of --interface {name}: {fix}")
            })?;
            sockets.push((name, socket));
        }
        Ok(Responder { sockets, url })
    }

    /// Answers until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let Responder { sockets, url } = self;
        let mut asked = JoinSet::new();
        let (sender, mut packets) = tokio::sync::mpsc::channel(1);
        for (interface, socket) in sockets {
            tracing::info!(interface, url, "answers clients that look for the server by DHCP");
            let sender = sender.clone();
            let url = url.clone();
            asked.spawn(async move { answer_all(&interface, &socket, &url, &sender).await });
        }
        crate::process::service::ready();
        let mut counts = Counts::default();
        let mut reported = counts;
        let mut report = interval(REPORT);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = report.tick() => reported = counts.report(reported),
                Some(fate) = packets.recv() => counts.add(fate),
            }
        }
        crate::process::service::stopping();
        let Counts { answered, malformed, other, limited, failed } = counts;
        tracing::info!(answered, malformed, other, limited, failed, "stopped");
        Ok(())
    }
}

impl Counts {
    fn add(&mut self, fate: Fate) {
        *match fate {
            Fate::Answered => &mut self.answered,
            Fate::Ignored(Ignored::Malformed) => &mut self.malformed,
            Fate::Ignored(Ignored::AnotherRequest) => &mut self.other,
            Fate::Limited => &mut self.limited,
            Fate::Failed => &mut self.failed,
        } += 1;
    }

    /// Logs what was not answered since `reported`, and returns the new state of the report.
    fn report(self, reported: Counts) -> Counts {
        let Counts { answered: _, malformed, other, limited, failed } = self;
        let (malformed, other) = (malformed - reported.malformed, other - reported.other);
        let (limited, failed) = (limited - reported.limited, failed - reported.failed);
        if malformed + other + limited + failed > 0 {
            tracing::warn!(malformed, other, limited, failed, "packets got no answer");
        }
        self
    }
}

/// What became of a packet.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    Ignored(Ignored),
    /// Too many came.
    Limited,
    /// The system did not send the answer.
    Failed,
}

/// A socket that gets only what arrives at this interface. Linux allows this without privileges, as
/// long as the socket is not bound to another interface.
fn bind(interface: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    // No router passes the answers on, so they leave the LAN not even if a sender's address is forged.
    socket.set_ttl_v4(1)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT).into())?;
    UdpSocket::from_std(socket.into())
}

/// Answers all packets of one interface.
async fn answer_all(interface: &str, socket: &UdpSocket, url: &str, fates: &tokio::sync::mpsc::Sender<Fate>) {
    let mut rates = Rates::new(Instant::now());
    let mut packet = [0; LONGEST];
    loop {
        let fate = match socket.recv_from(&mut packet).await {
            Ok((len, SocketAddr::V4(client))) => {
                answer(interface, socket, url, &packet[..len], client, &mut rates).await
            }
            Ok(_) => continue,
            Err(why) => {
                tracing::warn!(interface, "cannot receive: {why}");
                sleep(PAUSE).await;
                continue;
            }
        };
        if fates.send(fate).await.is_err() {
            return;
        }
    }
}

async fn answer(
    interface: &str,
    socket: &UdpSocket,
    url: &str,
    packet: &[u8],
    client: SocketAddrV4,
    rates: &mut Rates,
) -> Fate {
    let inform = match Inform::read(packet) {
        Ok(inform) => inform,
        Err(why) => return Fate::Ignored(why),
    };
    if !rates.allow(*client.ip(), Instant::now()) {
        return Fate::Limited;
    }
    let sent = match own_address(interface, client) {
        Ok(own) => socket.send_to(&inform.answer(own, url), client).await.map(drop),
        Err(why) => Err(why),
    };
    match sent {
        Ok(()) => {
            tracing::info!(interface, address = %client.ip(), "answered");
            Fate::Answered
        }
        Err(why) => {
            tracing::debug!(interface, address = %client.ip(), "cannot answer: {why}");
            Fate::Failed
        }
    }
}

/// The address from which answers to this client are sent.
fn own_address(interface: &str, client: SocketAddrV4) -> io::Result<Ipv4Addr> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    // Sends nothing: the system only chooses the address.
    socket.connect(&client.into())?;
    let own = socket.local_addr()?.as_socket_ipv4();
    own.map(|own| *own.ip()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
