//! The few agencies and agents that there are.

use serde_json::{Value, json};

/// What `GET` finds at `path`.
pub(super) fn get(path: &str) -> Option<Value> {
    let mut segments = path.strip_prefix("/v1/")?.split('/');
    let found = match (segments.next()?, segments.next(), segments.next()) {
        ("agencies", None, None) => Value::Array(agencies()),
        ("agencies", Some(id), None) => with_id(agencies(), id)?,
        ("agencies", Some(id), Some("agents")) => {
            with_id(agencies(), id)?;
            Value::Array(agents().into_iter().filter(|agent| agent["agencyId"] == id).collect())
        }
        ("agents", None, None) => Value::Array(agents()),
        ("agents", Some(id), None) => with_id(agents(), id)?,
        _ => return None,
    };
    segments.next().is_none().then_some(found)
}

fn with_id(entities: Vec<Value>, id: &str) -> Option<Value> {
    entities.into_iter().find(|entity| entity["id"] == id)
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
