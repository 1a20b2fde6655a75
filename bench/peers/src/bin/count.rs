//! Runs one case a number of times, for callgrind: `count FUNCTION/MESSAGE/CRATE RUNS`, or `count` for a list.

use std::process::ExitCode;

use tidegate_peers::cases;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [id, runs] = arguments.as_slice() else {
        for case in cases() {
            println!("{}\t{}", case.id(), case.messages);
        }
        return ExitCode::SUCCESS;
    };
    let case = cases().into_iter().find(|case| case.id() == *id);
    let (Some(case), Ok(runs)) = (case, runs.parse::<u64>()) else {
        eprintln!("usage: count [FUNCTION/MESSAGE/CRATE RUNS]");
        return ExitCode::from(2);
    };
    let mut run = case.prepare();
    for _ in 0..runs {
        run();
    }
    ExitCode::SUCCESS
}
