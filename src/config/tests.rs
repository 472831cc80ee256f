use super::*;

fn load(file: Option<&str>, environment: &[(&str, &str)], flags: &[(&str, String)]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gavel.toml");
    file.into_iter().for_each(|text| std::fs::write(&path, text).unwrap());
    let variables = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::layered(file.map(|_| path.as_path()), variables, flags)
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    assert_eq!(load(None, &[], &[]).unwrap().port, 8080);
    let file = Some("port = 1\n[limits]\nqueue = 7\n");
    assert_eq!(load(file, &[], &[]).unwrap().port, 1);
    let config = load(file, &[("GAVEL_PORT", "2"), ("GAVEL_LIMITS__IN_FLIGHT", "9")], &[]).unwrap();
    assert_eq!((config.port, config.limits.queue, config.limits.in_flight), (2, 7, 9));
    assert_eq!(load(file, &[("GAVEL_PORT", "2")], &[("port", "3".into())]).unwrap().port, 3);
    assert_eq!(load(None, &[("GAVEL_DATA_DIR", "/x")], &[]).unwrap().data_dir, Path::new("/x"));
}

#[test]
fn variables_of_others_are_ignored_and_named() {
    let foreign = [("GAVEL_SERVICE_HOST", "10.0.0.1"), ("GAVEL_PORT", "tcp://10.0.0.1:8080"), ("GAVEL_LOG", "x")];
    let config = load(None, &foreign, &[]).unwrap();
    assert_eq!(config.ignored_variables, ["GAVEL_LOG", "GAVEL_PORT", "GAVEL_SERVICE_HOST"]);
    assert_eq!(config.port, 8080);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("named.toml");
    std::fs::write(&path, "port = 4").unwrap();
    assert_eq!(load(None, &[("GAVEL_CONFIG", path.to_str().unwrap())], &[]).unwrap().port, 4);
}

#[test]
fn without_a_model_it_is_the_default_judge() {
    assert_eq!(load(None, &[], &[]).unwrap().model, crate::models::DEFAULT_MODEL);
    assert_eq!(load(None, &[("GAVEL_MODEL", "")], &[]).unwrap().model, crate::models::DEFAULT_MODEL);
    assert_eq!(load(None, &[("GAVEL_MODEL", "x")], &[]).unwrap().model, "x");
}

#[test]
fn the_hub_is_where_hugging_faces_own_tools_find_it() {
    let from = |all: &[(&str, &str)]| {
        let all = all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::layered(None, all, &[]).unwrap().hub
    };
    let hub = from(&[("HF_ENDPOINT", "http://mirror.test"), ("HF_TOKEN", "hf_secret"), ("HF_HOME", "/hf")]);
    assert_eq!((hub.endpoint.as_str(), hub.token.reveal()), ("http://mirror.test", "hf_secret"));
    assert_eq!(hub.cache_dir, Path::new("/hf/hub"));
    assert!(!format!("{hub:?}").contains("hf_secret"));
    let hub = from(&[("HF_HUB_CACHE", "/b"), ("HF_HOME", "/hf"), ("GAVEL_HUB__ENDPOINT", "http://ours.test")]);
    assert_eq!((hub.endpoint.as_str(), hub.cache_dir.as_path()), ("http://ours.test", Path::new("/b")));
    assert_eq!(from(&[("XDG_CACHE_HOME", "/c")]).cache_dir, Path::new("/c/huggingface/hub"));
    assert_eq!(from(&[]).endpoint, "https://huggingface.co");
}

#[test]
fn several_models_and_which_comes_first() {
    let file = "[[models]]\nmodel = \"smollm2-135m\"\n[[models]]\nname = \"big\"\nmodel = \"hf:o/n/b.gguf\"\n\
                load = \"first_use\"\n[models.llama_cpp]\nkv_tokens = 9\n[models.mistralrs]\nisq = \"q4k\"\n";
    let names = |config: Config| config.models.iter().map(ModelConfig::name).collect::<Vec<_>>();
    let config = load(Some(file), &[], &[]).unwrap();
    let sizes = config.models[1].llama_cpp.over(&config.llama_cpp);
    assert_eq!((sizes.kv_tokens, sizes.sequences), (9, config.llama_cpp.sequences));
    let sizes = config.models[1].mistralrs.over(&config.mistralrs);
    assert_eq!((sizes.isq.as_str(), sizes.kv_tokens), ("q4k", config.mistralrs.kv_tokens));
    assert_eq!(config.models[0].mistralrs.over(&config.mistralrs), config.mistralrs);
    assert_eq!(config.models[1].load, LoadWhen::FirstUse);
    assert_eq!(names(config), ["smollm2-135m", "big"]);
    assert_eq!(names(load(Some(file), &[], &[("model", "big".into())]).unwrap()), ["big", "smollm2-135m"]);
    let config = load(Some(file), &[("GAVEL_MODEL", "./x.gguf")], &[]).unwrap();
    assert_eq!((config.model.clone(), names(config)), ("./x.gguf".into(), vec![]));
}

#[test]
fn a_judge_models_model_is_one_that_is_there() {
    let judge = |model: &str| {
        format!("\n[[judges]]\nname = \"mine\"\nmodel = \"{model}\"\nsteps = [{{ choose = [\"a\", \"b\"] }}]\n")
    };
    let two = "[[models]]\nname = \"one\"\n[[models]]\nname = \"two\"\n";
    let check = |models: &str, model: &str, flags: &[(&str, String)]| {
        load(Some(&format!("{models}{}", judge(model))), &[], flags).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(check(two, "two", &[]), Ok(()));
    let error = check(two, "twoo", &[]).unwrap_err();
    assert!(error.ends_with("gavel.toml: [[judges]] mine: there is no model `twoo`; there are: one, two"), "{error}");
    // A single model, by its own name.
    assert_eq!(check("model = \"./my/judge.gguf\"", "judge", &[]), Ok(()));
    assert!(check("model = \"./my/judge.gguf\"", "two", &[]).unwrap_err().contains("there are: judge"));
    assert_eq!(check("engine = \"scripted\"", "scripted", &[]), Ok(()));
    // A model of the command line takes the place of all.
    assert_eq!(check(two, "two", &[("model", "three".into())]), Ok(()));
    assert_eq!(check(two, "three", &[("model", "three".into())]), Ok(()));
    assert!(check(two, "twoo", &[("model", "three".into())]).is_err());
}

#[test]
fn servers_are_named_in_the_environment_and_so_are_their_keys() {
    let all = [
        ("GAVEL_ENGINE", "remote"),
        ("GAVEL_REMOTE__URLS", "http://a:8000/v1, http://b:8000/"),
        ("GAVEL_REMOTE__API_KEY", "s3cret"),
        ("GAVEL_REMOTE__HEADERS", "X-Team: t3am; X-Other: a:b"),
        ("OTHER_KEY", "0ther"),
    ];
    let config = load(None, &all, &[]).unwrap();
    assert_eq!((config.model.as_str(), config.model_names()), ("", vec!["remote".to_owned()]));
    assert_eq!(config.remote.urls.0, ["http://a:8000", "http://b:8000"]);
    assert_eq!(config.remote.api_key.reveal(), "s3cret");
    let headers = config.remote.header_list().unwrap();
    assert_eq!(headers, [("X-Team".to_owned(), "t3am".to_owned()), ("X-Other".into(), "a:b".into())]);
    assert!(!format!("{config:?}").contains("s3cret") && !format!("{config:?}").contains("t3am"));
    let two = "engine = \"remote\"\n[[models]]\nname = \"a\"\n[[models]]\nname = \"b\"\n[models.remote]\n\
               urls = [\"https://c\"]\napi_key_env = \"OTHER_KEY\"\n";
    let config = load(Some(two), &all, &[]).unwrap();
    let of = |index: usize| config.models[index].remote.over(&config.remote);
    assert_eq!((of(0).urls.0.len(), of(0).api_key.reveal()), (2, "s3cret"));
    assert_eq!((of(1).urls.0, of(1).api_key.reveal().to_owned()), (vec!["https://c".to_owned()], "0ther".to_owned()));
    let check = |file: &str, environment: &[(&str, &str)], expected: &str| {
        let error = load(Some(file), environment, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("engine = \"remote\"", &[], "remote.urls is empty");
    check("engine = \"remote\"\n[remote]\nurls = \"host:1\"", &[], "must begin with http://");
    check("engine = \"remote\"\noffline = true\n[remote]\nurls = \"http://host:1\"", &[], "offline");
    check("[remote]\napi_key = \"x\"", &[], "remote.api_key must not be in a configuration file");
    check(two, &all[..2], "OTHER_KEY");
    check("[[models]]\nname = \"a\"\nengine = \"remote\"\n", &[], "[[models]] a: remote.urls");
}

#[test]
fn a_jury_can_decide_and_its_models_are_there() {
    let check = |jury: &str, expected: Result<(), &str>| {
        let file = format!("[[models]]\nname = \"one\"\n[[models]]\nname = \"two\"\n[juries.house]\n{jury}");
        let loaded = load(Some(&file), &[], &[]).map(drop).map_err(|error| error.to_string());
        match (&loaded, expected) {
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (loaded, expected) => assert_eq!(loaded.is_ok(), expected.is_ok(), "{loaded:?}"),
        }
    };
    let two = "judges = [\"one\", { model = \"two\", prompt = \"plain\", annotator = \"parent\", weight = 2.0 }]\n";
    check(two, Ok(()));
    check(&format!("{two}combine = \"weighted\"\nquorum = 1\nnoise = {{ flip = 0.25, seed = 1 }}\n"), Ok(()));
    check(
        "judges = [\"one\", \"twoo\"]",
        Err("[juries.house] judges/1: there is no model `twoo` (did you mean `two`?)"),
    );
    check("judges = []", Err("[juries.house] judges: is empty"));
    check("judges = [\"one\", {}]", Err("[juries.house] judges/1: has the model"));
    check(&format!("{two}quorum = 3\n"), Err("[juries.house] quorum: is 3"));
    check(&format!("{two}combine = \"mean\"\n"), Err("[juries.house] judges/1/weight: weights count only with"));
    check(&format!("{two}combine = \"median\"\n"), Err("unknown variant `median`, expected one of `mean`"));
    check("judges = [{ model = \"one\", weight = 0 }]", Err("[juries.house] judges/0/weight: is 0"));
    check("judges = [{ modle = \"one\" }]", Err("modle"));
    check("judges = [7]", Err("the name of a model, or a table"));
    check(&format!("{two}noise = {{ flip = 2.0 }}\n"), Err("[juries.house] noise/flip: is 2"));
}

#[test]
fn a_router_has_a_share_for_people() {
    let check = |router: &str, expected: Result<(), &str>| {
        let loaded = load(Some(&format!("[routers.house]\n{router}")), &[], &[]);
        match (loaded.map(|config| config.routers["house"].cut()), expected) {
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (loaded, expected) => assert_eq!(loaded.map_err(|error| error.to_string()).is_ok(), expected.is_ok()),
        }
    };
    check("", Ok(()));
    check("budget = 0", Ok(()));
    check("budget = 1.0\nenqueue = true\nreviewers = 20", Ok(()));
    check("threshold = 0.6", Ok(()));
    check("budget = -0.1", Err("[routers.house] budget is -0.1; it must be between 0 and 1"));
    check("budget = 1.1", Err("[routers.house] budget is 1.1"));
    check("threshold = nan", Err("[routers.house] threshold is NaN"));
    check("budget = 0.5\nthreshold = 0.5", Err("[routers.house] threshold set one of budget and threshold"));
    check("enqueue = true\nreviewers = 0", Err("[routers.house] reviewers must be 1 to 20"));
    check("reviewers = 21", Err("[routers.house] reviewers must be 1 to 20"));
    check("buget = 0.5", Err("did you mean `budget`?"));
}

#[test]
fn mistakes_name_their_key() {
    let check = |file: &str, word: &str| {
        let error = load(Some(file), &[], &[]).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    check("prot = 1", "unknown key `prot`; did you mean `port`?");
    check("[limts]\nqueue = 1", "unknown key `limts`; did you mean `limits`?");
    check("[limits]\nqeue = 1", "unknown key `limits.qeue`; did you mean `queue`?");
    check("queue = 1", "unknown key `queue`; did you mean `limits.queue`?");
    check("[log]\ncolour = true", "unknown key `log.colour`; the keys are format, level");
    check("[[models]]\nname = \"a\"\n[models.llama_cpp]\nkv_token = 3", "unknown key `models[0].llama_cpp.kv_token`");
    check("[[judges]]\nname = \"a\"", "the key `judges[0].steps` is missing");
    check("port = ", "line 1, column 8");
    check("port = \"many\"", "port");
    check("engine = \"gpt\"", "unknown variant `gpt`, expected one of `auto`, `llama-cpp`");
    check("[log]\nformat = \"yaml\"", "unknown variant `yaml`, expected `text` or `json`");
    check("port = 99999", "a number from 0 to 65535");
    check("[llama_cpp]\nsequences = 0", "llama_cpp.sequences");
    check("[llama_cpp]\nstep_tokens = 1", "llama_cpp.step_tokens");
    check("[grading]\nmin_label_mass = 1.5", "grading.min_label_mass");
    check("[limits]\nbulk_items = 0", "limits.bulk_items");
    check("[traces]\nsample_ratio = 1.5", "traces.sample_ratio");
    check("[traces]\nendpoint = \"localhost:4318\"", "traces.endpoint");
    check("[[models]]\nmodel = \"a\"\n[[models]]\nname = \"a\"", "two entries named `a`");
    check("[[models]]\nload = \"start\"", "neither");
    check("[[models]]\nname = \"a\"\nload = \"soon\"", "soon");
    check("[[models]]\nname = \"a\"\nsize = 1", "size");
    check("[[models]]\nname = \"a\"\n[models.llama_cpp]\nkv_tokens = 0", "a: llama_cpp");
    check("[[models]]\nname = \"a\"\n[models.mistralrs]\nsequences = 0", "a: mistralrs");
    check("[[models]]\nname = \"a\"\n[models.mistralrs]\nsize = 0", "size");
}

#[test]
fn mistakes_name_where_they_are() {
    let check =
        |file: Option<&str>, environment: &[(&str, &str)], flags: &[(&str, String)], of_file: bool, says: &str| {
            let error = load(file, environment, flags).unwrap_err().to_string();
            assert_eq!(error.contains("gavel.toml: "), of_file, "{error}");
            assert!(error.contains(says) && error.matches("gavel.toml").count() <= 1, "{error}");
        };
    check(Some("prot = 1"), &[], &[], true, "prot");
    check(Some("port = "), &[], &[], true, "line 1");
    check(Some("port = \"many\""), &[], &[], true, "expected an integer for key `port`");
    check(Some("port = 99999"), &[], &[], true, "65535 for key `port`");
    check(Some("[llama_cpp]\nsequences = 0"), &[], &[], true, "llama_cpp.sequences must be");
    check(Some("[remote]\napi_key = \"x\""), &[], &[], true, "remote.api_key must not");
    check(Some("[[models]]\nload = \"start\""), &[], &[], true, "[[models]]");
    // A variable or a flag takes precedence over the file, so it is at fault.
    let port = [("GAVEL_PORT", "many")];
    check(Some("port = 1"), &port, &[], false, "expected an integer for GAVEL_PORT");
    check(None, &port, &[], false, "expected an integer for GAVEL_PORT");
    check(Some("port = 1"), &[("GAVEL_LLAMA_CPP__SEQUENCES", "0")], &[], false, "llama_cpp.sequences must be");
    check(Some("port = 1"), &[], &[("port", "many".into())], false, "port");
}

#[test]
fn the_page_of_settings_is_up_to_date() {
    let page = include_str!("../../docs/configuration.md");
    assert_eq!(page, reference(), "run `gavel docs configuration > docs/configuration.md`");
}
