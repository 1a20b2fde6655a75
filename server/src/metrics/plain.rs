//! OpenMetrics as the older text format, which curl, promtool and old scrapers read: there a counter's
//! name ends with `_total` in its type and help, too, and nothing has a unit.

/// The same in the text format of version 0.0.4.
pub(super) fn of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let words = |prefix: &str| line.strip_prefix(prefix)?.split_once(' ');
        if let Some(words) = words("# HELP ") {
            help = Some(words);
        } else if let Some((name, kind)) = words("# TYPE ") {
            let (ending, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take() {
                text.push_str(&format!("# HELP {name}{ending} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{ending} {kind}\n"));
        } else if !line.starts_with("# ") {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_types_are_those_of_the_samples() {
        let open = "# HELP a_build Which.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP a_sent_bytes Sent.\n# TYPE a_sent_bytes counter\n# UNIT a_sent_bytes bytes\n\
                    a_sent_bytes_total{shard=\"0\"} 7\n# HELP a_now Now.\n# TYPE a_now gauge\na_now 1\n# EOF\n";
        let plain = "# HELP a_build_info Which.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                     # HELP a_sent_bytes_total Sent.\n# TYPE a_sent_bytes_total counter\n\
                     a_sent_bytes_total{shard=\"0\"} 7\n# HELP a_now Now.\n# TYPE a_now gauge\na_now 1\n";
        assert_eq!(of(open), plain);
    }
}
