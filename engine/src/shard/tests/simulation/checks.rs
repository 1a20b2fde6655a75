//! What must hold: after each turn, when all is quiet, and at the end.

use super::caller::{Caller, Stage};
use super::hall::{Accepted, Hall, Ledger, Record, Role};
use super::play::Play;
use super::scenario::Kind;
use super::*;
use crate::connection::{Flags, NONE};
use crate::core::Core;

/// Small things beside the bytes: headers, a pong, what keeping parcels costs, growth of a list.
const SLACK: usize = 40 * 1024;

macro_rules! hold {
    ($so:expr, $($text:tt)+) => {
        if !$so {
            return Err(format!($($text)+));
        }
    };
}

/// The first publication of a publisher that a listener is owed, as an index in what was
/// accepted.
pub(super) fn first_due(
    listener: &Record,
    role: Option<Role>,
    accepted: &Accepted,
) -> Option<usize> {
    if !role?.hears(accepted.topic) {
        return None;
    }
    let since = listener.since[accepted.topic];
    let first = accepted.places.partition_point(|&place| place < since);
    (first < accepted.places.len()).then_some(first)
}

/// After each turn: the counters say what happened, the turn has left nothing behind, and
/// nobody has more than allowed.
pub(super) fn after_turn(shard: &Shard<SimDriver, Hall>) -> Result<(), String> {
    let (core, hall) = (&shard.core, &shard.handler);
    let counted = &core.counted;
    let ended: u64 = hall.closes.iter().sum();
    let counters = [
        (
            "connections",
            counted.connections,
            core.connections.len() as u64,
        ),
        ("present", hall.present, core.connections.len() as u64),
        ("sessions", counted.sessions, hall.opens - ended),
        ("opens", counted.opens, hall.opens),
        ("messages_in", counted.messages_in, hall.messages),
        (
            "publications",
            counted.publications + core.requests.publication_count() as u64,
            hall.published.get(),
        ),
        ("mail_refused", counted.mail_refused, hall.busy),
        ("topics", counted.topics, core.topics.len() as u64),
    ];
    for (name, counted, truth) in counters {
        hold!(
            counted == truth,
            "{name} is {counted}, and {truth} in truth"
        );
    }
    hold!(
        counted.closes == hall.closes,
        "closes: {:?} {:?}",
        counted.closes,
        hall.closes
    );
    hold!(
        core.shared.load().sessions == counted.sessions,
        "sessions are not shown"
    );
    hold!(!core.has_work(), "the turn left work behind");
    hold!(
        core.publications.is_empty(),
        "the turn left publications behind"
    );
    hold!(core.post.is_counted(), "letters that wait are not counted");
    hold!(
        core.timers.is_next_due_right(),
        "the next deadline is not the next"
    );
    let mail = core.post.backlog_bytes();
    let mail_max = core.limits.mail_bytes_max + core.limits.message_size_max + SLACK;
    hold!(
        mail <= mail_max,
        "{mail} bytes of mail wait, at most {mail_max} may"
    );
    // With a crowd, looking at each after each turn would take most of the time.
    if core.connections.len() < 64 || counted.turns.is_multiple_of(32) {
        sizes(core)?;
    }
    Ok(())
}

/// No connection holds more memory than its limits say, or stands where it should not.
fn sizes(core: &Core<Hall>) -> Result<(), String> {
    let limits = &core.limits;
    let message = limits.message_size_max;
    let outbox_max = limits.profile.outbox_bytes_max + message + SLACK;
    let (mut owners, mut throttled) = (0, 0);
    for (slot, connection) in &core.connections {
        if connection.flags.has(Flags::THROTTLED) {
            throttled += 1;
            let paused = connection.flags.has(Flags::PAUSED);
            hold!(paused, "slot {slot} waits for tokens, and is received from");
        }
        if connection.outbox != NONE {
            owners += 1;
            let used = core.outboxes[connection.outbox as usize].bytes_waiting();
            hold!(
                used <= outbox_max,
                "slot {slot}: {used} bytes in an outbox of {outbox_max}"
            );
        }
        let sending = connection.flags.has(Flags::SENDING);
        let has_outbox = connection.outbox != NONE;
        let released = matches!(connection.stage, crate::connection::Stage::Released);
        hold!(
            released || sending == has_outbox,
            "slot {slot}: sending is {sending}"
        );
        hold!(
            connection.pending == NONE,
            "slot {slot} has something pending"
        );
        if let crate::connection::Stage::Open(open) = &connection.stage {
            let watched = !core.profiles.get(connection.profile).is_off();
            let talking = open.closing.is_none() && !open.session.close_sent();
            hold!(
                !watched || !talking || connection.deadline != 0,
                "slot {slot}: nobody looks whether it lives"
            );
            let memory = open.session.memory();
            let memory_max = 2 * message + SLACK;
            hold!(
                memory <= memory_max,
                "slot {slot}: a session of {memory} bytes"
            );
        }
    }
    hold!(
        core.meters.throttled_count() == throttled,
        "{} wait for tokens, and {throttled} are marked so",
        core.meters.throttled_count()
    );
    hold!(
        core.outboxes.len() == owners,
        "{} outboxes, {owners} owners",
        core.outboxes.len()
    );
    Ok(())
}

/// Nothing will ever happen by itself: whoever is still owed something was forgotten.
pub(super) fn when_quiet(play: &Play) -> Result<(), String> {
    let ledger = play.ledger.borrow();
    for caller in &play.callers {
        caller_is_served(play, caller, &ledger)
            .map_err(|what| format!("caller {}, when all is quiet: {what}", caller.index))?;
    }
    for ((from, to), (told, arrived)) in &ledger.notes {
        let lost = told - arrived;
        hold!(
            lost == 0,
            "{lost} notes of shard {from} to shard {to} are missing"
        );
    }
    hold!(
        ledger.errands == 0,
        "tasks have not done {} errands",
        ledger.errands
    );
    let (tasks, employed) = (ledger.tasks, employers(play, &ledger));
    hold!(tasks == employed, "{tasks} tasks for {employed} guests");
    for shard in play.shards() {
        for (slot, connection) in &shard.core.connections {
            let deadline = connection.deadline;
            hold!(deadline == 0, "slot {slot} has a deadline that never comes");
        }
        let wakes = shard.handler.wakes.len();
        hold!(wakes == 0, "{wakes} wakes never come");
        let waiting = shard.core.post.has_backlog() || !shard.mailbox.is_empty();
        hold!(!waiting, "mail waits for ever");
    }
    Ok(())
}

/// How many guests must have a task.
fn employers(play: &Play, ledger: &Ledger) -> usize {
    let hiring = play.callers.iter().filter(|caller| {
        let record = &ledger.records[caller.index];
        let hires = caller.role().is_some_and(Role::hires);
        hires && record.opened && record.ended.is_none()
    });
    hiring.count()
}

fn caller_is_served(play: &Play, caller: &Caller, ledger: &Ledger) -> Result<(), String> {
    let Some(client) = &caller.client else {
        return Err("nobody listened".to_owned());
    };
    let strict = play.scenario.strict;
    let may_break = !strict || caller.rough || play.scenario.faults.reset > 0.0;
    hold!(may_break || !client.is_reset(), "was reset for no reason");
    if caller.cut || caller.rough || !caller.reading {
        return Ok(());
    }
    if matches!(caller.kind, Kind::Stranger(_)) {
        hold!(client.is_ended(), "a stranger stays for ever");
        return Ok(());
    }
    hold!(caller.stage != Stage::Calling, "was never answered");
    if caller.stage != Stage::Open {
        hold!(!strict, "was refused");
        return Ok(());
    }
    let record = &ledger.records[caller.index];
    match record.ended {
        None => {
            hold!(!caller.done, "is done, and was not ended");
            if caller.may_miss && caller.role() != Some(Role::Echo) {
                return missing_is_counted(play, caller, ledger);
            }
            everything_heard(caller, ledger)
        }
        Some(reason) => {
            hold!(
                client.is_ended(),
                "ended ({reason:?}), and its stream did not"
            );
            // It was told that it had been too slow, and broke a rule after that.
            let late = !strict && caller.close_code == Some(Some(CloseCode::POLICY));
            if lossy(reason) || late {
                return Ok(());
            }
            // A task finds that it is too late, unless it was the one that closed.
            let late =
                caller.role() == Some(Role::Clerk) && reason != EndReason::ClosedByApplication;
            hold!(
                caller.owed.is_empty() || late,
                "ended ({reason:?}), {:?} owed",
                caller.owed
            );
            if reason != EndReason::Ended {
                hold!(
                    caller.close_code.is_some(),
                    "ended ({reason:?}) without a word"
                );
            }
            if let Some(due) = caller.code_due {
                let told = caller.close_code;
                hold!(told == Some(Some(due)), "was told {told:?}, not {due:?}");
            }
            Ok(())
        }
    }
}

/// After which ends may something be missing?
fn lossy(reason: EndReason) -> bool {
    matches!(
        reason,
        EndReason::Reset
            | EndReason::SlowConsumer
            | EndReason::SendTimeout
            | EndReason::MessageTimeout
            | EndReason::CloseTimeout
            | EndReason::HeartbeatTimeout
            | EndReason::RateLimited
            | EndReason::Stopped
    )
}

/// What is missing was dropped, and what was dropped has been counted.
fn missing_is_counted(play: &Play, caller: &Caller, ledger: &Ledger) -> Result<(), String> {
    let record = &ledger.records[caller.index];
    let (mut due, mut early) = (0, 0);
    for other in &ledger.records {
        let all = other.accepted.numbers.len();
        let hears = caller
            .role()
            .is_some_and(|role| role.hears(other.accepted.topic));
        if all > 0 && hears {
            let first = first_due(record, caller.role(), &other.accepted).unwrap_or(all);
            due += (all - first) as u64;
            early += first as u64;
        }
    }
    let mut opens = (play.shards())
        .flat_map(|shard| &shard.core.connections)
        .filter_map(|(_, connection)| connection.as_open());
    let own = opens.find(|open| open.state.caller == caller.index);
    let Some(dropped) = own.map(|open| u64::from(open.dropped)) else {
        return Err("is open, and has no connection".to_owned());
    };
    let missing = due.saturating_sub(caller.due_count);
    // What was accepted before it listened may reach it, or be dropped, all the same.
    hold!(
        (missing..=missing + early).contains(&dropped),
        "{missing} of {due} are missing, and {dropped} were dropped"
    );
    Ok(())
}

fn everything_heard(caller: &Caller, ledger: &Ledger) -> Result<(), String> {
    hold!(
        caller.owed.is_empty(),
        "echoes are missing: {:?}",
        caller.owed
    );
    hold!(!caller.pongs_owed(), "the last pong is missing");
    let record = &ledger.records[caller.index];
    for (speaker, other) in ledger.records.iter().enumerate() {
        let due = first_due(record, caller.role(), &other.accepted);
        let last = other.accepted.numbers.len().checked_sub(1);
        let heard = caller.heard.get(&speaker).copied();
        hold!(
            due.is_none() || heard == last,
            "of {speaker} it is owed {due:?} to {last:?}, and heard up to {heard:?}"
        );
    }
    Ok(())
}

/// A shard is over.
pub(super) fn when_over(shard: &Shard<SimDriver, Hall>) -> Result<(), String> {
    if shard.stopped {
        return Ok(());
    }
    let core = &shard.core;
    let left = [
        core.connections.len(),
        core.outboxes.len(),
        core.topics.len(),
        core.meters.memory(),
        core.profiles.user_count(),
    ];
    hold!(
        left == [0; 5],
        "connections, outboxes, topics, memory of meters, profiles are left: {left:?}"
    );
    Ok(())
}

/// Everybody is gone: all has been given back, and each end was one that had to be.
pub(super) fn at_the_end(play: &Play) -> Result<(), String> {
    let (links, buffers) = (play.world.open_links(), play.world.buffers_held());
    hold!(
        (links, buffers) == (0, 0),
        "{links} links and {buffers} buffers are left"
    );
    let budget = play.budget.bytes_used();
    hold!(budget == 0, "{budget} bytes of the budget are left");
    let ledger = play.ledger.borrow();
    hold!(ledger.tasks == 0, "{} tasks are left", ledger.tasks);
    let present = ledger.present.len();
    hold!(present == 0, "{present} have never been told to be gone");
    for caller in &play.callers {
        let record = &ledger.records[caller.index];
        hold!(
            record.opened == record.ended.is_some(),
            "caller {} has no end",
            caller.index
        );
        let Some(reason) = record.ended else { continue };
        let timed_out = matches!(
            reason,
            EndReason::SlowConsumer
                | EndReason::SendTimeout
                | EndReason::MessageTimeout
                | EndReason::CloseTimeout
                | EndReason::RateLimited
        );
        let asked = matches!(
            reason,
            EndReason::Drained | EndReason::Stopped | EndReason::CloseTimeout
        );
        let right = caller.may_end(reason)
            || timed_out && !play.scenario.strict
            || asked && play.is_ending()
            || reason == EndReason::Reset && caller.cut;
        hold!(right, "caller {} ended by {reason:?}", caller.index);
    }
    sums(play)
}

/// Nobody who has not answered pings for long is still there when the server ends. (Whoever has
/// something under way is watched by another deadline.)
pub(super) fn when_ending(play: &Play) -> Result<(), String> {
    let limits = &play.scenario.limits.profile;
    let missed_max = u32::from(limits.pings_missed_max);
    let patience = limits.ping_interval * (missed_max + 2) + Duration::from_secs(1);
    if limits.ping_interval.is_zero() {
        return Ok(());
    }
    for shard in play.shards() {
        let core = &shard.core;
        for (slot, connection) in &core.connections {
            let Some(open) = connection.as_open() else {
                continue;
            };
            let silent = crate::timers::span_of(core.tick.saturating_sub(connection.heard));
            let excused = open.closing.is_some() || connection.flags.has(Flags::SENDING);
            hold!(
                excused || silent <= patience,
                "slot {slot} has been silent for {silent:?}, and is there"
            );
        }
    }
    Ok(())
}

/// If no link broke, what one side sent is what the other side received.
fn sums(play: &Play) -> Result<(), String> {
    let whole = |caller: &Caller| !caller.cut && !caller.rough && caller.reading;
    if play.stopped || !play.callers.iter().all(whole) {
        return Ok(());
    }
    let sum = |of: fn(&Caller) -> u64| play.callers.iter().map(of).sum::<u64>();
    let counted = &play.counted;
    let pairs = [
        ("messages_out", counted.messages_out, sum(|c| c.heard_count)),
        ("bytes_out", counted.bytes_out, sum(|c| c.bytes_received)),
        ("bytes_in", counted.bytes_in, sum(|c| c.bytes_sent)),
    ];
    for (name, counted, truth) in pairs {
        hold!(
            counted == truth,
            "{name} is {counted}, and {truth} in truth"
        );
    }
    Ok(())
}
