//! What checking arguments against a JSON schema may cost, known before anything is compiled or checked.
//!
//! A schema of some kilobytes can stand for more nodes than there are atoms: each definition refers twice to the next one. And a
//! schema that refers to itself twice at one place takes two to the power of the arguments' depth. Validators follow both to the
//! end. So [`check`] bounds a schema with its references written out, and [`check_cost`] bounds the schema together with the
//! arguments. Both stop at their bound, so they take bounded time whatever they are given. Nothing here validates.

use crate::canonical;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Nodes of a schema when every reference is replaced by what it refers to, once around each recursion.
pub const EXPANDED_NODES_MAX: usize = 2_000;
/// Schemas within one another, through references. Validators recurse, and their stack is bounded.
pub const NESTING_MAX: usize = 100;
/// Nodes of a schema applied to places in the arguments, with every alternative tried.
pub const CHECK_STEPS_MAX: usize = 100_000;
/// Schemas within one another when applied to arguments: a schema that refers to itself goes as deep as they do.
const APPLIED_NESTING_MAX: usize = 160;

/// Keywords whose schemas see the same place as the schema that they stand in, by the form of their value.
const SAME_PLACE: [&str; 9] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"];
/// Keywords whose schemas see the items of a list.
const ITEMS: [&str; 5] = ["items", "prefixItems", "additionalItems", "contains", "unevaluatedItems"];
/// Keywords whose schemas see the fields of an object.
const FIELDS: [&str; 5] = ["properties", "patternProperties", "additionalProperties", "propertyNames", "unevaluatedProperties"];
/// Keywords that refer to another schema.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
/// Keywords that look at all schemas of the same place again for every item or field.
const UNEVALUATED: [&str; 2] = ["unevaluatedItems", "unevaluatedProperties"];

/// Refuses the schema of a tool's arguments that could not be checked in bounded time.
///
/// # Errors
/// In words: what is wrong, the bound, and what to do.
pub fn check(text: &str) -> Result<(), String> {
    canonical::json(text)?;
    let root: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    if !root.is_object() {
        return Err("want a JSON object".to_owned());
    }
    let mut walk = Walk { document: Document::new(&root), nodes: 0, is_too_deep: false, path: Vec::new() };
    walk.visit(&root, 0, false)?;
    if walk.is_too_deep {
        let problem = "with every reference written out schemas lie deeper in one another than";
        return Err(format!("{problem} {NESTING_MAX}; make it flatter"));
    }
    Ok(())
}

/// Refuses arguments whose check against `schema` would take too long.
///
/// # Errors
/// In words for the model.
pub fn check_cost(schema: &Value, arguments: &Value) -> Result<(), String> {
    let mut cost = Cost { document: Document::new(schema), steps: 0 };
    cost.visit(schema, arguments, 0)
}

/// A schema whose references can be followed.
struct Document<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
}

impl<'a> Document<'a> {
    fn new(root: &'a Value) -> Self {
        let mut anchors = HashMap::new();
        let mut open = vec![root];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(fields) => {
                    for keyword in ["$anchor", "$dynamicAnchor"] {
                        anchors.extend(fields.get(keyword).and_then(Value::as_str).map(|name| (name, value)));
                    }
                    open.extend(fields.values());
                }
                Value::Array(items) => open.extend(items),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        Self { root, anchors }
    }

    /// What a reference refers to. Other documents are not read.
    fn target(&self, reference: &str) -> Result<&'a Value, String> {
        let Some(place) = reference.strip_prefix('#') else {
            return Err(format!(
                "the reference {} leads to another document; write what it means under $defs",
                quoted(reference)
            ));
        };
        let found = if place.is_empty() || place.starts_with('/') {
            percent_decoded(place).and_then(|place| self.root.pointer(&place))
        } else {
            self.anchors.get(place).copied()
        };
        found.ok_or_else(|| format!("the reference {} leads nowhere", quoted(reference)))
    }

    fn targets(&self, fields: &'a Map<String, Value>) -> Result<Vec<&'a Value>, String> {
        let references = REFERENCES.iter().filter_map(|keyword| fields.get(*keyword).and_then(Value::as_str));
        references.map(|reference| self.target(reference)).collect()
    }
}

/// The schema with its references written out.
struct Walk<'a> {
    document: Document<'a>,
    nodes: usize,
    is_too_deep: bool,
    path: Vec<Place<'a>>,
}

/// A schema on the way to the one at hand.
struct Place<'a> {
    schema: &'a Value,
    /// How far into the arguments it looks.
    depth: usize,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, schema: &'a Value, depth: usize, unevaluated: bool) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > EXPANDED_NODES_MAX {
            let problem = "with every reference written out the schema has more than";
            return Err(format!("{problem} {EXPANDED_NODES_MAX} nodes; make it smaller, or refer less often to what refers on"));
        }
        if let Some(place) = self.path.iter().rev().find(|place| std::ptr::eq(place.schema, schema)) {
            let stands_still = place.depth == depth;
            return if stands_still {
                Err("a reference leads back to itself without going into the arguments; remove the loop".to_owned())
            } else {
                Ok(())
            };
        }
        if self.path.len() >= NESTING_MAX {
            // Said in the end: that there are too many nodes says more.
            self.is_too_deep = true;
            return Ok(());
        }
        let Value::Object(fields) = schema else { return Ok(()) };
        if !self.path.is_empty()
            && (fields.get("$id").is_some_and(Value::is_string)
                || fields.get("id").is_some_and(|id| id.as_str().is_some_and(|id| id.contains(':'))))
        {
            return Err("a schema within the schema has an $id of its own, which moves its references; remove it".to_owned());
        }
        let looks_again = UNEVALUATED.iter().any(|keyword| fields.contains_key(*keyword));
        if looks_again && unevaluated {
            return Err("unevaluatedItems and unevaluatedProperties may not lie in one another at one place; keep the outer one"
                .to_owned());
        }
        self.path.push(Place { schema, depth });
        for target in self.document.targets(fields)? {
            self.visit(target, depth, unevaluated || looks_again)?;
        }
        for keyword in SAME_PLACE {
            for inner in schemas_of(fields, keyword) {
                self.visit(inner, depth, unevaluated || looks_again)?;
            }
        }
        for keyword in ITEMS.into_iter().chain(FIELDS) {
            for inner in schemas_of(fields, keyword) {
                self.visit(inner, depth + 1, false)?;
            }
        }
        self.path.pop();
        Ok(())
    }
}

/// The schema applied to arguments, every alternative tried.
struct Cost<'a> {
    document: Document<'a>,
    steps: usize,
}

impl<'a> Cost<'a> {
    fn visit(&mut self, schema: &'a Value, place: &Value, nesting: usize) -> Result<(), String> {
        self.steps += weight(schema);
        if self.steps > CHECK_STEPS_MAX {
            return Err(format!(
                "checking the arguments against the tool's schema would take more than {CHECK_STEPS_MAX} steps; send less at once"
            ));
        }
        if nesting > APPLIED_NESTING_MAX {
            return Err("the arguments lie too deep in one another for the tool's schema; make them flatter".to_owned());
        }
        let Value::Object(fields) = schema else { return Ok(()) };
        let children = match place {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        };
        let looks_again = UNEVALUATED.iter().any(|keyword| fields.contains_key(*keyword));
        for _ in 0..if looks_again { children + 1 } else { 1 } {
            for target in self.document.targets(fields)? {
                self.visit(target, place, nesting + 1)?;
            }
            for inner in SAME_PLACE.iter().flat_map(|keyword| schemas_of(fields, keyword)) {
                self.visit(inner, place, nesting + 1)?;
            }
        }
        match place {
            Value::Array(items) => {
                let schemas: Vec<_> = ITEMS.iter().flat_map(|keyword| schemas_of(fields, keyword)).collect();
                for item in items {
                    for inner in &schemas {
                        self.visit(inner, item, nesting + 1)?;
                    }
                }
                Ok(())
            }
            Value::Object(values) => self.visit_fields(fields, values, nesting),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn visit_fields(
        &mut self,
        fields: &'a Map<String, Value>,
        values: &Map<String, Value>,
        nesting: usize,
    ) -> Result<(), String> {
        let named = fields.get("properties").and_then(Value::as_object);
        let others: Vec<_> = FIELDS.iter().skip(1).flat_map(|keyword| schemas_of(fields, keyword)).collect();
        for (name, value) in values {
            // A field's name is counted as large as its value: a pattern looks at it.
            for inner in named.and_then(|named| named.get(name)).into_iter().chain(others.iter().copied()) {
                self.visit(inner, value, nesting + 1)?;
            }
        }
        Ok(())
    }
}

/// What a schema costs at one place beside the schemas in it: its keywords and the values that they list.
fn weight(schema: &Value) -> usize {
    let Value::Object(fields) = schema else { return 1 };
    let listed = |keyword: &str| match fields.get(keyword) {
        Some(Value::Array(values)) => values.len(),
        _ => 0,
    };
    1 + fields.len() / 4
        + listed("enum") / 4
        + listed("required") / 4
        + usize::from(fields.contains_key("pattern")) * 10
        + fields.get("patternProperties").and_then(Value::as_object).map_or(0, |patterns| patterns.len() * 10)
}

/// The schemas under a keyword: one, a list, or one under each name.
fn schemas_of<'a>(fields: &'a Map<String, Value>, keyword: &str) -> Vec<&'a Value> {
    let by_name = ["properties", "patternProperties", "dependentSchemas", "dependencies"].contains(&keyword);
    match fields.get(keyword) {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(Value::Object(named)) if by_name => named.values().collect(),
        Some(schema @ (Value::Object(_) | Value::Bool(_))) => vec![schema],
        Some(Value::Null | Value::Number(_) | Value::String(_)) | None => Vec::new(),
    }
}

/// Two hex digits after each percent sign; nothing when it is malformed.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A reference in an error, cut.
fn quoted(reference: &str) -> String {
    format!("{:?}", crate::text::one_line(reference, 100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problem(schema: &Value) -> String {
        check(&schema.to_string()).err().unwrap_or_default()
    }

    /// Each definition refers twice to the next one: 2^levels nodes.
    fn doubling(levels: usize, keyword: &str) -> Value {
        let next = |level: usize| json!({ "$ref": format!("#/$defs/d{level}") });
        let mut defs = Map::new();
        for level in 0..levels {
            defs.insert(format!("d{level}"), json!({ keyword: [next(level + 1), next(level + 1)] }));
        }
        defs.insert(format!("d{levels}"), json!({ "type": "string" }));
        json!({ "$ref": "#/$defs/d0", "$defs": defs })
    }

    #[test]
    fn schemas_as_people_write_them_pass() {
        let tree = json!({
            "$id": "https://example.com/tree", "type": "object", "properties": {
                "left": { "$ref": "#" }, "right": { "$ref": "#" }, "id": { "$ref": "#/$defs/a%20name" }, "tag": { "$ref": "#tag" },
            },
            "$defs": { "a name": { "type": "integer" }, "tag": { "$anchor": "tag", "type": "string" } },
        });
        assert_eq!(problem(&tree), "");
        let value = json!({ "$ref": "#/$defs/v", "$defs": { "v": { "anyOf": [
            { "type": "string" }, { "type": "array", "items": { "$ref": "#/$defs/v" } },
            { "type": "object", "additionalProperties": { "$ref": "#/$defs/v" } },
        ] } } });
        assert_eq!(problem(&value), "");
        let properties: Map<_, _> =
            (0..500).map(|n| (format!("p{n}"), json!({ "type": "string", "enum": ["a", "b"] }))).collect();
        assert_eq!(problem(&json!({ "type": "object", "properties": properties, "required": ["p1"] })), "");
        assert_eq!(problem(&json!({})), "");
    }

    #[test]
    fn an_expanded_schema_is_bounded() {
        for keyword in ["anyOf", "allOf", "oneOf", "prefixItems", "items"] {
            assert!(problem(&doubling(60, keyword)).contains("2000 nodes"), "{keyword}");
            assert_eq!(problem(&doubling(8, keyword)), "", "{keyword}");
        }
        let by_name = json!({ "$ref": "#/$defs/d0", "$defs": doubling(60, "anyOf")["$defs"] });
        assert!(problem(&by_name).contains("2000 nodes"));
        let chain: Map<_, _> = (0..900).map(|n| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n + 1) }))).collect();
        let mut chain = json!({ "$ref": "#/$defs/d0", "$defs": chain });
        chain["$defs"]["d900"] = json!(true);
        assert!(problem(&chain).contains("deeper in one another than 100"));
    }

    #[test]
    fn loops_and_other_documents_are_refused() {
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/b" }] }, "b": { "not": { "$ref": "#/$defs/a" } } } }),
            json!({ "properties": { "x": { "anyOf": [{ "$ref": "#/properties/x" }] } } }),
            json!({ "$dynamicAnchor": "n", "allOf": [{ "$dynamicRef": "#n" }] }),
            json!({ "$recursiveRef": "#" }),
        ] {
            assert!(problem(&schema).contains("leads back to itself"), "{schema}");
        }
        for reference in ["http://127.0.0.1:1/a.json", "file:///etc/passwd", "other.json#/a", "/etc/passwd"] {
            assert!(
                problem(&json!({ "properties": { "x": { "$ref": reference } } })).contains("another document"),
                "{reference}"
            );
        }
        assert!(problem(&json!({ "$ref": "#/$defs/none" })).contains("leads nowhere"));
        assert!(problem(&json!({ "properties": { "x": { "$id": "https://example.com/b", "$ref": "#/c" } } })).contains("$id"));
        let twice = json!({ "unevaluatedProperties": false, "anyOf": [{ "unevaluatedProperties": false }] });
        assert!(problem(&twice).contains("unevaluated"));
        assert!(check("[]").is_err() && check("{").is_err());
        assert!(check(&format!(r#"{{"default":{}{}}}"#, "[".repeat(100), "]".repeat(100))).is_err());
    }

    #[test]
    fn a_check_has_a_bounded_number_of_steps() {
        let deep = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
        let twice = json!({ "allOf": [{ "properties": { "a": { "$ref": "#" } } }, { "properties": { "a": { "$ref": "#" } } }] });
        assert_eq!(problem(&twice), "", "only the arguments make it large");
        assert!(check_cost(&twice, &deep(5)).is_ok());
        assert!(check_cost(&twice, &deep(40)).is_err_and(|words| words.contains("steps")));
        let once = json!({ "properties": { "a": { "$ref": "#" } } });
        assert!(check_cost(&once, &deep(60)).is_ok());
        assert!(check_cost(&doubling(60, "anyOf"), &json!({})).is_err(), "also what was stored before the bound");
        assert!(check_cost(&json!({ "allOf": [{ "$ref": "#" }] }), &json!({})).is_err());
        let rows = json!({ "rows": vec![json!({ "id": 1, "name": "x", "tags": ["a", "b"] }); 1_000] });
        let row = json!({ "type": "object", "properties": { "id": { "type": "integer" }, "name": { "type": "string" },
            "tags": { "type": "array", "items": { "type": "string" } } }, "required": ["id"], "additionalProperties": false });
        let table = json!({ "type": "object", "properties": { "rows": { "type": "array", "items": row } } });
        assert_eq!(check_cost(&table, &rows), Ok(()));
    }
}
