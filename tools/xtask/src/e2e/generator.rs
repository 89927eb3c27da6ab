//! `dropstone bench run` as a process beside a suite: full load, every answer judged, every acknowledged write looked for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::cluster::{Cluster, binary, run_ok, wait_for};

/// VALID, AT-LEAST, INVALID and interrupted: how good the numbers are is not asked here.
const SOUND: [i32; 4] = [0, 2, 3, 130];
/// To fill the cluster before its load begins.
const FILLS_WITHIN: Duration = Duration::from_secs(60);
/// To wait for what is in flight and to read back all that was acknowledged.
const ENDS_WITHIN: Duration = Duration::from_secs(240);

/// A generator that runs. Killed when it is dropped.
pub struct Generator {
    child: Child,
    log: PathBuf,
    out: PathBuf,
}

/// What a generator has seen.
pub struct Seen {
    /// `result.json`.
    pub result: Value,
}

impl Generator {
    /// Starts one on a cluster, with these arguments and the mix `put-small`. Its files lie under `name` in the cluster's
    /// directory.
    pub fn start(cluster: &Cluster, name: &str, arguments: &[&str]) -> Result<Generator> {
        let (out, log) = (cluster.dir.join(name), cluster.dir.join(format!("{name}.log")));
        let file = File::create(&log)?;
        let mut command = Command::new(binary()?);
        command.args(["bench", "run", "--mix", "put-small", "--no-steady", "--settle", "0s"]);
        // An outage is no error while it ends before this.
        command.args(["--errors-max", "100", "--op-timeout", "60s", "--target", &cluster.targets()]);
        command.args(arguments).arg("--out").arg(&out);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("could not start `dropstone bench`")?;
        Ok(Generator { child, log, out })
    }

    /// Waits until it has told of so many seconds of load.
    pub fn wait_loading(&mut self, seconds: usize) -> Result<()> {
        let log = self.log.clone();
        let limit = FILLS_WITHIN + Duration::from_secs(seconds as u64);
        let loaded = wait_for(limit, || {
            ensure!(self.child.try_wait()?.is_none(), "the generator has ended: {}", end_of(&log));
            let text = fs::read_to_string(&log).unwrap_or_default();
            let told = text.lines().filter(|line| is_second(line)).count();
            Ok((told >= seconds).then_some(()))
        });
        loaded.with_context(|| format!("no load after {} s: {}", limit.as_secs(), end_of(&self.log)))
    }

    /// Refuses if it has ended by itself.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the generator has ended with {status}: {}", end_of(&self.log)),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Interrupts it: it waits for what is in flight, looks for all that was acknowledged, and tells.
    pub fn interrupt(self) -> Result<Seen> {
        run_ok(Command::new("kill").args(["-INT", &self.child.id().to_string()]))?;
        self.finish(ENDS_WITHIN)
    }

    /// Waits for its end and takes its result: refuses one with lost, doubled or wrong answers.
    pub fn finish(mut self, limit: Duration) -> Result<Seen> {
        let ended = wait_for(limit, || Ok(self.child.try_wait()?));
        let status = ended.with_context(|| format!("the generator goes on: {}", end_of(&self.log)))?;
        let code = status.code().unwrap_or(-1);
        ensure!(SOUND.contains(&code), "the generator ended with {status}: {}", end_of(&self.log));
        let path = self.out.join("result.json");
        let text = fs::read(&path).with_context(|| format!("there is no {}", path.display()))?;
        let seen = Seen { result: serde_json::from_slice(&text)? };
        seen.check().with_context(|| format!("see {}", path.display()))?;
        Ok(seen)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    fn check(&self) -> Result<()> {
        let checks = &self.result["checks"];
        ensure!(checks["mode"] == "full", "nothing was looked for: {checks}");
        ensure!(self.acks() > 0, "no acknowledged write was looked for: {checks}");
        ensure!(checks["lost"] == 0, "acknowledged writes are lost: {checks}");
        ensure!(checks["doubled"] == 0, "writes were done twice: {checks}");
        let wrong = checks["violations"].as_array().context("no list of wrong answers")?;
        ensure!(wrong.is_empty(), "wrong answers: {checks}");
        Ok(())
    }

    /// Acknowledged writes that were looked for.
    pub fn acks(&self) -> u64 {
        self.result["checks"]["acks"].as_u64().unwrap_or(0)
    }

    /// Writes whose outcome the generator was not told, and which it then found done or not.
    pub fn in_doubt(&self) -> u64 {
        self.result["checks"]["in_doubt"].as_u64().unwrap_or(0)
    }

    /// Answered operations per second.
    pub fn rate(&self) -> f64 {
        self.result["load"]["rate_achieved"].as_f64().unwrap_or(0.0)
    }

    /// A percentile of all operations by one of the four clocks. Units: milliseconds.
    pub fn latency_ms(&self, clock: &str, percentile: &str) -> f64 {
        let rows = self.result["latency"].as_array().into_iter().flatten();
        let row = rows.into_iter().find(|row| row["op"] == "all" && row["clock"] == clock);
        row.and_then(|row| row[percentile].as_f64()).unwrap_or(f64::NAN) / 1000.0
    }

    /// Operations that ended with an error, by its kind.
    pub fn errors(&self) -> String {
        let rows = self.result["errors"].as_array().into_iter().flatten();
        let told: Vec<String> = rows.map(|row| format!("{} {}", row["count"], row["kind"])).collect();
        if told.is_empty() { "none".to_owned() } else { told.join(", ") }
    }
}

/// A line of one second of load, warm-up included.
fn is_second(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    first.trim_end_matches('w').parse::<u64>().is_ok()
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(checks: &str) -> Seen {
        let text =
            format!(r#"{{"checks": {checks}, "latency": [{{"op": "all", "clock": "service", "p99_us": 1500}}]}}"#);
        Seen { result: serde_json::from_str(&text).unwrap() }
    }

    #[test]
    fn a_result_with_a_lost_a_doubled_or_a_wrong_answer_is_refused() {
        let good = r#"{"mode": "full", "acks": 9, "lost": 0, "doubled": 0, "violations": []}"#;
        assert!(seen(good).check().is_ok());
        for (from, to) in [
            ("\"full\"", "\"off\""),
            ("9", "0"),
            ("\"lost\": 0", "\"lost\": 1"),
            ("\"doubled\": 0", "\"doubled\": 1"),
            ("[]", "[\"a listing lacks a file\"]"),
            ("\"violations\": []", "\"more\": []"),
        ] {
            assert!(seen(&good.replace(from, to)).check().is_err(), "{to}");
        }
        assert!((seen(good).latency_ms("service", "p99_us") - 1.5).abs() < 1e-9);
    }

    #[test]
    fn seconds_of_load_are_told_from_other_lines() {
        assert!(is_second("  12   8000 8000") && is_second("3w 100 100"));
        assert!(!is_second("filling 256 namespaces") && !is_second(""));
    }
}
