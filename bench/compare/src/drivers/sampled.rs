//! A driver that remembers some of the acknowledged puts, and reads them back in the end.

use std::collections::HashMap;

use base::Mono;
use base::mono::Span;
use load::content::Contents;
use load::driver::{Answer, Done, Driver, OpToken, Submit};
use load::judge::first_8;
use load::op::{FileId, Op, OpKind};

/// One put of so many is remembered.
const EVERY: u64 = 32;
/// So many are kept: the newest.
const SAMPLES_MAX: usize = 1_000;
/// Reads on their way at once.
const READS_IN_FLIGHT: usize = 32;
/// How long all of them may take.
const READ_BACK_MAX: Span = Span::from_ms(10_000);

/// What reading back found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadBack {
    /// Acknowledged puts that were looked for.
    pub looked_for: u64,
    /// Those that are not there, or hold other content: the first few, in words.
    pub wrong: Vec<String>,
    /// How many those are.
    pub wrong_count: u64,
    /// Reads without an answer.
    pub unanswered: u64,
}

/// The driver.
pub struct Sampled<D> {
    inner: D,
    contents: Contents,
    puts: u64,
    waiting: HashMap<OpToken, Op>,
    /// `None` where another operation took the file away or changed it since.
    kept: Vec<Option<Op>>,
    acknowledged: usize,
}

impl<D: Driver> Sampled<D> {
    /// Around a driver; contents are those of `seed`.
    pub fn new(inner: D, seed: u64) -> Sampled<D> {
        let contents = Contents::new(seed);
        Sampled { inner, contents, puts: 0, waiting: HashMap::new(), kept: Vec::new(), acknowledged: 0 }
    }

    /// The driver inside.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    fn note(&mut self, done: &[Done]) {
        if self.waiting.is_empty() {
            return;
        }
        for done in done {
            let Some(op) = self.waiting.remove(&done.token) else { continue };
            if !matches!(done.answer, Answer::Applied { .. }) {
                continue;
            }
            match self.kept.get_mut(self.acknowledged % SAMPLES_MAX) {
                Some(oldest) => *oldest = Some(op),
                None => self.kept.push(Some(op)),
            }
            self.acknowledged += 1;
        }
    }

    /// The file of an operation is elsewhere or another one afterwards, so nothing is remembered of it.
    fn forget(&mut self, op: &Op) {
        let is_it = |known: &Op| known.namespace == op.namespace && known.path == op.path;
        self.waiting.retain(|_, known| !is_it(known));
        self.kept.iter_mut().filter(|known| known.as_ref().is_some_and(is_it)).for_each(|known| *known = None);
    }

    /// Reads every put that is remembered, once nothing else is on its way.
    pub fn read_back(&mut self) -> ReadBack {
        let kept: Vec<Op> = self.kept.drain(..).flatten().collect();
        let until = self.inner.now() + READ_BACK_MAX;
        let mut found = ReadBack { looked_for: kept.len() as u64, ..ReadBack::default() };
        let (mut next, mut done) = (0, Vec::new());
        let mut on_their_way: HashMap<OpToken, usize> = HashMap::new();
        loop {
            let mut now = self.inner.now();
            while next < kept.len() && on_their_way.len() < READS_IN_FLIGHT {
                // A generation that no operation of the run had.
                let token = OpToken { slot: next as u32, generation: u32::MAX };
                let Op { namespace, path, .. } = &kept[next];
                let op = Op { kind: OpKind::Stat, namespace: *namespace, path: path.clone(), ..Op::default() };
                if self.inner.submit(&op, token, now) == Submit::Full {
                    break;
                }
                on_their_way.insert(token, next);
                next += 1;
            }
            if on_their_way.is_empty() || now >= until {
                break;
            }
            self.inner.poll((now + Span::from_ms(100)).min(until), &mut done);
            now = self.inner.now();
            debug_assert!(now <= Mono::MAX);
            for done in done.drain(..) {
                if let Some(at) = on_their_way.remove(&done.token) {
                    self.check(&kept[at], done.answer, &mut found);
                }
            }
        }
        found.unanswered += (kept.len() - next + on_their_way.len()) as u64;
        found
    }

    fn check(&self, op: &Op, answer: Answer, found: &mut ReadBack) {
        let expected = first_8(&self.contents.hash(op.writer, op.size));
        match answer {
            Answer::File { size, content, .. } if size == op.size && content == expected => {}
            Answer::Failed(_) => found.unanswered += 1,
            other => {
                found.wrong_count += 1;
                if found.wrong.len() < 5 {
                    let Op { namespace, path, index, .. } = op;
                    found.wrong.push(format!("operation {index}, namespace {namespace}, {path}: {other:?}"));
                }
            }
        }
    }
}

impl<D: Driver> Driver for Sampled<D> {
    fn now(&mut self) -> Mono {
        self.inner.now()
    }

    fn submit(&mut self, op: &Op, token: OpToken, now: Mono) -> Submit {
        let submitted = self.inner.submit(op, token, now);
        let changes_known = matches!(op.kind, OpKind::Move | OpKind::Delete) || op.is_update;
        if submitted == Submit::Queued && changes_known {
            self.forget(op);
        }
        if submitted == Submit::Queued && op.kind == OpKind::Put {
            self.puts += 1;
            if self.puts.is_multiple_of(EVERY) {
                self.waiting.insert(token, Op { file: FileId::NONE, ..op.clone() });
            }
        }
        submitted
    }

    fn poll(&mut self, until: Mono, done: &mut Vec<Done>) -> Span {
        let begin = done.len();
        let idle = self.inner.poll(until, done);
        self.note(&done[begin..]);
        idle
    }

    fn burst_max(&self) -> usize {
        self.inner.burst_max()
    }
}

#[cfg(test)]
mod tests {
    use load::driver::Refusal;
    use load::op::Writer;

    use super::*;

    /// Answers at once; loses every file whose operation's number `loses` says.
    struct Target {
        contents: Contents,
        files: HashMap<String, (u64, u64)>,
        loses: fn(u64) -> bool,
        now: u64,
        waiting: Vec<Done>,
    }

    impl Driver for Target {
        fn now(&mut self) -> Mono {
            self.now += 1;
            Mono(self.now)
        }

        fn submit(&mut self, op: &Op, token: OpToken, now: Mono) -> Submit {
            let answer = if op.kind == OpKind::Put {
                if !(self.loses)(op.index) {
                    let content = first_8(&self.contents.hash(op.writer, op.size));
                    self.files.insert(op.path.clone(), (op.size, content));
                }
                Answer::Applied { jid: op.index + 1, rev: 1 }
            } else {
                let found = self.files.get(&op.path);
                found.map_or(Answer::Refused(Refusal::NotFound), |(size, content)| Answer::File {
                    rev: 1,
                    size: *size,
                    content: *content,
                })
            };
            self.waiting.push(Done { token, sent: now, replied: now, answer });
            Submit::Queued
        }

        fn poll(&mut self, _: Mono, done: &mut Vec<Done>) -> Span {
            done.append(&mut self.waiting);
            Span(0)
        }
    }

    fn run(loses: fn(u64) -> bool) -> ReadBack {
        let target = Target { contents: Contents::new(4), files: HashMap::new(), loses, now: 0, waiting: Vec::new() };
        let mut driver = Sampled::new(target, 4);
        let mut done = Vec::new();
        for index in 0..64_000 {
            let op = Op { index, path: format!("/{index}"), size: 9, writer: Writer(index), ..Op::default() };
            let now = driver.now();
            driver.submit(&op, OpToken { slot: (index % 8) as u32, generation: index as u32 }, now);
            driver.poll(now, &mut done);
            done.clear();
        }
        driver.read_back()
    }

    #[test]
    fn what_was_acknowledged_is_found_and_what_was_lost_is_told() {
        let found = run(|_| false);
        assert_eq!(found, ReadBack { looked_for: 1_000, ..ReadBack::default() });
        // One of 32 is remembered, the newest thousand are kept: this is one of them, the other is not.
        let found = run(|index| index == 32 * 1_500 - 1 || index == 5);
        assert_eq!((found.looked_for, found.wrong_count, found.unanswered), (1_000, 1, 0));
        assert!(found.wrong[0].starts_with("operation 47999, namespace 0, /47999: Refused"), "{found:?}");
    }

    #[test]
    fn what_was_taken_away_later_is_not_looked_for() {
        let target =
            Target { contents: Contents::new(4), files: HashMap::new(), loses: |_| false, now: 0, waiting: Vec::new() };
        let mut driver = Sampled::new(target, 4);
        let mut done = Vec::new();
        let mut submit = |driver: &mut Sampled<Target>, kind, index: u64| {
            let op = Op { kind, index, path: format!("/{index}"), size: 9, writer: Writer(index), ..Op::default() };
            let now = driver.now();
            driver.submit(&op, OpToken { slot: index as u32, generation: kind as u32 }, now);
            driver.poll(now, &mut done);
        };
        (0..128).for_each(|index| submit(&mut driver, OpKind::Put, index));
        submit(&mut driver, OpKind::Delete, 31);
        assert_eq!(driver.read_back(), ReadBack { looked_for: 3, ..ReadBack::default() });
    }
}
