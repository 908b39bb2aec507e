use proptest::prelude::*;

use super::*;

/// What Jitsi sends from 192.0.2.9, with these options.
fn packet(options: &[u8]) -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 192, 0, 2, 9];
    packet.resize(28, 0);
    packet.extend([2, 0, 0, 0, 0, 9]);
    packet.resize(236, 0);
    packet.extend(COOKIE);
    packet.extend(options);
    packet
}

const OPTIONS: [u8; 7] = [53, 1, 8, 55, 1, 224, 255];

#[test]
fn the_answer_repeats_who_asked_and_has_the_url() {
    let mut asked = packet(&OPTIONS);
    // What a relay may have written.
    asked[3] = 1;
    asked[24..28].copy_from_slice(&[10, 0, 0, 1]);
    asked.resize(548, 0);
    let answer =
        Inform::read(&asked).expect("a request").answer(Ipv4Addr::new(192, 0, 2, 1), "https://a.org");
    let mut expected = packet(&[53, 1, 5, 54, 4, 192, 0, 2, 1, 224, 13]);
    expected[0] = 2;
    expected.extend(b"https://a.org\xff");
    expected.resize(300, 0);
    assert_eq!(answer, expected);
    let longest = "u".repeat(255);
    let answer = Inform::read(&asked).expect("a request").answer(Ipv4Addr::LOCALHOST, &longest);
    assert!(answer.ends_with(&[longest.as_bytes(), &[255]].concat()));
}

#[test]
fn other_packets_are_ignored_with_the_reason() {
    let read = |options: &[u8]| Inform::read(&packet(options)).map(drop);
    assert_eq!(read(&[0, 0, 12, 2, b'p', b'c', 55, 3, 1, 224, 3, 53, 1, 8]), Ok(()));
    for other in
        [&[53, 1, 1, 55, 1, 224, 255][..], &[53, 1, 8, 55, 2, 1, 3, 255], &[53, 1, 8, 255, 55, 1, 224], &[]]
    {
        assert_eq!(read(other), Err(Ignored::AnotherRequest), "{other:?}");
    }
    for malformed in [&[53][..], &[53, 1], &[53, 1, 8, 55, 4, 224]] {
        assert_eq!(read(malformed), Err(Ignored::Malformed), "{malformed:?}");
    }
    let mut answer = packet(&OPTIONS);
    answer[0] = 2;
    assert_eq!(Inform::read(&answer), Err(Ignored::AnotherRequest));
    let mut bootp = packet(&OPTIONS);
    bootp[239] = 0;
    assert_eq!(Inform::read(&bootp), Err(Ignored::Malformed));
    assert_eq!(Inform::read(&packet(&OPTIONS)[..239]), Err(Ignored::Malformed));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Inform::read(&bytes);
        let options = packet(&bytes);
        if let Ok(inform) = Inform::read(&options) {
            let answer = inform.answer(Ipv4Addr::LOCALHOST, "https://a.org");
            prop_assert_eq!(&answer[4..8], &options[4..8]);
            prop_assert!(answer.len() == 300);
        }
    }
}
