//! Addresses by their first bits: what an operator allows, denies or trusts, and what is counted
//! together.
//!
//! An IPv4 address that is written as an IPv6 one (`::ffff:192.0.2.7`) is the IPv4 address: who
//! connects to a socket for both must not slip past a rule for one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// All addresses with the same first bits, such as `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Network {
    /// IPv4 addresses stand in their IPv6 form; octets, so that a million of these take no more than
    /// they must. Invariant: no bit behind `bits` is set.
    start: [u8; 16],
    /// Of 128, also for IPv4.
    bits: u8,
}

const _: () = assert!(size_of::<Network>() == 17, "there may be a million");

/// Where the bits of an IPv4 address begin in its IPv6 form.
const IPV4_OFFSET: u8 = 96;

impl Network {
    /// The network of an address: so many bits of an IPv4 one, so many of an IPv6 one.
    pub(crate) fn around(address: IpAddr, ipv4_bits: u8, ipv6_bits: u8) -> Self {
        let bits = match address.to_canonical() {
            IpAddr::V4(_) => IPV4_OFFSET + ipv4_bits,
            IpAddr::V6(_) => ipv6_bits,
        };
        let start = (number_of(address) & mask(bits)).to_be_bytes();
        Self { start, bits }
    }

    fn first(self) -> u128 {
        u128::from_be_bytes(self.start)
    }

    fn last(self) -> u128 {
        self.first() | !mask(self.bits)
    }

    fn is_ipv4(self) -> bool {
        let mapped = Ipv6Addr::from(self.start).to_ipv4_mapped();
        self.bits >= IPV4_OFFSET && mapped.is_some()
    }
}

fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The first so many bits.
fn mask(bits: u8) -> u128 {
    u128::MAX
        .checked_shl(128 - u32::from(bits))
        .unwrap_or_default()
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let advice = || {
            "write an address or a network, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"
                .to_owned()
        };
        let (address, size) = match text.split_once('/') {
            Some((address, size)) => (address, Some(size)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| advice())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let size = match size {
            None => width,
            Some(size) => {
                let digits = size.bytes().all(|byte| byte.is_ascii_digit());
                let size: Option<u8> = size.parse().ok().filter(|_| digits);
                size.filter(|size| *size <= width).ok_or_else(advice)?
            }
        };
        let bits = size + (128 - width);
        let network = Self {
            start: (number_of(address) & mask(bits)).to_be_bytes(),
            bits,
        };
        if network.first() != number_of(address) {
            // Whoever writes 10.1.2.3/8 may mean either.
            return Err(format!(
                "no bit may be set behind the {size}th: write {network}"
            ));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.start);
        let mapped = address.to_ipv4_mapped().filter(|_| self.is_ipv4());
        let (address, size, width) = match mapped {
            Some(four) => (IpAddr::V4(four), self.bits - IPV4_OFFSET, 32),
            None => (IpAddr::V6(address), self.bits, 128),
        };
        if size == width {
            write!(f, "{address}")
        } else {
            write!(f, "{address}/{size}")
        }
    }
}

/// A set of networks. A look-up is one search in a sorted list, however many there are. A rule for
/// one family of addresses says nothing of the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    ipv4: Ranges,
    ipv6: Ranges,
}

/// First and last address of each. Invariant: ascending, and none touches the next.
type Ranges = Box<[(u128, u128)]>;

impl Networks {
    pub(crate) fn new(networks: &[Network]) -> Self {
        let (ipv4, ipv6) = networks
            .iter()
            .copied()
            .partition(|network| network.is_ipv4());
        Self {
            ipv4: ranges_of(ipv4),
            ipv6: ranges_of(ipv6),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let ranges = match address.to_canonical() {
            IpAddr::V4(_) => &self.ipv4,
            IpAddr::V6(_) => &self.ipv6,
        };
        if ranges.is_empty() {
            return false;
        }
        let number = number_of(address);
        let behind = ranges.partition_point(|(first, _)| *first <= number);
        behind > 0 && number <= ranges[behind - 1].1
    }
}

fn ranges_of(mut networks: Vec<Network>) -> Ranges {
    networks.sort();
    let mut ranges: Vec<(u128, u128)> = Vec::with_capacity(networks.len());
    for network in networks {
        match ranges.last_mut() {
            Some((_, last)) if network.first() <= last.saturating_add(1) => {
                *last = network.last().max(*last);
            }
            _ => ranges.push((network.first(), network.last())),
        }
    }
    ranges.into()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        let networks: Vec<Network> = texts.iter().map(|text| text.parse().unwrap()).collect();
        Networks::new(&networks)
    }

    #[test]
    fn networks_are_read_and_shown_as_they_are_written() {
        for text in [
            "192.0.2.7",
            "192.0.2.0/24",
            "0.0.0.0/0",
            "10.0.0.0/8",
            "2001:db8::/32",
            "::/0",
            "::1",
            "fe80::/10",
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
        }
        let mapped: Network = "::ffff:192.0.2.0/120".parse().unwrap();
        assert_eq!(mapped, "192.0.2.0/24".parse().unwrap());
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "localhost",
            "192.0.2",
            "192.0.2.0/33",
            "192.0.2.0/-1",
            "192.0.2.0/+8",
            "192.0.2.0/",
            "192.0.2.0/8/8",
            "192.0.2.256",
            "::/129",
            "192.0.2.0-192.0.2.9",
            "192.0.2.7:80",
            " 192.0.2.7",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let said = "10.1.2.3/8".parse::<Network>().unwrap_err();
        assert!(said.contains("write 10.0.0.0/8"), "{said}");
    }

    #[test]
    fn an_address_has_one_network_in_whichever_form_it_comes() {
        let four: IpAddr = "192.0.2.7".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        for ip in [four, mapped] {
            assert_eq!(Network::around(ip, 24, 64).to_string(), "192.0.2.0/24");
            assert_eq!(Network::around(ip, 32, 64).to_string(), "192.0.2.7");
        }
        let six: IpAddr = "2001:db8:1:2:3::7".parse().unwrap();
        assert_eq!(
            Network::around(six, 32, 64).to_string(),
            "2001:db8:1:2::/64"
        );
        assert_eq!(Network::around(six, 24, 48).to_string(), "2001:db8:1::/48");
    }

    #[test]
    fn a_rule_for_one_family_is_none_for_the_other() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let six = networks(&["2000::/3"]);
        assert!(six.contains(ip("2001:db8::1")) && !six.contains(ip("192.0.2.7")));
        let four = networks(&["192.0.2.0/24"]);
        assert!(four.contains(ip("::ffff:192.0.2.7")) && !four.contains(ip("::192.0.2.7")));
        let all = networks(&["0.0.0.0/0"]);
        assert!(all.contains(ip("192.0.2.7")) && !all.contains(ip("::1")));
        let all = networks(&["::/0"]);
        assert!(all.contains(ip("::1")) && !all.contains(ip("192.0.2.7")));
        assert!(!networks(&[]).contains(ip("::1")));
    }

    /// The rules, one after another.
    fn naive(rules: &[Network], address: IpAddr) -> bool {
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        let bit = |octets: [u8; 16], at: u8| octets[usize::from(at / 8)] >> (7 - at % 8) & 1;
        let same = |rule: &&Network| rule.is_ipv4() == address.to_canonical().is_ipv4();
        rules.iter().filter(same).any(|rule| {
            let (start, ip) = (rule.start, octets(address));
            (0..rule.bits).all(|at| bit(start, at) == bit(ip, at))
        })
    }

    #[test]
    fn a_set_is_the_rules_one_after_another() {
        for seed in 0..300_u64 {
            // One step of a linear congruence for each choice.
            let mut state = seed;
            let mut choose = |below: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            // Few bits differ, so that many fall into each other.
            let mut address = || {
                let low = u32::try_from(choose(256) << 24 | choose(4) << 8 | choose(4)).unwrap();
                if choose(2) == 0 {
                    IpAddr::V4(Ipv4Addr::from_bits(low))
                } else {
                    let high = u128::from(choose(4)) << 120 | u128::from(choose(3)) << 64;
                    IpAddr::V6(Ipv6Addr::from_bits(high | u128::from(low)))
                }
            };
            let probes: Vec<IpAddr> = (0..100).map(|_| address()).collect();
            let starts: Vec<IpAddr> = (0..8).map(|_| address()).collect();
            let rules: Vec<Network> = starts
                .into_iter()
                .take(usize::try_from(choose(9)).unwrap())
                .map(|ip| {
                    let four = u8::try_from(choose(33)).unwrap();
                    Network::around(ip, four, u8::try_from(choose(129)).unwrap())
                })
                .collect();
            let set = Networks::new(&rules);
            for probe in probes {
                let wanted = naive(&rules, probe);
                assert_eq!(
                    set.contains(probe),
                    wanted,
                    "seed {seed}: {probe} in {rules:?}"
                );
            }
        }
    }
}
