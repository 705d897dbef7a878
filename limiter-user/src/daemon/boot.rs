//! What a daemon starts with: the configured file, or what was in force last.
//!
//! The file wins, as long as it is good and nobody has turned its text down. A
//! probation that is not over goes on, whatever the file says. Without a usable
//! file the last confirmed policy of the state directory is put in force, and
//! `status` says so; without that either there is nothing to start with.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    clock::Now,
    config::{Config, ConfigErrors, PIN_DIR},
    control::protocol::Health,
    state::{self, Kept, Probation, Store, StoredConfig},
};

use super::lasting::Notice;

/// What a daemon starts with.
#[derive(Debug)]
pub struct Boot {
    /// The configuration to put in force.
    pub config: Config,
    /// The configuration that returns if the other is not confirmed in time.
    pub probation: Option<(Config, Probation)>,
    /// Where things are kept.
    pub store: Store,
    /// What was kept.
    pub kept: Kept,
    /// What an operator should know.
    pub notices: Vec<Notice>,
    /// What is wrong with the file, if it could not be used.
    pub file_error: Option<String>,
}

impl Boot {
    /// Finds out what to start with, and why.
    ///
    /// # Errors
    ///
    /// When the file is wrong and nothing was confirmed before.
    pub fn read(path: &Path, now: Now) -> Result<Self, ConfigErrors> {
        let file = Config::load(path);
        let directory = match &file {
            Ok(config) => config.runtime.state_dir.clone(),
            Err(_) => state_dir_of(path),
        };
        let (store, mut kept) = Store::open(&directory);
        let losses = std::mem::take(&mut kept.losses).into_iter();
        let mut notices: Vec<Notice> = losses.map(|text| degraded(text, false)).collect();
        let on_probation = probation(path, &mut kept, &mut notices, now);
        let (config, probation, file_error) = if let Some((tried, before, probation)) = on_probation {
            (tried, Some((before, probation)), None)
        } else {
            let (config, error) = confirmed_or_file(path, file, &mut kept, &mut notices, now)?;
            (config, None, error)
        };
        for notice in &notices {
            tracing::error!(notice = notice.text, "not all is as it was left");
        }
        Ok(Self { config, probation, store, kept, notices, file_error })
    }
}

/// Returns the configuration on probation, the one before it, and how long it has; one whose time is over is given up.
fn probation(
    path: &Path,
    kept: &mut Kept,
    notices: &mut Vec<Notice>,
    now: Now,
) -> Option<(Config, Config, Probation)> {
    let probation = kept.policy.probation.take()?;
    let before = kept.policy.confirmed.as_ref().and_then(|confirmed| parsed(confirmed, path).ok());
    if let (1.., Ok(tried), Some(before)) =
        (probation.left_s(now.unix_s()), parsed(&probation.config, path), before)
    {
        kept.policy.probation = Some(probation.clone());
        return Some((tried, before, probation));
    }
    let StoredConfig { text, who, hash, .. } = &probation.config;
    let why = format!("was applied by {who} and not confirmed in time");
    notices.push(degraded(
        format!("the configuration {hash} {why}: the policy before it is in force again"),
        true,
    ));
    kept.policy.reject(text, why);
    None
}

/// Returns the configuration of the file, or the one that was confirmed last and what is wrong with the file.
fn confirmed_or_file(
    path: &Path,
    file: Result<Config, ConfigErrors>,
    kept: &mut Kept,
    notices: &mut Vec<Notice>,
    now: Now,
) -> Result<(Config, Option<String>), ConfigErrors> {
    let shown = path.display();
    let confirmed = kept.policy.confirmed.clone();
    let last = confirmed.as_ref().and_then(|confirmed| parsed(confirmed, path).ok().zip(Some(confirmed)));
    let error = match file {
        Ok(config) => {
            let Some(why) = kept.policy.objection(&config.file.text) else {
                if confirmed.is_none_or(|confirmed| *confirmed.text != *config.file.text) {
                    tracing::info!(path = %shown, "the file was changed since limiterd ran last, and is in force");
                    kept.policy.confirmed =
                        Some(StoredConfig::of(&config, now.unix_s(), "start of limiterd"));
                    kept.policy.unwanted.clear();
                }
                return Ok((config, None));
            };
            let Some((last, confirmed)) = last else {
                // Nothing else is there, and a policy that somebody doubted is better than none.
                return Ok((config, None));
            };
            notices.push(degraded(not_the_file(&format!("{shown} {why}"), confirmed), true));
            return Ok((last, None));
        }
        Err(errors) => errors,
    };
    let Some((last, confirmed)) = last else {
        return Err(error);
    };
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    notices.push(degraded(not_the_file(&format!("{shown} cannot be used ({first})"), confirmed), true));
    Ok((last, Some(text)))
}

/// Returns why the file is not in force, and what is.
fn not_the_file(why: &str, confirmed: &StoredConfig) -> String {
    format!(
        "{why}: the last confirmed policy, {} of {}, is in force; repair the file, then `limiterctl reload`",
        confirmed.hash,
        crate::clock::utc(confirmed.at_s)
    )
}

/// Reads a kept configuration as the file at `path`, so that a reload reads that file.
fn parsed(stored: &StoredConfig, path: &Path) -> Result<Config, ConfigErrors> {
    Config::parse(&stored.text, path)
}

fn degraded(text: String, until_policy: bool) -> Notice {
    Notice { health: Health::Degraded, text, until_policy }
}

/// Returns the state directory that a broken file names, else the usual one.
///
/// What cannot be parsed is searched by line: it is only to find out where to look for something better.
fn state_dir_of(path: &Path) -> PathBuf {
    written(path, "state_dir").unwrap_or_else(|| state::DIRECTORY.into())
}

/// Returns the state directory and the directory of pins of a configuration, as well as it can be told.
#[must_use]
pub fn directories(path: &Path) -> (PathBuf, PathBuf) {
    Config::load(path).map_or_else(
        |_| (state_dir_of(path), written(path, "pin_dir").unwrap_or_else(|| PIN_DIR.into())),
        |config| (config.runtime.state_dir, config.runtime.pin_dir),
    )
}

/// Returns the directory that a file gives to a key, whatever else is wrong with it.
fn written(path: &Path, key: &str) -> Option<PathBuf> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let value = |line: &str| {
        let value = line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
        value.get(1..)?.split_once(quote).map(|(directory, _)| PathBuf::from(directory))
    };
    text.lines().find_map(value)
}
