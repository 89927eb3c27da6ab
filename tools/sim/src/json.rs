//! The report of a command for machines: one JSON object, written with `--json FILE`.
//!
//! Fields are only ever added. Durations are in seconds, counts are numbers, and what is not known is null or not there.

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::coverage::{Coverage, HEALTHS, MESSAGES, PROGRESSES, ROLES, excused};
use crate::fault::ALL;
use crate::run::{Options, Report};
use crate::swarm::Totals;

/// The version of what the fields mean; it rises when one changes its meaning or goes.
const FORMAT: u32 = 1;

/// Where the revision of the source is told.
pub const REVISION: &str = "DROPSTONE_REVISION";

/// One command's report, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Document {
    fields: Map<String, Value>,
}

impl Document {
    /// Sets a field.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// What was asked for.
    pub fn set_options(&mut self, options: &Options) {
        let without: Vec<&str> = options.without.iter().map(|class| class.name()).collect();
        self.set(
            "options",
            json!({
                "profile": options.profile.name(),
                "without": without,
                "skip": options.skips,
                "schedule": options.schedule.is_some(),
            }),
        );
    }

    /// What runs came to, and how fast: `wall_s` is the time that they took together.
    pub fn set_totals(&mut self, totals: &Totals, wall_s: f64) {
        let faults: Map<String, Value> =
            ALL.into_iter().map(|class| (class.name().to_owned(), totals.faults[class as usize].into())).collect();
        let failure = |(seed, (checker, what)): (&u64, &(String, String))| json!({ "seed": seed, "checker": checker, "what": what });
        let simulated_s = totals.simulated_ns as f64 / 1e9;
        self.set("runs", totals.seeds);
        self.set("simulated_hours", totals.hours());
        self.set("events", totals.events);
        self.set("operations", totals.operations);
        self.set("acknowledged", totals.acknowledged);
        self.set("crashes", totals.crashes);
        self.set("disks_lost", totals.disks_lost);
        self.set("given_up", totals.given_up);
        self.set("elections", totals.elections);
        self.set("faults_total", totals.faults_total());
        self.set("faults", faults);
        self.set("failures", totals.failures.iter().map(failure).collect::<Vec<_>>());
        self.set(
            "speed",
            json!({
                "times_real": simulated_s / wall_s,
                "seeds_per_hour": totals.seeds as f64 * 3600.0 / wall_s,
                "events_per_s": totals.events as f64 / wall_s,
            }),
        );
        self.set("coverage", coverage(&totals.coverage));
    }

    /// What only one run has.
    pub fn set_run(&mut self, report: &Report) {
        self.set("seed", report.seed);
        self.set("hash", format!("{:032x}", report.trace_hash));
        self.set("turns", report.turns);
        self.set("frames", report.frames);
    }

    /// Writes the object to `path`, with which command it was, its exit code and how long it took.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn write(mut self, path: &Path, command: &str, exit: u8, wall_s: f64) -> io::Result<()> {
        let verdict = match exit {
            crate::cli::GREEN => "green",
            crate::cli::THIN => "thin",
            crate::cli::VIOLATION => "violation",
            _ => "usage",
        };
        self.set("format", FORMAT);
        self.set("command", command);
        self.set("verdict", verdict);
        self.set("exit", exit);
        self.set("wall_s", wall_s);
        self.set("revision", std::env::var(REVISION).ok().filter(|revision| !revision.is_empty()));
        self.set("has_checks", cfg!(sim));
        std::fs::write(path, format!("{:#}\n", Value::Object(self.fields)))
    }
}

fn coverage(coverage: &Coverage) -> Value {
    let (reached, wanted) = coverage.share();
    let counts: Map<String, Value> = coverage.reached().map(|(name, count)| (name.to_owned(), count.into())).collect();
    let by_role = |counts: &[u64; ROLES.len()]| -> Map<String, Value> {
        ROLES.iter().zip(counts).map(|(role, count)| ((*role).to_owned(), (*count).into())).collect()
    };
    let messages: Map<String, Value> = MESSAGES
        .iter()
        .zip(&coverage.messages)
        .map(|(kind, counts)| ((*kind).to_owned(), by_role(counts).into()))
        .collect();
    let mut states = Vec::new();
    for (role, of_role) in ROLES.iter().zip(&coverage.states) {
        for (health, of_health) in HEALTHS.iter().zip(of_role) {
            for (progress, count) in PROGRESSES.iter().zip(of_health).filter(|(_, count)| **count > 0) {
                states.push(json!({ "role": role, "health": health, "progress": progress, "count": count }));
            }
        }
    }
    json!({
        "marks": {
            "reached": reached,
            "wanted": wanted,
            "excused": excused().count(),
            "missing": coverage.missing(),
            "wrongly_excused": coverage.wrongly_excused(),
            "counts": counts,
        },
        "messages": messages,
        "states": states,
    })
}

/// Each seeded bug, by whom it was seen and after how many seeds; null by nobody.
#[cfg(mutations)]
pub(crate) fn hunts(hunts: &[crate::mutants::Hunt]) -> Vec<Value> {
    let hunt = |hunt: &crate::mutants::Hunt| {
        let kills: Vec<Value> = hunt
            .kills
            .iter()
            .map(|kill| match kill {
                Some(kill) => {
                    json!({ "seeds": kill.tried, "seed": kill.seed, "checker": kill.checker, "also": kill.also })
                }
                None => Value::Null,
            })
            .collect();
        json!({ "id": hunt.mutation.id, "kills": kills, "is_expected": hunt.is_expected() })
    };
    hunts.iter().map(hunt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn a_report_is_one_object_with_the_documented_fields() {
        let mut document = Document::default();
        document.set_options(&Options::calm(Profile::Dense));
        let mut totals = Totals { seeds: 2, simulated_ns: 7_200_000_000_000, ..Totals::default() };
        totals.failures.insert(7, ("lease".to_owned(), "a \"quoted\" one".to_owned()));
        totals.coverage.states[3][0][2] = 5;
        document.set_totals(&totals, 4.0);
        let path = std::env::temp_dir().join(format!("dropstone-sim-json-{}", std::process::id()));
        document.write(&path, "swarm", crate::cli::VIOLATION, 4.5).expect("the directory takes files");
        let text = std::fs::read_to_string(&path).expect("it was just written");
        std::fs::remove_file(&path).expect("it was just read");
        let read: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(
            (&read["command"], &read["verdict"], &read["exit"]),
            (&json!("swarm"), &json!("violation"), &json!(4))
        );
        assert_eq!((&read["runs"], &read["speed"]["times_real"]), (&json!(2), &json!(1800.0)));
        assert_eq!(read["failures"], json!([{ "seed": 7, "checker": "lease", "what": "a \"quoted\" one" }]));
        assert_eq!(read["options"]["without"].as_array().map(Vec::len), Some(ALL.len()));
        assert_eq!(read["faults"]["NET1"], json!(0));
        let states = &read["coverage"]["states"];
        assert_eq!(*states, json!([{ "role": "leader", "health": "clean", "progress": "replicate", "count": 5 }]));
        assert_eq!(read["coverage"]["messages"]["append_entries"]["leader"], json!(0));
    }
}
