//! Who is let in: everything before the endpoint is looked for, in this order, the cheap before the
//! costly. Who is let in is counted until nothing of the connection is left.
//!
//! ```text
//!  accept ──────┬─ a client ─▶ deny, allow ─▶ caps ─▶ rates ─▶ request ─▶ path ─▶ origin ─▶ …
//!               │              403 or reset   503, 429  503, 429
//!               └─ a trusted proxy ─▶ cap of all ─▶ PROXY header (if there is to be one)
//!                                     503             │    400
//!                  names a client ◀───────────────────┤
//!                  (as above, at once)                ▼
//!                                     request ─▶ X-Forwarded-For ─▶ deny, allow ─▶ caps ─▶ rates ─▶ …
//!                                                400
//! ```
//!
//! The sketch of its cost: with no rule, an addition at the accept and a subtraction at the end. With
//! rules, at the accept two searches in sorted lists, and a look-up under a lock of its own for each
//! cap and rate of an address: less than a microsecond beside some ten for the accept itself. A byte
//! for each connection, where anything is to be remembered. A message costs nothing.

mod bucket;
mod forwarded;
pub(crate) mod network;
mod rules;
mod shown;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidegate_engine::{Admission, ProxyHeader, ProxyVersion, Refusal, Request, RequestContext};

use crate::endpoints::Endpoints;
use crate::tally::{Full, Tally};
use bucket::{Bucket, Buckets, Clock, Over};
use network::Network;
use rules::ProxyVersions;
pub(crate) use rules::Rules;
pub(crate) use shown::Door;

/// So many of a shard's connections may be told at once that they are not let in. More are reset: a
/// refusal takes a descriptor until it has been read.
const REFUSED_MAX: usize = 1024;

/// Whoever finds it full, and cannot be told when there will be room, is told to come back between 1
/// and so many seconds later, each after another span.
const RETRY_SPREAD: u32 = 10;

/// What all shards count together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    clock: Clock,
    /// Those that were let in, so far as they got.
    all: AtomicUsize,
    /// By IPv4 address, and by the first 64 bits of IPv6 ones: what one customer has.
    hosts: Tally<Network>,
    /// By the first 24 and 48 bits.
    networks: Tally<Network>,
    rate: Bucket,
    host_rates: Buckets<Network>,
    /// How many have been told to come back.
    told: AtomicU32,
}

/// What a look at the counts shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Connections that were let in.
    pub(crate) connections: usize,
    /// Addresses of which there are connections, if those are counted.
    pub(crate) hosts: usize,
    pub(crate) networks: usize,
    /// Addresses that have come so lately that it is remembered.
    pub(crate) host_rates: usize,
}

/// The door of one shard.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    counts: Arc<Counts>,
    /// What is to be remembered of each connection, by its slot; no longer than needed.
    marks: Vec<Mark>,
    /// How many are being told that they are not let in.
    refused: usize,
}

/// What is to be remembered of a connection: some bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mark(u8);

impl Mark {
    /// It is counted at its address.
    const HOST: Self = Self(1);
    /// It is counted at its network.
    const NETWORK: Self = Self(2);
    /// It is a proxy that has not yet said for whom it speaks.
    const UNSETTLED: Self = Self(4);
    /// It was refused at the door, and is not counted.
    const REFUSED: Self = Self(8);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Denied,
    Full,
    HostFull,
    NetworkFull,
    Rate(Over),
    HostRate(Over),
}

impl Counts {
    /// What there is now.
    pub(crate) fn look(&self) -> Seen {
        Seen {
            connections: self.all.load(Ordering::Relaxed),
            hosts: self.hosts.key_count(),
            networks: self.networks.key_count(),
            host_rates: self.host_rates.key_count(),
        }
    }

    /// One more of all, if there is room.
    fn enter(&self, rules: &Rules) -> Result<(), Fault> {
        let before = self.all.fetch_add(1, Ordering::Relaxed);
        if rules.connections_max.is_some_and(|max| before >= max) {
            self.leave();
            return Err(Fault::Full);
        }
        Ok(())
    }

    fn leave(&self) {
        let before = self.all.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "who leaves was let in");
    }

    /// A client that is known by this address now: may it stay? What is counted is to be given back;
    /// a newcomer is one more of all.
    fn settle(
        &self,
        rules: &Rules,
        client: IpAddr,
        newcomer: bool,
        now: Instant,
    ) -> Result<Mark, Fault> {
        let allowed = rules.allow.is_empty() || rules.allow.contains(client);
        if !allowed || rules.deny.contains(client) {
            return Err(Fault::Denied);
        }
        if newcomer {
            self.enter(rules)?;
        }
        let mut mark = Mark::default();
        let counted = self.count(rules, client, &mut mark);
        match counted.and_then(|()| self.take(rules, client, now)) {
            Ok(()) => Ok(mark),
            Err(fault) => {
                self.give_back(client, mark);
                if newcomer {
                    self.leave();
                }
                Err(fault)
            }
        }
    }

    /// The address first: it must not use up what there is for all.
    fn take(&self, rules: &Rules, client: IpAddr, now: Instant) -> Result<(), Fault> {
        if (rules.rate, rules.host_rate) == (None, None) {
            return Ok(());
        }
        let now = self.clock.at(now);
        if let Some(rate) = rules.host_rate {
            let taken = self.host_rates.take(&host(client), now, rate);
            taken.map_err(Fault::HostRate)?;
        }
        match rules.rate {
            Some(rate) => self.rate.take(now, rate).map_err(Fault::Rate),
            None => Ok(()),
        }
    }

    fn count(&self, rules: &Rules, client: IpAddr, mark: &mut Mark) -> Result<(), Fault> {
        if let Some(max) = rules.host_max {
            let added = self.hosts.add(&host(client), max);
            added.map_err(|Full| Fault::HostFull)?;
            *mark = mark.with(Mark::HOST);
        }
        if let Some(max) = rules.network_max {
            let added = self.networks.add(&network(client), max);
            added.map_err(|Full| Fault::NetworkFull)?;
            *mark = mark.with(Mark::NETWORK);
        }
        Ok(())
    }

    fn give_back(&self, client: IpAddr, mark: Mark) {
        if mark.has(Mark::HOST) {
            self.hosts.give_back(&host(client));
        }
        if mark.has(Mark::NETWORK) {
            self.networks.give_back(&network(client));
        }
    }

    fn refusal(&self, fault: Fault) -> Refusal {
        let spread = || 1 + self.told.fetch_add(1, Ordering::Relaxed) % RETRY_SPREAD;
        match fault {
            Fault::Denied => Refusal::new(
                403,
                "address",
                "Connections from this address are not taken.",
            ),
            Fault::Full => Refusal::new(503, "full", "There is no room for another connection.")
                .with_retry_after(spread()),
            Fault::HostFull => {
                let reason = "There are too many connections from this address.";
                Refusal::new(429, "address_full", reason).with_retry_after(spread())
            }
            Fault::NetworkFull => {
                let reason = "There are too many connections from this network.";
                Refusal::new(429, "network_full", reason).with_retry_after(spread())
            }
            Fault::Rate(over) => {
                let reason = "Too many connect at once; come back a little later.";
                Refusal::new(503, "rate", reason).with_retry_after(seconds(over.wait))
            }
            Fault::HostRate(over) => {
                let reason = "This address connects too often; come back a little later.";
                let refusal = Refusal::new(429, "address_rate", reason);
                refusal.with_retry_after(seconds(over.wait))
            }
        }
    }
}

impl Fault {
    /// The label of the metric, as in its refusal.
    fn cause(self) -> &'static str {
        match self {
            Self::Denied => "address",
            Self::Full => "full",
            Self::HostFull => "address_full",
            Self::NetworkFull => "network_full",
            Self::Rate(_) => "rate",
            Self::HostRate(_) => "address_rate",
        }
    }
}

/// Whole seconds, of which an HTTP header is made: rather late than early.
fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// What is counted as one address.
fn host(client: IpAddr) -> Network {
    Network::around(client, 32, 64)
}

/// What is counted as one network.
fn network(client: IpAddr) -> Network {
    Network::around(client, 24, 48)
}

impl Doorkeeper {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self {
            counts,
            marks: Vec::new(),
            refused: 0,
        }
    }

    /// Somebody has connected.
    #[inline]
    pub(crate) fn on_accept(
        &mut self,
        rules: &Rules,
        context: &RequestContext<'_, Endpoints>,
    ) -> Admission {
        if rules.is_open {
            self.counts.all.fetch_add(1, Ordering::Relaxed);
            return Admission::Take;
        }
        let (peer, slot) = (context.peer().ip(), context.id().slot());
        self.judge(rules, peer, slot, context.now())
    }

    #[inline(never)]
    fn judge(&mut self, rules: &Rules, peer: IpAddr, slot: u32, now: Instant) -> Admission {
        let proxy = rules.trusted.contains(peer);
        let entered = match proxy {
            true => self.counts.enter(rules).map(|()| Mark::UNSETTLED),
            false => self.counts.settle(rules, peer, true, now),
        };
        match entered {
            Ok(mark) => {
                self.set_mark(slot, mark);
                match (proxy, rules.proxy) {
                    (false, _) | (true, ProxyVersions::Off) => Admission::Take,
                    (true, _) => Admission::TakeProxied,
                }
            }
            Err(fault) if self.drops(rules, fault) => Admission::Drop(fault.cause()),
            Err(fault) => {
                self.set_mark(slot, Mark::REFUSED);
                self.refused += 1;
                Admission::Refuse(self.counts.refusal(fault))
            }
        }
    }

    /// Whether it is not even answered.
    fn drops(&self, rules: &Rules, fault: Fault) -> bool {
        self.refused >= REFUSED_MAX || (fault == Fault::Denied && rules.drops_denied)
    }

    /// A trusted proxy has said for whom it speaks, if it knows.
    pub(crate) fn on_proxied(
        &mut self,
        rules: &Rules,
        context: &RequestContext<'_, Endpoints>,
        header: &ProxyHeader,
    ) -> Admission {
        let right = match rules.proxy {
            ProxyVersions::One => header.version == ProxyVersion::One,
            ProxyVersions::Two => header.version == ProxyVersion::Two,
            // It was wanted when this one connected, before a reload.
            ProxyVersions::Any | ProxyVersions::Off => true,
        };
        if !right {
            let reason = "This version of the PROXY header is not taken here.";
            return Admission::Refuse(Refusal::bad_request("proxy_header", reason));
        }
        let (client, slot) = (context.peer().ip(), context.id().slot());
        // One proxy behind another: the client stands in the request.
        if header.source.is_none() || rules.trusted.contains(client) {
            return Admission::Take;
        }
        match self.settle_later(rules, client, slot, context.now()) {
            Ok(()) => Admission::Take,
            Err(fault) if fault == Fault::Denied && rules.drops_denied => {
                Admission::Drop(fault.cause())
            }
            Err(fault) => Admission::Refuse(self.counts.refusal(fault)),
        }
    }

    /// A request has come: who asks?
    ///
    /// # Errors
    /// The [`Refusal`] of whoever is not let in.
    #[inline]
    pub(crate) fn on_request(
        &mut self,
        rules: &Rules,
        context: &mut RequestContext<'_, Endpoints>,
        request: &Request<'_>,
    ) -> Result<(), Refusal> {
        let mark = self.mark(context.id().slot());
        if !mark.has(Mark::UNSETTLED) {
            return Ok(());
        }
        self.read_client(rules, context, request)
    }

    #[inline(never)]
    fn read_client(
        &mut self,
        rules: &Rules,
        context: &mut RequestContext<'_, Endpoints>,
        request: &Request<'_>,
    ) -> Result<(), Refusal> {
        let named = forwarded::client_of(request, rules.forwarded, &rules.trusted);
        let named = named.map_err(|forwarded::Malformed| {
            let reason = "The proxy does not say for whom it speaks in a way that can be read.";
            Refusal::bad_request("forwarded", reason)
        })?;
        if let Some(client) = named {
            context.set_peer(client);
        }
        let client: SocketAddr = context.peer();
        let slot = context.id().slot();
        self.settle_later(rules, client.ip(), slot, context.now())
            .map_err(|fault| self.counts.refusal(fault))
    }

    /// The client of a proxy is known now.
    fn settle_later(
        &mut self,
        rules: &Rules,
        client: IpAddr,
        slot: u32,
        now: Instant,
    ) -> Result<(), Fault> {
        let mark = self.mark(slot).without(Mark::UNSETTLED);
        self.set_mark(slot, mark);
        let settled = self.counts.settle(rules, client, false, now)?;
        self.set_mark(slot, mark.with(settled));
        Ok(())
    }

    /// Nothing is left of a connection.
    #[inline]
    pub(crate) fn on_gone(&mut self, context: &RequestContext<'_, Endpoints>) {
        self.let_go(context.id().slot(), context.peer().ip());
    }

    fn let_go(&mut self, slot: u32, client: IpAddr) {
        let mark = self.mark(slot);
        if mark != Mark::default() {
            self.set_mark(slot, Mark::default());
            self.counts.give_back(client, mark);
        }
        if mark.has(Mark::REFUSED) {
            self.refused -= 1;
        } else {
            self.counts.leave();
        }
    }

    fn mark(&self, slot: u32) -> Mark {
        self.marks.get(slot as usize).copied().unwrap_or_default()
    }

    fn set_mark(&mut self, slot: u32, mark: Mark) {
        let slot = slot as usize;
        if slot >= self.marks.len() {
            if mark == Mark::default() {
                return;
            }
            self.marks.resize(slot + 1, Mark::default());
        }
        self.marks[slot] = mark;
    }
}

#[cfg(test)]
mod tests;
