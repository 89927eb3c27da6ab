//! Faults and operations of a run as text, one line each: what was drawn once can be replayed, shortened, kept.
//!
//! ```text
//! dropstone-sim 1
//! seed 17
//! profile dense
//! nodes 5
//! fails durable              the checker that fails under it, or failed when it was kept
//! NET1 12 345 0 0 0          class, entity, the how-many-eth chance, three parameters
//! load recorded              clients do what the lines `op` say; without this line their operations are drawn
//! op 0 0 10000000 ...        see begun.rs
//! ```

use std::fmt::{self, Write as _};

use crate::begun::Begun;
use crate::fault::Class;
use crate::profile::Profile;

/// One fault that struck.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Fault {
    /// Its class.
    pub class: Class,
    /// Whom it struck: a link, seat or core, by number.
    pub entity: u32,
    /// At the how-many-eth chance.
    pub counter: u64,
    /// Times in ns and kinds, by class.
    pub parameters: [u64; 3],
}

/// How large a run is, and what else is drawn once for all of it. `None`: drawn from the seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Size {
    /// Nodes, 3 or 5.
    pub nodes: Option<u32>,
    /// Cores of each, 1 to 3.
    pub cores: Option<u16>,
    /// Raft groups.
    pub groups: Option<u32>,
    /// Clients.
    pub clients: Option<u32>,
    /// Simulated milliseconds before everything is healed.
    pub length_ms: Option<u64>,
    /// Operations that each client begins at most, when they are drawn.
    pub operations: Option<u64>,
    /// Entries kept behind a checkpoint.
    pub trailing: Option<u64>,
    /// Bytes of a segment of the log.
    pub segment_bytes: Option<u64>,
    /// Batches of frames on their way to the disk.
    pub log_batches: Option<u32>,
    /// 1: rows are cold after a flush.
    pub cold: Option<u32>,
    /// Seats whose disks may be damaged or lost, a bit for each.
    pub damageable: Option<u32>,
    /// 1: days go by now and then.
    pub leaps: Option<u32>,
    /// How long a lease is; 0: reads have none.
    pub lease_ms: Option<u64>,
    /// When an unused group rests; 0: never.
    pub rest_ms: Option<u64>,
    /// Between two heartbeats.
    pub heartbeat_ms: Option<u64>,
    /// Replicas compare their states behind each multiple of so many entries; 0: never.
    pub hash_every: Option<u64>,
    /// Half of the clients send everything to one core of each node; none is 0.
    pub strays: Option<u32>,
    /// Seats that begin with the release before, a bit for each.
    pub old_release: Option<u32>,
    /// A seat whose machine errs, counted from 1.
    pub erring: Option<u32>,
    /// 1: leaders are spread over the nodes.
    pub balance: Option<u32>,
}

impl Size {
    fn fields(&mut self) -> [(&'static str, Field<'_>); 20] {
        [
            ("nodes", Field::U32(&mut self.nodes)),
            ("cores", Field::U16(&mut self.cores)),
            ("groups", Field::U32(&mut self.groups)),
            ("clients", Field::U32(&mut self.clients)),
            ("length_ms", Field::U64(&mut self.length_ms)),
            ("operations", Field::U64(&mut self.operations)),
            ("trailing", Field::U64(&mut self.trailing)),
            ("segment_bytes", Field::U64(&mut self.segment_bytes)),
            ("log_batches", Field::U32(&mut self.log_batches)),
            ("cold", Field::U32(&mut self.cold)),
            ("damageable", Field::U32(&mut self.damageable)),
            ("leaps", Field::U32(&mut self.leaps)),
            ("lease_ms", Field::U64(&mut self.lease_ms)),
            ("rest_ms", Field::U64(&mut self.rest_ms)),
            ("heartbeat_ms", Field::U64(&mut self.heartbeat_ms)),
            ("hash_every", Field::U64(&mut self.hash_every)),
            ("strays", Field::U32(&mut self.strays)),
            ("old_release", Field::U32(&mut self.old_release)),
            ("erring", Field::U32(&mut self.erring)),
            ("balance", Field::U32(&mut self.balance)),
        ]
    }
}

enum Field<'a> {
    U16(&'a mut Option<u16>),
    U32(&'a mut Option<u32>),
    U64(&'a mut Option<u64>),
}

impl Field<'_> {
    fn get(&self) -> Option<u64> {
        match self {
            Field::U16(value) => value.map(u64::from),
            Field::U32(value) => value.map(u64::from),
            Field::U64(value) => **value,
        }
    }

    fn set(&mut self, number: u64) -> Option<()> {
        match self {
            Field::U16(value) => **value = Some(number.try_into().ok()?),
            Field::U32(value) => **value = Some(number.try_into().ok()?),
            Field::U64(value) => **value = Some(number),
        }
        Some(())
    }
}

/// A run, to the last fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// What all else is drawn from.
    pub seed: u64,
    /// The profile.
    pub profile: Profile,
    /// The size.
    pub size: Size,
    /// What strikes, in the order in which it struck.
    pub faults: Vec<Fault>,
    /// What clients begin, in the order in which they began it; `None`: drawn from the seed.
    pub operations: Option<Vec<Begun>>,
    /// The checker that fails.
    pub fails: Option<String>,
}

/// A line that is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("schedule line {line} makes no sense: `{text}`")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

impl Schedule {
    /// A run of this seed without any fault.
    #[must_use]
    pub fn new(seed: u64, profile: Profile) -> Schedule {
        Schedule { seed, profile, size: Size::default(), faults: Vec::new(), operations: None, fails: None }
    }

    /// The text.
    #[must_use]
    pub fn print(&self) -> String {
        self.to_string()
    }

    /// Reads the text. Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that makes no sense.
    pub fn parse(text: &str) -> Result<Schedule, ParseError> {
        let mut schedule = Schedule::new(0, Profile::Dense);
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') && schedule.parse_line(line).is_none() {
                return Err(ParseError { line: at + 1, text: line.to_owned() });
            }
        }
        Ok(schedule)
    }

    fn parse_line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_whitespace();
        let word = words.next()?;
        match word {
            "dropstone-sim" => return (words.next()? == "1").then_some(()),
            "seed" => self.seed = words.next()?.parse().ok()?,
            "profile" => self.profile = Profile::from_name(words.next()?)?,
            "fails" => self.fails = Some(words.next()?.to_owned()),
            "load" => {
                (words.next()? == "recorded").then_some(())?;
                self.operations.get_or_insert_default();
            }
            "op" => self.operations.get_or_insert_default().push(Begun::parse(&mut words)?),
            _ => {
                let number = |word: Option<&str>| word?.parse::<u64>().ok();
                if let Some(class) = Class::from_name(word) {
                    let mut numbers = [0; 5];
                    for slot in &mut numbers {
                        *slot = number(words.next())?;
                    }
                    let [entity, counter, parameters @ ..] = numbers;
                    self.faults.push(Fault { class, entity: entity.try_into().ok()?, counter, parameters });
                } else {
                    let mut fields = self.size.fields();
                    fields.iter_mut().find(|(name, _)| *name == word)?.1.set(number(words.next())?)?;
                }
            }
        }
        words.next().is_none().then_some(())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut size = self.size;
        let mut head = format!("dropstone-sim 1\nseed {}\nprofile {}\n", self.seed, self.profile.name());
        for (name, field) in size.fields() {
            if let Some(value) = field.get() {
                writeln!(head, "{name} {value}")?;
            }
        }
        if let Some(checker) = &self.fails {
            writeln!(head, "fails {checker}")?;
        }
        f.write_str(&head)?;
        for Fault { class, entity, counter, parameters: [a, b, c] } in &self.faults {
            writeln!(f, "{} {entity} {counter} {a} {b} {c}", class.name())?;
        }
        if let Some(operations) = &self.operations {
            writeln!(f, "load recorded")?;
            operations.iter().try_for_each(|operation| writeln!(f, "{operation}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_back() {
        let mut schedule = Schedule::new(17, Profile::Clock);
        schedule.size.nodes = Some(5);
        schedule.size.length_ms = Some(1234);
        schedule.faults.push(Fault { class: Class::Net10, entity: 3, counter: 9, parameters: [1, 2, 3] });
        schedule.faults.push(Fault { class: Class::Ctl2, entity: 0, counter: 1, parameters: [u64::MAX, 0, 0] });
        assert_eq!(Schedule::parse(&schedule.print()), Ok(schedule.clone()));
        schedule.fails = Some("durable".to_owned());
        schedule.size.damageable = Some(5);
        schedule.size.lease_ms = Some(0);
        schedule.operations = Some(Vec::new());
        assert_eq!(Schedule::parse(&schedule.print()), Ok(schedule.clone()));
        let head = client::Operation::Query { acct: base::Acct(1), nsid: base::Nsid(2), query: meta::Query::Head };
        schedule.operations.as_mut().expect("it was just set").extend(Begun::new(1, 0, 9, &head));
        assert_eq!(Schedule::parse(&schedule.print()), Ok(schedule));
    }

    #[test]
    fn a_file_from_before_operations_were_kept_still_parses() {
        let text = "dropstone-sim 1\nseed 5\nprofile dense\nnodes 3\nlength_ms 900\nNET1 12 345 0 0 0\n";
        let schedule = Schedule::parse(text).expect("it did once");
        assert_eq!((schedule.operations.as_ref(), schedule.fails.as_ref()), (None, None));
        assert_eq!((schedule.faults.len(), schedule.size.nodes), (1, Some(3)));
        assert_eq!(schedule.print(), text);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        for text in [
            "seed x",
            "NET1 1 2 3",
            "NET99 1 2 3 4 5",
            "nodes",
            "NET1 1 2 3 4 5 6",
            "dropstone-sim 2",
            "load drawn",
            "op 1 2 3",
        ] {
            let error = Schedule::parse(&format!("# why\n\n{text}")).expect_err(text);
            assert_eq!((error.line, error.text.as_str()), (3, text));
        }
    }
}
