//! Compares our verdicts with an oracle's, seed by seed, and counts what comes out.

use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};

use crate::conversation::Conversation;
use crate::deviation::Deviation;
use crate::generator::Generator;
use crate::oracle::Oracle;
use crate::reading::{Reader, read};
use crate::tidegate::Tidegate;
use crate::verdict::{Ending, Verdict};

/// A difference that nothing explains.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The conversation, with its seed.
    pub conversation: Conversation,
    /// Whom we differ from.
    pub reader: Reader,
    /// What we make of it.
    pub ours: Verdict,
    /// What the oracle makes of it.
    pub theirs: Verdict,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, name) = (self.conversation.seed, self.reader.name());
        writeln!(
            formatter,
            "unexplained: seed {seed}, tidegate and {name} differ"
        )?;
        writeln!(formatter, "{}", self.conversation)?;
        writeln!(formatter, "tidegate:\n{}", self.ours)?;
        writeln!(formatter, "{name}:\n{}", self.theirs)?;
        let (expected, _) = read(Reader::Tidegate, &self.conversation);
        if expected != self.ours {
            writeln!(formatter, "expected of tidegate:\n{expected}")?;
        }
        let (expected, deviation) = read(self.reader, &self.conversation);
        if expected != self.theirs {
            writeln!(formatter, "expected of {name}:\n{expected}")?;
        }
        writeln!(formatter, "first difference expected: {deviation:?}")?;
        write!(
            formatter,
            "replay: scripts/differential --oracle {name} --seed {seed} --conversations 1 --show"
        )
    }
}

/// What was counted for one oracle.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    /// Conversations read by both.
    pub conversations: u64,
    /// Those that we did not fail.
    pub legal: u64,
    /// Messages that both delivered alike.
    pub messages: u64,
    /// Differences by their explanation, in the order of [`Deviation::ALL`].
    pub explained: [u64; Deviation::ALL.len()],
    /// Differences without one.
    pub unexplained: u64,
}

impl Tally {
    /// Nothing counted.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            conversations: 0,
            legal: 0,
            messages: 0,
            explained: [0; Deviation::ALL.len()],
            unexplained: 0,
        }
    }

    /// Adds what a count that stood at `before` has gained since.
    pub fn add_difference(&mut self, before: &Self, after: &Self) {
        self.conversations += after.conversations - before.conversations;
        self.legal += after.legal - before.legal;
        self.messages += after.messages - before.messages;
        self.unexplained += after.unexplained - before.unexplained;
        let gained = after.explained.iter().zip(before.explained);
        for (sum, (after, before)) in self.explained.iter_mut().zip(gained) {
            *sum += after - before;
        }
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.add_difference(&Self::new(), other);
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |count: u64| (count * 1000).checked_div(self.conversations).unwrap_or(0);
        let legal = share(self.legal);
        let illegal = 1000 - legal;
        write!(
            formatter,
            "{} conversations, {}.{} % legal, {}.{} % illegal, {} messages alike, {} differences explained",
            self.conversations,
            legal / 10,
            legal % 10,
            illegal / 10,
            illegal % 10,
            self.messages,
            self.explained.iter().sum::<u64>()
        )?;
        let mut opening = " (";
        for (deviation, count) in Deviation::ALL.iter().zip(self.explained) {
            if count > 0 {
                write!(formatter, "{opening}{}: {count}", deviation.ruling().name)?;
                opening = ", ";
            }
        }
        let closing = if opening == ", " { ")" } else { "" };
        write!(formatter, "{closing}, unexplained {}", self.unexplained)
    }
}

/// Compares batches of conversations, with buffers that are used again.
#[derive(Debug)]
pub struct Comparison {
    oracle: Oracle,
    generator: Generator,
    tidegate: Tidegate,
    conversations: Vec<Conversation>,
    ours: Verdict,
    theirs: Vec<Verdict>,
    tally: Tally,
}

impl Comparison {
    /// With this oracle.
    #[must_use]
    pub fn new(oracle: Oracle) -> Self {
        Self {
            oracle,
            generator: Generator::new(),
            tidegate: Tidegate::new(),
            conversations: Vec::new(),
            ours: Verdict::new(),
            theirs: Vec::new(),
            tally: Tally::new(),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The oracle.
    #[must_use]
    pub const fn reader(&self) -> Reader {
        self.oracle.reader()
    }

    /// Compares the conversations of `count` seeds from `first` on, and hands out what is unexplained.
    ///
    /// # Errors
    /// When the process of an oracle is lost.
    pub fn run(
        &mut self,
        first: u64,
        count: usize,
        on_finding: &mut dyn FnMut(Finding),
    ) -> io::Result<()> {
        self.conversations.resize_with(count, Conversation::new);
        self.theirs.resize_with(count, Verdict::new);
        let compresses = self.oracle.reader().compresses();
        for (seed, conversation) in (first..).zip(&mut self.conversations) {
            self.generator.generate(seed, compresses, conversation);
        }
        self.oracle.judge(&self.conversations, &mut self.theirs)?;
        for index in 0..count {
            self.compare(index, on_finding);
        }
        Ok(())
    }

    fn compare(&mut self, index: usize, on_finding: &mut dyn FnMut(Finding)) {
        let conversation = &self.conversations[index];
        let theirs = &self.theirs[index];
        let (tidegate, ours) = (&mut self.tidegate, &mut self.ours);
        let judging = AssertUnwindSafe(|| tidegate.judge(conversation, ours));
        if panic::catch_unwind(judging).is_err() {
            self.tidegate = Tidegate::new();
            self.ours.panic();
        }
        self.tally.conversations += 1;
        self.tally.legal += u64::from(matches!(self.ours.ending(), Ending::Open | Ending::Closed));
        if self.ours == *theirs {
            self.tally.messages += u64::from(self.ours.messages());
            return;
        }
        match explain(self.oracle.reader(), conversation, &self.ours, theirs) {
            Some(deviation) => {
                self.tally.explained[deviation.index()] += 1;
                self.tally.messages += u64::from(self.ours.messages().min(theirs.messages()));
            }
            None => {
                self.tally.unexplained += 1;
                on_finding(Finding {
                    conversation: conversation.clone(),
                    reader: self.oracle.reader(),
                    ours: self.ours.clone(),
                    theirs: theirs.clone(),
                });
            }
        }
    }
}

/// Why two verdicts differ: both must be predicted to the last byte, and the first difference have a name.
#[must_use]
pub fn explain(
    reader: Reader,
    conversation: &Conversation,
    ours: &Verdict,
    theirs: &Verdict,
) -> Option<Deviation> {
    let (expected_ours, _) = read(Reader::Tidegate, conversation);
    let (expected_theirs, deviation) = read(reader, conversation);
    deviation.filter(|_| expected_ours == *ours && expected_theirs == *theirs)
}
