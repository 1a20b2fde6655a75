//! The flags of the server, made from the schema.

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::admission::network::Network;
use crate::config::schema::{Default, KEYS, Key};
use crate::config::source::Source;
use crate::config::value::{Kind, Value, parse_file};
use crate::config::values::Setting;
use crate::origin::OriginRule;

/// What the flags say; `HIDDEN` leaves them out of the help.
#[derive(Debug)]
pub(super) struct Flags<const HIDDEN: bool> {
    /// By the order of [`KEYS`]; `None` where a flag was not given.
    pub(super) settings: Vec<Option<Setting>>,
}

impl<const HIDDEN: bool> Args for Flags<HIDDEN> {
    fn augment_args(mut command: Command) -> Command {
        for key in KEYS {
            if let Some(flag) = key.flag {
                command = command.arg(argument(key, flag).hide(HIDDEN));
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const HIDDEN: bool> FromArgMatches for Flags<HIDDEN> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let settings = KEYS.iter().map(|key| setting(matches, key)).collect();
        Ok(Self { settings })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(key: &'static Key, flag: &'static str) -> Arg {
    let mut argument = Arg::new(flag).long(flag);
    if let Some(short) = key.short {
        argument = argument.short(short);
    }
    if matches!(key.kind, Kind::Switch) {
        return argument.action(ArgAction::SetTrue).help(key.about);
    }
    argument = argument
        .value_name(key.kind.placeholder())
        .value_parser(parser(key));
    match (key.kind, key.default) {
        (Kind::Origins | Kind::Networks | Kind::Files, _) => argument
            .action(ArgAction::Append)
            .help(format!("{}; can be given several times", key.about)),
        (_, Default::Auto(meaning)) => argument.help(format!("{} [default: {meaning}]", key.about)),
        // Nothing is no default to be shown.
        (_, Default::Text("")) => argument.help(key.about),
        (_, Default::Text(text)) => argument.default_value(text).help(key.about),
        (_, Default::Inherit(_) | Default::Required) => argument.help(key.about),
    }
}

fn parser(key: &'static Key) -> ValueParser {
    match key.kind {
        Kind::Choice { words, .. } => PossibleValuesParser::new(words)
            .try_map(|word| key.parse(&word))
            .into(),
        Kind::Origins => ValueParser::from(|text: &str| text.parse::<OriginRule>()),
        Kind::Networks => ValueParser::from(|text: &str| text.parse::<Network>()),
        Kind::Files => ValueParser::from(parse_file),
        _ => ValueParser::from(|text: &str| key.parse(text)),
    }
}

fn setting(matches: &ArgMatches, key: &Key) -> Option<Setting> {
    let flag = key.flag?;
    if matches.value_source(flag) != Some(ValueSource::CommandLine) {
        return None;
    }
    let value = match key.kind {
        Kind::Switch => Value::Switch(matches.get_flag(flag)),
        Kind::Origins => {
            let rules = matches.get_many::<OriginRule>(flag)?;
            Value::Origins(rules.cloned().collect())
        }
        Kind::Networks => {
            let networks = matches.get_many::<Network>(flag)?;
            Value::Networks(networks.copied().collect())
        }
        Kind::Files => {
            let paths = matches.get_many::<String>(flag)?;
            Value::Files(paths.cloned().collect())
        }
        _ => matches.get_one::<Value>(flag)?.clone(),
    };
    Some(Setting {
        value,
        source: Source::Flag(format!("--{flag}")),
    })
}
