//! This server compared with others that do the same work or less of it, in one run.
//!
//! `cargo bench --bench peers -- WHAT`, where WHAT is
//! - `requests` (the default): requests on 32 kept connections, against a loop that reads and
//!   writes the same bytes, bare hyper, and nginx with a file;
//! - `handshakes`: full TLS handshakes, against nginx with the same certificate.
//!
//! All servers run at the same time, and are asked one after the other in each round. So other
//! work of the machine changes absolute figures, but ratios much less: they are made in each
//! round, and the median of all rounds is printed with the range.

#![allow(clippy::disallowed_methods, reason = "benches may wait for files and for each other")]

mod bare;
mod figures;
mod generator;
mod handshakes;
mod servers;

use std::time::Duration;

use figures::{Figures, Sample};
use generator::Clients;
use servers::{BARE_HYPER, BARE_HYPER_BY_DEFAULT, NGINX_WITH_LOG, OWN_WITH_LOG, Peer, Peers};

const ROUNDS: usize = 7;
/// Without being counted, before each measurement.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_millis(1500);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["requests"] => requests(),
        ["handshakes"] => handshakes::handshakes(),
        // The bench starts itself with these words.
        ["serve", kind, answer] => bare::serve(kind, answer.as_ref()),
        _ => panic!("there is no `{}`: requests or handshakes", args.join(" ")),
    }
}

fn requests() {
    let peers = Peers::start();
    let mut figures: Vec<Figures> = peers.all.iter().map(|peer| Figures::new(peer.name)).collect();
    for round in 0..ROUNDS {
        for at in 0..peers.all.len() {
            // Each round begins with another server, so that none always follows the same one.
            let at = (at + round) % peers.all.len();
            figures[at].add(ask(&peers.all[at]));
        }
    }
    println!(
        "{} connections, answers of {} bytes, medians of {ROUNDS} rounds, and ratios to bare hyper with one \
         runtime a core:",
        generator::CONNECTIONS,
        peers.length
    );
    let of = |name| figures.iter().find(|figures| figures.name == name).expect("one of them");
    figures::print(&figures, of(BARE_HYPER), "requests/s");
    for other in [BARE_HYPER_BY_DEFAULT, NGINX_WITH_LOG] {
        let ratio = of(OWN_WITH_LOG).ratio(of(other), |sample| sample.per_second).text(2);
        println!("  requests/s of `{OWN_WITH_LOG}`: {ratio} of `{other}`");
    }
}

fn ask(peer: &Peer) -> Sample {
    let mut clients = Clients::open(peer.address, &peer.request);
    clients.ask_for(WARM_UP);
    Sample::of(&peer.processes, || clients.ask_for(MEASURED))
}
