//! How the help looks: commands in groups, and settings only where they mean something.

use std::fmt::Write;

use clap::error::{ContextKind, ContextValue};
use clap::{Command, Error};

use crate::domain::spelling::nearest;

/// The commands by what they are for.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Start", &["serve", "demo", "keys"]),
    ("Judge", &["grade", "compare", "rank", "rewards", "preferences", "batch", "rerun", "verdicts"]),
    ("Measure and correct a judge", &["agree", "calibrate", "fit", "route", "traces", "redteam"]),
    ("Models, rubrics, prompts", &["models", "rubrics", "prompts", "annotators"]),
    ("Help and checks", &["bench", "doctor", "docs", "completions"]),
    ("", &["help"]),
];

/// The settings that mean something to a command that does not use all.
const SETTINGS: [(&str, &[&str]); 10] = [
    ("batch", &[]),
    ("rerun", &[]),
    ("verdicts", &[]),
    ("compare", &[]),
    ("docs", &[]),
    ("completions", &[]),
    ("keys", &["config", "data_dir"]),
    ("models", &["config", "cache_dir", "offline"]),
    ("rubrics", &["config", "data_dir"]),
    ("annotators", &["config", "data_dir"]),
];

/// Groups the commands of the program, and hides settings where they have no effect. They are still accepted there.
pub(super) fn arranged(mut program: Command) -> Command {
    let styles = program.get_styles().clone();
    let (heading, literal) = (styles.get_header(), styles.get_literal());
    let mut list = String::new();
    for (title, names) in GROUPS.iter().filter(|(title, _)| !title.is_empty()) {
        let _ = writeln!(list, "{heading}{title}:{heading:#}");
        for name in *names {
            let about = program.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            let _ = writeln!(list, "  {literal}{name:<12}{literal:#} {}", about.unwrap_or_default());
        }
        list.push('\n');
    }
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{list}{heading}Options:{heading:#}\n{{options}}\n\n\
         `gavel COMMAND --help` lists the options of a command, with examples.\n"
    );
    let settings: Vec<_> = program.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    for (command, used) in SETTINGS {
        let hidden = settings.iter().filter(|setting| !used.contains(&setting.get_id().as_str()));
        let hidden: Vec<_> = hidden.map(|setting| setting.clone().hide(true)).collect();
        program = program.mut_subcommand(command, |command| command.args(hidden));
    }
    program.help_template(template)
}

/// Takes out what the parser suggests for an unknown name that has little in common with it, such as `calibrate` for
/// `frobnicate`.
pub(super) fn sensible(mut error: Error) -> Error {
    let kinds = [
        (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
        (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        (ContextKind::InvalidValue, ContextKind::SuggestedValue),
    ];
    for (invalid, suggested) in kinds {
        let Some(ContextValue::String(name)) = error.get(invalid).cloned() else { continue };
        let close = |known: &String| nearest(&name, [known.as_str()]).is_some();
        let kept = match error.remove(suggested) {
            Some(ContextValue::String(known)) => Some(known).filter(close).map(ContextValue::String),
            Some(ContextValue::Strings(mut known)) => {
                known.retain(close);
                (!known.is_empty()).then_some(ContextValue::Strings(known))
            }
            other => other,
        };
        kept.map(|kept| error.insert(suggested, kept));
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// What `gavel PATH --help` prints on a terminal of 80 columns.
    fn help(path: &[&str]) -> String {
        let asked = ["gavel"].iter().chain(path).chain(&["--help"]);
        arranged(Cli::command()).term_width(80).try_get_matches_from(asked).unwrap_err().to_string()
    }

    #[test]
    fn every_command_is_in_a_group() {
        let program = arranged(Cli::command());
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let mut all: Vec<&str> = program.get_subcommands().map(Command::get_name).chain(["help"]).collect();
        grouped.sort_unstable();
        all.sort_unstable();
        assert_eq!(grouped, all);
    }

    #[test]
    fn it_fits_a_terminal_of_80_columns() {
        let found = help(&[]);
        let mut rest = found.as_str();
        for (title, names) in GROUPS.iter().filter(|(title, _)| !title.is_empty()) {
            let lines = [format!("{title}:")].into_iter().chain(names.iter().map(|name| format!("\n  {name} ")));
            for part in lines {
                rest = rest.split_once(&part).unwrap_or_else(|| panic!("{part:?} in\n{found}")).1;
            }
        }
        let program = arranged(Cli::command());
        let commands = program.get_subcommands().map(|command| vec![command.get_name()]);
        for path in commands.chain([vec![], vec!["models", "list"], vec!["prompts", "import"]]) {
            // The parser does not wrap the line of the usage.
            for line in help(&path).lines().filter(|line| !line.starts_with("Usage:")) {
                assert!(line.chars().count() <= 80, "{path:?}: {line}");
            }
        }
    }

    #[test]
    fn only_close_names_are_suggested() {
        let check = |args: &[&str], expected: Option<&str>| {
            let error = arranged(Cli::command()).try_get_matches_from([&["gavel"], args].concat()).unwrap_err();
            let text = sensible(error).to_string();
            match expected {
                Some(meant) => assert!(text.contains(&format!("'{meant}'")) && text.contains("similar"), "{text}"),
                None => assert!(!text.contains("similar"), "{text}"),
            }
        };
        check(&["frobnicate"], None);
        check(&["grad"], Some("grade"));
        check(&["agre"], Some("agree"));
        check(&["models", "lst"], Some("list"));
        check(&["doctor", "--quik"], Some("--quick"));
        check(&["doctor", "--nothing"], None);
        check(&["rank", "--mode", "scores"], Some("score"));
        check(&["rank", "--mode", "colour"], None);
    }

    #[test]
    fn examples_are_not_wrapped() {
        for command in arranged(Cli::command()).get_subcommands() {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let wide: Vec<&str> = examples.lines().filter(|line| line.chars().count() > 80).collect();
            assert!(wide.is_empty(), "{}: {wide:#?}", command.get_name());
        }
    }

    #[test]
    fn settings_are_shown_where_they_mean_something() {
        let check = |path: &[&str], shown: &[&str], hidden: &[&str]| {
            let help = help(path);
            shown.iter().for_each(|setting| assert!(help.contains(setting), "{path:?} without {setting}:\n{help}"));
            hidden.iter().for_each(|setting| assert!(!help.contains(setting), "{path:?} with {setting}:\n{help}"));
        };
        check(&["grade"], &["--engine", "--config", "--offline"], &[]);
        check(&["completions"], &["<SHELL>"], &["--engine", "--config", "Settings"]);
        check(&["docs"], &["[PAGE]"], &["--engine", "--config", "Settings"]);
        check(&["compare"], &["--html"], &["--engine", "--config", "Settings"]);
        check(&["models", "list"], &["--json", "--cache-dir"], &["--engine", "--data-dir"]);
        check(&["rubrics", "check"], &["--data-dir"], &["--engine", "--cache-dir"]);
        let accepted = arranged(Cli::command()).try_get_matches_from(["gavel", "docs", "--offline", "errors"]);
        assert!(accepted.is_ok(), "{accepted:?}");
    }
}
