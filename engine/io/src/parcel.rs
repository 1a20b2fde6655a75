//! Encoded bytes, made once, never changed, shared by reference count.

use std::ops::Deref;
use std::sync::Arc;

/// Bytes that many connections, on any core, send without a copy. Cloning counts one more
/// owner and copies nothing; a parcel is one word wide.
#[derive(Debug, Clone)]
pub struct Parcel(Arc<Vec<u8>>);

impl Parcel {
    /// Wraps the bytes without copying them.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }

    /// A parcel of its own, with a copy of these bytes and no spare capacity.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

impl Deref for Parcel {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_shares_the_bytes() {
        let first = Parcel::new(vec![1, 2, 3]);
        let second = first.clone();
        assert_eq!(first.as_ptr(), second.as_ptr());
        drop(first);
        assert_eq!(&*second, &[1, 2, 3]);
    }
}
