//! Differential tests of `tidegate-proto`: the same conversations, read by it and by other implementations.
//!
//! ```text
//!  seed ─▶ Generator ─▶ Conversation ─┬─▶ Tidegate ─▶ Verdict ─┐
//!                                     └─▶ Oracle ───▶ Verdict ─┴─▶ same, or explained, or a finding
//!                                                                        ▲
//!                                             reading: predicts both verdicts, names the first difference
//! ```

mod comparison;
mod conversation;
mod deviation;
mod generator;
mod oracle;
mod random;
mod reading;
mod tidegate;
mod verdict;

pub use comparison::{Comparison, Finding, Tally, explain};
pub use conversation::{Compression, Conversation, Half};
pub use deviation::{Deviation, Right, Ruling};
pub use generator::Generator;
pub use oracle::Oracle;
pub use random::Random;
pub use reading::{Reader, read};
pub use tidegate::Tidegate;
pub use verdict::{Ending, Verdict, tag};
