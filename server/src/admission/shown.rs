//! What Prometheus reads of the door: how many are counted, and that nothing is kept for nobody.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::reload::Reloader;

/// Writes what all shards count of those whom they let in.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) reloader: Arc<Reloader>,
}

impl Collector for Door {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = self.reloader.live().counts().look();
        let help = "Connections that were let in and are not gone";
        encoder
            .encode_descriptor(
                "tidegate_admitted_connections",
                help,
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&(seen.connections as u64))?;
        let help = "Addresses and networks whose connections are counted now, by kind";
        let name = "tidegate_admitted_addresses";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (kind, count) in [
            ("address", seen.hosts),
            ("network", seen.networks),
            ("rate", seen.host_rates),
        ] {
            let labels = [("kind", kind)];
            family
                .encode_family(&labels)?
                .encode_gauge(&(count as u64))?;
        }
        Ok(())
    }
}
