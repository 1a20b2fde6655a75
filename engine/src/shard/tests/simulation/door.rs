//! The door of the simulated servers: who is let in, for whom proxies speak, and who has left.

use std::net::SocketAddr;

use super::*;

/// What stands before the door.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Door {
    /// Everybody comes through a proxy.
    pub(super) proxied: bool,
    /// Of 16 who come, so many are refused.
    pub(super) refused: u64,
    /// And so many are reset.
    pub(super) dropped: u64,
}

impl Door {
    /// Deterministic, and different for each.
    pub(super) fn judge(self, dice: u64) -> Option<Admission> {
        let dice = dice.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
        if dice < self.refused {
            let refusal = Refusal::new(503, "full", "come back later").with_retry_after(1);
            Some(Admission::Refuse(refusal))
        } else if dice < self.refused + self.dropped {
            Some(Admission::Drop("dropped"))
        } else {
            None
        }
    }
}

/// What a proxy says of this caller, and where it says that it calls from, if it does.
pub(super) fn introduction(caller: usize) -> (Vec<u8>, Option<SocketAddr>) {
    let number = u16::try_from(caller).expect("a few thousand");
    let [high, low] = number.to_be_bytes();
    let source = SocketAddr::from(([10, 0, high, low], number));
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    match caller % 4 {
        0 => {
            let line = format!("PROXY TCP4 10.0.{high}.{low} 192.0.2.1 {number} 443\r\n");
            return (line.into_bytes(), Some(source));
        }
        1 => {
            header.extend([0x20, 0, 0, 0]);
            return (header, None);
        }
        // With a name of 20 bytes behind the addresses.
        2 => header.extend([0x21, 0x11, 0, 35]),
        _ => header.extend([0x21, 0x11, 0, 12]),
    }
    header.extend([10, 0, high, low, 192, 0, 2, 1, high, low, 1, 0xBB]);
    if caller % 4 == 2 {
        header.extend([2, 0, 20]);
        header.extend([b'n'; 20]);
    }
    (header, Some(source))
}
