//! What single options cannot know of each other.

use super::{Command, Common, FanoutOptions, MixedOptions, SlowOptions};
use crate::fanout;

pub(super) fn check(command: &Command) -> Result<(), String> {
    check_common(command.common())?;
    match command {
        Command::Fanout(options) => check_fanout(options),
        Command::Slow(options) => check_slow(options),
        Command::Mixed(options) => check_mixed(options),
        Command::Echo(_) | Command::Idle(_) | Command::Churn(_) | Command::Storm(_) => Ok(()),
    }
}

fn check_common(common: &Common) -> Result<(), String> {
    if common.sources > 0 && !common.target.address.ip().is_loopback() {
        return Err("--sources takes loopback addresses, but the target is elsewhere".to_owned());
    }
    if common.sources > 0 && common.target.address.is_ipv6() {
        return Err("--sources takes IPv4 addresses, but the target is IPv6".to_owned());
    }
    let of_tls = common.insecure || common.ca.is_some() || common.sni.is_some();
    if of_tls && !common.target.tls {
        return Err("--insecure, --ca and --sni are for wss://".to_owned());
    }
    let (threads, processes) = (common.threads, common.processes);
    if threads * processes > common.connections {
        let each = if processes > 1 {
            format!("{processes} processes with {threads} threads each")
        } else {
            format!("{threads} threads")
        };
        return Err(format!(
            "{each} have nothing to do with {} connections",
            common.connections
        ));
    }
    if common.process_index.is_some_and(|index| index >= processes) {
        return Err("--process-index is not one of --processes".to_owned());
    }
    Ok(())
}

fn check_size(size: usize) -> Result<(), String> {
    if size < fanout::SIZE_MIN {
        return Err(format!(
            "--size {size} has no room for the stamp, which takes {} bytes",
            fanout::SIZE_MIN
        ));
    }
    Ok(())
}

fn check_fanout(options: &FanoutOptions) -> Result<(), String> {
    check_size(options.size())?;
    if options.common.processes > 1 {
        return Err(
            "fanout counts in one process; use --threads, each has its own limit of open files"
                .to_owned(),
        );
    }
    let speaking = u64::from(options.topics) * u64::from(options.publishers);
    if speaking > u64::from(options.common.connections) {
        return Err(format!(
            "{} topics with {} publishers each need more than {} connections",
            options.topics, options.publishers, options.common.connections
        ));
    }
    Ok(())
}

fn check_slow(options: &SlowOptions) -> Result<(), String> {
    let workers = options.common.threads * options.common.processes;
    if options.slow + workers > options.common.connections {
        return Err(format!(
            "with {} of {} connections slow, not every thread has one that is not",
            options.slow, options.common.connections
        ));
    }
    if options.traffic.messages.is_some() {
        return Err("slow compares two halves of a time: use --duration".to_owned());
    }
    if options.fanout {
        check_size(options.size())?;
        if options.common.processes > 1 {
            return Err("slow --fanout counts in one process; use --threads".to_owned());
        }
    }
    Ok(())
}

fn check_mixed(options: &MixedOptions) -> Result<(), String> {
    let sum = [options.idle, options.echo, options.churn]
        .map(u64::from)
        .iter()
        .sum::<u64>();
    if sum == 0 {
        return Err("all weights are 0".to_owned());
    }
    if options.traffic.messages.is_some() {
        return Err("mixed goes by the clock: use --duration".to_owned());
    }
    Ok(())
}
