use std::num::NonZeroU32;
use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn day(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(number * 86_400)
}

fn wanted(name: &str, scope: Scope) -> Key {
    Key::wanted(name, vec![scope], day(1)).unwrap()
}

fn name_of(found: Result<Option<Arc<Caller>>, Unknown>) -> String {
    found.unwrap().unwrap().key.name.clone()
}

#[test]
fn keys_are_made_used_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(&folder.path().join("data"));
    let store = KeyStore::open(path.clone());
    assert!(!store.on() && store.error().is_none() && list(&path).unwrap().is_none());
    assert!(store.caller(None, day(2)).unwrap().is_none());

    let one = create(&path, wanted("one", Scope::Grade)).unwrap();
    let two = create(&path, Key { expires: Some(Moment::of(day(9))), ..wanted("two", Scope::Admin) }).unwrap();
    assert!(one.starts_with("gvl_") && one.len() == 68 && one != two);
    assert!(store.on());
    assert_eq!(name_of(store.caller(Some(&one), day(2))), "one");
    assert_eq!(name_of(store.caller(Some(&two), day(8))), "two");
    assert_eq!(
        store.caller(Some(&two), day(9)).unwrap_err().to_string(),
        "the API key `two` expired at 1970-01-10T00:00:00Z"
    );
    assert_eq!(store.caller(None, day(2)).unwrap_err(), Unknown::Missing);
    for wrong in ["", "gvl_", &one[..67], &one.to_uppercase()] {
        assert_eq!(store.caller(Some(wrong), day(2)).unwrap_err(), Unknown::Wrong, "{wrong}");
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&one[4..]) && !text.contains("gvl_"), "{text}");

    assert!(matches!(create(&path, wanted("one", Scope::Grade)), Err(KeyError::Taken(_))));
    assert!(Key::wanted("a b", vec![Scope::Grade], day(1)).is_err());
    assert!(revoke(&path, "on").unwrap_err().to_string().contains("did you mean `one`"));
    assert_eq!(revoke(&path, "one").unwrap(), 1);
    assert_eq!(store.caller(Some(&one), day(2)).unwrap_err(), Unknown::Wrong);
    assert_eq!(revoke(&path, "two").unwrap(), 0);
    // Without a key, nobody gets in: the file is there.
    assert_eq!(store.caller(None, day(2)).unwrap_err(), Unknown::Missing);
}

#[cfg(unix)]
#[test]
fn the_owner_alone_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    std::fs::write(path.with_extension("toml.partial"), "of an interrupted run").unwrap();
    create(&path, wanted("one", Scope::Grade)).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    assert!(!path.with_extension("toml.partial").exists());
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    std::thread::scope(|scope| {
        for index in 0..16 {
            let path = &path;
            scope.spawn(move || create(path, wanted(&format!("key-{index}"), Scope::Grade)).unwrap());
        }
    });
    assert_eq!(list(&path).unwrap().unwrap().len(), 16);
}

#[test]
fn the_last_good_keys_stay_while_the_file_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    let key = create(&path, wanted("one", Scope::Grade)).unwrap();
    let store = KeyStore::open(path.clone());
    let good = std::fs::read_to_string(&path).unwrap();
    let digest = list(&path).unwrap().unwrap()[0].sha256.clone();
    let broken = [
        ("[[keys]]\nname = ", ":2: "),
        ("[[keys]]\nname = \"one\"\nsecret = \"gvl_0\"\n", "unknown field `secret`"),
        (&good.replace("grade", "all"), "unknown variant `all`"),
        (&good.replace(&digest, "gvl_0"), "not 64 hexadecimal digits"),
        (&good.replace("[\"grade\"]", "[]"), "has no scope"),
        (&good.replace("\"one\"", "\"a b\""), "invalid name"),
        (&good.replace("created = \"", "created = \"x"), "is not a time such as"),
        (&format!("{good}{}", &good[good.find("[[keys]]").unwrap()..]), "is there twice"),
    ];
    for (text, expected) in broken {
        std::fs::write(&path, text).unwrap();
        assert!(store.on());
        let error = store.error().unwrap_or_else(|| panic!("no error for {text}"));
        assert!(error.contains(expected) && error.contains("keys.toml:"), "{error}");
        assert!(!error.contains("gvl_0") && !error.contains(&digest), "{error}");
        assert_eq!(name_of(store.caller(Some(&key), day(2))), "one");
        assert!(create(&path, wanted("two", Scope::Grade)).is_err(), "a broken file is not overwritten");
        // A server that starts with it lets nobody in.
        let fresh = KeyStore::open(path.clone());
        assert!(fresh.on() && fresh.error().is_some());
        assert_eq!(fresh.caller(Some(&key), day(2)).unwrap_err(), Unknown::Wrong);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(store.on(), "a file that is gone opens nothing");
    assert!(store.error().unwrap().contains("is gone"));
    std::fs::write(&path, &good).unwrap();
    assert_eq!(name_of(store.caller(Some(&key), day(2))), "one");
    assert!(store.error().is_none());
}

#[test]
fn a_change_of_the_file_takes_nothing_from_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    let limited = Key { requests_per_minute: NonZeroU32::new(1), ..wanted("one", Scope::Grade) };
    let key = create(&path, limited).unwrap();
    let (store, now) = (KeyStore::open(path.clone()), Instant::now());
    let caller = || store.caller(Some(&key), day(2)).unwrap().unwrap();
    caller().admit(true, now).unwrap().end(1, 20, 3, now);
    create(&path, wanted("two", Scope::Admin)).unwrap();
    assert!(caller().admit(true, now).is_err(), "it has used its minute");
    revoke(&path, "one").unwrap();
    assert!(store.on());
    let used = KeyUsage { requests: 1, judgements: 1, prompt_tokens: 20, completion_tokens: 3 };
    assert_eq!(store.unstored(), [("one".to_owned(), used), ("two".to_owned(), KeyUsage::default())]);
}

#[test]
fn tokens_limit_what_judges() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    let limited = Key { tokens_per_minute: NonZeroU32::new(60), ..wanted("one", Scope::Grade) };
    let key = create(&path, limited).unwrap();
    let (store, now) = (KeyStore::open(path), Instant::now());
    let caller = store.caller(Some(&key), day(2)).unwrap().unwrap();
    caller.admit(true, now).unwrap().end(1, 70, 20, now);
    assert_eq!(caller.admit(true, now).unwrap_err().wait, Duration::from_secs(31));
    assert!(caller.has_tokens(now).is_err());
    // Lines wait before they begin, and reading costs no tokens.
    caller.admit_line(now).end(1, 10, 0, now);
    caller.admit(false, now).unwrap().end(0, 0, 0, now);
    assert_eq!(caller.has_tokens(now).unwrap_err().wait, Duration::from_secs(41));
    assert_eq!(caller.has_tokens(now + Duration::from_secs(41)), Ok(()));
}

#[test]
fn an_administrator_may_do_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    let keys = [Scope::Grade, Scope::Admin].map(|scope| create(&path, wanted(scope.name(), scope)).unwrap());
    let store = KeyStore::open(path);
    let [grade, admin] = keys.map(|key| store.caller(Some(&key), day(2)).unwrap().unwrap());
    assert!(grade.may(Scope::Grade) && !grade.may(Scope::Admin) && !grade.may(Scope::Batch));
    assert!(admin.may(Scope::Grade) && admin.may(Scope::Admin) && admin.may(Scope::Review));
}
