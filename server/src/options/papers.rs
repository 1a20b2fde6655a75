//! What packagers and shells want: completions, manual pages, the version for programs.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::CommandLine;
use crate::failure::Failure;

/// The options of `tidegate completions` as they are written.
#[derive(Debug, Args)]
pub(super) struct CompletionsOptions {
    /// For which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// The options of `tidegate man` as they are written.
#[derive(Debug, Args)]
pub(super) struct ManOptions {
    /// The page of this command, instead of that of the program
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// The options of `tidegate version` as they are written.
#[derive(Debug, Args)]
pub(super) struct VersionOptions {
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn completions(options: &CompletionsOptions) -> String {
    let mut text = Vec::new();
    let mut command = CommandLine::command();
    clap_complete::generate(options.shell, &mut command, "tidegate", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// # Errors
/// When there is no such command.
pub(super) fn manual(options: &ManOptions) -> Result<String, Failure> {
    let mut all = CommandLine::command();
    // Names of commands become `tidegate serve`, and so on.
    all.build();
    let page = match &options.command {
        None => all,
        Some(name) => {
            let found = all.find_subcommand(name).cloned();
            found.ok_or_else(|| {
                let name = crate::config::source::excerpt(name);
                Failure::usage(format!(
                    "there is no command '{name}'; see `tidegate --help`"
                ))
            })?
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error| Failure::failed(format!("cannot write the page: {error}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

pub(super) fn version_as_json() -> String {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    serde_json::json!({ "name": name, "version": version }).to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_shell_completes_it() {
        let names: Vec<String> = CommandLine::command()
            .get_subcommands()
            .map(|command| command.get_name().to_owned())
            .collect();
        assert!(names.len() >= 8, "{names:?}");
        for name in &names {
            let options = ManOptions {
                command: Some(name.clone()),
            };
            let page = manual(&options).unwrap();
            assert!(page.contains(&format!(".TH tidegate-{name} ")), "{page}");
        }
        let page = manual(&ManOptions { command: None }).unwrap();
        assert!(page.contains(".TH tidegate "), "{page}");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = completions(&CompletionsOptions { shell });
            for name in &names {
                assert!(text.contains(name.as_str()), "{shell}: {name}");
            }
        }
        let nobody = ManOptions {
            command: Some("swim".to_owned()),
        };
        assert_eq!(manual(&nobody).unwrap_err().code, 2);
    }
}
