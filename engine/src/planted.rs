//! Bugs that a test plants on purpose, to see that the simulation finds them.

use std::cell::Cell;

/// A mistake that somebody could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// One turn in 64 forgets what it was going to send.
    ForgottenFlush,
    /// What waited behind a batch is not sent when the batch has gone.
    ForgottenOutbox,
    /// A peer that was paused is not received from again.
    ForgottenResume,
    /// A new connection gets no deadline for its request.
    ForgottenDeadline,
    /// A letter is put in, and the owner is not woken.
    SilentDoorbell,
    /// A slot is used again, and its new tenant has the name of the former one.
    OldGeneration,
    /// A session that ends by a reset is still counted.
    CounterKept,
    /// A full mailbox loses the letter instead of keeping it back.
    LostLetter,
    /// Mail that found a mailbox full overtakes what was sent before.
    OvertakingLetter,
    /// A slow consumer is kept, and gets more than its outbox may hold.
    BoundlessOutbox,
    /// A shard falls asleep although a task has been woken.
    ForgottenTask,
    /// A shard sleeps on when the sleep of a task is over.
    ForgottenSleeper,
    /// What a task asked for is lost when another shard does not keep up.
    LostRequest,
    /// Tasks outlive their shard.
    KeptTasks,
    /// No sign of life is taken for one.
    DeafHeart,
    /// What was sent under way, and has gone, leaves nobody to watch the peer.
    ForgottenWatch,
    /// What is dropped is not counted.
    SilentDrop,
    /// What is said costs no token.
    FreeFrames,
    /// Who has used up its tokens is not received from again.
    ForgottenTokens,
    /// What was received before the tokens were used up is lost.
    LostHeld,
    /// When the driver closes a connection late, the handler is not told that it is gone.
    ForgottenGoodbye,
    /// What was decided of a request is never carried out.
    LostDecision,
    /// What came behind a request that was undecided is lost.
    ForgottenRest,
    /// A shard sleeps on when its handler wants to be called.
    ForgottenWake,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

impl Bug {
    pub(crate) const ALL: [Self; 24] = [
        Self::ForgottenFlush,
        Self::ForgottenOutbox,
        Self::ForgottenResume,
        Self::ForgottenDeadline,
        Self::SilentDoorbell,
        Self::OldGeneration,
        Self::CounterKept,
        Self::LostLetter,
        Self::OvertakingLetter,
        Self::BoundlessOutbox,
        Self::ForgottenTask,
        Self::ForgottenSleeper,
        Self::LostRequest,
        Self::KeptTasks,
        Self::DeafHeart,
        Self::ForgottenWatch,
        Self::SilentDrop,
        Self::FreeFrames,
        Self::ForgottenTokens,
        Self::LostHeld,
        Self::ForgottenGoodbye,
        Self::LostDecision,
        Self::ForgottenRest,
        Self::ForgottenWake,
    ];

    /// From now on this thread runs with this bug, or with none.
    pub(crate) fn plant(bug: Option<Self>) {
        PLANTED.set(bug);
    }

    /// Does this thread run with this bug?
    pub(crate) fn is_planted(self) -> bool {
        PLANTED.get() == Some(self)
    }
}
