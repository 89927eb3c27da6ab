//! Where values come from: the file and the environment, each value as text with its origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use base::limits::CONFIG_FILE_BYTES_MAX;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::{Kind, Setting, find, nearest, settings};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The named profile's default.
    Profile(&'static str),
    /// A line of a file, 1-based.
    File {
        /// The file as it was named.
        name: String,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// The identity of the data directory.
    Identity,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::Profile(name) => write!(f, "profile {name}"),
            Origin::File { name, line } => write!(f, "{name}:{line}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Identity => write!(f, "identity of the data directory"),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read configuration {file}: {source}; name another with --config FILE")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// Not TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// The place.
        origin: Origin,
        /// What the parser says.
        message: String,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key {key}; {}", hint_text(hint))]
    UnknownKey {
        /// The place.
        origin: Origin,
        /// The key as written.
        key: String,
        /// The nearest that exists.
        hint: Option<String>,
    },
    /// A value of another type.
    #[error("{origin}: {key} wants {wanted}, not {got}")]
    WrongType {
        /// The place.
        origin: Origin,
        /// The key.
        key: String,
        /// What it wants.
        wanted: &'static str,
        /// The type that is there.
        got: String,
    },
    /// A value out of its bounds.
    #[error("{origin}: {key} = {value} {why}")]
    Invalid {
        /// The place.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// The value as written.
        value: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
}

fn hint_text(hint: &Option<String>) -> String {
    match hint {
        Some(key) => format!("did you mean {key}?"),
        None => "see `dropstone config show` for all keys".to_owned(),
    }
}

/// Values by key.
pub(super) type Layer = BTreeMap<&'static str, (String, Origin)>;

/// The text of the file; refuses what is too large to be one.
pub(super) fn read_file(file: &Path) -> Result<String, ConfigError> {
    let error = |source| ConfigError::Read { file: file.display().to_string(), source };
    let mut text = String::new();
    let handle = std::fs::File::open(file).map_err(error)?;
    handle.take(CONFIG_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(error)?;
    if text.len() as u64 > CONFIG_FILE_BYTES_MAX {
        return Err(error(io::Error::other("it is larger than 1 MiB, so it is no configuration")));
    }
    Ok(text)
}

/// The values of a TOML text.
pub(super) fn from_toml(text: &str, name: &str) -> Result<Layer, ConfigError> {
    let at = |offset: usize| Origin::File { name: name.to_owned(), line: line_of(text, offset) };
    let root = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: at(error.span().map_or(0, |span| span.start)),
        message: one_line(error.message()),
    })?;
    let mut layer = Layer::new();
    for (section, table) in root.get_ref() {
        let origin = at(section.span().start);
        let sections = settings().iter().map(Setting::section);
        if !settings().iter().any(|setting| setting.section() == section.get_ref().as_ref()) {
            let hint = nearest(section.get_ref(), sections).map(|near| format!("[{near}]"));
            return Err(ConfigError::UnknownKey { origin, key: section.get_ref().to_string(), hint });
        }
        let DeValue::Table(table) = table.get_ref() else {
            let key = section.get_ref().to_string();
            let got = table.get_ref().type_str().to_owned();
            return Err(ConfigError::WrongType { origin, key, wanted: "a [section]", got });
        };
        for (key, value) in table {
            let origin = at(key.span().start);
            let setting = known(&format!("{}.{}", section.get_ref(), key.get_ref()), &origin)?;
            let text = value_text(setting, value, &at)?;
            layer.insert(setting.key, (text, origin));
        }
    }
    Ok(layer)
}

/// The values of variables named `DROPSTONE_SECTION__KEY`; other variables are not ours.
pub(super) fn from_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Layer, ConfigError> {
    let mut layer = Layer::new();
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let Some((section, key)) = name.strip_prefix("DROPSTONE_").and_then(|rest| rest.split_once("__")) else {
            continue;
        };
        let origin = Origin::Environment(name.to_owned());
        let setting = known(&format!("{}.{}", section.to_lowercase(), key.to_lowercase()), &origin)?;
        let value = value.into_string().map_err(|value| ConfigError::WrongType {
            origin: origin.clone(),
            key: setting.key.to_owned(),
            wanted: "UTF-8 text",
            got: format!("{value:?}"),
        })?;
        layer.insert(setting.key, (value, origin));
    }
    Ok(layer)
}

fn known(key: &str, origin: &Origin) -> Result<&'static Setting, ConfigError> {
    find(key).ok_or_else(|| ConfigError::UnknownKey {
        origin: origin.clone(),
        key: key.to_owned(),
        hint: nearest_key(key),
    })
}

/// Compares the names after the dot first, so that a key in the wrong section is found too.
fn nearest_key(key: &str) -> Option<String> {
    if let Some(near) = nearest(key, settings().iter().map(|setting| setting.key)) {
        return Some(near.to_owned());
    }
    let bare = |key: &'static str| key.split_once('.').map_or(key, |(_, bare)| bare);
    let word = key.rsplit('.').next().unwrap_or(key);
    let near = nearest(word, settings().iter().map(|setting| bare(setting.key)))?;
    settings().iter().find(|setting| bare(setting.key) == near).map(|setting| setting.key.to_owned())
}

fn value_text(
    setting: &'static Setting,
    value: &Spanned<DeValue<'_>>,
    at: &dyn Fn(usize) -> Origin,
) -> Result<String, ConfigError> {
    let wrong = |value: &Spanned<DeValue<'_>>| ConfigError::WrongType {
        origin: at(value.span().start),
        key: setting.key.to_owned(),
        wanted: setting.kind.wanted(),
        got: value.get_ref().type_str().to_owned(),
    };
    match (setting.kind, value.get_ref()) {
        (Kind::Number | Kind::Bytes, DeValue::Integer(number)) if number.radix() == 10 => {
            Ok(number.as_str().replace('_', ""))
        }
        (Kind::Bytes | Kind::Text | Kind::List, DeValue::String(text)) => Ok(text.to_string()),
        (Kind::List, DeValue::Array(items)) => {
            let mut texts = Vec::new();
            for item in items {
                texts.push(match item.get_ref() {
                    DeValue::String(text) => text.to_string(),
                    DeValue::Integer(number) => number.as_str().to_owned(),
                    _ => return Err(wrong(item)),
                });
            }
            Ok(texts.join(","))
        }
        (Kind::Nodes, DeValue::Array(items)) => {
            let mut texts = Vec::new();
            for item in items {
                let DeValue::Table(table) = item.get_ref() else { return Err(wrong(item)) };
                texts.push(node_text(table, item, at)?);
            }
            Ok(texts.join(","))
        }
        _ => Err(wrong(value)),
    }
}

/// `id=PEER/CLIENT` of one entry of `nodes`.
fn node_text(
    table: &DeTable<'_>,
    whole: &Spanned<DeValue<'_>>,
    at: &dyn Fn(usize) -> Origin,
) -> Result<String, ConfigError> {
    const FIELDS: [&str; 3] = ["id", "peer", "client"];
    if let Some((key, _)) = table.iter().find(|(key, _)| !FIELDS.contains(&key.get_ref().as_ref())) {
        return Err(ConfigError::UnknownKey {
            origin: at(key.span().start),
            key: format!("cluster.nodes.{}", key.get_ref()),
            hint: Some(nearest(key.get_ref(), FIELDS).unwrap_or("id, peer or client").to_owned()),
        });
    }
    let mut texts = [const { String::new() }; 3];
    for (field, text) in FIELDS.into_iter().zip(&mut texts) {
        let key = || format!("cluster.nodes.{field}");
        let wanted = if field == "id" { Kind::Number.wanted() } else { "\"host:port\"" };
        let Some(value) = table.get(field) else {
            let origin = at(whole.span().start);
            return Err(ConfigError::WrongType { origin, key: key(), wanted, got: "nothing".to_owned() });
        };
        *text = match value.get_ref() {
            DeValue::Integer(number) if field == "id" => number.as_str().to_owned(),
            DeValue::String(text) if field != "id" => text.to_string(),
            other => {
                let origin = at(value.span().start);
                return Err(ConfigError::WrongType { origin, key: key(), wanted, got: other.type_str().to_owned() });
            }
        };
    }
    let [id, peer, client] = texts;
    Ok(format!("{id}={peer}/{client}"))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
