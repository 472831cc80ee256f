//! API keys: who may call the server, what each caller may do, and how much.
//!
//! The file is the source of truth, and where it exists, keys are on. It holds digests, never keys.

mod account;
mod entry;
mod error;
mod file;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use self::account::Limits;
pub use self::account::{Account, KeyUsage, OverLimit};
pub use self::entry::{Key, Moment, Scope};
pub use self::error::KeyError;
use self::file::Stamp;

/// The file of keys in a data folder.
#[must_use]
pub fn file_in(data_dir: &Path) -> PathBuf {
    data_dir.join("keys.toml")
}

/// The keys of a server, as its file has them now.
pub struct KeyStore {
    path: PathBuf,
    loaded: RwLock<Loaded>,
    /// By name, so that a change of the file takes nothing from a key, and revoking gives nothing back.
    accounts: Mutex<BTreeMap<String, Arc<Account>>>,
    started: SystemTime,
}

/// What was read last.
#[derive(Clone, Default)]
struct Loaded {
    stamp: Option<Stamp>,
    /// By digest; `None`: keys are off.
    keys: Option<HashMap<String, Arc<Caller>>>,
    /// Why the file could not be read the last time.
    error: Option<String>,
}

/// A key, and what it has used.
#[derive(Debug)]
pub struct Caller {
    /// The key's entry in the file.
    pub key: Key,
    /// What it has used, and its limits.
    pub account: Arc<Account>,
}

/// A request of a key, until it ends.
#[derive(Debug)]
pub struct Admitted {
    /// Whose it is.
    pub caller: Arc<Caller>,
}

/// Why a caller is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// There is no key in the request.
    #[error("this server needs an API key: send `Authorization: Bearer KEY`, or `X-API-Key: KEY`")]
    Missing,
    /// No such key, or it was revoked.
    #[error("this API key does not exist or was revoked")]
    Wrong,
    /// It has expired.
    #[error("the API key `{0}` expired at {1}")]
    Expired(String, Moment),
}

impl KeyStore {
    /// The keys of a file. If it exists and cannot be read, keys are on and nobody has one; see [`KeyStore::error`].
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        let (loaded, accounts) = (RwLock::default(), Mutex::default());
        let store = Self { path, loaded, accounts, started: SystemTime::now() };
        store.refresh();
        store
    }

    /// Whether requests need a key.
    #[must_use]
    pub fn on(&self) -> bool {
        self.refresh();
        self.read(|loaded| loaded.keys.is_some())
    }

    /// Why the file cannot be read; the keys that were read last are in use.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.read(|loaded| loaded.error.clone())
    }

    /// The caller that a request's key names; `None` if keys are off.
    ///
    /// # Errors
    /// If there is no such key, or it has expired.
    pub fn caller(&self, presented: Option<&str>, now: SystemTime) -> Result<Option<Arc<Caller>>, Unknown> {
        self.refresh();
        let found = self.read(|loaded| {
            let keys = loaded.keys.as_ref()?;
            Some(presented.map(|key| keys.get(&entry::digest(key)).cloned()))
        });
        match found {
            None => Ok(None),
            Some(None) => Err(Unknown::Missing),
            Some(Some(None)) => Err(Unknown::Wrong),
            Some(Some(Some(caller))) => still_valid(caller, now).map(Some),
        }
    }

    /// The key of a name, for work that goes on without its request; `None` if keys are off.
    ///
    /// # Errors
    /// If it was revoked or has expired, or `name` is empty: the work was asked for while keys were off.
    pub fn named(&self, name: &str, now: SystemTime) -> Result<Option<Arc<Caller>>, Unknown> {
        self.refresh();
        let found = self.read(|loaded| {
            let keys = loaded.keys.as_ref()?;
            Some(keys.values().find(|caller| caller.key.name == name).cloned())
        });
        match found {
            None => Ok(None),
            Some(None) => Err(Unknown::Wrong),
            Some(Some(caller)) => still_valid(caller, now).map(Some),
        }
    }

    /// What each key has used since [`KeyStore::since`] that was not [`stored`](KeyStore::stored), by name; also keys
    /// that were revoked since.
    #[must_use]
    pub fn unstored(&self) -> Vec<(String, KeyUsage)> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.iter().map(|(name, account)| (name.clone(), account.unstored())).collect()
    }

    /// Notes that the usage of keys is kept elsewhere.
    pub fn stored(&self, usage: &[(String, KeyUsage)]) {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, used) in usage {
            if let Some(account) = accounts.get(name) {
                account.stored(*used);
            }
        }
    }

    /// When counting began in this process.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.started
    }

    fn read<T>(&self, look: impl FnOnce(&Loaded) -> T) -> T {
        look(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again if it has changed. Looking costs one call of the system, so that it is done for every
    /// request and what changes counts at once.
    fn refresh(&self) {
        let stamp = file::stamp(&self.path);
        if self.read(|loaded| loaded.stamp == Some(stamp)) {
            return;
        }
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        if loaded.stamp == Some(stamp) {
            return;
        }
        loaded.stamp = Some(stamp);
        let error = match file::read(&self.path) {
            Ok(Some(keys)) => {
                loaded.keys = Some(keys.into_iter().map(|key| (key.sha256.clone(), self.held(key))).collect());
                None
            }
            Ok(None) if loaded.keys.is_none() => None,
            // A volume that is not mounted must not open the server.
            Ok(None) => {
                let path = self.path.display();
                Some(format!("{path} is gone; the keys that it had stay in use until a restart, which turns keys off"))
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &error {
            loaded.keys.get_or_insert_default();
            tracing::error!(error, "the keys cannot be read; the last ones stay in use");
        }
        loaded.error = error;
    }

    fn held(&self, key: Key) -> Arc<Caller> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = Arc::clone(accounts.entry(key.name.clone()).or_default());
        Arc::new(Caller { key, account })
    }
}

/// A key, unless it has expired.
fn still_valid(caller: Arc<Caller>, now: SystemTime) -> Result<Arc<Caller>, Unknown> {
    match &caller.key.expires {
        Some(expires) if *expires <= Moment::of(now) => Err(Unknown::Expired(caller.key.name.clone(), expires.clone())),
        _ => Ok(caller),
    }
}

impl Caller {
    /// Counts a line of a batch of this key, which [`Admitted::end`] ends. The limits of requests are not for lines.
    #[must_use]
    pub fn admit_line(self: &Arc<Self>, now: Instant) -> Admitted {
        // Without limits, nothing is refused.
        let _ = self.account.admit(Limits::default(), now);
        Admitted { caller: Arc::clone(self) }
    }

    /// Counts a request of this key, which [`Admitted::end`] ends. Only requests that `judge` need tokens.
    ///
    /// # Errors
    /// If it is over one of the key's limits.
    pub fn admit(self: &Arc<Self>, judge: bool, now: Instant) -> Result<Admitted, OverLimit> {
        self.account.admit(Limits::of(&self.key, judge), now)?;
        Ok(Admitted { caller: Arc::clone(self) })
    }

    /// Checks that the key has tokens left, if they are limited.
    ///
    /// # Errors
    /// If it has none.
    pub fn has_tokens(&self, now: Instant) -> Result<(), OverLimit> {
        self.account.has_tokens(self.key.tokens_per_minute, now)
    }

    /// Whether the key may do what needs this scope.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.key.scopes.iter().any(|has| *has == scope || *has == Scope::Admin)
    }
}

impl Admitted {
    /// Ends the request, which came to this.
    pub fn end(&self, judgements: u64, prompt_tokens: u64, completion_tokens: u64, now: Instant) {
        let used = KeyUsage { requests: 0, judgements, prompt_tokens, completion_tokens };
        self.caller.account.end(used, self.caller.key.tokens_per_minute, now);
    }
}

/// Adds a key to a file, which turns keys on if it is the first. Returns the key itself, which is kept nowhere. Blocks
/// the thread.
///
/// # Errors
/// If the name is taken or invalid, or the file is invalid or cannot be written.
pub fn create(path: &Path, wanted: Key) -> Result<String, KeyError> {
    let secret = entry::random()?;
    let key = Key { sha256: entry::digest(&secret), ..wanted };
    file::update(path, |keys| {
        if keys.iter().any(|other| other.name == key.name) {
            return Err(KeyError::Taken(key.name));
        }
        keys.push(key);
        Ok(())
    })?;
    Ok(secret)
}

/// Takes a key out of a file; returns how many are left. Blocks the thread.
///
/// # Errors
/// If there is no such key, or the file is invalid or cannot be written.
pub fn revoke(path: &Path, name: &str) -> Result<usize, KeyError> {
    file::update(path, |keys| {
        let before = keys.len();
        keys.retain(|key| key.name != name);
        match keys.len() {
            left if left < before => Ok(left),
            _ => {
                let known = keys.iter().map(|key| key.name.clone()).collect();
                Err(KeyError::Unknown { name: name.to_owned(), known })
            }
        }
    })
}

/// The keys of a file; `None` if there is no file, so that keys are off.
///
/// # Errors
/// If it is invalid or cannot be read.
pub fn list(path: &Path) -> Result<Option<Vec<Key>>, KeyError> {
    file::read(path)
}

#[cfg(test)]
mod tests;
