//! The long form of the differential tests: any number of conversations, from any seed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use tidegate_differential::{
    Comparison, Conversation, Generator, Oracle, Reader, Tally, Tidegate, Verdict, read,
};

const USAGE: &str = "\
usage: scripts/differential [option...]

Reads random conversations with tidegate-proto and with other implementations, and fails
for each difference that no rule explains. See engine/proto/differential/README.md.

  --conversations N   how many in all (default 1000000)
  --oracle NAME       tungstenite, sockudo, websockets or all (default: all; of each 50
                      conversations tungstenite has 25, sockudo 24, websockets 1)
  --seed S            the seed of each oracle's first conversation (default 1); the next has S + 1
  --jobs N            threads (default 1)
  --python PATH       an interpreter that has websockets (default: one in a venv that is made once)
  --show              print each conversation and both verdicts

exit code: 0 nothing unexplained, 1 something was, 2 wrong usage, 69 no websockets to be had
";

/// What the command line says.
#[derive(Debug)]
struct Options {
    conversations: u64,
    oracles: Vec<Reader>,
    seed: u64,
    jobs: u64,
    python: PathBuf,
    show: bool,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            conversations: 1_000_000,
            oracles: ALL.to_vec(),
            seed: 1,
            jobs: 1,
            python: PathBuf::from("python3"),
            show: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--conversations" => options.conversations = number(&value()?)?,
                "--seed" => options.seed = number(&value()?)?,
                "--jobs" => options.jobs = number(&value()?)?.max(1),
                "--python" => options.python = value()?.into(),
                "--show" => options.show = true,
                "--oracle" => {
                    let name = value()?;
                    options
                        .oracles
                        .retain(|reader| name == "all" || reader.name() == name);
                    if options.oracles.is_empty() {
                        return Err(format!("no oracle is called {name}"));
                    }
                }
                _ => return Err(format!("{word} is no option")),
            }
        }
        Ok(options)
    }

    /// How many of the conversations this oracle reads.
    fn share(&self, reader: Reader) -> u64 {
        if self.oracles.len() == 1 {
            return self.conversations;
        }
        let fiftieth = self.conversations / 50;
        match reader {
            Reader::Websockets => fiftieth,
            Reader::Sockudo => fiftieth * 24,
            Reader::Tungstenite | Reader::Tidegate => self.conversations - fiftieth * 25,
        }
    }
}

fn number(word: &str) -> Result<u64, String> {
    let digits = word.replace('_', "");
    digits.parse().map_err(|_| format!("{word} is no number"))
}

const ALL: [Reader; 3] = [Reader::Tungstenite, Reader::Sockudo, Reader::Websockets];

/// How many conversations a thread takes at a time.
const BATCH_SIZE: u64 = 1000;

/// How many findings are printed for each oracle; all are counted.
const FINDINGS_SHOWN_MAX: u64 = 10;

fn main() -> ExitCode {
    if std::env::args().any(|word| word == "-h" || word == "--help") {
        return match io::stdout().write_all(USAGE.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("differential: {fault}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("differential: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was unexplained.
fn run(options: &Options) -> io::Result<bool> {
    let mut total = Tally::new();
    for &reader in &options.oracles {
        let tally = run_oracle(options, reader)?;
        writeln!(io::stdout(), "{}: {tally}", reader.name())?;
        total.add(&tally);
    }
    if options.oracles.len() > 1 {
        writeln!(io::stdout(), "in all: {total}")?;
    }
    Ok(total.unexplained == 0)
}

fn run_oracle(options: &Options, reader: Reader) -> io::Result<Tally> {
    let shared = Shared {
        reader,
        left: Mutex::new(options.seed..options.seed.saturating_add(options.share(reader))),
        tally: Mutex::new(Tally::new()),
    };
    thread::scope(|scope| {
        let work = || work(options, &shared);
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| io::Error::other("a thread panicked"))??;
        }
        Ok(())
    })
    .map(|()| *lock(&shared.tally))
}

/// What the threads of one oracle share.
struct Shared {
    reader: Reader,
    left: Mutex<std::ops::Range<u64>>,
    tally: Mutex<Tally>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn work(options: &Options, shared: &Shared) -> io::Result<()> {
    let oracle = start(shared.reader, &options.python)?;
    let mut comparison = Comparison::new(oracle);
    loop {
        let batch = {
            let mut left = lock(&shared.left);
            let end = left.end.min(left.start.saturating_add(BATCH_SIZE));
            let batch = left.start..end;
            left.start = end;
            batch
        };
        if batch.is_empty() {
            return Ok(());
        }
        if options.show {
            batch
                .clone()
                .try_for_each(|seed| show(seed, shared.reader))?;
        }
        let count = usize::try_from(batch.end - batch.start).unwrap_or(0);
        let before = *comparison.tally();
        comparison.run(batch.start, count, &mut |finding| {
            if lock(&shared.tally).unexplained < FINDINGS_SHOWN_MAX {
                eprintln!("{finding}\n");
            }
        })?;
        report(shared, &before, comparison.tally());
    }
}

/// Adds what a batch has brought, and says now and then how far all is.
fn report(shared: &Shared, before: &Tally, after: &Tally) {
    const STEP: u64 = 250_000;
    let mut tally = lock(&shared.tally);
    let (done, known) = (tally.conversations, tally.unexplained);
    tally.add_difference(before, after);
    if done / STEP != tally.conversations / STEP || known != tally.unexplained {
        let name = shared.reader.name();
        eprintln!(
            "{name}: {} conversations, unexplained {}",
            tally.conversations, tally.unexplained
        );
    }
}

fn start(reader: Reader, python: &Path) -> io::Result<Oracle> {
    match reader {
        Reader::Sockudo => Ok(Oracle::sockudo()),
        Reader::Websockets => Oracle::websockets(python),
        Reader::Tungstenite | Reader::Tidegate => Ok(Oracle::tungstenite()),
    }
}

/// Prints a conversation and what is made of it.
fn show(seed: u64, reader: Reader) -> io::Result<()> {
    let (mut conversation, mut ours) = (Conversation::new(), Verdict::new());
    Generator::new().generate(seed, reader.compresses(), &mut conversation);
    Tidegate::new().judge(&conversation, &mut ours);
    let (expected, deviation) = read(reader, &conversation);
    writeln!(
        io::stdout(),
        "seed {seed}: {conversation}\ntidegate:\n{ours}\nexpected of {}, first difference {deviation:?}:\n{expected}",
        reader.name()
    )
}
