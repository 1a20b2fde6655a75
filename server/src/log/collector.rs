//! Takes the events of tracing's macros. There are no spans: what belongs to an event is a field.

use tracing::span::{Attributes, Id, Record as Values};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Event, Level, Metadata};

use super::filter::TARGETS;
use super::{Log, Record};

/// Hands events to the log.
#[derive(Debug)]
pub(super) struct Collector(pub(super) Log);

impl Subscriber for Collector {
    /// A reload may change what is wanted, so each event asks anew. Libraries are heard when
    /// something is wrong: what glommio traces of each of its turns must cost no more than a load.
    fn register_callsite(&self, about: &'static Metadata<'static>) -> Interest {
        let is_ours = TARGETS.contains(&about.target());
        if about.is_event() && (is_ours || *about.level() <= Level::WARN) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.is_event() && self.0.allows(*about.level(), about.target())
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Values<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.0.write(vec![Record::of(event)]);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
