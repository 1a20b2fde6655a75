//! A crowd that leaves at once does not keep the others waiting.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tidegate_io::epoll::EpollDriver;
use tidegate_io::{Completion, Driver, Op, Reservation, Socket, Submitted, Timeout};

const CROWD: u32 = 600;
/// More turns than anything here takes.
const TURNS_MAX: usize = 10_000;

const PATIENCE: Duration = Duration::from_secs(5);

/// One turn: what each completion says, by `hear`.
fn turn(driver: &mut EpollDriver, wait: Duration, hear: &mut impl FnMut(&Completion<'_>)) {
    let until = driver.now() + wait;
    driver.wait(Timeout::At(until)).expect("it can wait");
    let mut peers = Vec::new();
    while let Some(completion) = driver.reap() {
        hear(&completion);
        if let Completion::Accepted { peer } = completion {
            peers.push(peer);
        }
    }
    for peer in peers {
        // The port is the number, whoever is accepted first.
        let socket = Socket(u32::from(peer.address.port()));
        assert_eq!(driver.submit(Op::Open { socket, peer }), Submitted::Done);
    }
}

#[test]
fn who_stays_is_heard_before_a_crowd_that_leaves() {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let reservation = Reservation::new(listen, false).expect("a port");
    let listener = reservation.listener().expect("a listener");
    let mut driver = EpollDriver::new(Some(listener)).expect("descriptors");
    let _ = driver.submit(Op::Listen);
    let connect = |_| TcpStream::connect(reservation.address()).expect("it is listened on");
    let crowd: Vec<_> = (0..CROWD).map(connect).collect();
    let mut who_stays = connect(CROWD);
    let number = who_stays.local_addr().expect("it is connected").port();
    let mut accepted = 0;
    while accepted <= CROWD {
        turn(&mut driver, PATIENCE, &mut |completion| {
            accepted += u32::from(matches!(completion, Completion::Accepted { .. }));
        });
    }

    // The kernel has told of each that there is room to send.
    for _ in 0..=CROWD / 256 {
        turn(&mut driver, Duration::ZERO, &mut |other| {
            panic!("{other:?}")
        });
    }

    drop(crowd);
    who_stays.write_all(b"here").expect("it is read");
    let (mut ended, mut ended_before) = (0, None);
    for _ in 0..TURNS_MAX {
        turn(&mut driver, PATIENCE, &mut |completion| match completion {
            Completion::Ended { .. } => ended += 1,
            Completion::Received { socket, bytes } => {
                assert_eq!((socket.0, &**bytes), (u32::from(number), &b"here"[..]));
                ended_before = Some(ended);
            }
            other => panic!("{other:?}"),
        });
        if ended == CROWD {
            break;
        }
    }
    assert_eq!(ended, CROWD, "nobody is forgotten");
    let before = ended_before.expect("it was heard");
    assert!(before <= 32, "{before} had left before it was heard");
}
