//! From a configuration to a running server.

use std::io::{self, Write};
use std::net::TcpListener;
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::Instant;

use tidegate_engine::{
    Descriptors, Engine, Host, Limits, Ports, SecureSettings, Settings, StartError, files,
};
use tokio::sync::oneshot;

use crate::admin::{self, Admin};
use crate::config::values::Values;
use crate::config::{Configuration, Inputs};
use crate::ending::{Ending, Ownership};
use crate::endpoints::Endpoints;
use crate::failure::Failure;
use crate::greeting;
use crate::inheritance::{self, Inheritance};
use crate::live::{Live, View};
use crate::log::{self, Log, Record, Sink, news};
use crate::options::ServeExtras;
use crate::phase::{Phase, PhaseCell};
use crate::ports;
use crate::reload::Reloader;
use crate::sandbox;
use crate::settings::ServeSettings;
use crate::signals;
use crate::supervisor;
use crate::tls::{Material, TlsAcceptor, watch};
use crate::upgrade::{AdminDoor, Upgrade};
use crate::voice::Voice;

use tracing::Level;

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
    let key_log = extras.tls_key_log.clone();
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
    // The log is not kept yet, and is to have this.
    let told = |failure: Failure| {
        let _ = open_log(&live.configuration());
        failure
    };
    files.check().map_err(told)?;

    let phase = Arc::new(PhaseCell::default());
    let mut inheritance = Inheritance::take(&inputs.environment).map_err(told)?;
    let admin_listener =
        ports::bind_admin(settings.admin, &values, &mut inheritance).map_err(told)?;
    let ports = ports::bind_clients(settings, &values, shards, &mut inheritance).map_err(told)?;
    let sandbox =
        sandbox::enter(&live.configuration(), key_log, inheritance.fenced).map_err(told)?;
    let admin_address = admin_listener.local_addr().unwrap_or(settings.admin);
    // Behind the fences, since the thread that writes it must be as well.
    let log = open_log(&live.configuration())?;
    for warning in live.configuration().warnings() {
        complain(&warning);
    }
    live.open_gate();
    let engine = start_engine(settings, &values, &live, ports, tls.clone(), files)?;
    let surroundings = Surroundings {
        phase: Arc::clone(&phase),
        files_max: files.total(),
        supervised: inheritance.supervised,
        fenced: inheritance.fenced || sandbox::is_wanted(&live.configuration()),
        ownership: Ownership::of(inheritance.supervised, settings.share_port),
        log,
        tls,
    };
    let voice =
        start_watching(inputs, &live, &engine, surroundings, admin_listener).map_err(|error| {
            Failure::failed(format!("cannot watch for signals and operators: {error}"))
        })?;

    let lines = greeting::lines(&engine, &live.configuration(), admin_address);
    lines.iter().for_each(|line| say(line));
    say(&files.show());
    say(&sandbox);
    if let Some(doubt) = sandbox::doubt(&live.configuration()) {
        complain(&doubt);
    }
    phase.enter(Phase::Ready);
    say("ready");
    supervisor::ready(&format!("serving on {}", engine.address()));
    if let Some(ready) = inheritance.ready {
        inheritance::say_ready(ready);
    }

    engine
        .join()
        .map_err(|failure| Failure::failed(failure.to_string()))?;
    voice.say("stopped");
    voice.finish();
    Ok(())
}

/// What the threads beside the shards need to know.
struct Surroundings {
    phase: Arc<PhaseCell>,
    files_max: u64,
    supervised: bool,
    fenced: bool,
    ownership: Ownership,
    log: Log,
    tls: Option<Arc<TlsAcceptor>>,
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
    surroundings: Surroundings,
    listener: TcpListener,
) -> io::Result<Voice> {
    let voice = Voice::of(surroundings.log);
    let tls = surroundings.tls;
    if let Some(acceptor) = &tls {
        watch::start(Arc::clone(acceptor), Arc::clone(live), voice.clone())?;
    }
    live.gate().speak_by(voice.clone());
    let reloader = Reloader::start(inputs, Arc::clone(live), tls, voice.clone())?;
    let handle = engine.handle();
    let phase = surroundings.phase;
    let ending = Ending::new(
        handle.clone(),
        Arc::clone(&phase),
        Arc::clone(&reloader),
        voice.clone(),
        surroundings.ownership,
    );
    let (open, closed) = oneshot::channel();
    let door = AdminDoor {
        socket: listener.try_clone()?.into(),
        open: Mutex::new(Some(open)),
    };
    let upgrade = Upgrade::new(
        handle.clone(),
        door,
        ending.clone(),
        voice.clone(),
        (surroundings.supervised, surroundings.fenced),
    )?;
    signals::watch(
        ending.clone(),
        Arc::clone(&reloader),
        upgrade,
        voice.log().clone(),
    )?;
    supervisor::watch(handle.clone())?;
    let admin = Admin {
        handle,
        shards: engine.shards().to_vec(),
        phase,
        reloader,
        files_max: surroundings.files_max,
        log: voice.log().clone(),
        started: now(),
        ending,
    };
    admin::start(listener, admin, closed)?;
    news::watch(engine.handle(), Arc::clone(live), voice.log().clone())?;
    Ok(voice)
}

#[expect(
    clippy::disallowed_methods,
    reason = "operators want to know for how long it has been up; nothing is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}

/// Begins to write down what happens.
fn open_log(configuration: &Configuration) -> Result<Log, Failure> {
    let settings = configuration.log();
    let sink = Sink::open(&settings.target, settings.format).map_err(|error| {
        let way = way_to_change(&configuration.values, "log.to");
        Failure::log(&settings.target.to_string(), &way, &error)
    })?;
    let started = Log::start_global(settings.filter, settings.format, sink);
    started.map_err(|error| Failure::failed(format!("cannot write a log: {error}")))
}

/// Says a line to whoever has started the program, and writes it down.
pub(crate) fn say(line: &str) {
    let Some(log) = log::current() else {
        let mut stdout = io::stdout().lock();
        // Nobody need be listening there.
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
        return;
    };
    log.write(vec![Record {
        is_greeting: true,
        ..Record::new(Level::INFO, "server", line)
    }]);
}

/// Something is not as it was wanted: writes it down, or to stderr where no log is kept.
pub(crate) fn complain(line: &str) {
    match log::current() {
        Some(log) => log.write(vec![Record::new(Level::WARN, "server", line)]),
        None => {
            let _ = writeln!(io::stderr(), "tidegate: {line}");
        }
    }
}

fn core_count() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

fn start_engine(
    settings: &ServeSettings,
    values: &Values,
    live: &Arc<Live>,
    ports: Ports,
    tls: Option<Arc<TlsAcceptor>>,
    files: Files,
) -> Result<Engine, Failure> {
    let limits = Limits {
        message_size_max: settings.message_size_max,
        handshake_timeout: settings.handshake_timeout,
        connections_expected: files.connections_expected(),
        profile: settings.profile.clone(),
        ..Limits::default()
    };
    let engine_settings = Settings {
        listen: settings.listen,
        ports,
        share_port: settings.share_port,
        shards: files.shards,
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

/// Where an operator would write another value: a flag, a variable, a line of a file.
pub(crate) fn way_to_change(values: &Values, name: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
