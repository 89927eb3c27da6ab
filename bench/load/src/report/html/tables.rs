//! The tables of a page: latencies per operation, cost, faults, errors, repeats, levels, and all facts of the run.

use super::section;
use crate::report::result::{ALL_OPS, BenchResult, Clock, Latency, Sweep};
use crate::report::svg::escape;
use crate::report::words;

/// A table with a head; every cell is text.
pub(super) fn grid(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: String = head.iter().map(|cell| format!("<th scope=\"col\">{}</th>", escape(cell))).collect();
    let mut body = String::new();
    for row in rows {
        let class = if row.first().is_some_and(|cell| cell == ALL_OPS) { " class=\"whole\"" } else { "" };
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        body += &format!("<tr{class}>{cells}</tr>");
    }
    format!("<div class=\"scroll\"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")
}

/// Names and what they say; empty ones are left out.
pub(super) fn pairs(title: &str, rows: &[(&str, String)]) -> String {
    let shown = rows.iter().filter(|row| !row.1.is_empty());
    let body: String =
        shown.map(|row| format!("<tr><td>{}</td><td>{}</td></tr>", escape(row.0), escape(&row.1))).collect();
    if body.is_empty() {
        return String::new();
    }
    format!("<div><h3>{}</h3><table class=\"facts\"><tbody>{body}</tbody></table></div>", escape(title))
}

/// Response and service per op kind.
pub(super) fn latency(result: &BenchResult) -> String {
    let of = |clock| {
        let rows: Vec<Vec<String>> =
            result.latency.iter().filter(|latency| latency.clock == clock && latency.count > 0).map(row).collect();
        let head = ["operation", "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
        if rows.is_empty() { String::new() } else { grid(&head, &rows) }
    };
    let (response, service) = (of(Clock::Response), of(Clock::Service));
    if response.is_empty() && service.is_empty() {
        return String::new();
    }
    let lead = "A percentile is shown only with at least 10 operations beyond it.";
    section("Latency per operation", lead, &format!("<h3>response</h3>{response}<h3>service</h3>{service}"))
}

fn row(latency: &Latency) -> Vec<String> {
    let mut cells = vec![latency.op.clone(), words::whole(latency.count), words::time(latency.mean_us)];
    let figures = [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.p9999_us];
    cells.extend(figures.map(words::time_or_dash));
    cells.push(words::time(latency.max_us));
    cells
}

/// What an operation cost.
pub(super) fn cost(result: &BenchResult) -> String {
    let cost = &result.cost;
    let mut rows: Vec<(&str, String)> = Vec::new();
    let roles: Vec<String> = cost.cpu_us.iter().map(|(role, us)| format!("{} us {role}", words::three(*us))).collect();
    rows.push(("processor time", roles.join(", ")));
    let mut add = |name, value: Option<f64>, word: &dyn Fn(f64) -> String| {
        rows.push((name, value.map_or_else(String::new, word)))
    };
    add("calls of io_uring_enter", cost.enters, &words::three);
    add("system calls", cost.syscalls, &words::three);
    add("syncs of the log", cost.syncs, &words::three);
    add("operations per sync", cost.ops_per_sync, &words::three);
    add("device bytes per byte of the user", cost.device_bytes, &words::three);
    add("bytes on the wire", cost.wire_bytes, &words::bytes);
    add("heap allocations", cost.allocations, &words::three);
    add("bytes allocated", cost.allocated_bytes, &words::bytes);
    add("context switches", cost.context_switches, &words::three);
    add("written to devices", cost.written_bytes, &words::bytes);
    add("waiting for a processor", cost.run_delay_us, &words::time);
    add("resident memory at the end, all nodes", cost.rss_bytes.map(|bytes| bytes as f64), &words::bytes);
    if rows.iter().all(|row| row.1.is_empty()) {
        return String::new();
    }
    section("Cost per operation", "", &pairs("", &rows).replace("<h3></h3>", ""))
}

/// Faults and how the target came back.
pub(super) fn faults(result: &BenchResult) -> String {
    if result.faults.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = result
        .faults
        .iter()
        .map(|fault| {
            let back = fault.recovered_ms.map_or_else(|| "not within the run".to_owned(), |ms| words::time(ms * 1e3));
            vec![
                fault.kind.clone(),
                format!("{} s", words::three(fault.at_s)),
                words::time(fault.unavailable_ms * 1e3),
                back,
            ]
        })
        .collect();
    let lead = "Recovered: five seconds in a row with p99 at most 1.5 times the one before.";
    section("Faults", lead, &grid(&["fault", "at", "longest gap without an answer", "recovered after"], &rows))
}

/// Errors per kind.
pub(super) fn errors(result: &BenchResult) -> String {
    if result.errors.is_empty() {
        return String::new();
    }
    let all = result.operations().max(1) as f64;
    let rows: Vec<Vec<String>> = result
        .errors
        .iter()
        .map(|error| vec![error.kind.clone(), words::whole(error.count), words::percent(error.count as f64 / all)])
        .collect();
    section("Errors", "", &grid(&["kind", "count", "of all answers"], &rows))
}

/// Each repeat.
pub(super) fn repeats(result: &BenchResult) -> String {
    if result.repeats.is_empty() {
        return String::new();
    }
    let row = |(at, repeat): (usize, &crate::report::result::Repeat)| {
        let mut cells = vec![(at + 1).to_string(), words::rate(repeat.rate_achieved)];
        cells.extend([repeat.p50_us, repeat.p90_us, repeat.p99_us, repeat.p999_us].map(words::time_or_dash));
        cells.extend([
            words::time(repeat.max_us),
            words::percent(repeat.errors_share),
            repeat.verdict.class.name().to_owned(),
        ]);
        cells
    };
    let rows: Vec<Vec<String>> = result.repeats.iter().enumerate().map(row).collect();
    let head = ["repeat", "answered", "p50", "p90", "p99", "p99.9", "max", "errors", "verdict"];
    section("Repeats", "Processes and connections were new each time.", &grid(&head, &rows))
}

/// The levels of a sweep.
pub(super) fn levels(sweep: &Sweep) -> String {
    let row = |level: &crate::report::result::CurvePoint| {
        let mut cells = vec![words::rate(level.rate_offered), words::rate(level.rate_achieved)];
        cells.extend([level.p50_us, level.p90_us, level.p99_us, level.p999_us, level.max_us].map(words::time_or_dash));
        let met = if level.met { "met" } else { "broken" };
        cells.extend([words::percent(level.errors_share), met.to_owned(), level.verdict.name().to_owned()]);
        cells
    };
    let head = ["offered", "answered", "p50", "p90", "p99", "p99.9", "max", "errors", "SLO", "verdict"];
    let mut content = String::new();
    for (title, levels) in [("The curve", &sweep.curve), ("The search, in its order", &sweep.searched)] {
        let rows: Vec<Vec<String>> = levels.iter().map(row).collect();
        if !rows.is_empty() {
            content += &format!("<h3>{title}</h3>{}", grid(&head, &rows));
        }
    }
    let mut lead = format!("SLO: {}.", sweep.slo);
    if !sweep.saturated_first.is_empty() {
        lead += &format!(" What was full first: {}.", sweep.saturated_first);
    }
    section("Levels", &lead, &content)
}

/// Everything needed to judge and to repeat the run.
pub(super) fn facts(result: &BenchResult) -> String {
    let tables = [load(result), target(result), host(result), tool(result)].concat();
    let command =
        if result.command.is_empty() { String::new() } else { format!("<pre>{}</pre>", escape(&result.command)) };
    section("How it was measured", "", &format!("{command}<div class=\"pair\">{tables}</div>"))
}

fn number(value: u64) -> String {
    if value == 0 { String::new() } else { words::whole(value) }
}

fn load(result: &BenchResult) -> String {
    let load = &result.load;
    let steady = result.steady.map_or_else(String::new, |steady| {
        let when = steady.reached_s.map_or_else(|| "never".to_owned(), |s| format!("after {} s", words::three(s)));
        format!("{when}, slope {}", words::percent(steady.slope))
    });
    let rows = [
        ("mix", format!("{}/{}, hash {:016x}", result.mix.name, result.mix.version, result.mix.hash)),
        ("load", words::load(result)),
        ("window", format!("{} s", words::three(result.time.duration_s))),
        ("steady", steady),
        ("late, skipped", format!("{}, {}", words::whole(load.late), words::whole(load.skipped))),
        ("in flight at most", number(load.inflight_max)),
        ("connections", number(u64::from(load.connections))),
        ("generator cores", number(u64::from(load.generator_cores))),
        ("seed", format!("{:x}", result.seed)),
        ("stream hash", format!("{:016x}", result.stream_hash)),
        ("result hash", format!("{:016x}", result.result_hash)),
    ];
    pairs("Load", &rows)
}

fn target(result: &BenchResult) -> String {
    let target = &result.target;
    let rows = [
        ("driver", target.driver.clone()),
        ("version", target.version.clone()),
        ("nodes", number(u64::from(target.nodes))),
        ("cores per node", number(u64::from(target.cores))),
        ("groups", number(u64::from(target.groups))),
        ("log backend", target.log_backend.clone()),
        ("spin", format!("{} us", target.spin_us)),
        ("acknowledged", target.durability.ack.clone()),
        ("on disk", target.durability.sync.clone()),
        ("replicas", number(u64::from(target.durability.replicas))),
        ("reads", target.durability.reads.clone()),
        ("device flushes seen", target.durability.flushes_seen.map_or_else(|| "not counted".to_owned(), words::whole)),
    ];
    pairs("Target", &rows)
}

fn host(result: &BenchResult) -> String {
    let host = &result.host;
    let mhz = if host.mhz > 0.0 { format!("{:.0} MHz", host.mhz) } else { String::new() };
    let rows = [
        ("processor", host.cpu.clone()),
        ("logical processors", number(u64::from(host.cores))),
        ("clock", mhz),
        ("governor", host.governor.clone()),
        ("kernel", host.kernel.clone()),
        ("virtual machine", host.virt.clone()),
        ("clock source", host.clocksource.clone()),
        ("file system", host.fs.clone()),
        ("device", host.device.clone()),
    ];
    pairs("Machine of the generator", &rows)
}

fn tool(result: &BenchResult) -> String {
    let rows = [
        ("dropstone", result.tool.version.clone()),
        ("commit", result.tool.git.clone()),
        ("features", result.tool.features.join(" ")),
        ("window began", words::utc(result.time.start_unix_ms)),
        ("checked", words::checks(result)),
    ];
    pairs("Tool", &rows)
}
