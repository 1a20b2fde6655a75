//! The one C library here: raw streams of zlib, which hold as little memory as their window allows.
//!
//! A stream is one allocation. Its size is known before it is made, and the library gets what it asks for
//! out of it and nothing beyond it:
//!
//! ```text
//!  Header: z_stream, Pieces │ state │ window │ chains, heads, pending output      (deflate)
//!                           │ state │ window                                      (inflate)
//!            opaque ──┘  next ─▶ moves right as pieces are lent; all are given back at once
//! ```
//!
//! So a budget can be kept to the byte, and there is nothing to free but the whole.
#![expect(unsafe_code, reason = "zlib is written in C")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

use libz_sys::{uInt, z_stream, z_streamp};

/// How much one call has used of the two slices that it was lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Bytes read from the front of the input.
    pub taken: usize,
    /// Bytes written to the front of the output.
    pub made: usize,
}

/// What a [`Deflate`] is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateSettings {
    /// 1, fastest, to 9, smallest.
    pub level: u8,
    /// How far back it may refer, as a power of two: 9 to 15. zlib can keep no 8 in a raw stream.
    pub window_bits: u8,
    /// How much memory its tables get: 1, least, to 9, most.
    pub mem_level: u8,
}

impl DeflateSettings {
    /// Heap bytes that a stream with these settings holds, at all times.
    #[must_use]
    pub const fn memory(&self) -> usize {
        let window = 1 << self.window_bits;
        // `deflateInit2_`: twice the window, a link for each of its bytes, the heads of the chains, and
        // four bytes for each symbol of a block.
        let chains = 2 * window + (2 << (self.mem_level + 7));
        HEADER_SIZE + DEFLATE_STATE_SIZE + 2 * window + chains + (4 << (self.mem_level + 6))
    }
}

/// Compresses one endless raw stream.
pub struct Deflate {
    stream: Stream,
}

impl Deflate {
    /// A stream that has seen nothing.
    ///
    /// # Panics
    /// When a setting is out of its range.
    #[must_use]
    pub fn new(settings: DeflateSettings) -> Self {
        let DeflateSettings {
            level,
            window_bits,
            mem_level,
        } = settings;
        assert!((1..=9).contains(&level), "a level is 1 to 9, not {level}");
        assert!(
            (1..=9).contains(&mem_level),
            "a memory level is 1 to 9, not {mem_level}"
        );
        assert!(
            (9..=15).contains(&window_bits),
            "a window has 9 to 15 bits, not {window_bits}"
        );
        let stream = Stream::new(settings.memory());
        // SAFETY: the stream has functions that lend memory, and stays where it is.
        let code = unsafe {
            libz_sys::deflateInit2_(
                stream.as_ptr(),
                level.into(),
                libz_sys::Z_DEFLATED,
                // Negative: a raw stream, without header and checksum.
                -c_int::from(window_bits),
                mem_level.into(),
                libz_sys::Z_DEFAULT_STRATEGY,
                version(),
                STREAM_SIZE,
            )
        };
        assert_eq!(code, libz_sys::Z_OK, "its settings are in range");
        Self { stream }
    }

    /// Compresses from `input` into `output`, and flushes what it has taken up to a byte, with an empty
    /// stored block at the end. It uses nothing when all has been flushed before.
    ///
    /// Whenever `output` gets full it is to be called again with the rest of `input` and room for at
    /// least seven bytes, so that the end is not flushed twice.
    pub fn flush(&mut self, input: &[u8], output: &mut [u8]) -> Used {
        let flush = libz_sys::Z_SYNC_FLUSH;
        let (code, used) = self.stream.call(libz_sys::deflate, input, output, flush);
        let fine = matches!(code, libz_sys::Z_OK | libz_sys::Z_BUF_ERROR);
        assert!(fine, "an initialised stream cannot fail: {code}");
        used
    }

    /// Forgets the stream: the next byte begins another.
    pub fn reset(&mut self) {
        // SAFETY: the stream was initialised by `new` for deflating.
        let code = unsafe { libz_sys::deflateReset(self.stream.as_ptr()) };
        assert_eq!(code, libz_sys::Z_OK, "an initialised stream can be reset");
    }

    /// Heap bytes held, the same at all times.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.stream.size
    }
}

impl fmt::Debug for Deflate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Deflate");
        debug
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

/// Where inflating stops although there is more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Behind a block that says it is the last.
    StreamEnd,
    /// Before any block as well.
    Block,
}

/// What one call of [`Inflate::inflate`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inflated {
    /// What it has read and written.
    pub used: Used,
    /// Whether it has read a last block to its end.
    pub ended: bool,
}

/// What came is no deflate data, or refers back over the window. The stream must be reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the compressed data is corrupt")]
pub struct Corrupt;

/// Inflates one raw stream.
pub struct Inflate {
    stream: Stream,
}

impl Inflate {
    /// Heap bytes that a stream with such a window holds, at all times.
    #[must_use]
    pub const fn memory_with(window_bits: u8) -> usize {
        HEADER_SIZE + INFLATE_STATE_SIZE + (1 << window_bits)
    }

    /// A stream that has seen nothing, and follows a sender with a window of up to this size: 8 to 15 bits.
    ///
    /// # Panics
    /// When the window is out of its range.
    #[must_use]
    pub fn new(window_bits: u8) -> Self {
        assert!(
            (8..=15).contains(&window_bits),
            "a window has 8 to 15 bits, not {window_bits}"
        );
        let stream = Stream::new(Self::memory_with(window_bits));
        // SAFETY: the stream has functions that lend memory, and stays where it is.
        let code = unsafe {
            libz_sys::inflateInit2_(
                stream.as_ptr(),
                // Negative: a raw stream, without header and checksum.
                -c_int::from(window_bits),
                version(),
                STREAM_SIZE,
            )
        };
        assert_eq!(code, libz_sys::Z_OK, "its window is in range");
        Self { stream }
    }

    /// Inflates from `input` into `output` until one of them has nothing left, or `stop` says so.
    ///
    /// # Errors
    /// [`Corrupt`] when `input` is no deflate data, or refers back over the window or the beginning.
    pub fn inflate(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        stop: Stop,
    ) -> Result<Inflated, Corrupt> {
        let flush = match stop {
            Stop::StreamEnd => libz_sys::Z_NO_FLUSH,
            Stop::Block => libz_sys::Z_BLOCK,
        };
        let (code, used) = self.stream.call(libz_sys::inflate, input, output, flush);
        let ended = match code {
            libz_sys::Z_OK | libz_sys::Z_BUF_ERROR => false,
            libz_sys::Z_STREAM_END => true,
            libz_sys::Z_DATA_ERROR => return Err(Corrupt),
            // Not Z_MEM_ERROR, for the window has its place; not Z_NEED_DICT, for the stream is raw.
            _ => panic!("an initialised stream cannot fail: {code}"),
        };
        Ok(Inflated { used, ended })
    }

    /// Forgets the stream: the next byte begins another.
    pub fn reset(&mut self) {
        // SAFETY: the stream was initialised by `new` for inflating.
        let code = unsafe { libz_sys::inflateReset(self.stream.as_ptr()) };
        assert_eq!(code, libz_sys::Z_OK, "an initialised stream can be reset");
    }

    /// Heap bytes held, the same at all times.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.stream.size
    }
}

impl fmt::Debug for Inflate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Inflate");
        debug
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

/// The library's work on a stream; deflating and inflating look alike.
type Work = unsafe extern "C" fn(z_streamp, c_int) -> c_int;

/// One allocation with all that the library keeps for one stream.
struct Stream {
    /// Invariant: an initialised header, with the rest of `size` bytes behind it; nobody else frees it. It
    /// never moves, for the library remembers where it is.
    header: NonNull<Header>,
    size: usize,
}

// SAFETY: zlib keeps nothing outside of a stream and nothing for a thread; the allocation is owned.
unsafe impl Send for Stream {}

#[repr(C, align(16))]
struct Header {
    z: z_stream,
    pieces: Pieces,
}

/// What has not been lent to the library yet.
struct Pieces {
    /// Invariant: `left` bytes from here belong to the stream.
    next: *mut u8,
    left: usize,
}

impl Stream {
    /// A stream of so many bytes, which no work has been chosen for.
    fn new(size: usize) -> Self {
        let layout = layout(size);
        // Cleared, so that nothing the library reads is undefined.
        // SAFETY: the size is not zero, for it has room for a header.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(header) = NonNull::new(start.cast::<Header>()) else {
            handle_alloc_error(layout)
        };
        let value = Header {
            z: z_stream {
                next_in: ptr::null_mut(),
                avail_in: 0,
                total_in: 0,
                next_out: ptr::null_mut(),
                avail_out: 0,
                total_out: 0,
                msg: ptr::null_mut(),
                state: ptr::null_mut(),
                zalloc: lend,
                zfree: keep,
                opaque: start.wrapping_add(offset_of!(Header, pieces)).cast(),
                data_type: 0,
                adler: 0,
                reserved: 0,
            },
            pieces: Pieces {
                next: start.wrapping_add(HEADER_SIZE),
                left: size - HEADER_SIZE,
            },
        };
        // SAFETY: the memory has just been allocated with the alignment of a header and room for it.
        unsafe { header.write(value) };
        Self { header, size }
    }

    /// What the library calls a stream.
    const fn as_ptr(&self) -> z_streamp {
        // `z` is the first field.
        self.header.as_ptr().cast()
    }

    /// Lends both slices to the library for one call: what it said, and what it has used of them.
    fn call(&mut self, work: Work, input: &[u8], output: &mut [u8], flush: c_int) -> (c_int, Used) {
        // More than 4 GiB are left for another call.
        let lent_in = uInt::try_from(input.len()).unwrap_or(uInt::MAX);
        let lent_out = uInt::try_from(output.len()).unwrap_or(uInt::MAX);
        let z = self.z();
        z.next_in = input.as_ptr().cast_mut();
        z.avail_in = lent_in;
        z.next_out = output.as_mut_ptr();
        z.avail_out = lent_out;
        // SAFETY: the stream was initialised for this work by whoever owns it, and both slices hold for
        // the call; the input is only read.
        let code = unsafe { work(self.as_ptr(), flush) };
        let z = self.z();
        z.next_in = ptr::null_mut();
        z.next_out = ptr::null_mut();
        let used = Used {
            taken: (lent_in - z.avail_in) as usize,
            made: (lent_out - z.avail_out) as usize,
        };
        (code, used)
    }

    /// The public part of the stream, between two calls of the library.
    const fn z(&mut self) -> &mut z_stream {
        // SAFETY: the header is initialised and owned, and the library only uses it during calls.
        unsafe { &mut *self.as_ptr() }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let start = self.header.as_ptr().cast();
        // All pieces lie within the allocation, so the library has nothing to end.
        // SAFETY: it was allocated by `new` with this very layout, and nobody uses it any more.
        unsafe { dealloc(start, layout(self.size)) };
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, align_of::<Header>())
        .expect("a stream has a few hundred KiB at most")
}

/// Lends a piece of a stream's memory to the library; null if there is not enough left.
unsafe extern "C" fn lend(opaque: *mut c_void, items: uInt, item_size: uInt) -> *mut c_void {
    let size = (items as usize).saturating_mul(item_size as usize);
    let Some(size) = size.checked_next_multiple_of(PIECE_ALIGNMENT) else {
        return ptr::null_mut();
    };
    // SAFETY: `opaque` is what `Stream::new` has put there: the pieces of the stream that the library
    // works on, to which nobody else holds a reference meanwhile.
    let pieces = unsafe { &mut *opaque.cast::<Pieces>() };
    if size > pieces.left {
        return ptr::null_mut();
    }
    let piece = pieces.next;
    pieces.next = piece.wrapping_add(size);
    pieces.left -= size;
    piece.cast()
}

/// The library that is linked, which is the one that the declarations were written for.
fn version() -> *const c_char {
    // SAFETY: it returns a constant.
    unsafe { libz_sys::zlibVersion() }
}

/// Takes nothing back: a stream's pieces are freed with it.
const unsafe extern "C" fn keep(_opaque: *mut c_void, _piece: *mut c_void) {}

const HEADER_SIZE: usize = size_of::<Header>();

#[expect(clippy::cast_possible_truncation, reason = "about a hundred bytes")]
const STREAM_SIZE: c_int = size_of::<z_stream>() as c_int;

/// What `malloc` would keep to.
const PIECE_ALIGNMENT: usize = 16;

/// `sizeof(deflate_state)` of zlib 1.3.2 on 64 bits, aligned; a test holds it against the library.
const DEFLATE_STATE_SIZE: usize = 5_968;

/// `sizeof(struct inflate_state)` likewise.
const INFLATE_STATE_SIZE: usize = 7_168;

#[cfg(test)]
mod tests {
    use super::*;

    /// All settings with the fastest level.
    fn all_settings() -> impl Iterator<Item = DeflateSettings> {
        let all = (9..=15).flat_map(|window_bits| (1..=9).map(move |level| (window_bits, level)));
        all.map(|(window_bits, mem_level)| DeflateSettings {
            level: 1,
            window_bits,
            mem_level,
        })
    }

    /// What the library has not asked for.
    fn left(stream: &Stream) -> usize {
        // SAFETY: the header is initialised, and the library is not at work.
        unsafe { (*stream.header.as_ptr()).pieces.left }
    }

    #[test]
    #[cfg(all(target_pointer_width = "64", target_os = "linux"))]
    fn the_library_asks_for_every_byte_that_is_held() {
        for settings in all_settings() {
            let mut deflate = Deflate::new(settings);
            assert_eq!(left(&deflate.stream), 0, "{settings:?}");
            deflate.flush(&[7; 70_000], &mut [0; 100]);
            assert_eq!(left(&deflate.stream), 0, "{settings:?}");
        }
        for window_bits in 8..=15 {
            let mut inflate = Inflate::new(window_bits);
            assert_eq!(left(&inflate.stream), 1 << window_bits, "it has no window");
            for _ in 0..2 {
                let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
                let inflated = inflate.inflate(&hello, &mut [0; 10], Stop::StreamEnd);
                assert_eq!(inflated.unwrap().used.made, 5);
                assert_eq!(left(&inflate.stream), 0, "{window_bits}");
                inflate.reset();
            }
        }
    }

    #[test]
    fn beyond_its_memory_the_library_gets_nothing() {
        for settings in all_settings() {
            let stream = Stream::new(settings.memory() - PIECE_ALIGNMENT);
            let DeflateSettings {
                window_bits,
                mem_level,
                ..
            } = settings;
            // SAFETY: the stream has functions that lend memory, and stays where it is.
            let code = unsafe {
                libz_sys::deflateInit2_(
                    stream.as_ptr(),
                    1,
                    libz_sys::Z_DEFLATED,
                    -c_int::from(window_bits),
                    mem_level.into(),
                    libz_sys::Z_DEFAULT_STRATEGY,
                    version(),
                    STREAM_SIZE,
                )
            };
            assert_eq!(code, libz_sys::Z_MEM_ERROR, "{settings:?}");
        }
    }

    #[test]
    fn a_piece_that_is_too_large_is_not_lent() {
        let stream = Stream::new(HEADER_SIZE + 64);
        let opaque = (stream.header.as_ptr().cast::<u8>())
            .wrapping_add(offset_of!(Header, pieces))
            .cast();
        for (items, size) in [(uInt::MAX, uInt::MAX), (1, 65), (65, 1), (5, 13)] {
            // SAFETY: `opaque` is what the library would hand over.
            let piece = unsafe { lend(opaque, items, size) };
            assert!(piece.is_null(), "{items} of {size}");
        }
        // SAFETY: `opaque` is what the library would hand over.
        let whole = unsafe { lend(opaque, 8, 8) };
        assert!(!whole.is_null());
        assert_eq!(left(&stream), 0);
    }
}
