use std::time::Duration;

use super::*;

type Asked = oneshot::Receiver<()>;

fn is_asked(asked: &mut Asked) -> bool {
    asked.try_recv().is_ok()
}

/// A roster with connections that have been idle since 0, 1, 2 and so on seconds after the
/// start.
fn idle(count: u64, most: usize) -> (Arc<Roster>, Vec<(Seat, Asked)>) {
    let roster = Arc::new(Roster::new(most, Arc::new(Metrics::new(false))));
    let seats: Vec<_> = (0..count).map(|_| roster.enter()).collect();
    for (second, (seat, _)) in (0..).zip(&seats) {
        answered(&roster, seat, second);
    }
    (roster, seats)
}

/// A request that was answered at this second.
fn answered(roster: &Roster, seat: &Seat, second: u64) {
    seat.busy();
    seat.idle_since(roster.clock + Duration::from_secs(second));
}

/// The numbers of the connections that were asked to end.
fn asked(seats: &mut [(Seat, Asked)]) -> Vec<usize> {
    (0..seats.len()).filter(|number| is_asked(&mut seats[*number].1)).collect()
}

#[test]
fn the_connection_that_is_idle_for_longest_ends_first_and_busy_ones_do_not() {
    let (roster, mut seats) = idle(5, 9);
    answered(&roster, &seats[0].0, 10);
    answered(&roster, &seats[1].0, 9);
    seats[3].0.busy();
    for expected in [2, 4, 1, 0] {
        assert!(roster.make_room());
        assert_eq!(asked(&mut seats), [expected]);
    }
    assert!(!roster.make_room(), "the others were asked, or are busy");
    answered(&roster, &seats[3].0, 11);
    assert!(roster.make_room());
    assert_eq!(asked(&mut seats), [3]);
    // A connection that was asked may answer once more, and is not asked again.
    answered(&roster, &seats[3].0, 12);
    assert!(!roster.make_room());
}

#[test]
fn silent_new_connections_end_after_idle_ones_and_not_at_once() {
    let (roster, mut seats) = idle(1, 9);
    for _ in 0..2 {
        let (seat, asked) = roster.enter();
        seat.new_since(Instant::now());
        seats.push((seat, asked));
    }
    assert!(roster.make_room());
    assert_eq!(asked(&mut seats), [0]);
    assert!(!roster.make_room(), "their requests may be on their way");
    let later = roster.now() + FIRST_BYTE.as_nanos() as u64;
    assert_eq!(roster.lock().oldest(None, later), Some(seats[1].0.id));
    seats[1].0.busy();
    assert_eq!(roster.lock().oldest(None, later), Some(seats[2].0.id));
}

#[test]
fn an_address_with_too_many_connections_loses_its_own_and_no_other() {
    let (roster, mut seats) = idle(4, 2);
    assert!(seats[1..3].iter().all(|(seat, _)| seat.claim([192, 0, 2, 7].into())));
    assert!(seats[3].0.claim([192, 0, 2, 7].into()));
    assert_eq!(asked(&mut seats), [1]);
    seats[2].0.busy();
    seats[3].0.busy();
    let (another, _asked) = roster.enter();
    assert!(!another.claim([192, 0, 2, 7].into()), "its connections are busy");
    assert!(another.claim([192, 0, 2, 8].into()));
    drop(seats.pop());
    let (another, _asked) = roster.enter();
    assert!(another.claim([192, 0, 2, 7].into()));
}

#[test]
fn nothing_is_left_of_connections_that_have_ended() {
    let (roster, seats) = idle(3, 2);
    assert!(seats.iter().all(|(seat, _)| seat.claim([192, 0, 2, 7].into())));
    seats[0].0.busy();
    assert!(roster.make_room());
    drop(seats);
    let seats = roster.lock();
    assert!(seats.open.is_empty() && seats.order.is_empty() && seats.addresses.is_empty());
}
