//! The few agencies and agents that there are.

use std::{collections::HashMap, sync::LazyLock};

use serde_json::{Value, json};

static BY_PATH: LazyLock<HashMap<String, Value>> = LazyLock::new(by_path);

/// What `GET` finds at `path`.
pub(super) fn get(path: &str) -> Option<&'static Value> {
    BY_PATH.get(path)
}

fn by_path() -> HashMap<String, Value> {
    let mut found = HashMap::new();
    for agency in agencies() {
        let id = id_of(&agency);
        let agents = agents().into_iter().filter(|agent| agent["agencyId"] == id).collect();
        found.insert(format!("/v1/agencies/{id}/agents"), Value::Array(agents));
        found.insert(format!("/v1/agencies/{id}"), agency);
    }
    for agent in agents() {
        found.insert(format!("/v1/agents/{}", id_of(&agent)), agent);
    }
    found.insert("/v1/agencies".to_owned(), Value::Array(agencies()));
    found.insert("/v1/agents".to_owned(), Value::Array(agents()));
    found
}

fn id_of(entity: &Value) -> String {
    entity["id"].as_str().unwrap_or_default().to_owned()
}

fn agencies() -> Vec<Value> {
    vec![
        json!({ "id": "agency-1", "name": "Harbour Insurance", "npn": "1000001", "state": "MA", "status": "active" }),
        json!({ "id": "agency-2", "name": "Prairie Mutual Agency", "npn": "1000002", "state": "KS", "status": "active" }),
        json!({ "id": "agency-3", "name": "Old Mill Brokers", "npn": "1000003", "state": "VT", "status": "inactive" }),
    ]
}

fn agents() -> Vec<Value> {
    vec![
        json!({ "id": "agent-1", "agencyId": "agency-1", "firstName": "Ada", "lastName": "Marsh", "npn": "2000001" }),
        json!({ "id": "agent-2", "agencyId": "agency-1", "firstName": "Ben", "lastName": "Okafor", "npn": "2000002" }),
        json!({ "id": "agent-3", "agencyId": "agency-2", "firstName": "Carla", "lastName": "Nunez", "npn": "2000003" }),
        json!({ "id": "agent-4", "agencyId": "agency-3", "firstName": "Dov", "lastName": "Stein", "npn": "2000004" }),
    ]
}
