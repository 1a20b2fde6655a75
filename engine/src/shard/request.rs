//! The request: what becomes of a head, and how a WebSocket opens.

use tidegate_proto::handshake::{HeadStatus, Refusal, Request, Response, read_request, upgrade};
use tidegate_proto::{Session, Settings};

use super::receive::{Half, Next};
use super::{Context, Flags, Handler, Stage};
use crate::compression::Agreed;
use crate::connection::Open;
use crate::{Answer, Reply, RequestContext, Upgrade};

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A WebSocket is open now.
    Opened,
    /// It has had its answer, and is over.
    Answered,
    /// The handler has not said yet.
    Undecided,
}

impl<H: Handler> Half<'_, H> {
    /// More of the request head; `head` is what came before.
    #[inline(never)]
    pub(super) fn on_head(&mut self, slot: u32, mut head: Vec<u8>, bytes: &mut [u8]) -> Next {
        let limits = self.core.limits.head;
        if head.is_empty() {
            match read_request(bytes, &limits) {
                Ok(HeadStatus::Partial) => self.keep_head(slot, bytes.to_vec()),
                Ok(HeadStatus::Complete { request, size }) => {
                    return match self.on_request(slot, &request) {
                        Outcome::Opened => self.after_head(slot, &mut bytes[size..]),
                        Outcome::Answered => Next::Nothing,
                        Outcome::Undecided => self.wait(slot, bytes.to_vec()),
                    };
                }
                Err(refusal) => self.refuse(slot, &refusal),
            }
            return Next::Nothing;
        }
        // Reading the head again costs its length, so it is done when a line has ended, and
        // no oftener than there may be lines.
        let has_line = bytes.contains(&b'\n');
        head.extend_from_slice(bytes);
        if !has_line && head.len() <= limits.size_max {
            self.keep_head(slot, head);
            return Next::Nothing;
        }
        match read_request(&head, &limits) {
            Ok(HeadStatus::Partial) => self.keep_head(slot, head),
            Ok(HeadStatus::Complete { request, size }) => {
                return match self.on_request(slot, &request) {
                    Outcome::Opened => self.after_head(slot, &mut head[size..]),
                    Outcome::Answered => Next::Nothing,
                    Outcome::Undecided => self.wait(slot, head),
                };
            }
            Err(refusal) => self.refuse(slot, &refusal),
        }
        Next::Nothing
    }

    fn keep_head(&mut self, slot: u32, head: Vec<u8>) {
        self.core.connection(slot).stage = Stage::Handshake { head };
    }

    fn on_request(&mut self, slot: u32, request: &Request<'_>) -> Outcome {
        if request.has_body() {
            let refusal = Refusal::new(400, "body", "a request body is not accepted here");
            self.refuse(slot, &refusal.answering(request.method()));
            return Outcome::Answered;
        }
        let mut context = RequestContext::new(self.core, slot);
        let answer = self.handler.on_request(&mut context, request);
        self.carry_out(slot, request, answer)
    }

    /// Does with a request what the handler says.
    pub(super) fn carry_out(
        &mut self,
        slot: u32,
        request: &Request<'_>,
        answer: Answer<H::State>,
    ) -> Outcome {
        match answer {
            Answer::Later => return Outcome::Undecided,
            Answer::Upgrade(_) | Answer::Respond(_) if self.core.draining.is_some() => {
                self.send_away(slot, request.method() == "HEAD");
            }
            Answer::Upgrade(wanted) => {
                if self.upgrade(slot, request, wanted) {
                    return Outcome::Opened;
                }
            }
            Answer::Respond(reply) => {
                self.core.counted.requests += 1;
                self.respond(slot, &reply, request.method() == "HEAD");
            }
            Answer::Refuse(refusal) => {
                self.refuse(slot, &refusal.answering(request.method()));
            }
        }
        Outcome::Answered
    }

    fn upgrade(&mut self, slot: u32, request: &Request<'_>, wanted: Upgrade<H::State>) -> bool {
        let accepted = match upgrade(request) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                self.refuse(slot, &refusal);
                return false;
            }
        };
        let profile = wanted
            .profile
            .map(|profile| self.core.profiles.intern(profile));
        let Ok(profile) = profile.unwrap_or(Ok(0)) else {
            let reason = "too many configurations are in use at a time";
            self.refuse(slot, &Refusal::new(503, "profiles", reason));
            return false;
        };
        let protocol = wanted
            .protocol
            .as_deref()
            .filter(|chosen| accepted.protocols().any(|offered| offered == *chosen));
        let compressor = &self.core.compressor;
        let agreed = compressor.agree(request, &accepted, wanted.compression);
        let mut extension = String::new();
        if let Some(agreed) = &agreed {
            agreed.write_response(&mut extension);
        }
        let header = ("Sec-WebSocket-Extensions", extension.as_str());
        let headers: &[_] = if agreed.is_some() { &[header] } else { &[] };
        self.core.reply_to(slot);
        accepted.write_response(protocol, headers, &mut self.core.turn.wire);
        let message_size_max = wanted.message_size_max;
        let message_size_max = message_size_max.unwrap_or(self.core.limits.message_size_max);
        let session = Session::server(Settings { message_size_max });
        let connection = &mut self.core.connections[slot as usize];
        if agreed.as_ref().is_some_and(Agreed::has_contexts) {
            self.core.with_contexts.push((slot, connection.generation));
        }
        let session = if agreed.is_some() {
            session.with_deflate()
        } else {
            session
        };
        connection.profile = profile;
        let is_paced = !self.core.profiles.get(profile).paces.is_off();
        if is_paced || wanted.meter.is_some() {
            connection.flags.set(Flags::METERED);
            self.core.meters.open(slot, wanted.meter);
        }
        connection.deadline = 0;
        let open = Open::new(session, agreed, wanted.state, self.core.tick);
        connection.stage = Stage::Open(open);
        connection.heard = self.core.tick;
        let watch = self.core.profiles.get(connection.profile);
        connection.pinged = watch.ping_number(self.core.tick, connection.generation);
        self.core.keep_watch(slot);
        self.core.counted.opens += 1;
        self.core.counted.sessions += 1;
        self.handler.on_open(&mut Context::new(self.core, slot));
        true
    }

    /// What came behind the head belongs to the WebSocket.
    pub(super) fn after_head(&mut self, slot: u32, rest: &mut [u8]) -> Next {
        if rest.is_empty() {
            return Next::Nothing;
        }
        if self.core.connection(slot).flags.has(Flags::METERED) {
            return self.on_metered_chunk(slot, rest);
        }
        self.on_chunk(slot, rest)
    }

    fn respond(&mut self, slot: u32, reply: &Reply, head_only: bool) {
        let headers: Vec<(&str, &str)> = reply
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let response = Response {
            status: reply.status,
            content_type: reply.content_type,
            headers: &headers,
            body: &reply.body,
        };
        self.core.reply_to(slot);
        response.write(head_only, &mut self.core.turn.wire);
        self.core.finish(slot);
    }

    /// The server is going away, and says when to come back.
    fn send_away(&mut self, slot: u32, head_only: bool) {
        let refusal = Refusal::new(503, "draining", "the server is going away");
        let generation = self.core.connection(slot).generation;
        let farewell = self.core.draining.as_ref();
        let span = farewell.and_then(|farewell| farewell.retry_after_of(generation));
        // RFC 7231, 7.1.3: whole seconds.
        let seconds = span.map(|span| span.div_ceil(1000).to_string());
        let header = ("Retry-After", seconds.as_deref().unwrap_or_default());
        let headers: &[_] = if seconds.is_some() { &[header] } else { &[] };
        let body = format!("{}\n", refusal.reason);
        let response = Response {
            status: refusal.status,
            content_type: "text/plain; charset=utf-8",
            headers,
            body: body.as_bytes(),
        };
        self.core.reply_to(slot);
        response.write(head_only, &mut self.core.turn.wire);
        self.core.count_refusal(slot, &refusal);
        self.core.finish(slot);
    }

    fn refuse(&mut self, slot: u32, refusal: &Refusal) {
        self.core.refuse(slot, refusal);
    }
}
