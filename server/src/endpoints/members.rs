//! Connections at endpoints that ask for tokens: how they are let in, what they say about themselves
//! later, and when they have to go.
//!
//! ```text
//!  request ─▶ admit ─┬─ no token needed yet ──▶ Waiting, Anonymous ─┐
//!                    ├─ verdict at once ──────▶ Admitted ───────────┼─▶ on_open ─▶ messages ─▶ expire
//!                    └─ Answer::Later ─▶ note: on_verdict ──────────┘      ▲           │
//!                                                                          └─ {"auth": token}
//! ```

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tidegate_engine::{
    Answer, CloseCode, ConnectionId, Context, Message, Request, RequestContext, ShardContext,
    SharedMeter, Upgrade,
};
use tokio::sync::oneshot;

use super::{Endpoint, Endpoints, Guest, Terms, Word};
use crate::auth::claims::Grant;
use crate::auth::denial::Denial;
use crate::auth::gate::Checked;
use crate::auth::member::{Member, Stage, allowed};
use crate::auth::users::Seat;
use crate::auth::{Verdict, clock, places};
use crate::routes::Demand;

/// A text that begins so is for the server, and no other is.
const TOKEN_MESSAGE: &str = "{\"auth\":";

/// So many members are looked at in one turn when they are due.
const EXPIRED_MAX: usize = 1024;

/// A request whose token is being checked on another thread.
#[derive(Debug)]
pub(super) struct Pending {
    endpoint: Endpoint,
    terms: Terms,
    /// What to answer to the offer of subprotocols.
    protocol: Option<String>,
}

/// What a client says of itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenMessage<'a> {
    #[serde(borrow)]
    auth: &'a str,
}

/// What it is answered.
#[derive(Serialize)]
struct Acknowledgement<'a> {
    auth: &'static str,
    user: &'a str,
    /// Seconds since 1970, or nothing.
    expires: Option<u64>,
}

impl Endpoints {
    /// A request at an endpoint that asks for tokens.
    pub(super) fn admit(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        request: &Request<'_>,
        (endpoint, terms): (Endpoint, Terms),
        demand: Demand,
    ) -> Answer<Guest> {
        let auth = Arc::clone(self.view.auth());
        let pending = |protocol| Pending {
            endpoint,
            terms,
            protocol,
        };
        if demand == Demand::AfterConnect {
            let due = context.now().checked_add(auth.deadline);
            return pending(None).open(Stage::Waiting, due, (false, false));
        }
        let found = match places::find(request, &auth.places) {
            Ok(found) => found,
            Err(denial) => return self.deny(denial),
        };
        let Some(found) = found else {
            // A certificate says who somebody is as well as a token does.
            if let Some(user) = context.tls_user() {
                let grant = Grant::of_certificate(user, auth.wanted.default_rights.clone());
                return self.conclude(context.now(), pending(None), Ok(grant));
            }
            if demand != Demand::Optional {
                return self.deny(Denial::Missing);
            }
            let pending = pending(None);
            return match allowed(&pending.endpoint, &auth.anonymous) {
                Some(may) => pending.open(Stage::Anonymous, None, may),
                None => self.deny(Denial::Missing),
            };
        };
        let pending = pending(found.protocol.map(str::to_owned));
        match self.view.gate().check(&auth, found.token.as_str()) {
            Checked::Now(verdict) => self.conclude(context.now(), pending, verdict),
            Checked::Later(verdict) => {
                let id = context.id();
                if !Self::await_verdict(context.shard(), id, verdict) {
                    return self.deny(Denial::Busy);
                }
                self.pending.insert(id, pending);
                Answer::Later
            }
        }
    }

    fn deny(&self, denial: Denial) -> Answer<Guest> {
        self.view.gate().tally.deny(denial);
        Answer::Refuse(denial.refusal())
    }

    /// Has a task tell this shard what has become of a token. `false`: there are too many tasks.
    fn await_verdict(
        shard: &mut ShardContext<'_, Self>,
        id: ConnectionId,
        verdict: oneshot::Receiver<Verdict>,
    ) -> bool {
        let handle = shard.handle();
        let task = async move {
            let word = Word::Verdict(id, verdict.await.unwrap_or(Err(Denial::Busy)));
            while handle.tell(word.clone()).is_err() {
                handle.yield_now().await;
            }
        };
        shard.spawn(task).is_ok()
    }

    /// A token of a request, or of a connection, has been checked on another thread.
    pub(super) fn on_verdict(
        &mut self,
        shard: &mut ShardContext<'_, Self>,
        id: ConnectionId,
        verdict: Verdict,
    ) {
        if let Some(pending) = self.pending.remove(&id) {
            // The peer may have gone: then nobody is there to be let in, and a seat is given back.
            let answer = self.conclude(shard.now(), pending, verdict);
            shard.decide(id, answer);
        } else if let Some(mut context) = shard.connection(id) {
            self.take_verdict(&mut context, verdict);
        }
    }

    /// What a request is answered whose token has been checked.
    fn conclude(&mut self, now: Instant, pending: Pending, verdict: Verdict) -> Answer<Guest> {
        let welcomed = verdict.and_then(|grant| {
            let may = allowed(&pending.endpoint, &grant.rights).ok_or(Denial::Rights)?;
            let seat = self.seat(&grant.user)?;
            Ok((grant, may, seat))
        });
        match welcomed {
            Err(denial) => self.deny(denial),
            Ok((grant, may, seat)) => {
                self.view.gate().tally.grant();
                let meter = self.meter(&grant.user, now);
                let answer = pending.open(Stage::Admitted, due(&grant, now), may);
                with_member(answer, meter, |member| {
                    member.user = Some(grant.user);
                    member.seat = seat;
                })
            }
        }
    }

    /// One more connection of this user, if there is a cap and it is not reached.
    fn seat(&mut self, user: &Arc<str>) -> Result<Option<Seat>, Denial> {
        let Some(max) = self.view.auth().user_connections_max else {
            return Ok(None);
        };
        let seat = self.view.gate().users.seat(user, max);
        seat.map(Some).ok_or(Denial::Cap)
    }

    /// By what this user's connections are counted together, if they are.
    fn meter(&mut self, user: &Arc<str>, now: Instant) -> Option<Arc<SharedMeter>> {
        let rates = self.view.auth().user_rates;
        (!rates.is_off()).then(|| self.view.gate().users.meter(user, &rates, now))
    }

    pub(super) fn on_open_member(&mut self, context: &mut Context<'_, Self>) {
        let Guest::Member(member) = context.state_mut() else {
            return;
        };
        let due = member.due;
        member.entered = member.stage != Stage::Waiting && member.hears;
        let entered = member.entered;
        self.change_due(context, None, due);
        if entered {
            Self::enter(context);
        }
    }

    pub(super) fn on_close_member(
        &mut self,
        context: &mut Context<'_, Self>,
        member: Member,
    ) -> Endpoint {
        if member.entered {
            Self::leave(context, &member.endpoint);
        }
        self.change_due(context, member.due, None);
        member.endpoint
    }

    #[inline(never)]
    pub(super) fn on_message_of_member(
        &mut self,
        context: &mut Context<'_, Self>,
        message: Message<'_>,
    ) {
        if let Message::Text(text) = message
            && text.starts_with(TOKEN_MESSAGE)
        {
            return self.on_token(context, text);
        }
        let Guest::Member(member) = context.state() else {
            return;
        };
        if member.stage == Stage::Waiting {
            self.expel(context, Denial::Unexpected);
        } else if member.says {
            Self::speak(context, message);
        } else {
            self.expel(context, Denial::Rights);
        }
    }

    /// A connection shows a token: its first one, or the next.
    fn on_token(&mut self, context: &mut Context<'_, Self>, text: &str) {
        let Guest::Member(member) = context.state_mut() else {
            return;
        };
        if member.checking {
            return self.expel(context, Denial::Ambiguous);
        }
        let Ok(TokenMessage { auth: token }) = serde_json::from_str(text) else {
            return self.expel(context, Denial::Malformed);
        };
        let auth = Arc::clone(self.view.auth());
        match self.view.gate().check(&auth, token) {
            Checked::Now(verdict) => self.take_verdict(context, verdict),
            Checked::Later(verdict) => {
                let id = context.id();
                if Self::await_verdict(context.shard(), id, verdict) {
                    if let Guest::Member(member) = context.state_mut() {
                        member.checking = true;
                    }
                } else {
                    self.expel(context, Denial::Busy);
                }
            }
        }
    }

    fn take_verdict(&mut self, context: &mut Context<'_, Self>, verdict: Verdict) {
        if let Err(denial) = verdict.and_then(|grant| self.renew(context, grant)) {
            self.expel(context, denial);
        }
    }

    /// A connection has shown a good token: it may stay, and do what that token allows.
    fn renew(&mut self, context: &mut Context<'_, Self>, grant: Grant) -> Result<(), Denial> {
        let due = due(&grant, context.now());
        let Guest::Member(member) = context.state_mut() else {
            return Ok(());
        };
        member.checking = false;
        if member.user.as_ref().is_some_and(|user| *user != grant.user) {
            return Err(Denial::OtherUser);
        }
        let (hears, says) = allowed(&member.endpoint, &grant.rights).ok_or(Denial::Rights)?;
        let is_new = member.user.is_none();
        let seat = match is_new {
            true => self.seat(&grant.user)?,
            false => member.seat.take(),
        };
        let before = std::mem::replace(&mut member.due, due);
        let had_entered = std::mem::replace(&mut member.entered, hears);
        member.stage = Stage::Admitted;
        (member.hears, member.says) = (hears, says);
        (member.user, member.seat) = (Some(Arc::clone(&grant.user)), seat);
        self.view.gate().tally.grant();
        if is_new && let Some(meter) = self.meter(&grant.user, context.now()) {
            context.share_meter(meter);
        }
        self.change_due(context, before, due);
        acknowledge(context, &grant);
        match (had_entered, hears) {
            (false, true) => Self::enter(context),
            (true, false) => {
                let endpoint = context.state().endpoint().clone();
                if let Endpoint::Room(topic) = &endpoint {
                    context.unsubscribe(topic);
                }
                Self::leave(context, &endpoint);
            }
            _ => {}
        }
        Ok(())
    }

    fn expel(&self, context: &mut Context<'_, Self>, denial: Denial) {
        self.view.gate().tally.deny(denial);
        context.turn_away(denial.close_code(), denial.cause());
    }

    fn change_due(
        &mut self,
        context: &mut Context<'_, Self>,
        before: Option<Instant>,
        after: Option<Instant>,
    ) {
        let id = context.id();
        self.expiries.change(id, before, after);
        if let Some(at) = after {
            context.shard().wake_at(at);
        }
        if self.expiries.is_stale() {
            let now = context.now();
            context.shard().wake_at(now);
        }
    }

    /// Closes those whose time is up.
    pub(super) fn expire(&mut self, shard: &mut ShardContext<'_, Self>) {
        let now = shard.now();
        for _ in 0..EXPIRED_MAX {
            let Some((at, id)) = self.expiries.next_due(now) else {
                break;
            };
            let Some(mut context) = shard.connection(id) else {
                continue;
            };
            let Guest::Member(member) = context.state() else {
                continue;
            };
            // It may have shown another token since.
            if member.due == Some(at) {
                let denial = match member.stage {
                    Stage::Waiting => Denial::Late,
                    Stage::Anonymous | Stage::Admitted => Denial::Expired,
                };
                self.expel(&mut context, denial);
            }
        }
        if self.expiries.is_stale() {
            self.expiries.retain(|at, id| {
                let context = shard.connection(id);
                context.is_some_and(|context| match context.state() {
                    Guest::Member(member) => member.due == Some(at),
                    Guest::Plain(_) => false,
                })
            });
        }
        if let Some(next) = self.expiries.first() {
            shard.wake_at(next);
        }
    }
}

impl Pending {
    /// Opens it, with what is known so far.
    fn open(
        self,
        stage: Stage,
        due: Option<Instant>,
        (hears, says): (bool, bool),
    ) -> Answer<Guest> {
        let member = Member {
            endpoint: self.endpoint,
            stage,
            user: None,
            seat: None,
            due,
            hears,
            says,
            entered: false,
            checking: false,
        };
        Answer::Upgrade(Upgrade {
            protocol: self.protocol,
            ..self.terms.upgrade(Guest::Member(Box::new(member)))
        })
    }
}

/// Completes what [`Pending::open`] has begun.
fn with_member(
    mut answer: Answer<Guest>,
    meter: Option<Arc<SharedMeter>>,
    complete: impl FnOnce(&mut Member),
) -> Answer<Guest> {
    if let Answer::Upgrade(upgrade) = &mut answer
        && let Guest::Member(member) = &mut upgrade.state
    {
        upgrade.meter = meter;
        complete(member);
    }
    answer
}

/// When a connection has to go that has shown this: by the monotonic clock, since the hour may jump.
fn due(grant: &Grant, now: Instant) -> Option<Instant> {
    let span = grant.until?.saturating_sub(clock::hour());
    // What no clock can show never comes.
    now.checked_add(span)
}

/// Says that a token has been taken, before anything else is said.
fn acknowledge(context: &mut Context<'_, Endpoints>, grant: &Grant) {
    let said = Acknowledgement {
        auth: "ok",
        user: &grant.user,
        expires: grant.expires.map(|at| at.as_secs()),
    };
    let text = serde_json::to_string(&said).unwrap_or_default();
    // It is refused only for a peer that does not read, whom its outbox tells so.
    if context.send(Message::Text(&text)).is_err() {
        context.close(CloseCode::POLICY, "the acknowledgement was not read");
    }
}
