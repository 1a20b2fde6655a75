//! permessage-deflate on a shard: whose memory compresses and inflates what.
//!
//! ```text
//!  shared      one inflater, and one deflater for each size of window, for all connections
//!              of the shard; nothing is kept from message to message: 0 bytes a connection
//!  takeover    a connection may have a deflater and an inflater of its own, which keep their
//!              window, a small one; made when first needed, within a budget for the whole
//!              process; the deflater is dropped again when it has not been used for a while
//! ```
//!
//! What is shared is on zlib-rs, what a connection has is on zlib, whose memory follows the
//! window. An inflater of its own is promised in the handshake, so its memory is reserved
//! there; if the budget has none left, the connection gets the shared tier. It is promised
//! only to a client that is bound to a small window; others keep no context of what they
//! send. A deflater of its own is no promise: a sender may forget its context at any message
//! (RFC 7692, 7.1.1), so it comes and goes as the budget allows.

mod codec;
#[cfg(test)]
mod measure;
#[cfg(test)]
mod pairs;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_proto::deflate::{
    DEFLATE_SIZE_MIN, DeflateAgreement, DeflatePolicy, Deflater, DeflaterSettings, Inflater,
    is_safari_15_0_to_3, negotiate,
};
use tidegate_proto::handshake::{self, Request};
use tidegate_proto::{Message, MessageKind, Violation};

use codec::{ZlibDeflate, ZlibInflate};

/// Beyond this, a buffer is given back after the message that needed it.
const KEPT_SIZE_MAX: usize = 1024 * 1024;

/// The windows that a raw stream of zlib can have: 9 to 15 bits.
const WINDOW_BITS_MIN: u8 = 9;
const WINDOW_COUNT: usize = 7;

/// The largest window that a client may take over from message to message.
const CLIENT_WINDOW_BITS: u8 = 12;

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all: no offer is taken.
    Off,
    /// With contexts that all connections of a shard share. Costs no memory per connection,
    /// and a publication is compressed once for all who hear it.
    #[default]
    Shared,
    /// With contexts of their own for those who ask, which compress small messages far
    /// better, while the budget lasts.
    Takeover {
        /// What all such contexts of the process may hold, in bytes.
        bytes_max: usize,
    },
}

/// How the messages of one connection may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompressionTier {
    /// Not at all.
    Off,
    /// With contexts that all share.
    Shared,
    /// With contexts of its own, within what [`Compression::Takeover`] allows for all.
    Takeover,
}

impl Compression {
    /// The tier of a connection for which nothing else is wanted.
    #[must_use]
    pub const fn tier(self) -> CompressionTier {
        match self {
            Self::Off => CompressionTier::Off,
            Self::Shared => CompressionTier::Shared,
            Self::Takeover { .. } => CompressionTier::Takeover,
        }
    }
}

/// What an allocation of this size is charged with: the sizes and pages of an allocator take up to
/// an eighth more, and the budget is one of memory, not of what was asked for.
const fn charge(size: usize) -> usize {
    size + size / 8
}

/// The memory of all contexts of the process.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    bytes_used: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(compression: Compression) -> Self {
        let bytes_max = match compression {
            Compression::Off | Compression::Shared => 0,
            Compression::Takeover { bytes_max } => bytes_max,
        };
        Self {
            bytes_max,
            bytes_used: AtomicUsize::new(0),
        }
    }

    /// Takes so many bytes, or none if they would be too many.
    fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        let take = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        let taken = self
            .bytes_used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.ok().map(|_| Reserved {
            budget: Arc::clone(self),
            bytes,
        })
    }

    pub(crate) fn bytes_used(&self) -> usize {
        self.bytes_used.load(Ordering::Relaxed)
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
struct Reserved {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget
            .bytes_used
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What one connection has agreed to, and the contexts that it has of its own.
#[derive(Debug)]
pub(crate) struct Agreed {
    agreement: DeflateAgreement,
    /// The deflater of its own has been used since the last sweep.
    used: bool,
    contexts: Option<Box<Contexts>>,
}

const _: () = assert!(size_of::<Option<Agreed>>() <= 16, "there are a million");

/// Contexts of one connection.
#[derive(Debug)]
struct Contexts {
    /// Made with the first message, if the client takes its context over.
    inflater: Option<Inflater<ZlibInflate>>,
    deflater: Option<(Deflater<ZlibDeflate>, Reserved)>,
    /// For all of this but the deflater, whether the inflater has been made yet or not.
    _reserved: Reserved,
}

impl Contexts {
    /// With room for what the agreement promises; `None` if the budget has none.
    fn new(agreement: &DeflateAgreement, budget: &Arc<Budget>) -> Option<Self> {
        let inflater_size = match agreement.client_takeover() {
            true => charge(ZlibInflate::memory_with(agreement.client_window_bits())),
            false => 0,
        };
        Some(Self {
            inflater: None,
            deflater: None,
            _reserved: budget.reserve(charge(size_of::<Self>()) + inflater_size)?,
        })
    }
}

impl Agreed {
    /// A message went to the peer that the deflater of its own has not seen: the peer's
    /// window has moved on without it.
    pub(crate) fn forget(&mut self) {
        if let Some((deflater, _)) = self.contexts.as_mut().and_then(|c| c.deflater.as_mut()) {
            deflater.forget();
        }
    }

    /// Has it, or may it get, a context of its own?
    pub(crate) fn has_contexts(&self) -> bool {
        self.contexts.is_some()
    }

    /// Appends what the 101 says of it.
    pub(crate) fn write_response(&self, value: &mut String) {
        self.agreement.write_response(value);
    }

    /// The window of what is sent to this peer, in bits.
    pub(crate) fn window_bits(&self) -> u8 {
        self.agreement.server_window_bits()
    }

    /// Drops the deflater if it has not been used since the last time.
    pub(crate) fn sweep(&mut self) {
        let used = std::mem::take(&mut self.used);
        if let Some(contexts) = self.contexts.as_mut().filter(|_| !used) {
            contexts.deflater = None;
        }
    }
}

/// All that a shard compresses with.
#[derive(Debug)]
pub(crate) struct Compressor {
    compression: Compression,
    budget: Arc<Budget>,
    inflater: Option<Inflater>,
    deflaters: [Option<Deflater>; WINDOW_COUNT],
    inflated: Vec<u8>,
    deflated: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new(compression: Compression, budget: Arc<Budget>) -> Self {
        Self {
            compression,
            budget,
            inflater: None,
            deflaters: [const { None }; WINDOW_COUNT],
            inflated: Vec::new(),
            deflated: Vec::new(),
        }
    }

    /// What to agree to, if anything.
    pub(crate) fn agree(
        &self,
        request: &Request<'_>,
        upgrade: &handshake::Upgrade<'_>,
        tier: Option<CompressionTier>,
    ) -> Option<Agreed> {
        let tier = tier.unwrap_or(self.compression.tier());
        if tier == CompressionTier::Off {
            return None;
        }
        let user_agent = request.header_str("User-Agent").unwrap_or_default();
        if is_safari_15_0_to_3(user_agent) {
            return None;
        }
        if tier == CompressionTier::Takeover
            && let Some(agreed) = self.agree_to_takeover(upgrade)
        {
            return Some(agreed);
        }
        let agreement = negotiate(upgrade.extensions(), DeflatePolicy::SHARED)?;
        Some(Agreed {
            agreement,
            used: false,
            contexts: None,
        })
    }

    fn agree_to_takeover(&self, upgrade: &handshake::Upgrade<'_>) -> Option<Agreed> {
        let policy = DeflatePolicy {
            takeover: true,
            server_window_bits: DeflaterSettings::TAKEOVER.window_bits,
            client_window_bits: CLIENT_WINDOW_BITS,
        };
        let agreement = negotiate(upgrade.extensions(), policy)?;
        let contexts = match agreement.server_takeover() || agreement.client_takeover() {
            true => Some(Box::new(Contexts::new(&agreement, &self.budget)?)),
            false => None,
        };
        Some(Agreed {
            agreement,
            used: false,
            contexts,
        })
    }

    /// Takes out the buffer for [`Self::inflate`], which is given back by [`Self::give_back`].
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inflated)
    }

    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_SIZE_MAX {
            self.inflated = buffer;
        }
    }

    /// Inflates a message of this connection into `out`.
    ///
    /// # Errors
    /// The violation with which the connection is to be failed.
    pub(crate) fn inflate<'o>(
        &mut self,
        agreed: &mut Agreed,
        kind: MessageKind,
        compressed: &[u8],
        size_max: usize,
        out: &'o mut Vec<u8>,
    ) -> Result<Message<'o>, Violation> {
        let agreement = agreed.agreement;
        let takeover = agreement.client_takeover();
        if let Some(contexts) = agreed.contexts.as_mut().filter(|_| takeover) {
            let bits = agreement.client_window_bits();
            let new = || Inflater::with_codec(ZlibInflate::new(bits));
            let inflater = contexts.inflater.get_or_insert_with(new);
            return inflater.inflate(kind, compressed, takeover, size_max, out);
        }
        let inflater = self.inflater.get_or_insert_with(Inflater::new);
        inflater.inflate(kind, compressed, false, size_max, out)
    }

    /// Compresses a message to this connection. `None`: it is better sent as it is.
    pub(crate) fn deflate(&mut self, agreed: &mut Agreed, payload: &[u8]) -> Option<&[u8]> {
        if payload.len() < DEFLATE_SIZE_MIN {
            return None;
        }
        self.shrink();
        let window_bits = agreed.window_bits();
        if agreed.agreement.server_takeover()
            && let Some(contexts) = &mut agreed.contexts
        {
            agreed.used = true;
            if contexts.deflater.is_none() {
                contexts.deflater = self.new_deflater(window_bits);
            }
            if let Some((deflater, _)) = &mut contexts.deflater {
                // What has been fed to a window must be sent as it came out.
                deflater.deflate(payload, true, &mut self.deflated);
                return Some(&self.deflated);
            }
        }
        self.deflate_alone(window_bits, payload)
    }

    /// Compresses a message that refers to no other, for a window of this size. `None`: it is
    /// better sent as it is.
    pub(crate) fn deflate_alone(&mut self, window_bits: u8, payload: &[u8]) -> Option<&[u8]> {
        if payload.len() < DEFLATE_SIZE_MIN {
            return None;
        }
        let index = usize::from(window_bits.saturating_sub(WINDOW_BITS_MIN)).min(WINDOW_COUNT - 1);
        let settings = DeflaterSettings {
            window_bits,
            ..DeflaterSettings::SHARED
        };
        self.shrink();
        let deflater = self.deflaters[index].get_or_insert_with(|| Deflater::new(settings));
        deflater.deflate(payload, false, &mut self.deflated);
        (self.deflated.len() < payload.len()).then_some(&self.deflated)
    }

    /// Gives back what an unusually large message needed.
    fn shrink(&mut self) {
        if self.deflated.capacity() > KEPT_SIZE_MAX {
            self.deflated = Vec::new();
        }
    }

    fn new_deflater(&self, window_bits: u8) -> Option<(Deflater<ZlibDeflate>, Reserved)> {
        let settings = DeflaterSettings {
            window_bits,
            ..DeflaterSettings::TAKEOVER
        };
        let reserved = self
            .budget
            .reserve(charge(ZlibDeflate::memory_with(settings)))?;
        Some((Deflater::with_codec(ZlibDeflate::new(settings)), reserved))
    }
}
