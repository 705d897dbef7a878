//! The Grafana dashboard: structure, layout, queries.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use limiter_tests::record::{PROMTOOL, RULES, check_rules_in};
use limiter_tests::require;
use serde_json::Value;

const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/grafana/limiter.json");

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// What every query goes to: the data source that is chosen in the dashboard.
const SOURCE: &str = "${datasource}";

fn dashboard() -> Value {
    let text = fs::read_to_string(DASHBOARD).unwrap_or_else(|e| panic!("reading {DASHBOARD}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{DASHBOARD}: {e}"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("{name} is a list in {value}"))
}

fn targets(dashboard: &Value) -> Vec<&Value> {
    let panels = list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row");
    panels.flat_map(|panel| list(panel, "targets")).collect()
}

/// Every query of panels, annotations and variables.
pub(super) fn queries() -> Vec<String> {
    let dashboard = dashboard();
    let variables = list(&dashboard["templating"], "list").iter().filter_map(|v| v["definition"].as_str());
    let annotations = list(&dashboard["annotations"], "list").iter().filter_map(|a| a["expr"].as_str());
    let panels = targets(&dashboard).into_iter().filter_map(|target| target["expr"].as_str());
    panels.chain(annotations).chain(variables).map(str::to_owned).collect()
}

/// It has what Grafana asks of a dashboard to import, and variables for data source, host and service.
#[test]
fn it_can_be_imported() {
    let dashboard = dashboard();
    assert_eq!(dashboard["title"], "limiter");
    assert!(dashboard["uid"].is_string() && dashboard["schemaVersion"].is_u64());
    assert!(dashboard.get("id").is_none(), "an id is that of one Grafana");
    let variables = list(&dashboard["templating"], "list");
    let names: Vec<_> = variables.iter().map(|variable| (&variable["name"], &variable["type"])).collect();
    let wanted = [("datasource", "datasource"), ("instance", "query"), ("service", "query")];
    assert!(
        names.iter().zip(wanted).all(|(found, (name, kind))| *found.0 == name && *found.1 == kind),
        "{names:?}"
    );
    let sources =
        variables.iter().skip(1).chain(targets(&dashboard)).chain(list(&dashboard["annotations"], "list"));
    for asked in sources {
        assert_eq!(asked["datasource"]["uid"], SOURCE, "{asked}");
    }
}

/// Panels have ids of their own, titles and queries, and lie beside each other.
#[test]
fn panels_do_not_overlap() {
    let dashboard = dashboard();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard, "panels") {
        let title = panel["title"].as_str().unwrap_or_default();
        assert!(
            !title.is_empty() && ids.insert(panel["id"].as_u64()),
            "{title} has a title and an id of its own"
        );
        let place =
            |name: &str| panel["gridPos"][name].as_u64().unwrap_or_else(|| panic!("{title} has {name}"));
        let (x, y, width, height) = (place("x"), place("y"), place("w"), place("h"));
        assert!(x + width <= COLUMNS, "{title} is within {COLUMNS} columns");
        for cell in (y..y + height).flat_map(|y| (x..x + width).map(move |x| (x, y))) {
            assert!(taken.insert(cell), "{title} lies on another panel at {cell:?}");
        }
        assert!(panel["type"] == "row" || !list(panel, "targets").is_empty(), "{title} asks for something");
    }
}

/// Queries are valid, and those about services follow the variable.
#[test]
fn queries_are_promql() {
    require!(PROMTOOL);
    let dashboard = dashboard();
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (n, target) in targets(&dashboard).into_iter().enumerate() {
        let query = target["expr"].as_str().unwrap_or_default();
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        assert!(!legend.contains("{{service}}") || query.contains("service=~\"$service\""), "{query}");
        assert!(!query.contains("limiter_") || query.contains("instance=~\"$instance\""), "{query}");
        let query = query.replace("$__rate_interval", "1m").replace('\'', "''");
        writeln!(rules, "  - record: query:{n}\n    expr: '{query}'").expect("writing to a string succeeds");
    }
    let directory = tempfile::tempdir().expect("creating a directory");
    let file = directory.path().join("queries.yml");
    fs::write(&file, rules).expect("writing queries as rules");
    check_rules_in(&file).unwrap_or_else(|said| panic!("{said}"));
}

/// What the rules record and the dashboard shows is recorded.
#[test]
fn recorded_series_exist() {
    let rules = fs::read_to_string(RULES).expect("reading the rules");
    for query in queries() {
        let recorded = query.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
        for name in recorded.filter(|name| name.starts_with("limiter:")) {
            assert!(rules.contains(&format!("- record: {name}\n")), "{name} is recorded");
        }
    }
}
