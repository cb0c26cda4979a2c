//! What two runs were asked otherwise: model, routers and settings, field by field.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::trace::Header;

/// A field that differs, in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldDifference {
    /// `settings.budget`, `model.sha256`, `device` …
    pub name: String,
    /// In the earlier run.
    pub before: Value,
    /// In the later run.
    pub after: Value,
}

impl FieldDifference {
    /// What it belongs to: `model`, `routers`, `settings`, `branch`, `device` or `version`.
    pub fn group(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }
}

/// The fields of two headers that differ, but for prompt, decisions and times. A model of another
/// name with the same sha256 is the same, and so are routers, whose fields all follow from the file.
pub fn changed_fields(before: &Header, after: &Header) -> Vec<FieldDifference> {
    let value = |header: &Header| {
        let mut groups = serde_json::json!({
            "version": header.version,
            "device": header.device,
            "model": header.model,
            "routers": header.routers,
            "settings": header.settings,
            "branch": header.branch,
        });
        groups.as_object_mut().map(std::mem::take).unwrap_or_default()
    };
    let (before, after) = (value(before), value(after));
    let mut fields = Vec::new();
    for (group, before) in &before {
        let after = &after[group];
        let (Some(a), Some(b)) = (before.as_object(), after.as_object()) else {
            fields.extend(changed(group, before, after));
            continue;
        };
        let same_file = a.contains_key("sha256") && a.get("sha256") == b.get("sha256");
        let is_same = |key: &str| same_file && (group == "routers" || key == "name");
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).filter(|key| !is_same(key)).collect();
        let value = |of: &Map<String, Value>, key: &str| of.get(key).cloned().unwrap_or_default();
        fields.extend(
            names
                .into_iter()
                .filter_map(|key| changed(&format!("{group}.{key}"), &value(a, key), &value(b, key))),
        );
    }
    fields
}

fn changed(name: &str, before: &Value, after: &Value) -> Option<FieldDifference> {
    (before != after).then(|| FieldDifference {
        name: name.to_owned(),
        before: before.clone(),
        after: after.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::BranchPoint;
    use crate::tui::fixture;

    #[test]
    fn fields_that_differ_are_named() {
        let before = fixture::trace(7, 1).header;
        let mut after = before.clone();
        after.model.name = "renamed".into();
        // What a later version knows of the same routers is no difference.
        after.routers.as_mut().unwrap().method = Some("depth".into());
        assert_eq!(changed_fields(&before, &after), []);
        after.settings.budget = Some(24);
        after.settings.kv = crate::trace::KvMode::Fill;
        after.settings.pins = vec!["7=skip".parse().unwrap()];
        after.settings.sampling.seed = 1;
        after.model.sha256 = "ff".into();
        after.routers = None;
        after.device = "cuda:0".into();
        after.branch = Some(BranchPoint { at: 12, forced: 1 });
        let fields = changed_fields(&before, &after);
        let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "device",
                "model.name",
                "model.sha256",
                "routers",
                "settings.budget",
                "settings.kv",
                "settings.pins",
                "settings.seed",
                "branch"
            ]
        );
        let budget = fields.iter().find(|f| f.name == "settings.budget").unwrap();
        assert_eq!((&budget.before, &budget.after), (&Value::Null, &Value::from(24)));
        assert_eq!(budget.group(), "settings");
    }
}
