//! What no key can know alone: values that do not go together.

use std::collections::{HashMap, HashSet};

use super::pattern::Pattern;
use super::source::{Fault, Source};
use super::values::Values;
use crate::settings;
use crate::units::{show_size, show_span};

/// What no key can know alone.
pub(super) fn check(values: &Values, endpoints: &[Values]) -> Vec<Fault> {
    let mut faults = Vec::new();
    check_ports(values, &mut faults);
    faults.extend(check_bursts(values, endpoints));
    check_server(values, &mut faults);
    check_endpoints(values, endpoints, &mut faults);
    faults
}

/// Each port is for one kind of people.
fn check_ports(values: &Values, faults: &mut Vec<Fault>) {
    let (listen, admin) = (
        values.address("server.listen"),
        values.address("admin.listen"),
    );
    if listen == admin && listen.port() != 0 {
        let sources = [
            values.source("server.listen"),
            values.source("admin.listen"),
        ];
        // The one that somebody has written.
        let source = sources.into_iter().min_by_key(|source| match source {
            Source::File(_) => 0,
            Source::Environment(_) => 1,
            Source::Flag(_) => 2,
            Source::Default => 3,
        });
        let text = format!("clients and operators have the same address, {listen}");
        faults.push(Fault::new(
            source.cloned().unwrap_or(Source::Default),
            &text,
        ));
    }
    if !admin.ip().is_loopback()
        && values.text("admin.token-file").is_empty()
        && !values.switch("admin.open")
    {
        let text = format!(
            "anybody who reaches {admin} would be an operator: say with admin.token-file (--admin-token-file) \
             who is, or that only the network keeps others away with admin.open = true"
        );
        faults.push(Fault::new(values.source("admin.listen").clone(), &text));
    }
    if let Some(secure) = values.address_or_off("tls.listen") {
        let plain = (!values.switch("tls.only")).then_some(listen);
        if secure.port() != 0 && (Some(secure) == plain || secure == admin) {
            let text = format!("tls.listen is {secure}, where others connect: choose another port");
            faults.push(Fault::new(values.source("tls.listen").clone(), &text));
        }
    } else if values.switch("tls.only") {
        let text = "tls.only leaves no port: write tls.listen";
        faults.push(Fault::new(values.source("tls.only").clone(), text));
    }
}

fn check_server(values: &Values, faults: &mut Vec<Fault>) {
    let proxied = values.choice("server.proxy-protocol");
    if proxied != "off" && values.networks("server.trusted-proxies").is_empty() {
        let source = values.source("server.proxy-protocol").clone();
        let text =
            "server.proxy-protocol needs server.trusted-proxies: nobody else may speak for others";
        faults.push(Fault::new(source, text));
    }
    let timeout = values.span("server.drain-timeout");
    if let Some(spread) = values.span_or_auto("server.drain-spread")
        && spread > timeout
    {
        let text = format!(
            "the closes are spread over {}, and the drain ends after {}",
            show_span(spread),
            show_span(timeout)
        );
        faults.push(Fault::new(
            values.source("server.drain-spread").clone(),
            &text,
        ));
    }
}

fn check_endpoints(values: &Values, endpoints: &[Values], faults: &mut Vec<Fault>) {
    let mut seen: HashMap<String, &Source> = HashMap::new();
    for endpoint in endpoints {
        let Some(path) = endpoint.path("path") else {
            continue;
        };
        let source = endpoint.source("path");
        let mut fault = |text: String| faults.push(Fault::new(source.clone(), &text));
        if let Some(before) = seen.insert(path.to_string(), source) {
            fault(format!("{path} is already an endpoint, at {before}"));
        }
        if *path == Pattern::Exact("/".to_owned()) && values.switch("server.page") {
            fault("/ is the page; write page = false in [server] to have it".to_owned());
        }
        match (endpoint.choice("kind"), path) {
            ("echo", Pattern::Topic(_)) => {
                fault(format!("{path}: an echo has no topic"));
            }
            (kind @ ("topic" | "feed"), Pattern::Exact(_)) => {
                fault(format!(
                    "{path}: a {kind} needs {{topic}} as its last segment"
                ));
            }
            _ => {}
        }
    }
}

/// A message that is larger than what may be said at once could never come.
fn check_bursts(values: &Values, endpoints: &[Values]) -> Vec<Fault> {
    let fault = |here: &Values| {
        let (burst, largest) = settings::burst_below_message(here)?;
        let text = format!(
            "a byte-burst of {} leaves no room for a max-message of {} and its header",
            show_size(burst),
            show_size(largest)
        );
        Some(Fault::new(here.source("limits.byte-burst").clone(), &text))
    };
    let own = endpoints.iter().map(|own| values.overridden_by(own));
    let mut faults: Vec<Fault> = own.filter_map(|here| fault(&here)).collect();
    faults.extend(fault(values));
    // Endpoints that only inherit say the same.
    let mut seen = HashSet::new();
    faults.retain(|fault| seen.insert(fault.to_string()));
    faults
}
