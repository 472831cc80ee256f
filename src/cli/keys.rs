//! `gavel keys`: the API keys of a server, in the file of its data folder.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};

use super::CliError;
use crate::config::Config;
use crate::keys::{self, Key, Moment, Scope};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Create a key, and print it: it is shown once, and kept nowhere.
    Create(CreateArgs),
    /// List the keys.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key; running servers refuse it from then on.
    Revoke {
        /// Its name.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  gavel keys create --name trainer --scope grade --expires 30d")]
pub(super) struct CreateArgs {
    /// Its name, such as that of a person or a job.
    #[arg(long)]
    name: String,
    /// What it may do.
    #[arg(long = "scope", value_enum, required = true, value_delimiter = ',', value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// How long it is valid, such as 12h, 30d or 52w. Default: until it is revoked.
    #[arg(long, value_parser = lifetime, value_name = "TIME")]
    expires: Option<Duration>,
    /// The most requests in a minute; more are refused with `rate_limited`.
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<NonZeroU32>,
    /// The most tokens in a minute, of prompts and of answers; further requests are refused with `rate_limited`.
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<NonZeroU32>,
    /// The most requests at a time; more are refused with `rate_limited`.
    #[arg(long, value_name = "N")]
    concurrent: Option<NonZeroU32>,
    /// Its share of the models beside other keys while all of them wait: 200 gets twice what the usual 100 gets.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    weight: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: KeysCommand, config: &Config) -> Result<(), CliError> {
    let path = keys::file_in(&config.data_dir);
    match command {
        KeysCommand::Create(args) => create(args, &path),
        KeysCommand::List { json } => list(&path, json),
        KeysCommand::Revoke { name, json } => {
            let left = keys::revoke(&path, &name)?;
            if json {
                outln!("{:#}", serde_json::json!({"revoked": name, "keys_left": left}));
                return Ok(());
            }
            outln!("{name} is revoked");
            if left == 0 {
                let path = path.display();
                note(&format!(
                    "No key is left, so that servers refuse every request. To turn keys off, delete {path} and restart them."
                ));
            }
            Ok(())
        }
    }
}

fn create(args: CreateArgs, path: &Path) -> Result<(), CliError> {
    let now = SystemTime::now();
    let too_long = || CliError::Usage("--expires is too long".to_owned());
    let expires = args.expires.map(|time| now.checked_add(time).map(Moment::of).ok_or_else(too_long)).transpose()?;
    let first = keys::list(path)?.is_none();
    let key = Key {
        expires,
        requests_per_minute: args.requests_per_minute,
        tokens_per_minute: args.tokens_per_minute,
        concurrent: args.concurrent,
        weight: args.weight.and_then(NonZeroU32::new),
        ..Key::wanted(&args.name, args.scopes, now)?
    };
    let secret = keys::create(path, key.clone())?;
    if args.json {
        let shown = serde_json::json!({
            "name": key.name, "key": secret, "scopes": key.scopes, "created": key.created, "expires": key.expires,
        });
        outln!("{shown:#}");
        return Ok(());
    }
    outln!("{secret}");
    note("This is the only time the key is shown. Send it as `Authorization: Bearer KEY`; Gavel's commands and Python");
    note("client read it from GAVEL_API_KEY.");
    if first {
        note(&format!("Keys are on: servers with the data folder of {} now need one.", path.display()));
    }
    Ok(())
}

fn list(path: &Path, json: bool) -> Result<(), CliError> {
    let listed = keys::list(path)?;
    if json {
        let row = |key: &Key| {
            serde_json::json!({
                "name": key.name, "scopes": key.scopes, "created": key.created, "expires": key.expires,
                "requests_per_minute": key.requests_per_minute, "tokens_per_minute": key.tokens_per_minute,
                "concurrent": key.concurrent, "weight": key.weight, "digest": key.tail(),
            })
        };
        outln!("{:#}", listed.unwrap_or_default().iter().map(row).collect::<serde_json::Value>());
        return Ok(());
    }
    let Some(listed) = listed else {
        note("Keys are off. The first one turns them on: gavel keys create --name me --scope grade");
        return Ok(());
    };
    outln!("{:<20} {:<6} {:<10} {:<20} SCOPES", "NAME", "DIGEST", "CREATED", "EXPIRES");
    for key in &listed {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
        let created: String = key.created.to_string().chars().take("2030-01-31".len()).collect();
        let expires = key.expires.as_ref().map_or_else(|| "never".to_owned(), Moment::to_string);
        outln!("{:<20} …{:<5} {created:<10} {expires:<20} {}", key.name, key.tail(), scopes.join(","));
    }
    Ok(())
}

#[allow(clippy::print_stderr, reason = "results alone go to standard output")]
fn note(line: &str) {
    eprintln!("{line}");
}

/// A time such as `30d`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a number and a unit, such as 12h, 30d or 52w".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_a_number_and_a_unit() {
        let days = |days: u64| Ok(Duration::from_secs(days * 86_400));
        assert_eq!((lifetime("30d"), lifetime("2w"), lifetime("48h")), (days(30), days(14), days(2)));
        for wrong in ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "1y", "9999999999999999999d", "3ä"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
