//! Cases: the files that are shipped parse and mean what they say; the
//! documentation names every key and preset.

use std::{fs, path::PathBuf};

use super::*;

fn parse(text: &str) -> Config {
    Config::parse(text, "test.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn shipped(file: &str) -> Config {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../configs")).join(file);
    Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A service by name: ports, connections, quota count and burst.
fn limits<'a>(config: &'a Config, name: &str) -> (&'a [u16], u32, u32, u32) {
    let service = config.services.iter().find(|service| service.name == name).unwrap();
    let quota = service.new_connections_per_source;
    assert_eq!(quota.period, Period::Minute);
    (&service.ports, service.connections_per_source, quota.count, quota.burst)
}

/// The default file holds the defaults that a mail administrator expects, and only observes.
#[test]
fn the_default_file_has_the_defaults() {
    let config = shipped("limiter.toml");
    assert_eq!(limits(&config, "smtp"), (&[25][..], 50, 600, 100));
    assert_eq!(limits(&config, "submission"), (&[465, 587][..], 100, 300, 60));
    assert_eq!(limits(&config, "imap"), (&[143, 993][..], 300, 600, 200));
    assert_eq!(limits(&config, "pop"), (&[110, 995][..], 50, 300, 60));
    assert_eq!(limits(&config, "sieve"), (&[4190][..], 20, 60, 20));
    assert!(config.services.iter().all(|service| service.mode == Mode::Observe));
    assert!(config.services.iter().all(|service| service.connections_total == 0));
    let bare = parse("[[service]]\nname = \"smtp\"\nports = [25]\n");
    assert_eq!(config.source, bare.source);
    assert_eq!(config.runtime, bare.runtime);
    assert_eq!(config.breaker, bare.breaker);
    assert_eq!(config.witness, bare.witness);
    assert_eq!((config.interfaces, config.attach), (bare.interfaces, bare.attach));
}

/// What is commented out in the default file is right as well.
#[test]
fn the_commented_examples_parse() {
    let text = shipped("limiter.toml").file.text.replace("# [[", "[[");
    let keys = ["name", "prefixes", "exempt", "deny", "services", "connections_total", "addresses"];
    let limits = ["connections_per_source", "new_connections_per_source"];
    let text = keys
        .into_iter()
        .chain(limits)
        .fold(text, |text, key| text.replace(&format!("# {key} = "), &format!("{key} = ")));
    let config = parse(&text);
    let names: Vec<_> = config.classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["balancer", "webmail", "abusers"]);
    assert_eq!(config.services[0].connections_total, 1_000);
    assert_eq!((config.upstreams.len(), config.upstreams[0].addresses.len()), (1, 2));
}

/// The examples parse, enforce, and warn of nothing.
#[test]
fn the_examples_parse() {
    for file in ["mx.toml", "submission.toml", "imap.toml"] {
        let config = shipped(&format!("examples/{file}"));
        assert!(config.services.iter().any(|service| service.mode == Mode::Enforce), "{file} enforces");
        assert_eq!(config.warnings(), Vec::<String>::new(), "{file}");
    }
    assert_eq!(shipped("examples/mx.toml").presets(), [&preset::ALL[0]]);
}

/// Half a file, or one with a byte changed, gives a configuration or errors with places, never a panic.
#[test]
fn damaged_files_are_errors_with_places() {
    let text = shipped("examples/mx.toml").file.text;
    let check = |damaged: &str| {
        if let Err(errors) = Config::parse(damaged, "test.toml") {
            assert!(errors.iter().all(|error| error.place.is_some()), "{errors}");
            assert!(!errors.to_string().is_empty());
        }
    };
    for at in 0..text.len() {
        check(&text[..at]);
        for byte in ["\0", "\"", "[", "]", "{", "=", "\n", "0", "-", "\u{e4}"] {
            check(&format!("{}{byte}{}", &text[..at], &text[at + 1..]));
        }
    }
}

/// docs/configuration.md names every key that there is.
#[test]
fn every_key_is_documented() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md"));
    let docs = fs::read_to_string(path).unwrap();
    for section in schema::ALL {
        for key in section.keys {
            assert!(docs.contains(&format!("`{}`", key.name)), "`{}` of {}", key.name, section.title);
        }
    }
    for preset in preset::ALL {
        let (year, month, day) = preset.dated;
        assert!(docs.contains(&format!("`preset:{}`", preset.name)), "{}", preset.name);
        assert!(docs.contains(&format!("{year}-{month:02}-{day:02}")), "date of {}", preset.name);
        for prefix in preset.prefixes {
            assert!(docs.contains(&prefix.to_string().replace("/32", "")), "{prefix} of {}", preset.name);
        }
    }
}
