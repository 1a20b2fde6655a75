//! From a configuration to a running server.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use tidegate_engine::{
    Descriptors, DriverInfo, Engine, Host, HostInfo, Limits, SecureSettings, Settings, ShardInfo,
    StartError, files,
};

use crate::admin::{self, Admin};
use crate::config::values::Values;
use crate::config::{Configuration, Inputs};
use crate::endpoints::Endpoints;
use crate::failure::Failure;
use crate::live::{Live, View};
use crate::options::{ServeExtras, version};
use crate::phase::{Phase, PhaseCell};
use crate::reload::Reloader;
use crate::settings::ServeSettings;
use crate::signals;
use crate::tls::{Material, TlsAcceptor, watch};
use crate::voice::Voice;

/// A shard's listener, its epoll or ring, its doorbell, its alarm, and one to spare.
const DESCRIPTORS_PER_SHARD: u64 = 5;

/// Three rings and a bell of glommio's, and in debug builds a timer.
const DESCRIPTORS_OF_GLOMMIO: u64 = 5;

/// Standard streams, signals, the admin port with some clients, and a few to spare.
const DESCRIPTORS_BESIDE: u64 = 64;

/// Runs the server until it is told to end.
///
/// # Errors
/// A [`Failure`], at the start or later.
pub(crate) fn serve(inputs: Inputs, extras: ServeExtras) -> Result<(), Failure> {
    let configuration = inputs.load(None)?;
    for warning in configuration.warnings() {
        complain(&warning);
    }
    let tls = start_tls(configuration.tls.as_ref(), extras)?;
    let values = configuration.values.clone();
    let settings = &ServeSettings::of(&configuration);
    let live = Arc::new(Live::new(configuration));
    let shards = settings.shards.unwrap_or_else(core_count);
    let files_max = files::raise_limit().map_err(|error| {
        Failure::failed(format!("cannot raise the limit of open files: {error}"))
    })?;
    let files = Files {
        limit: files_max,
        shards,
        descriptors: settings.descriptors,
        host: settings.host,
    };
    files.check()?;

    let phase = Arc::new(PhaseCell::default());
    let admin_listener = bind_admin(settings.admin, &values)?;
    let admin_address = admin_listener.local_addr().unwrap_or(settings.admin);
    let engine = start_engine(
        settings,
        &values,
        &live,
        tls.clone(),
        shards,
        files.connections_expected(),
    )?;
    let voice = start_watching(
        inputs,
        &live,
        &engine,
        tls,
        &phase,
        admin_listener,
        files.total(),
    )
    .map_err(|error| Failure::failed(format!("cannot watch for signals and operators: {error}")))?;

    say(&version());
    if let Some(file) = &live.configuration().file {
        say(&format!("configuration {}", file.display()));
    }
    say_addresses(&engine, &live);
    say(&format!("admin on http://{admin_address}"));
    say(&format!(
        "{}, with {}, on {}",
        show_shards(engine.shards()),
        show_driver(engine.driver()),
        show_host(engine.host())
    ));
    say(&files.show());
    phase.enter(Phase::Ready);
    say("ready");

    engine
        .join()
        .map_err(|failure| Failure::failed(failure.to_string()))?;
    voice.say("stopped");
    voice.finish();
    Ok(())
}

/// What makes TLS connections, if there are any.
fn start_tls(
    material: Option<&Arc<Material>>,
    extras: ServeExtras,
) -> Result<Option<Arc<TlsAcceptor>>, Failure> {
    let Some(material) = material else {
        return match extras.tls_key_log {
            Some(_) => Err(Failure::usage(
                "--tls-key-log is of no use without --tls-listen".to_owned(),
            )),
            None => Ok(None),
        };
    };
    if let Some(path) = &extras.tls_key_log {
        complain(&format!(
            "the secrets of all TLS connections are written to {}: whoever reads it can read them",
            path.display()
        ));
    }
    let acceptor = TlsAcceptor::new(material, extras.tls_key_log);
    acceptor.map(Some).map_err(Failure::failed)
}

/// Begins to listen to signals and operators, and returns what speaks to them.
fn start_watching(
    inputs: Inputs,
    live: &Arc<Live>,
    engine: &Engine,
    tls: Option<Arc<TlsAcceptor>>,
    phase: &Arc<PhaseCell>,
    listener: TcpListener,
    files_max: u64,
) -> io::Result<Voice> {
    let voice = Voice::start()?;
    if let Some(acceptor) = &tls {
        watch::start(Arc::clone(acceptor), Arc::clone(live), voice.clone())?;
    }
    let reloader = Reloader::start(inputs, Arc::clone(live), tls, voice.clone())?;
    let handle = engine.handle();
    signals::watch(
        handle.clone(),
        Arc::clone(phase),
        Arc::clone(&reloader),
        voice.clone(),
    )?;
    let admin = Admin {
        handle,
        shards: engine.shards().to_vec(),
        phase: Arc::clone(phase),
        reloader,
        files_max,
    };
    admin::start(listener, admin)?;
    Ok(voice)
}

/// Says where clients connect.
fn say_addresses(engine: &Engine, live: &Live) {
    let address = engine.address();
    let path = example_path(&live.configuration());
    if engine.secure_address() != Some(address) {
        say(&format!(
            "listening on http://{address} (ws://{address}{path})"
        ));
    }
    if let Some(address) = engine.secure_address() {
        say(&format!(
            "listening on https://{address} (wss://{address}{path})"
        ));
    }
}

/// Writes a line to stdout at once. Nobody need be listening there.
pub(crate) fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Writes a line to stderr: something is not as it was wanted.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "tidegate: {line}");
}

/// Where a client could try: at an endpoint that is there.
fn example_path(configuration: &Configuration) -> String {
    let paths = configuration
        .endpoints
        .iter()
        .filter_map(|one| one.path("path"));
    let mut paths: Vec<String> = paths.map(ToString::to_string).collect();
    // The page's own room goes first.
    paths.sort_by_key(|path| path != "/ws/{topic}");
    paths
        .first()
        .map_or("/".to_owned(), |path| path.replace("{topic}", "lobby"))
}

fn core_count() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

fn start_engine(
    settings: &ServeSettings,
    values: &Values,
    live: &Arc<Live>,
    tls: Option<Arc<TlsAcceptor>>,
    shards: usize,
    connections_expected: usize,
) -> Result<Engine, Failure> {
    let defaults = Limits::default();
    let limits = Limits {
        message_size_max: settings.message_size_max,
        outbox_bytes_max: settings.outbox_bytes_max,
        // A peer must be paused well before it is cut off.
        outbox_pause_size: defaults
            .outbox_pause_size
            .min(settings.outbox_bytes_max / 3),
        handshake_timeout: settings.timeouts.handshake,
        message_timeout: settings.timeouts.message,
        send_timeout: settings.timeouts.send,
        close_timeout: settings.timeouts.close,
        connections_expected,
        profile: settings.profile.clone(),
        ..defaults
    };
    let engine_settings = Settings {
        listen: settings.listen,
        share_port: settings.share_port,
        shards,
        io: settings.io,
        host: settings.host,
        descriptors: settings.descriptors,
        compression: settings.compression,
        sockets: settings.sockets,
        secure: settings
            .tls_listen
            .zip(tls)
            .map(|(listen, acceptor)| SecureSettings {
                listen,
                acceptor,
                only: settings.tls_only,
            }),
        limits,
    };
    let live = Arc::clone(live);
    let make = move |_shard| Endpoints::new(View::of(Arc::clone(&live)));
    Engine::start(engine_settings, make).map_err(|error| match error {
        StartError::Listen { address, source } => {
            let secure = settings.tls_listen == Some(address) && address != settings.listen;
            let key = if secure {
                "tls.listen"
            } else {
                "server.listen"
            };
            Failure::listen(address, &way_to_change(values, key), &source)
        }
        StartError::Uring { source } => Failure::uring(&source),
        StartError::Glommio { source } => Failure::glommio(&source),
        StartError::Start { .. } => Failure::failed(error.to_string()),
    })
}

fn bind_admin(address: SocketAddr, values: &Values) -> Result<TcpListener, Failure> {
    let failure = |error| Failure::listen(address, &way_to_change(values, "admin.listen"), &error);
    let listener = TcpListener::bind(address).map_err(failure)?;
    listener.set_nonblocking(true).map_err(failure)?;
    Ok(listener)
}

/// Where an operator would write another value: a flag, a variable, a line of a file.
fn way_to_change(values: &Values, name: &str) -> String {
    let (key, setting) = values.get(name);
    setting.source.way_to_change(key)
}

/// How many descriptors each table must have room for, or the server does not start.
pub(crate) fn descriptors_needed(shards: u64, descriptors: Descriptors, host: Host) -> u64 {
    let for_each = match host {
        Host::Thread => DESCRIPTORS_PER_SHARD,
        Host::Auto | Host::Glommio => DESCRIPTORS_PER_SHARD + DESCRIPTORS_OF_GLOMMIO,
    };
    match descriptors {
        Descriptors::Shared => DESCRIPTORS_BESIDE + for_each * shards,
        // Every table has the doorbells of all.
        Descriptors::PerShard => DESCRIPTORS_BESIDE + for_each + shards,
    }
}

/// The limit of open files, and what it means.
#[derive(Debug, Clone, Copy)]
struct Files {
    /// `u64::MAX` is no limit.
    limit: u64,
    shards: usize,
    descriptors: Descriptors,
    host: Host,
}

impl Files {
    fn needed(self) -> u64 {
        descriptors_needed(self.shards as u64, self.descriptors, self.host)
    }

    /// How many may be open in all tables together.
    fn total(self) -> u64 {
        match self.descriptors {
            Descriptors::Shared => self.limit,
            Descriptors::PerShard => self.limit.saturating_mul(self.shards as u64),
        }
    }

    fn check(self) -> Result<(), Failure> {
        let (limit, needed, shards) = (self.limit, self.needed(), self.shards);
        if limit >= needed {
            return Ok(());
        }
        let line = format!(
            "{limit} open files are too few: {shards} shards need {needed}, and each connection \
             one more; raise the hard limit (`ulimit -Hn`, or LimitNOFILE= in a systemd unit)"
        );
        Err(Failure::forbidden(line))
    }

    /// What one shard makes room for: its share of the descriptors and a quarter more, since
    /// the kernel spreads connects by chance. It is address space until it is used, so that
    /// the slab never has to move; still, a limit of "as many as you like" is not taken at its
    /// word.
    fn connections_expected(self) -> usize {
        const CONNECTIONS_MAX: u64 = 2 * 1024 * 1024;
        let share = match self.descriptors {
            Descriptors::Shared => {
                let share = self.limit.min(CONNECTIONS_MAX) / self.shards.max(1) as u64;
                share + share / 4
            }
            Descriptors::PerShard => self.limit.min(CONNECTIONS_MAX),
        };
        usize::try_from(share).unwrap_or(0)
    }

    fn show(self) -> String {
        if self.limit == u64::MAX {
            return "unlimited open files".to_owned();
        }
        let room = self.limit.saturating_sub(self.needed());
        // A round number: what else the process opens is not known to the last one.
        let step = if room >= 10_000 { 100 } else { 10 };
        let room = if room >= 100 {
            room / step * step
        } else {
            room
        };
        let limit = self.limit;
        match self.descriptors {
            Descriptors::Shared => format!("{limit} open files: room for about {room} connections"),
            Descriptors::PerShard => format!(
                "{limit} open files for each shard: room for about {room} connections each, {} in all",
                room * self.shards as u64
            ),
        }
    }
}

fn show_shards(shards: &[ShardInfo]) -> String {
    let count = shards.len();
    let noun = if count == 1 { "shard" } else { "shards" };
    let cores: Vec<String> = shards
        .iter()
        .filter(|s| s.pinned)
        .filter_map(|s| s.core)
        .map(|c| c.to_string())
        .collect();
    let loose: Vec<String> = shards
        .iter()
        .filter(|s| !s.pinned)
        .map(|s| s.index.to_string())
        .collect();
    match (cores.len(), loose.len()) {
        (0, _) => format!("{count} {noun}, not pinned to cores"),
        (1, 0) => format!("{count} {noun} on core {}", cores.join(", ")),
        (_, 0) => format!("{count} {noun} on cores {}", cores.join(", ")),
        _ => format!(
            "{count} {noun} on cores {}; not pinned: {}",
            cores.join(", "),
            loose.join(", ")
        ),
    }
}

fn show_driver(info: &DriverInfo) -> String {
    match &info.reason {
        None => info.io.to_string(),
        Some(reason) => format!("{}, without io_uring: {reason}", info.io),
    }
}

fn show_host(info: &HostInfo) -> String {
    match &info.reason {
        None => info.host.to_string(),
        Some(reason) => format!("{}, without glommio: {reason}", info.host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(index: usize, core: Option<usize>, pinned: bool) -> ShardInfo {
        ShardInfo {
            index,
            core,
            pinned,
        }
    }

    #[test]
    fn shards_and_their_cores_are_one_line() {
        assert_eq!(show_shards(&[shard(0, Some(3), true)]), "1 shard on core 3");
        let two = [shard(0, Some(0), true), shard(1, Some(1), true)];
        assert_eq!(show_shards(&two), "2 shards on cores 0, 1");
        let one = [shard(0, Some(0), true), shard(1, Some(1), false)];
        assert_eq!(show_shards(&one), "2 shards on cores 0; not pinned: 1");
        let none = [shard(0, None, false), shard(1, None, false)];
        assert_eq!(show_shards(&none), "2 shards, not pinned to cores");
    }

    fn files(limit: u64, shards: usize, descriptors: Descriptors) -> Files {
        Files {
            limit,
            shards,
            descriptors,
            host: Host::Thread,
        }
    }

    #[test]
    fn the_limit_of_files_says_what_it_means() {
        let shared = |limit| files(limit, 2, Descriptors::Shared).show();
        let line = "20000 open files: room for about 19900 connections";
        assert_eq!(shared(20_000), line);
        assert_eq!(shared(82), "82 open files: room for about 8 connections");
        assert_eq!(shared(u64::MAX), "unlimited open files");
        assert_eq!(
            files(20_000, 64, Descriptors::PerShard).show(),
            "20000 open files for each shard: room for about 19800 connections each, 1267200 in all"
        );
    }

    #[test]
    fn a_table_for_each_shard_makes_room_for_more() {
        let shared = files(1_000, 4, Descriptors::Shared);
        assert_eq!(
            (shared.total(), shared.connections_expected()),
            (1_000, 312)
        );
        let own = files(1_000, 4, Descriptors::PerShard);
        assert_eq!((own.total(), own.connections_expected()), (4_000, 1_000));
        assert_eq!(files(u64::MAX, 4, Descriptors::PerShard).total(), u64::MAX);
    }

    #[test]
    fn too_few_files_are_refused_with_the_numbers() {
        assert_eq!(files(74, 2, Descriptors::Shared).check(), Ok(()));
        let failure = files(73, 2, Descriptors::Shared).check().unwrap_err();
        assert_eq!(failure.code, 77);
        for part in ["73", "74", "LimitNOFILE"] {
            assert!(failure.line.contains(part), "{}", failure.line);
        }
        let glommio = |limit| Files {
            host: Host::Glommio,
            ..files(limit, 2, Descriptors::Shared)
        };
        assert_eq!(glommio(84).check(), Ok(()));
        assert!(glommio(83).check().is_err());
        assert_eq!(files(71, 2, Descriptors::PerShard).check(), Ok(()));
        assert!(files(70, 2, Descriptors::PerShard).check().is_err());
    }
}
